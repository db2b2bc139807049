"""Fixtures for tests with real parts: the platform's mock, the engine, a registry, images for jobs, GPUs for NVML."""

import fcntl
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import docker
import hypothesis
import pytest
from scripts.docker import build_image

from job_fetcher.core.background import Cancellation
from job_fetcher.engine import client as engine
from tests.support.aws import Aws, running_aws
from tests.support.engine import connect, remove_litter, require_gpu_hook, running_registry
from tests.support.fake_engine import FakeEngine, fake_engine
from tests.support.images import JobImages, make_job_images, remove_images
from tests.support.leaks import Evidence
from tests.support.nvml import NvmlStub, compile_stub
from tests.support.platform import Platform, running_platform
from tests.support.selection import NO_ENGINE, group, in_order, possible_ones, quick_ones
from tests.support.worker import WorkerProcess, killed


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="run only the tests that need no engine and little time")


def pytest_configure(config: pytest.Config) -> None:
    """A shell that starts this in the background lets it ignore SIGINT, and `nohup` SIGHUP: programs inherit that.

    A handler is inherited by none of them, so that the tests survive their terminal, and the programs do not.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda *_: None)
    patient = hypothesis.settings(deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.register_profile("patient", patient)  # an example takes as long as the machine needs for it
    hypothesis.settings.load_profile("patient")
    if config.getoption("quick"):
        os.environ["DOCKER_HOST"] = NO_ENGINE  # a test that uses an engine without saying so fails everywhere


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not quick, if that is wanted, and tell xdist which tests stay together."""
    chosen = quick_ones(items) if config.getoption("quick") else possible_ones(items)
    if len(chosen) < len(items):
        config.hook.pytest_deselected(items=list(set(items).difference(chosen)))
        items[:] = chosen
    if config.getoption("loadgroup", default=False):
        items[:] = in_order(items)
        for item in items:
            if (name := group(item)) is not None:
                item.add_marker(pytest.mark.xdist_group(name))


@pytest.fixture(scope="session")
def needs_engine() -> None:
    """Whatever uses an engine, a registry or Docker's commands asks for this, or for a fixture that does."""


@pytest.fixture(scope="session")
def needs_time() -> None:
    """Whatever takes a processor for several seconds asks for this."""


@pytest.fixture(scope="session")
def starts_worker() -> None:
    """Whatever starts a worker for each set of its parameters asks for this."""


@pytest.fixture(scope="session")
def needs_compiler() -> None:
    """Whatever is compiled for the tests asks for this."""


@pytest.fixture(scope="session")
def needs_browser() -> None:
    """Whatever drives a browser asks for this: scripts/setup.sh installs Chromium."""


@pytest.fixture(scope="session")
def needs_mounts() -> None:
    """Whatever mounts a file system asks for this: it takes root, and `/dev/fuse`."""


@pytest.fixture(scope="session")
def needs_loop_devices(needs_mounts: None) -> None:
    """Whatever mounts a disk that is a file asks for this: pytest leaves it out where there are no such devices."""


@pytest.fixture
def memory_runs_out() -> Iterator[None]:
    """Whatever has the kernel kill a process for memory asks for this: a worker may take that for its job's end.

    Its count (`oom_kill` in /proc/vmstat) is the machine's, and so that of all processes that run tests.
    """
    with _held_by_this_process("memory", fcntl.LOCK_EX):
        yield


@pytest.fixture
def memory_suffices() -> Iterator[None]:
    """Whatever ends by a SIGKILL that is not the kernel's asks for this: nobody beside it runs out of memory."""
    with _held_by_this_process("memory", fcntl.LOCK_SH):
        yield


@contextmanager
def _held_by_this_process(name: str, how: int) -> Iterator[None]:
    """A lock between all processes that run tests; `how`: `LOCK_EX` or `LOCK_SH` of flock(2)."""
    with (Path(tempfile.gettempdir()) / f"job-fetcher-{name}.lock").open("w") as lock:
        fcntl.flock(lock, how)
        yield


@pytest.fixture
def mock() -> Iterator[Platform]:
    """The platform, mocked and served for real, with a state of its own for this test."""
    with running_platform() as platform:
        yield platform


@pytest.fixture
def platform(evidence: Evidence) -> Iterator[Platform]:
    """A mock that containers can reach."""
    with running_platform(host="0.0.0.0") as platform:
        yield platform
        evidence.keep_history(platform)


@pytest.fixture(scope="session")
def aws(needs_time: None) -> Iterator[Aws]:
    """Cognito and S3 as others have written them."""
    with running_aws() as running:
        yield running


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeEngine]:
    """A stand-in for the engine: no real container is needed."""
    with fake_engine(tmp_path / "engine") as fake:
        yield fake


