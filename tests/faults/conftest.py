"""What the fault tests share: gates before platform, engine and registry, and images that are not here yet."""

import uuid
from collections.abc import Callable, Iterator

import docker
import pytest

from tests.faults.campaign import Campaign, running_campaign
from tests.faults.cases import PASSING, STORAGE, all_cases
from tests.support.gate import DOCKER_SOCKET, Gate, free_socket, running_gate
from tests.support.images import add_image, push, remove_images, shell_files
from tests.support.leaks import Evidence
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

StartWorker = Callable[..., WorkerProcess]


@pytest.fixture
def gate(mock: Platform) -> Iterator[Gate]:
    """Between the worker and all of the platform: API, login and storage."""
    with running_gate(int(mock.url.rsplit(":", 1)[1])) as gate:
        yield gate


@pytest.fixture
def gated_worker(start_worker: StartWorker, gate: Gate) -> WorkerProcess:
    """A worker that finds the platform behind `gate`."""
    return start_worker(**behind(gate))


def behind(gate: Gate) -> dict[str, str]:
    """The settings of a worker that finds the platform behind `gate`."""
    return {"API_URL": gate.url, "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"{gate.url}/cognito/"}


@pytest.fixture
def engine_gate() -> Iterator[Gate]:
    """Between the worker and the machine's own engine, by a socket of its own."""
    with running_gate(DOCKER_SOCKET, free_socket()) as gate:
        yield gate


@pytest.fixture
def registry_gate(docker_client: docker.DockerClient, registry: str) -> Iterator[Gate]:
    """Between the engine and the registry."""
    with running_gate(int(registry.rsplit(":", 1)[1])) as gate:
        yield gate
        gate.open()
        remove_images(docker_client, f"127.0.0.1:{gate.port}/")


@pytest.fixture
def remote_image(docker_client: docker.DockerClient, registry: str, registry_gate: Gate) -> str:
    """An image that only the registry has, by its name behind `registry_gate`."""
    path = f"remote-{uuid.uuid4().hex[:8]}:latest"
    name = add_image(docker_client, f"{registry}/{path}", {**shell_files(), "stamp": path.encode()})
    push(docker_client, name)
    docker_client.images.remove(name)
    return f"127.0.0.1:{registry_gate.port}/{path}"


@pytest.fixture(scope="session")
def campaign(
    docker_client: docker.DockerClient, job_image: str, evidence: Evidence, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Campaign]:
    """All cases of `cases`, over."""
    with running_campaign(docker_client, evidence, tmp_path_factory.mktemp("campaign")) as campaign:
        refusals = {str(status): {"status": status, "detail": "no"} for status in (400, 404, 413, 422)}
        passing = {name: fault for name, (fault, stages) in PASSING.items() if stages != STORAGE}
        campaign.polls = campaign.poll_through(passing | refusals | {"hanging": {"hang": True}})
        for name, case in all_cases().items():
            campaign.submit(name, case, job_image)
        campaign.wait()
        yield campaign
