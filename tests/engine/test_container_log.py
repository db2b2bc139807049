"""The log of a job says where lines of it may be missing. The engine is a stand-in."""

import signal
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable
from job_fetcher.engine import container_wait
from job_fetcher.engine.client import Client
from job_fetcher.engine.container_log import DISK_FULL, LINES_MISSING, PODMAN_BEGINNING, ContainerLog
from job_fetcher.engine.container_wait import ContainerWait, Hooks
from tests.support.engines import DESKTOP, DOCKER, OLD_PODMAN, PODMAN, ROOTLESS_DOCKER, ROOTLESS_PODMAN, Says
from tests.support.fake_engine import FakeContainer, FakeEngine
from tests.support.worker import wait_until

BEGAN_AT = "2026-11-23T08:00:00Z"
BEGAN = datetime.fromisoformat(BEGAN_AT).timestamp()


@pytest.fixture
def container(fake: FakeEngine, client: Client) -> FakeContainer:
    """A container that printed a line each 10 seconds: 5, 15, 25 and 35 seconds after its start."""
    client.create_container("image", ["true"], host_config={})
    [made] = fake.containers.values()
    made.started_at = BEGAN_AT
    made.lines = [(BEGAN + at, f"line {at}\n".encode()) for at in (5, 15, 25, 35)]
    return made


def saved(client: Client, container: FakeContainer, folder: Path, *gaps: float) -> str:
    log, path = watched(client, container, folder)
    log.save([BEGAN + gap for gap in gaps])
    return path.read_text()


def watched(client: Client, container: FakeContainer, folder: Path) -> tuple[ContainerLog, Path]:
    path = folder / "container.log"
    return ContainerLog(client, container.id, path, Cancellation(), lambda: path), path


ALL = "line 5\nline 15\nline 25\nline 35\n"


@pytest.mark.parametrize(
    ("gaps", "text"),
    [
        ((), ALL),
        ((20,), f"line 5\nline 15\n{LINES_MISSING}line 25\nline 35\n"),
        ((2,), f"{LINES_MISSING}{ALL}"),
        ((40,), f"{ALL}{LINES_MISSING}"),
        ((30, 10), f"line 5\n{LINES_MISSING}line 15\nline 25\n{LINES_MISSING}line 35\n"),
    ],
    ids=["none", "in between", "before", "after", "two"],
)
def test_a_log_says_where_the_engine_was_restarted(
    client: Client, container: FakeContainer, tmp_path: Path, gaps: tuple[float, ...], text: str
) -> None:
    assert saved(client, container, tmp_path, *gaps) == text


@pytest.mark.parametrize(
    "lines",
    [
        [b"%d\n" % number for number in range(5_000)],
        [b"x" * 300_000 + b"\n", b"end\n"],
        [b"\xff\x00\x01" * 10_000, b"\r\r", b""],
        [],
    ],
    ids=["many short lines", "a long one", "no text", "nothing"],
)
def test_a_log_is_read_in_blocks_however_its_lines_are(
    fake: FakeEngine, client: Client, container: FakeContainer, tmp_path: Path, lines: list[bytes]
) -> None:
    """By itself docker-py asks for the container first, whether it has a terminal, and reads each line alone."""
    container.lines = [(BEGAN, line) for line in lines]
    log, path = watched(client, container, tmp_path)
    log.save()
    assert path.read_bytes() == b"".join(lines)
    assert not any(call.endswith(f"/{container.id}/json") for call in fake.calls)


def drop(fake: FakeEngine, client: Client, container: FakeContainer, lines: int) -> None:
    """Let the engine drop the first lines of the log, once the worker has seen its beginning."""
    wait_until(lambda: any(call.endswith("/logs") for call in fake.calls), "a look at the first line")
    client.ping()  # answered after that
    container.lines = container.lines[lines:]


@pytest.mark.parametrize("says", [PODMAN, ROOTLESS_PODMAN, OLD_PODMAN], ids=["Podman", "rootless", "old"])
@pytest.mark.parametrize("dropped", [1, 3])
def test_podman_drops_the_beginning_of_a_log_without_a_word_and_so_the_log_says_it(
    fake: FakeEngine, client: Client, container: FakeContainer, tmp_path: Path, says: Says, dropped: int
) -> None:
    fake.info, fake.version = says.info, says.version
    client.ping()  # its answer names it
    log, path = watched(client, container, tmp_path)
    drop(fake, client, container, dropped)
    log.save()
    assert path.read_text() == PODMAN_BEGINNING + "".join(ALL.splitlines(keepends=True)[dropped:])


@pytest.mark.parametrize("says", [PODMAN, ROOTLESS_PODMAN, OLD_PODMAN, DOCKER, ROOTLESS_DOCKER, DESKTOP])
@pytest.mark.parametrize("printed", [True, False])
def test_a_log_that_begins_with_the_command_has_no_such_word(
    fake: FakeEngine, client: Client, container: FakeContainer, tmp_path: Path, says: Says, printed: bool
) -> None:
    """However late its first line comes, and if none comes at all."""
    fake.info, fake.version = says.info, says.version
    client.ping()  # its answer names it
    container.lines = container.lines if printed else []
    assert saved(client, container, tmp_path) == (ALL if printed else "")


@pytest.mark.parametrize(("left_kib", "told"), [(0, True), (8, True), (512, True), (4096, False)])
def test_a_log_says_that_the_disk_of_the_engine_is_full(
    fake: FakeEngine, client: Client, container: FakeContainer, tmp_path: Path,
    needs_mounts: None, left_kib: int, told: bool,
) -> None:  # fmt: skip
    (disk := tmp_path / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8M", "none", str(disk)], check=True)
    try:
        (disk / "layers").write_bytes(bytes((8192 - left_kib) << 10))
        fake.info = {"DockerRootDir": str(disk)}
        assert saved(client, container, tmp_path) == ALL + (DISK_FULL if told else "")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize(
    ("failures", "gaps"),
    [
        ([EngineUnavailable("gone")], 1),
        ([EngineUnavailable("gone")] * 3, 3),
        ([EngineUnavailable("busy", status=503)] * 3, 0),
        ([EngineUnavailable("gone")] * 50, container_wait.MAX_GAPS),
        ([], 0),
    ],
    ids=["lost once", "three times", "answers with errors", "without end", "never"],
)
def test_an_engine_that_goes_away_while_a_container_runs_on_leaves_a_gap(
    fake: FakeEngine, client: Client, monkeypatch: pytest.MonkeyPatch, failures: list[EngineUnavailable], gaps: int
) -> None:
    """As with `live-restore`, where nothing but the connection tells of a restart."""
    client.create_container("image", ["sleep", "60"], host_config={})
    [made] = fake.containers.values()
    client.start(made.id)
    left = list(failures)

    def wait(*_: Any, **__: Any) -> dict[str, int]:
        if left:
            raise left.pop()
        made.kill(signal.SIGTERM)
        assert made.process is not None
        return {"StatusCode": made.process.wait()}

    monkeypatch.setattr(client, "wait", wait)
    monkeypatch.setattr(Cancellation, "wait", lambda *_: None)
    waiting = ContainerWait(client, made.id, Cancellation(), Hooks())
    waiting.outcome(None, lambda: None)
    assert len(waiting.gaps) == gaps
