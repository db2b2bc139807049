"""What `job.json` remembers of a container: when its command was started, its time limit, and what finds it again."""

import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import docker
import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.job import JobSpecs
from job_fetcher.engine.client import connect
from job_fetcher.engine.container import ContainerState, JobContainer
from job_fetcher.engine.isolation import Resources
from tests.recovery.support import (
    OUTPUTS,
    assert_finished_once,
    go,
    killed_while_running,
    sent,
    submit,
    wait_for_exit,
)
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]

TIME_LIMIT_S = 600
LIMITED = (
    f"The command was stopped after {TIME_LIMIT_S} s, this worker's MAX_RUNTIME. The owner of this worker has to raise"
    " that for a longer run."
)


def assert_done(mock: Platform, worker: WorkerProcess, job: str) -> None:
    """The job has finished, its command ran once, and nothing is left of it."""
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS
    assert worker.stop() == 0
    worker.assert_nothing_left()


def _change_record(worker: WorkerProcess, job: str, change: Callable[[dict[str, Any]], Any]) -> None:
    file = worker.base / job / "job.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def _started_earlier_by(seconds: float) -> Callable[[dict[str, Any]], Any]:
    def change(record: dict[str, Any]) -> None:
        record["started"]["boottime_s"] -= seconds

    return change


def _set(**fields: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record.update(fields)


def _as_the_last_release_wrote_it(record: dict[str, Any]) -> None:
    for field in ("started", "stopped_after_s", "token"):
        del record[field]


@pytest.mark.parametrize(
    "change", [_started_earlier_by(TIME_LIMIT_S - 1), _started_earlier_by(10**6), _set(stopped_after_s=TIME_LIMIT_S)],
    ids=["a second is left", "none is left", "the worker was killed while it stopped the command"],
)  # fmt: skip
def test_time_limit_of_a_command_counts_on_while_the_worker_is_away_by_the_clock_of_the_boot(
    mock: Platform, start_worker: StartWorker, job_image: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    """The engine's own time of the start, which a changed clock makes wrong, says that much time is left."""
    worker = start_worker(MAX_RUNTIME=str(TIME_LIMIT_S))
    job = submit(mock, job_image)
    killed_while_running(mock, worker, job)
    _change_record(worker, job, change)
    worker.start()
    mock.wait_for_status(job)
    assert mock.details(job).startswith(LIMITED)
    assert mock.outputs(job)["output/output/ran"] == b"ran\n"


@pytest.mark.parametrize(
    "change", [_started_earlier_by(-TIME_LIMIT_S), _set(started=None), _as_the_last_release_wrote_it],
    ids=["the clock went on by hours", "the worker was killed right after the start", "record of the last release"],
)  # fmt: skip
def test_command_that_has_time_left_goes_on_after_a_restart_of_the_worker(
    mock: Platform, start_worker: StartWorker, job_image: str, change: Callable[[dict[str, Any]], Any]
) -> None:
    worker = start_worker(MAX_RUNTIME=str(TIME_LIMIT_S))
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    _change_record(worker, job, change)
    worker.start()
    before = sent(mock, job, "running")
    mock.wait_until(lambda: sent(mock, job, "running") > before, "a keep-alive of the next start")
    assert worker.container().id == container.id
    go(worker, job)
    assert_done(mock, worker, job)


def test_command_that_ended_in_time_is_not_told_to_have_exceeded_it_while_the_worker_was_away(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    worker = start_worker(MAX_RUNTIME=str(TIME_LIMIT_S))
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    go(worker, job)
    wait_for_exit(container)
    _change_record(worker, job, _started_earlier_by(10**6))
    worker.start()
    assert_done(mock, worker, job)


def test_container_is_found_by_its_token_whatever_path_its_folder_has_and_without_one_by_the_path(
    docker_client: docker.DockerClient, job_image: str, tmp_path: Path
) -> None:
    """`PATH_HOST_BASE` is changed in the middle of a job; the last release knew no tokens."""
    client = connect()
    here, elsewhere = PurePosixPath(tmp_path / "here" / "1"), PurePosixPath(tmp_path / "elsewhere" / "1")

    def find(folder: PurePosixPath, token: str | None) -> JobContainer:
        return JobContainer(client, folder, Cancellation(), Cancellation(), token)

    specs = JobSpecs.parse({"app": {"cmd": ["true"]}, "handler": {"image_url": job_image}})
    (tmp_path / "here" / "1" / "files").mkdir(parents=True)
    (tmp_path / "elsewhere" / "1" / "files").mkdir(parents=True)
    for made_with in (f"token-{tmp_path.name}", None):
        made = find(here, made_with)
        made.create("1", specs, Resources(memory_mib=256, gpu=None))
        assert find(here, made_with).id == made.id
        assert find(here, f"token-{tmp_path.name}").id == made.id
        assert find(elsewhere, "another").state is ContainerState.NONE
        assert (find(elsewhere, f"token-{tmp_path.name}").state is ContainerState.CREATED) == (made_with is not None)
        made.remove()
        assert find(here, made_with).state is ContainerState.NONE
    client.close()
