"""The GPU is lost, to the driver or to containers alone: no job fails for it, and none is asked for meanwhile."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gpu_hook import FAILURE, GpuHook
from tests.support.images import add_image, shell_files
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.own_engine import IMAGE, OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

CARD = Gpu()
GPU_IS_LOST = 15
NOT_BY_US = "No job is asked for: the GPU does not answer (GPU is lost)"
NOT_BY_CONTAINERS = "No job is asked for: containers do not see the GPU"


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> GpuHook:
    return GpuHook(tmp_path_factory.mktemp("hook"))


@pytest.fixture(scope="module")
def engine(hook: GpuHook) -> Iterator[OwnEngine]:
    """An engine with `hook`, and with an image of the worker's own."""
    with own_engine(hook.folder) as engine:
        add_image(engine.client, "job-fetcher:test", shell_files(), "LABEL job-fetcher.build=worker")
        yield engine


@pytest.fixture
def worker(
    mock: Platform, engine: OwnEngine, hook: GpuHook, nvml: NvmlStub, evidence: Evidence, tmp_path: Path
) -> Iterator[WorkerProcess]:
    """A worker of `engine` with one card, idle."""
    hook.give()
    nvml.show(CARD)
    settings = {"DOCKER_HOST": engine.url, **nvml.environment}
    worker = WorkerProcess(mock, engine.client, tmp_path / "data", evidence.file("worker"), settings)
    mock.wait_until(lambda: _looks(mock) > 0, "a look for a job")
    yield worker
    worker.end()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed


def _looks(mock: Platform) -> int:
    return len(mock.requests("GET", "/jobs"))


def _sees_no_card_again_and_again(hook: GpuHook) -> None:
    before = hook.calls
    wait_until(lambda: hook.calls > before + 2, "more containers that look for the card")


@pytest.mark.parametrize("given", ["none", "GPU-another"], ids=["no card", "another card"])
def test_gpu_that_was_lost_is_tried_in_a_container_before_the_next_job_is_asked_for(
    mock: Platform, engine: OwnEngine, worker: WorkerProcess, nvml: NvmlStub, hook: GpuHook, given: str
) -> None:
    """A job that runs meanwhile runs on."""
    running = mock.submit("until [ -e /files/go ]; do sleep 0.05; done; nvidia-smi", image=IMAGE)
    worker.container()
    nvml.show(CARD, failures={"nvmlInit": GPU_IS_LOST})
    job, before = mock.submit("nvidia-smi", image=IMAGE), _looks(mock)
    (worker.base / running / "files" / "go").touch()
    mock.wait_for_status(running)
    assert mock.job(running).status == "finished"
    worker.wait_for_log(NOT_BY_US)
    hook.give(given)
    nvml.show(CARD)
    worker.wait_for_log(NOT_BY_CONTAINERS)
    assert (FAILURE if given == "none" else "sees other cards, or none") in worker.log
    _sees_no_card_again_and_again(hook)
    assert (_looks(mock), mock.job(job).status) == (before, "queued")
    hook.give()
    mock.wait_for_status(job)
    assert mock.outputs(job) == {"log/log/container.log": f"GPU 0: {CARD.name} (UUID: {CARD.uuid})\n".encode()}
    assert [worker.log.count(each) for each in (NOT_BY_US, NOT_BY_CONTAINERS, "Jobs are asked for again")] == [1, 1, 1]
    assert worker.stop() == 0
    worker.assert_nothing_left()
    assert engine.client.containers.list(all=True) == [], "also none of those that only look for the card"


def test_job_whose_container_cannot_get_the_gpu_is_handed_back_and_the_next_one_waits_until_one_can(
    mock: Platform, worker: WorkerProcess, hook: GpuHook
) -> None:
    hook.fail()
    job = mock.submit("true", image=IMAGE)
    mock.wait_until(lambda: mock.statuses(job)[-1:] == ["queued"], "the job to be handed back")
    assert "error" not in mock.statuses(job)
    assert mock.details(job).startswith("The worker's GPU cannot be given to the job: ")
    assert FAILURE in mock.details(job)
    worker.wait_for_log(NOT_BY_CONTAINERS)
    next_job, before = mock.submit("true", image=IMAGE), _looks(mock)
    _sees_no_card_again_and_again(hook)
    assert (_looks(mock), mock.job(next_job).status) == (before, "queued")
    assert worker.folders() == []
    hook.give()
    mock.wait_for_status(next_job)
    assert mock.job(next_job).status == "finished"
