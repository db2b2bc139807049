"""The live log of whole jobs: seen while the command runs, complete at the end, in bounded memory."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from job_fetcher.transfer.excerpt import MAX_EXCERPT
from tests.support.fake_engine import FakeEngine
from tests.support.fake_engine_workers import StartWorker, fake_engine_workers
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

LOG = "log/log/container.log"
WAIT = "until [ -e /files/go ]; do sleep 0.02; done"
COMET = (
    "mkdir -p /files/log && (echo begun; until [ -e /files/go ]; do sleep 0.02; done; echo done) > /files/log/log.log"
)
CHATTY = (
    "head -c 10000000 /dev/zero | tr '\\0' x; echo; head -c 2000000 /dev/zero | tr '\\0' '\\033' | fold -w 1000;"
    f" {WAIT}; echo done"
)
MAX_MEMORY_MIB = 120


@pytest.fixture
def start(
    needs_time: None, mock: Platform, engine: FakeEngine, evidence: Evidence, tmp_path: Path
) -> Iterator[StartWorker]:
    with fake_engine_workers(mock, engine, evidence, tmp_path, LOG_INTERVAL="0.1", TIMEOUT_STATUS="0.1") as start:
        yield start


def _go(worker: WorkerProcess, job: str) -> None:
    (worker.base / job / "files" / "go").touch()


def test_the_log_that_a_command_writes_into_a_file_is_seen_while_it_runs_and_after_a_restart(
    mock: Platform, start: StartWorker
) -> None:
    """The real Comet's way."""
    worker = start()
    job = mock.submit(COMET, up={"log": "log"})
    mock.wait_until(lambda: mock.outputs(job) == {"log/log/log.log": b"begun\n"}, "the live log")
    assert mock.job(job).status == "running"
    worker.signal(signal.SIGKILL)
    worker.wait()
    before = len(mock.requests("POST", "/store"))
    worker.start()
    mock.wait_until(lambda: len(mock.requests("POST", "/store")) > before, "the live log of the next start")
    assert mock.job(job).status == "running"
    _go(worker, job)
    mock.wait_for_status(job)
    assert mock.outputs(job) == {"log/log/log.log": b"begun\ndone\n"}
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_a_job_that_prints_much_costs_little_memory_and_few_bytes(mock: Platform, start: StartWorker) -> None:
    """12 MB, one line of them without an end, and escape sequences."""
    worker = start(constants=None)
    job = mock.submit(CHATTY)
    mock.wait_until(lambda: b"The middle is left out here." in mock.outputs(job).get(LOG, b""), "an excerpt")
    assert mock.job(job).status == "running"
    assert len(mock.outputs(job)[LOG]) <= MAX_EXCERPT
    _go(worker, job)
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    complete = mock.outputs(job)[LOG]
    assert (len(complete) > 12_000_000, complete.endswith(b"done\n")) == (True, True)
    assert worker.peak_memory_mib <= MAX_MEMORY_MIB


def test_without_an_interval_the_log_goes_up_once_at_the_end(mock: Platform, start: StartWorker) -> None:
    worker = start(LOG_INTERVAL="0")
    job = mock.submit(f"echo begun; {WAIT}")
    mock.wait_until(lambda: len(mock.requests("PUT", f"/jobs/{job}/status")) > 10, "keep-alives")
    wait_until(lambda: (worker.base / job / "files").is_dir(), "the job's folder")
    _go(worker, job)
    mock.wait_for_status(job)
    assert mock.outputs(job) == {LOG: b"begun\n"}
    assert len(mock.requests("POST", "/store")) == 2, "the log and the report"


def wait_for_looks(mock: Platform) -> None:
    """Wait until the worker has looked for a job some times more."""
    before = len(mock.requests("GET", "/jobs"))
    mock.wait_until(lambda: len(mock.requests("GET", "/jobs")) > before + 3, "looks for a job")


def test_a_job_that_is_deleted_has_no_live_log_any_more(mock: Platform, start: StartWorker) -> None:
    worker = start()
    job = mock.submit("while :; do echo more; sleep 0.01; done")
    mock.wait_until(lambda: LOG in mock.outputs(job), "the live log")
    mock.cancel(job)
    worker.wait_for_log(f"job {job}: dropped")
    wait_until(lambda: not worker.folders(), "the job's folder to be removed")
    wait_for_looks(mock)  # one request may be on its way
    asked = len(mock.requests("POST", f"/jobs/{job}"))
    wait_for_looks(mock)
    assert len(mock.requests("POST", f"/jobs/{job}")) == asked
