"""An engine with `live-restore` is restarted while a command runs on: its log says where lines may be missing."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_fetcher.engine.container_log import LINES_MISSING
from tests.support.leaks import Evidence
from tests.support.own_engine import IMAGE, OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

TALK = "n=0; until [ -e /files/go ]; do n=$((n+1)); echo line $n | tee /files/line; sleep 0.1; done; echo last"


@pytest.fixture(scope="module")
def live_engine(needs_engine: None) -> Iterator[OwnEngine]:
    with own_engine(None, "--live-restore") as live:
        yield live


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "updated"])
def test_a_log_says_where_the_engine_was_restarted_under_its_container(
    mock: Platform, live_engine: OwnEngine, evidence: Evidence, tmp_path: Path, how: signal.Signals
) -> None:
    settings = {"DOCKER_HOST": live_engine.url}
    worker = WorkerProcess(mock, live_engine.client, tmp_path / "data", evidence.file("worker"), settings)
    job = mock.submit(TALK, image=IMAGE)
    line = worker.base / job / "files" / "line"
    wait_until(lambda: line.exists() and len(line.read_text()) > len("line 9\n"), "ten lines")
    live_engine.restart(how)
    seen = line.read_text()
    wait_until(lambda: line.read_text() not in ("", seen), "another line")
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    worker.end()
    assert mock.job(job).status == "finished"
    before, _, after = mock.outputs(job)["log/log/container.log"].decode().partition(LINES_MISSING)
    assert before.startswith("line 1\nline 2\n")
    assert after.endswith("last\n")
