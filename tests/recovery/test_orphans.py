"""Containers whose jobs' folders are gone: the next start removes them, and touches no others."""

import shutil
from collections.abc import Callable
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from docker.models.containers import Container

from job_fetcher.engine.isolation import LABEL_HELPER
from tests.recovery.support import killed_while_running, submit, wait_for_next_look
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]


def _corrupt(folder: Path) -> None:
    (folder / "job.json").write_text("{")


def _is_there(container: Container) -> bool:
    try:
        container.reload()
    except NotFound:
        return False
    return True


@pytest.mark.parametrize("lose", [_corrupt, shutil.rmtree], ids=["put aside", "removed by hand"])
def test_container_of_a_folder_that_is_lost_while_the_worker_is_away_is_removed_by_the_next_start(
    mock: Platform, worker: WorkerProcess, job_image: str, lose: Callable[[Path], None]
) -> None:
    """It would run on for ever, with the GPU. A folder that is put aside keeps its files."""
    job = submit(mock, job_image)
    container = killed_while_running(mock, worker, job)
    lose(worker.base / job)
    worker.start()
    worker.wait_for_log(f"removing the container {container.name}: the job's folder is gone")
    wait_for_next_look(mock)
    assert not _is_there(container)
    put_aside = [worker.base / name for name in worker.folders()]
    assert [path.name.rsplit("-", 1)[0] for path in put_aside] == ([f".unreadable-{job}"] if lose is _corrupt else [])
    assert all((path / "files" / "output" / "ran").exists() for path in put_aside)
    assert worker.stop() == 0


def test_container_of_a_job_below_another_folder_is_left_to_the_worker_of_that_one(
    mock: Platform, start_worker: StartWorker, job_image: str
) -> None:
    """Two workers with folders of their own; both of their jobs' folders are removed by hand."""
    mine, others = start_worker("data"), start_worker("other")
    workers = {}
    for _ in (mine, others):
        job = submit(mock, job_image)
        mock.wait_for_status(job, "running")
        workers[job] = mine if f"job {job}: pulled" in mine.log else others
    containers = {worker: killed_while_running(mock, worker, job) for job, worker in workers.items()}
    for job, worker in workers.items():
        shutil.rmtree(worker.base / job)
    mine.start()
    wait_for_next_look(mock)
    assert not _is_there(containers[mine])
    assert others.container().id == containers[others].id
    assert mine.stop() == 0
    others.start()
    wait_for_next_look(mock)
    assert not _is_there(containers[others])


def test_container_that_was_to_give_files_back_is_removed_when_its_folder_is_gone(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient, job_image: str
) -> None:
    wait_for_next_look(mock)
    assert worker.stop() == 0
    (worker.base / "there").mkdir()
    helpers = {
        name: docker_client.containers.create(job_image, labels={LABEL_HELPER: str(worker.base / name)})
        for name in ("gone", "there")
    }
    worker.start()
    wait_for_next_look(mock)
    assert not _is_there(helpers["gone"])
    assert _is_there(helpers["there"])
    helpers["there"].remove()
