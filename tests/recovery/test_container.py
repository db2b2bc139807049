"""The worker as a container, killed, removed, updated and run anew in the middle of a job; and two of them at once."""

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
from docker.models.containers import Container
from scripts.docker import create_worker

from job_fetcher.engine.container import LABEL_JOB
from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.recovery.support import LOG, OUTPUTS, RAN, WAIT_FOR_GO, assert_finished_once, sent
from tests.support import engine
from tests.support.leaks import Evidence
from tests.support.platform import PASSWORD, USERNAME, Platform
from tests.support.worker import wait_until

RunWorker = Callable[[], Container]


@pytest.fixture
def mock(platform: Platform) -> Platform:
    """One that containers can reach."""
    return platform


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """PATH_BASE as the host has it."""
    return tmp_path / "data"


@pytest.fixture
def run_worker(
    mock: Platform, docker_client: docker.DockerClient, worker_image: str, evidence: Evidence, base: Path
) -> Iterator[RunWorker]:
    """Runs workers as `poetry run docker-run` does, all with the same settings and the same PATH_BASE."""
    url = f"http://host.docker.internal:{urlsplit(mock.url).port}"
    environment = {
        "API_URL": url,
        "USERNAME": USERNAME,
        "PASSWORD": PASSWORD,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": f"{url}/cognito/",
        "PATH_BASE": "/data",
        "PATH_HOST_BASE": str(base),
        "TIMEOUT_JOB": "0.2",
        "TIMEOUT_STATUS": "0.5",
    }
    run: list[Container] = []

    def start() -> Container:
        name = f"{base.parent.name}-{len(run)}"
        docker_client.api.start(create_worker(docker_client, worker_image, name, environment, []))
        run.append(docker_client.containers.get(name))
        return run[-1]

    yield start
    for container in run:
        if container in docker_client.containers.list(all=True, ignore_removed=True):
            remove(container, evidence)
    for container in jobs_containers(docker_client, base):
        engine.remove(container)


def remove(container: Container, evidence: Evidence) -> None:
    """`docker rm -f`."""
    log = container.logs()
    evidence.file("worker-container").write_bytes(log)
    print(log.decode(errors="replace"))  # noqa: T201 - pytest shows it if the test has failed
    container.remove(force=True, v=True)


def jobs_containers(client: docker.DockerClient, base: Path) -> list[Container]:
    found = client.containers.list(all=True, ignore_removed=True, filters={"label": LABEL_JOB})
    return [each for each in found if Path(each.labels.get(LABEL_FOLDER, "")).parent == base]


def submit(mock: Platform, image: str, then: str = "true") -> str:
    """Queue a job that writes down that it ran, waits for `go`, and ends with `then`."""
    return mock.submit(f"{RAN}; {WAIT_FOR_GO}; {then}", image=image, up={"output": "output"}, files={"in": b"in"})


def wait_until_it_runs(client: docker.DockerClient, base: Path, job: str) -> Container:
    """The job's container, when its command has begun."""
    wait_until((base / job / "files" / "output" / "ran").exists, "the command to begin")
    return next(each for each in jobs_containers(client, base) if each.labels[LABEL_JOB] == job)


def go(base: Path, job: str) -> None:
    (base / job / "files" / "go").touch()


def stop(worker: Container) -> None:
    """`docker stop`, which kills after 10 s."""
    worker.stop(timeout=10)
    assert worker.wait()["StatusCode"] == 0


def assert_nothing_left(client: docker.DockerClient, base: Path) -> None:
    assert jobs_containers(client, base) == []
    assert [path.name for path in base.iterdir() if path.is_dir()] == []


