"""Workers with a card each on one PATH_BASE: what one leaves behind waits for the worker of that card."""

from collections.abc import Callable, Sequence

import docker
import pytest

from tests.recovery.support import assert_finished_once, go, kill, submit, wait_for_next_look
from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]
CARDS = (Gpu("GPU-1", "Card 1"), Gpu("GPU-2", "Card 2"))


def killed_with_a_job_each(mock: Platform, workers: Sequence[WorkerProcess], image: str) -> list[str]:
    """The jobs, in the order of the workers."""
    jobs = [submit(mock, image, hardware={"gpu_model": card.name}) for card in CARDS]
    for job in jobs:
        wait_until((workers[0].base / job / "files" / "output" / "ran").exists, "the command to begin")
        mock.wait_for_status(job, "running")
    for worker in workers:
        kill(worker)
    return jobs


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["in order", "the other way round"])
def test_each_worker_goes_on_with_the_job_of_its_own_card(
    mock: Platform,
    start_worker: StartWorker,
    nvml: NvmlStub,
    gpu_engine: docker.DockerClient,
    job_image: str,
    order: tuple[int, int],
) -> None:
    nvml.show(*CARDS)
    workers = [start_worker(**nvml.environment, NVIDIA_VISIBLE_DEVICES=str(number)) for number in range(2)]
    jobs = killed_with_a_job_each(mock, workers, job_image)
    containers = {each.id for each in workers[0].containers()}
    assert len(containers) == 2
    for job in jobs:
        go(workers[0], job)
    for number in order:
        workers[number].start()
        mock.wait_for_status(jobs[number])
        assert_finished_once(mock, jobs[number])
        wait_for_next_look(mock)
        assert f"job {jobs[1 - number]}: resuming" not in workers[number].log
    assert f"job {jobs[order[1]]}: left alone: " in workers[order[0]].log
    assert workers[order[0]].log.count(f"waits for a worker with the GPU {CARDS[order[1]].uuid}") == 1
    assert [worker.stop() for worker in workers] == [0, 0]
    workers[0].assert_nothing_left()


def test_job_of_a_card_that_is_gone_is_left_alone_and_told(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    nvml.show(CARDS[1])
    worker = start_worker(**nvml.environment)
    job = submit(mock, job_image)
    mock.wait_for_status(job, "running")
    container = worker.container().id
    kill(worker)
    for cards in ((CARDS[0],), ()):
        nvml.show(*cards)
        worker.start()
        wait_for_next_look(mock)
        assert worker.stop() == 0
        assert (worker.folders(), [each.id for each in worker.containers()]) == ([job], [container])
    told = f"job {job}: left alone: its folder {worker.base / job} waits for a worker with the GPU GPU-2"
    assert worker.log.count(told) == 2
    nvml.show(*reversed(CARDS))
    worker.start()
    go(worker, job)
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert worker.stop() == 0
    worker.assert_nothing_left()
