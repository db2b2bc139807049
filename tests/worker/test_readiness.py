"""When no job is asked for although one could come: the worker is paused, or its owner wants the machine."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

import docker
import pytest

from job_fetcher.config.settings import Polling
from job_fetcher.core.background import Cancellation
from job_fetcher.worker.readiness import Readiness
from job_fetcher.workspace import input_cache
from job_fetcher.workspace.input_cache import DAY_S, Version
from job_fetcher.workspace.workspace import Workspace
from tests.recovery.support import kill
from tests.support.gate import DOCKER_SOCKET, Gate, free_socket, running_gate
from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]

WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.05; done"
PAUSED = "The worker asks for no job: the worker is paused, until `resume`"
QUIET = "The worker asks for no job: these are quiet hours (QUIET_HOURS)"
AGAIN = "The worker asks for jobs again"
FAR_AWAY = "Far-12"
"""A zone in which it is half a day later than by UTC."""


def command(worker: WorkerProcess, name: str, cwd: Path) -> str:
    """What `python -m job_fetcher <name>` says, with the worker's own settings."""
    line = [sys.executable, "-m", "job_fetcher", name]
    return subprocess.run(line, env=worker.environment, cwd=cwd, check=True, capture_output=True, text=True).stdout


def looks(mock: Platform) -> int:
    return sum(request.path == "/jobs" for request in mock.requests("GET", "/jobs"))


def test_worker_that_is_paused_takes_no_job_after_a_restart_neither_until_it_resumes(
    mock: Platform, worker: WorkerProcess, job_image: str, tmp_path: Path
) -> None:
    mock.wait_until(lambda: looks(mock) > 0, "a look for a job")
    assert command(worker, "pause", tmp_path) == "The worker takes no new job until `resume`.\n"
    worker.wait_for_log(PAUSED)
    job, before = mock.submit("true", image=job_image), looks(mock)
    assert worker.stop() == 0
    worker.start()
    wait_until(lambda: worker.log.count(PAUSED) == 2, "the next start to say so")
    assert (looks(mock), AGAIN in worker.log) == (before, False)
    assert command(worker, "resume", tmp_path) == "The worker takes jobs again.\n"
    mock.wait_for_status(job)
    assert (mock.job(job).status, worker.log.count(AGAIN)) == ("finished", 1)
    worker.stop()
    worker.assert_nothing_left()


@pytest.mark.parametrize("emptied", [False, True])
def test_kept_inputs_that_are_too_old_go_while_the_worker_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, emptied: bool
) -> None:
    """Whatever the owner does with the cache meanwhile."""
    workspace, anything = Workspace(tmp_path, "me"), cast("Any", None)
    (tmp_path / "input").write_bytes(b"1234")
    for name in "ab":
        cache = workspace.input_cache(10, DAY_S, 0)
        cache.keep(name, tmp_path / "input", Version(etag='"1"', size=4), Cancellation())
    workspace.pause()
    if emptied:
        monkeypatch.setattr(input_cache, "_discard", lambda _: cache.clear())
    cache = workspace.input_cache(4, DAY_S, 0)
    readiness = Readiness(anything, workspace, anything, None, Polling(), "", cache)
    assert readiness.reason_against() == "the worker is paused, until `resume`"
    assert len(cache.entries()) == (0 if emptied else 1)


def test_poetry_run_run_takes_the_same_commands(worker: WorkerProcess, tmp_path: Path) -> None:
    """`poetry run run` starts a worker, but `poetry run run pause` does not."""
    script = Path(sys.executable).with_name("run")
    for argument, told in ("pause", "The worker takes no new job until `resume`."), ("--help", "take no new job"):
        line = [str(script), argument]
        result = subprocess.run(line, env=worker.environment, cwd=tmp_path, check=True, capture_output=True, text=True)
        assert told in result.stdout