def test_worker_that_is_removed_in_the_middle_of_a_job_is_followed_by_one_that_goes_on(
    mock: Platform,
    run_worker: RunWorker,
    docker_client: docker.DockerClient,
    evidence: Evidence,
    job_image: str,
    base: Path,
) -> None:
    """`docker rm -f` in the middle of the inputs, of the run and of the uploads of one job, and run anew each time."""
    fault = mock.fault("/files/*/url", hang=True)
    job = submit(mock, job_image)
    worker = run_worker()
    mock.wait_until(lambda: fault.matched > 0, "the input to be asked for")
    remove(worker, evidence)
    mock.heal()

    worker = run_worker()
    container = wait_until_it_runs(docker_client, base, job)
    remove(worker, evidence)

    fault = mock.fault("/jobs/*/files/url", hang=True)
    worker = run_worker()
    before = sent(mock, job, "running")
    mock.wait_until(lambda: sent(mock, job, "running") > before, "a keep-alive of the third one")
    assert [each.id for each in jobs_containers(docker_client, base)] == [container.id]
    go(base, job)
    mock.wait_until(lambda: fault.matched > 0, "the upload to be asked for")
    remove(worker, evidence)
    mock.heal()

    worker = run_worker()
    mock.wait_for_status(job)
    assert_finished_once(mock, job)
    assert mock.outputs(job) == OUTPUTS
    stop(worker)
    assert_nothing_left(docker_client, base)


def test_worker_is_updated_in_the_middle_of_a_job_which_does_not_notice(
    mock: Platform,
    run_worker: RunWorker,
    docker_client: docker.DockerClient,
    evidence: Evidence,
    job_image: str,
    base: Path,
) -> None:
    """SIGUSR1 ends the worker, and the engine's restart policy leaves it at that; the job ends while there is none."""
    job = submit(mock, job_image, then="exit 7")
    worker = run_worker()
    container = wait_until_it_runs(docker_client, base, job)
    mock.wait_for_status(job, "running")
    worker.kill(signal="SIGUSR1")
    assert worker.wait()["StatusCode"] == 0
    container.reload()
    assert container.status == "running"
    go(base, job)
    assert container.wait()["StatusCode"] == 7
    worker.reload()
    assert worker.status == "exited"
    remove(worker, evidence)

    worker = run_worker()
    mock.wait_for_status(job)
    assert mock.statuses(job) == ["preprocessing", "running", "postprocessing", "error"]
    assert mock.details(job).startswith("The command ended with exit code 7. The worker uploaded ")
    assert mock.details(job).endswith(f"\n\nThe end of the log:\n{LOG.decode().strip()}")
    assert mock.outputs(job) == OUTPUTS
    stop(worker)
    assert_nothing_left(docker_client, base)


def test_two_workers_of_one_folder_and_one_account_leave_each_other_alone(
    mock: Platform,
    run_worker: RunWorker,
    docker_client: docker.DockerClient,
    evidence: Evidence,
    job_image: str,
    base: Path,
) -> None:
    """A third one takes up the job of the one that is killed, and only that."""
    first, second = submit(mock, job_image), submit(mock, job_image)
    workers = [run_worker(), run_worker()]
    containers = {job: wait_until_it_runs(docker_client, base, job) for job in (first, second)}
    killed = next(each for each in workers if f"job {first}: pulled" in each.logs().decode())
    other = next(each for each in workers if each != killed)
    assert f"job {second}: pulled" in other.logs().decode()
    remove(killed, evidence)

    third = run_worker()
    wait_until(lambda: f"job {first}: resuming" in third.logs().decode(), "the third one to go on")
    go(base, first)
    mock.wait_for_status(first)
    assert f"job {second}: " not in third.logs().decode()
    wait_until(lambda: len(jobs_containers(docker_client, base)) == 1, "the container of the first one to be removed")
    [left] = jobs_containers(docker_client, base)
    assert (left.id, left.status) == (containers[second].id, "running")
    go(base, second)
    mock.wait_for_status(second)
    for job in (first, second):
        assert_finished_once(mock, job)
        assert mock.outputs(job) == OUTPUTS
    for worker in (other, third):
        stop(worker)
    assert_nothing_left(docker_client, base)
