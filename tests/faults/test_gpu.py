"""The GPU is lost, to the driver or to containers alone, or their network: no job fails for it, none is asked for."""

from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

import pytest

from job_fetcher.engine import cleanup
from job_fetcher.engine.client import connect
from job_fetcher.engine.isolation import LABEL_BUILD, labelled
from tests.support.gpu_hook import FAILURE, GpuHook
from tests.support.images import add_image, shell_files
from tests.support.leaks import Evidence
from tests.support.nvml import Gpu, NvmlStub
from tests.support.own_engine import IMAGE, OwnEngine, own_engine
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, wait_until

StartWorker = Callable[..., WorkerProcess]

CARD = Gpu()
GPU_IS_LOST = 15
NOT_BY_US = "The worker asks for no job: the GPU does not answer (GPU is lost)"
NOT_BY_CONTAINERS = "The worker asks for no job: containers do not start, or do not see the GPU"


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> GpuHook:
    return GpuHook(tmp_path_factory.mktemp("hook"))


@pytest.fixture(scope="module")
def engine(needs_engine: None, hook: GpuHook) -> Iterator[OwnEngine]:
    """An engine with `hook`, and with an image of the worker's own."""
    with own_engine(hook.folder) as engine:
        add_image(engine.client, "job-fetcher:test", shell_files(), "LABEL job-fetcher.build=worker")
        yield engine


@pytest.fixture
def start(
    mock: Platform, engine: OwnEngine, hook: GpuHook, nvml: NvmlStub, evidence: Evidence, tmp_path: Path
) -> Iterator[StartWorker]:
    """Starts a worker of `engine` with one card."""
    started: list[WorkerProcess] = []
    hook.give()
    nvml.show(CARD)

    def start(**more: str) -> WorkerProcess:
        settings = {"DOCKER_HOST": engine.url, **nvml.environment, **more}
        started.append(WorkerProcess(mock, engine.client, tmp_path / "data", evidence.file("worker"), settings))
        return started[-1]

    yield start
    for worker in started:
        worker.end()
        print(worker.log)  # noqa: T201 - pytest shows it if the test has failed


@pytest.fixture
def worker(mock: Platform, start: StartWorker) -> WorkerProcess:
    """One that is idle."""
    worker = start()
    mock.wait_until(lambda: _looks(mock) > 0, "a look for a job")
    return worker


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
    assert (FAILURE if given == "none" else "sees other GPUs, or none") in worker.log
    _sees_no_card_again_and_again(hook)
    assert (_looks(mock), mock.job(job).status) == (before, "queued")
    hook.give()
    mock.wait_for_status(job)
    assert mock.outputs(job) == {"log/log/container.log": f"GPU 0: {CARD.name} (UUID: {CARD.uuid})\n".encode()}
    told = (NOT_BY_US, NOT_BY_CONTAINERS, "The worker asks for jobs again")
    assert [worker.log.count(each) for each in told] == [1, 1, 1]
    assert worker.stop() == 0
    worker.assert_nothing_left()
    assert engine.client.containers.list(all=True) == [], "also none of those that only look for the card"


def test_gpu_that_containers_do_not_see_keeps_jobs_away_from_the_start_on(
    mock: Platform, engine: OwnEngine, hook: GpuHook, nvml: NvmlStub, start: StartWorker
) -> None:
    hook.give("GPU-another")
    job = mock.submit("nvidia-smi", image=IMAGE)
    worker = start()
    worker.wait_for_log(NOT_BY_CONTAINERS)
    _sees_no_card_again_and_again(hook)
    assert (_looks(mock), mock.job(job).status) == (0, "queued")
    hook.give()
    mock.wait_for_status(job)
    assert mock.job(job).status == "finished"


def test_gpu_is_tried_in_a_container_after_a_job_that_failed_with_it(
    mock: Platform, worker: WorkerProcess, hook: GpuHook
) -> None:
    job = mock.submit("until [ -e /files/go ]; do sleep 0.05; done; exit 3", image=IMAGE)
    worker.container()
    hook.give("GPU-another")
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    worker.wait_for_log(NOT_BY_CONTAINERS)
    hook.give()
    worker.wait_for_log("The worker asks for jobs again")


def test_job_whose_container_cannot_get_the_gpu_is_requeued_and_the_next_one_waits_until_one_can(
    mock: Platform, worker: WorkerProcess, hook: GpuHook
) -> None:
    hook.fail()
    job = mock.submit("true", image=IMAGE)
    mock.wait_until(lambda: mock.statuses(job)[-1:] == ["queued"], "the job to be requeued")
    assert "error" not in mock.statuses(job)
    assert mock.details(job).startswith("This worker can start no container now: ")
    assert FAILURE in mock.details(job)
    worker.wait_for_log(NOT_BY_CONTAINERS)
    next_job, before = mock.submit("true", image=IMAGE), _looks(mock)
    _sees_no_card_again_and_again(hook)
    assert (_looks(mock), mock.job(next_job).status) == (before, "queued")
    assert worker.folders() == []
    hook.give()
    mock.wait_for_status(next_job)
    assert mock.job(next_job).status == "finished"


def test_job_whose_network_is_gone_is_requeued_and_the_next_one_waits_until_it_is_there(
    mock: Platform, engine: OwnEngine, nvml: NvmlStub, start: StartWorker
) -> None:
    """It is not the job's fault; a bridge that a firewall's restart has broken is told in the same way."""
    nvml.show()
    network = engine.client.networks.create("labnet")
    worker = start(JOB_NETWORK="labnet")
    mock.wait_until(lambda: _looks(mock) > 0, "a look for a job")
    network.remove()
    job = mock.submit("true", image=IMAGE)
    mock.wait_until(lambda: mock.statuses(job)[-1:] == ["queued"], "the job to be requeued")
    assert "network labnet not found" in mock.details(job)
    worker.wait_for_log(NOT_BY_CONTAINERS)
    next_job = mock.submit("true", image=IMAGE)
    network = engine.client.networks.create("labnet")
    mock.wait_for_status(next_job)
    assert mock.job(next_job).status == "finished"
    assert worker.stop() == 0
    network.remove()


def test_container_that_a_killed_worker_tried_goes_and_one_in_use_stays(
    engine: OwnEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", engine.url)
    client = connect()
    left = client.create_container(IMAGE, ["true"], **labelled({LABEL_BUILD: "probe"}))["Id"]
    nobody = PurePosixPath("/nobody")
    cleanup.remove_orphans(client, nobody, lambda _: True)
    assert [each.id for each in engine.client.containers.list(all=True)] == [left]
    monkeypatch.setattr(cleanup, "STALE_S", -60.0)
    cleanup.remove_orphans(client, nobody, lambda _: True)
    assert engine.client.containers.list(all=True) == []
    client.close()
