"""The GPU: what the platform is told of it, which jobs then come, and what their containers see of it."""

from collections.abc import Callable

import docker

from tests.support.nvml import Gpu, NvmlStub
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job

StartWorker = Callable[..., WorkerProcess]

CARD = Gpu()
LOG = "log/log/container.log"
SHOW = "env | grep ^NVIDIA_ | sort"
WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.05; done"
NO_MORE = "NVIDIA_GDS=disabled\nNVIDIA_IMEX_CHANNELS=\nNVIDIA_MOFED=disabled\n"


def _offer(mock: Platform) -> dict[str, str]:
    """The query of the last look for a job."""
    mock.wait_until(lambda: bool(mock.requests("GET", "/jobs")), "a look for a job")
    return {name: value for name, [value] in mock.requests("GET", "/jobs")[-1].query.items()}


def test_gpu_is_offered_and_a_job_that_asks_for_its_memory_comes(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    """P6: the parameter is `gpu_mem`. The job's container gets this card alone, whatever its own variables say."""
    nvml.show(CARD)
    worker = start_worker(**nvml.environment)
    offer = _offer(mock)
    info = gpu_engine.info()
    assert int(offer.pop("memory")) in range(1, info["MemTotal"] // 2**20 + 1)
    assert offer == {
        "limit": "1",
        "cpu_cores": str(info["NCPU"]),
        "gpu_mem": "16376",
        "gpu_model": "NVIDIA RTX A4000",
        "gpu_archi": "Ampere",
    }
    wanted = {"gpu_mem": 16000, "gpu_model": "NVIDIA RTX A4000", "gpu_archi": "Ampere"}
    wider = {"NVIDIA_VISIBLE_DEVICES": "all", "nvidia_visible_devices": "all", "NVIDIA_DRIVER_CAPABILITIES": "all"}
    job = mock.submit(f"{SHOW}; {WAIT_FOR_GO}", image=job_image, hardware=wanted, env=wider)
    [request] = worker.container().attrs["HostConfig"]["DeviceRequests"]
    assert (request["DeviceIDs"], request["Count"], request["Capabilities"]) == ([CARD.uuid], 0, [["gpu"]])
    (worker.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert mock.outputs(job)[LOG].decode() == f"{NO_MORE}NVIDIA_VISIBLE_DEVICES={CARD.uuid}\n"


def test_worker_of_several_gpus_gives_the_first_and_says_so(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    nvml.show(CARD, Gpu("GPU-2", "NVIDIA GeForce RTX 4090", 24564, 1, 8))
    worker = start_worker(**nvml.environment)
    job = run_job(mock, SHOW, image=job_image)
    assert mock.outputs(job)[LOG].decode() == f"{NO_MORE}NVIDIA_VISIBLE_DEVICES={CARD.uuid}\n"
    assert "2 GPUs" in worker.log


def test_two_workers_of_one_folder_offer_and_give_each_its_own_card(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    """Started as by `--gpus '"device=0"'` and `'"device=1"'`; both have a job at the same time."""
    cards = [CARD, Gpu("GPU-2", "NVIDIA GeForce RTX 4090", 24564, 1, 8)]
    nvml.show(*cards)
    workers = [start_worker(**nvml.environment, NVIDIA_VISIBLE_DEVICES=str(number)) for number in range(2)]
    offers = {(card.name, str(card.memory_mib)) for card in cards}
    mock.wait_until(lambda: _cards_offered(mock) >= offers, "looks for a job by both")
    jobs = {
        mock.submit(f"{SHOW}; {WAIT_FOR_GO}", image=job_image, hardware={"gpu_model": card.name}): card
        for card in reversed(cards)
    }
    mock.wait_until(lambda: all(mock.job(job).status == "running" for job in jobs), "both jobs to run")
    found = {each.labels["job-fetcher.job"]: each for each in workers[0].containers()}
    for job, card in jobs.items():
        [request] = found[job].attrs["HostConfig"]["DeviceRequests"]
        assert (request["DeviceIDs"], request["Count"]) == ([card.uuid], 0)
        assert f"job {job}: pulled" in workers[cards.index(card)].log
        (workers[0].base / job / "files" / "go").touch()
        mock.wait_for_status(job)
        assert mock.outputs(job)[LOG].decode() == f"{NO_MORE}NVIDIA_VISIBLE_DEVICES={card.uuid}\n"
    assert _cards_offered(mock) == offers


def _cards_offered(mock: Platform) -> set[tuple[str, str]]:
    """The models and memories of all looks for a job."""
    queries = [request.query for request in mock.requests("GET", "/jobs") if request.path == "/jobs"]
    return {(query["gpu_model"][0], query["gpu_mem"][0]) for query in queries}


def test_machine_without_a_gpu_offers_and_gives_none(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, job_image: str
) -> None:
    """P25."""
    start_worker(**nvml.environment)
    assert set(_offer(mock)) == {"limit", "cpu_cores", "memory"}
    never = mock.submit("true", image=job_image, hardware={"gpu_mem": 1})
    job = run_job(mock, SHOW, image=job_image, env={"NVIDIA_VISIBLE_DEVICES": "all"})
    assert mock.outputs(job)[LOG].decode() == f"{NO_MORE}NVIDIA_VISIBLE_DEVICES=void\n"
    assert mock.job(never).status == "queued"


def test_worker_with_a_failing_driver_does_not_start_and_says_why(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub
) -> None:
    """It would never use the card again; a restart policy looks again."""
    nvml.show(CARD, failures={"nvmlDeviceGetMemoryInfo": 15})
    worker = start_worker(**nvml.environment)
    assert worker.wait() == 5
    assert "ERROR   The GPU's driver does not work (GPU is lost): restart the machine, or install it anew" in worker.log
    assert mock.requests("GET", "/jobs") == []


def test_second_worker_of_the_same_card_waits_until_the_first_one_ends(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    nvml.show(CARD)
    first = start_worker(**nvml.environment)
    job = mock.submit(WAIT_FOR_GO, image=job_image)
    mock.wait_for_status(job, "running")
    second = start_worker(**nvml.environment)
    second.wait_for_log("The worker asks for no job: another worker in this PATH_BASE uses the same GPU")
    next_job = mock.submit("true", image=job_image)
    (first.base / job / "files" / "go").touch()
    mock.wait_for_status(job)
    assert first.stop() == 0
    second.wait_for_log("The worker asks for jobs again")
    mock.wait_for_status(next_job)
    assert mock.job(next_job).status == "finished"


def test_driver_that_does_not_know_the_architecture_offers_the_rest(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub
) -> None:
    nvml.show(CARD, failures={"nvmlDeviceGetArchitecture": 13})
    start_worker(**nvml.environment)
    assert set(_offer(mock)) == {"limit", "cpu_cores", "memory", "gpu_mem", "gpu_model"}


def test_model_and_architecture_can_be_told_by_hand(
    mock: Platform, start_worker: StartWorker, nvml: NvmlStub, gpu_engine: docker.DockerClient, job_image: str
) -> None:
    """Users type those strings, and the platform compares them for equality."""
    nvml.show(CARD)
    start_worker(**nvml.environment, GPU_MODEL="A4000", GPU_ARCHI="ampere (lab)")
    job = run_job(mock, "true", image=job_image, hardware={"gpu_model": "A4000", "gpu_archi": "ampere (lab)"})
    assert mock.job(job).status == "finished"
    assert (_offer(mock)["gpu_model"], _offer(mock)["gpu_archi"]) == ("A4000", "ampere (lab)")