def test_job_in_hand_goes_on_while_the_worker_is_paused(
    mock: Platform, worker: WorkerProcess, job_image: str, tmp_path: Path
) -> None:
    """After a crash of the worker, too."""
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_for_status(job, "running")
    container = worker.container()
    command(worker, "pause", tmp_path)
    kill(worker)
    worker.start()
    worker.wait_for_log(f"job {job}: resuming")
    assert worker.container().id == container.id
    next_job, before = mock.submit("true", image=job_image), looks(mock)
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    worker.wait_for_log(PAUSED)
    assert (looks(mock), mock.job(next_job).status) == (before, "queued")


@pytest.fixture
def asked() -> Iterator[tuple[Gate, list[str]]]:
    """A gate before the machine's engine, and an entry for each look around, which begins with a ping."""
    times: list[str] = []
    with running_gate(DOCKER_SOCKET, free_socket()) as gate:
        gate.before(b"/_ping ", lambda: times.append("asked"))
        yield gate, times


def look_around(times: list[str]) -> None:
    before = len(times)
    wait_until(lambda: len(times) > before + 3, "more looks around")


def _around(now: datetime) -> str:
    """The hour before and the hour after."""
    return f"{now - timedelta(hours=1):%H:%M}-{now + timedelta(hours=1):%H:%M}"


def test_no_job_is_asked_for_in_the_quiet_hours_of_the_engines_host_and_that_is_said_once(
    mock: Platform, start_worker: StartWorker, docker_client: docker.DockerClient, asked: tuple[Gate, list[str]]
) -> None:
    """By its clock: in the worker's own zone it is half a day later."""
    gate, times = asked
    quiet = _around(datetime.fromisoformat(docker_client.info()["SystemTime"]))
    worker = start_worker(QUIET_HOURS=quiet, TZ=FAR_AWAY, DOCKER_HOST=f"unix://{gate.path}")
    worker.wait_for_log(QUIET)
    look_around(times)
    assert (looks(mock), worker.log.count(QUIET)) == (0, 1)


def test_jobs_come_in_all_other_hours_and_one_that_was_begun_goes_on(
    mock: Platform, start_worker: StartWorker, docker_client: docker.DockerClient, job_image: str
) -> None:
    now = datetime.fromisoformat(docker_client.info()["SystemTime"])
    worker = start_worker(QUIET_HOURS=_around(now + timedelta(hours=12)), TZ=FAR_AWAY)
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_for_status(job, "running")
    worker.container()
    kill(worker)
    worker.environment["QUIET_HOURS"] = "00:00-24:00"
    worker.start()
    worker.wait_for_log(f"job {job}: resuming")
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    worker.wait_for_log(QUIET)


def test_no_job_is_asked_for_while_others_hold_more_of_the_gpu_than_they_may_and_a_running_one_goes_on(
    mock: Platform,
    start_worker: StartWorker,
    nvml: NvmlStub,
    gpu_engine: docker.DockerClient,
    job_image: str,
    asked: tuple[Gate, list[str]],
) -> None:
    gate, times = asked
    busy = "The worker asks for no job: other programs use {} MiB of the GPU, more than GPU_BUSY_MIB (1000)"
    nvml.show(Gpu(processes=[(1, 1001)]))
    worker = start_worker(GPU_BUSY_MIB="1000", DOCKER_HOST=f"unix://{gate.path}", **nvml.environment)
    worker.wait_for_log(busy.format(1001))
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    nvml.show(Gpu(processes=[(1, 1001)], graphics=[(2, 500)]))
    look_around(times)
    assert (looks(mock), worker.log.count("The worker asks for no job")) == (0, 1), "told once, whatever the number"
    nvml.show(Gpu(used_mib=1500, processes=[(1, 1000)]))
    mock.wait_for_status(job, "running")
    assert worker.log.count(AGAIN) == 1
    worker.container()
    nvml.show(Gpu(processes=[(1, 1000), (3, 5000)]))
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"
    worker.wait_for_log(busy.format(6000))