@pytest.fixture
def client(fake: FakeEngine, monkeypatch: pytest.MonkeyPatch) -> Iterator[engine.Client]:
    """The worker's client of the stand-in, which is this machine's engine for as long."""
    monkeypatch.setenv("DOCKER_HOST", fake.url)
    client = engine.connect()
    yield client
    client.close()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Nobody in this process waits before trying again; the seconds that it would have been are written down here."""
    waited: list[float] = []
    left, really_wait = set(threading.enumerate()) - {threading.current_thread()}, Cancellation.wait

    def wait(self: Cancellation, seconds: float) -> None:
        if threading.current_thread() in left:  # by an earlier test
            return really_wait(self, seconds)
        waited.append(seconds)
        return self.check()

    monkeypatch.setattr(Cancellation, "wait", wait)
    return waited


@pytest.fixture(scope="session", autouse=True)
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    """All logs of all tests; in the end none of them may hold a password, a token or the signature of a URL."""
    collected = Evidence(tmp_path_factory.mktemp("evidence"))
    with collected.collecting():
        yield collected
    leaks = collected.leaks()
    assert not leaks, "secrets in logs:\n" + "\n".join(leaks)


@pytest.fixture
def start_worker(
    mock: Platform, docker_client: docker.DockerClient, evidence: Evidence, tmp_path: Path
) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers of `mock`, with settings besides the usual ones; they are ended with the test."""
    started: list[WorkerProcess] = []

    def start(
        base: str = "data", constants: Mapping[str, float] | None = MappingProxyType({}), **settings: str | None
    ) -> WorkerProcess:
        worker = WorkerProcess(mock, docker_client, tmp_path / base, evidence.file("worker"), settings, constants)
        started.append(worker)
        return worker

    yield start
    for worker in started:
        worker.end()
        print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    evidence.keep_history(mock)


@pytest.fixture
def worker(start_worker: Callable[..., WorkerProcess]) -> WorkerProcess:
    """A worker of `mock`, started."""
    return start_worker()


@pytest.fixture
def unprivileged_worker(
    mock: Platform, docker_client: docker.DockerClient, evidence: Evidence, tmp_path: Path
) -> Iterator[WorkerProcess]:
    """A worker that is not root, but in the group of the engine's socket (and may read Python wherever that is)."""
    base = tmp_path / "data"
    base.mkdir()
    os.chown(base, 65534, 65534)
    group = Path("/var/run/docker.sock").stat().st_gid
    reading = ("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")

    class Unprivileged(WorkerProcess):
        run_by = ("setpriv", "--reuid", "65534", "--regid", "65534", "--groups", str(group), *reading)

    worker = Unprivileged(mock, docker_client, base, evidence.file("worker"), {})
    yield worker
    worker.end()
    print(worker.log)  # noqa: T201 - pytest shows it if the test has failed
    subprocess.run(["rm", "-rf", str(base)], check=True)  # may be deeper than pytest's own removal gets


@pytest.fixture(scope="session")
def docker_client(needs_engine: None) -> Iterator[docker.DockerClient]:
    """A client of this machine's engine."""
    client = connect()
    yield client
    client.close()


@pytest.fixture(scope="session")
def registry(needs_engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a registry of this session: real pulls and pushes, no login, no TLS."""
    with running_registry(tmp_path_factory.mktemp("registry")) as address:
        yield address


@pytest.fixture(scope="session")
def job_images(docker_client: docker.DockerClient, registry: str) -> Iterator[JobImages]:
    """The images that jobs of this session use; in the end no container of a job may be left of them."""
    yield make_job_images(docker_client, registry)
    litter = remove_litter(docker_client, registry, killed)
    remove_images(docker_client, registry)
    assert not litter, f"these containers of jobs were left behind: {', '.join(litter)}"


@pytest.fixture(scope="session")
def job_image(job_images: JobImages) -> str:
    """The image most jobs use: busybox, with a shell."""
    return job_images.job


@pytest.fixture(scope="session")
def worker_image(docker_client: docker.DockerClient, job_images: JobImages) -> str:
    """The worker's own image, built as by `poetry run docker-build`; of several processes the first one builds it."""
    name = f"{job_images.registry}/job-fetcher:test"
    with _held_by_this_process("image", fcntl.LOCK_EX):
        build_image(docker_client, name)  # the others take its layers
    return name


@pytest.fixture(scope="session")
def gpu_engine(docker_client: docker.DockerClient, job_image: str) -> docker.DockerClient:
    """The engine, known to start containers with device requests (without a GPU: NVIDIA's hook is a stand-in)."""
    require_gpu_hook(docker_client, job_image)
    return docker_client


@pytest.fixture(scope="session")
def nvml_library(needs_compiler: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_stub(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def nvml(nvml_library: Path, tmp_path: Path) -> NvmlStub:
    """The cards of this machine for a worker that gets `nvml.environment`; none until `nvml.show(Gpu(), …)`."""
    return NvmlStub(nvml_library, tmp_path / "nvml.txt")
