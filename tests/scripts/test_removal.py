"""`docker-stop` and `docker-cleanup`, on the real engine."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import ImageNotFound, NotFound
from docker.models.containers import Container
from scripts import docker as command
from scripts import removal

from tests.support.images import add_image, shell_files
from tests.support.worker import wait_until

STOP = """\
import sys, docker
from scripts import removal
removal.LABEL_BUILD, removal.LABEL_FOLDER, removal.LABEL_HELPER = sys.argv[1:]
print(*removal.stop_workers(docker.from_env(), timeout_s=60), sep="\\n")
"""
"""`docker-stop`, with the labels of the test."""


@pytest.fixture
def left(docker_client: docker.DockerClient, stand_in: str) -> Iterator[list[Container]]:
    """Containers that a test makes: those that are there in the end are removed."""
    made: list[Container] = []
    yield made
    for container in there(made):
        container.remove(force=True)


def make(docker_client: docker.DockerClient, left: list[Container], image: str, **labels: str) -> Container:
    """A container that runs, with those labels."""
    wanted = {getattr(removal, f"LABEL_{name.upper()}"): value for name, value in labels.items()}
    left.append(docker_client.containers.run(image, ["sleep", "1000"], labels=wanted, detach=True))
    return left[-1]


def there(containers: list[Container]) -> list[Container]:
    """Those that have not been removed."""
    found = []
    for container in containers:
        try:
            container.reload()
        except NotFound:
            continue
        found.append(container)
    return found


def job_folder(path: Path) -> Path:
    path.mkdir()
    (path / "lock").touch()
    return path


def stop_command() -> list[str]:
    return [sys.executable, "-c", STOP, removal.LABEL_BUILD, removal.LABEL_FOLDER, removal.LABEL_HELPER]


def test_stop_removes_workers_and_what_dead_ones_left_but_not_what_a_living_one_holds(
    docker_client: docker.DockerClient,
    job_image: str,
    stand_in: str,
    env_file: Path,
    name: str,
    left: list[Container],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a worker are a job's container, and one that gives a job's files back."""
    command.run_worker(docker_client, stand_in, name, env_file, "none")
    dead, held = str(job_folder(tmp_path / "dead")), str(job_folder(tmp_path / "held"))
    job = make(docker_client, left, job_image, folder=dead)
    make(docker_client, left, job_image, folder="", helper=dead)
    kept = [make(docker_client, left, job_image, folder=held)]
    kept.append(make(docker_client, left, job_image, folder="", helper=held))
    with (tmp_path / "held" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert removal.stop_workers(docker_client, timeout_s=10) == []
        assert there(left) == kept
    with pytest.raises(NotFound):
        docker_client.containers.get(name)
    assert removal.stop_workers(docker_client, timeout_s=10) == []
    assert there(left) == []
    assert f"Stopping {name}" in (printed := capsys.readouterr().out)
    assert f"Removing {job.name}" in printed


def test_stop_goes_on_after_a_container_of_which_it_cannot_tell_whether_it_is_held(
    docker_client: docker.DockerClient, job_image: str, left: list[Container], tmp_path: Path
) -> None:
    """For who is not root: jobs' folders are the worker's own."""
    free, closed = job_folder(tmp_path / "free"), job_folder(tmp_path / "closed")
    make(docker_client, left, job_image, folder=str(free))
    unknown = make(docker_client, left, job_image, folder=str(closed))
    make(docker_client, left, job_image, folder=str(free))
    closed.chmod(0o700)
    os.chown(closed, 1, 1)
    as_anybody = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    said = subprocess.check_output([*as_anybody, *stop_command()], cwd=command.ROOT, text=True)
    assert there(left) == [unknown]
    assert f"{unknown.name} is left alone: only root can tell whether a worker holds {closed}/lock; use sudo\n" in said


def test_stop_waits_for_a_probe_which_may_be_of_a_living_worker(
    docker_client: docker.DockerClient, job_image: str, left: list[Container], tmp_path: Path
) -> None:
    line = ["sh", "-c", "trap '' TERM; sleep 1; touch /probe/ended"]
    labels, volumes = {removal.LABEL_BUILD: "probe"}, [f"{tmp_path}:/probe"]
    left.append(docker_client.containers.run(job_image, line, labels=labels, volumes=volumes, detach=True))
    assert removal.stop_workers(docker_client, timeout_s=10) == []
    assert (tmp_path / "ended").exists()
    assert there(left) == []


def test_stop_removes_workers_that_remove_themselves(
    docker_client: docker.DockerClient, stand_in: str, left: list[Container]
) -> None:
    for _ in range(5):
        left.append(docker_client.containers.run(stand_in, auto_remove=True, detach=True))
    assert removal.stop_workers(docker_client, timeout_s=10) == []
    wait_until(lambda: not there(left), "the engine to remove them")


def test_worker_is_killed_at_once_where_it_is_to_have_no_time(
    docker_client: docker.DockerClient, stand_in: str, left: list[Container]
) -> None:
    left.append(docker_client.containers.run(stand_in, environment={"API_URL": "busy"}, detach=True))
    assert removal.stop_workers(docker_client, timeout_s=0) == []
    assert there(left) == []


def test_stop_that_is_interrupted_leaves_the_worker_as_it_was(
    docker_client: docker.DockerClient, stand_in: str, left: list[Container]
) -> None:
    policy: Any = {"Name": "unless-stopped", "MaximumRetryCount": 0}
    busy = {"API_URL": "busy"}
    worker = docker_client.containers.run(stand_in, environment=busy, restart_policy=policy, detach=True)
    left.append(worker)
    wait_until(lambda: b"Offering" in worker.logs(), "the worker to begin")
    with subprocess.Popen(stop_command(), cwd=command.ROOT, stderr=subprocess.DEVNULL) as stop:
        wait_until(lambda: b"not yet" in worker.logs(), "the worker to be told")
        stop.send_signal(signal.SIGINT)
    worker.reload()
    assert worker.status == "running"
    assert worker.attrs["HostConfig"]["RestartPolicy"] == policy


def test_cleanup_removes_images_of_this_package_and_says_what_is_in_use(
    docker_client: docker.DockerClient, job_image: str, stand_in: str, left: list[Container]
) -> None:
    """Images that somebody has built upon ours stay, and containers that are stopped keep theirs."""
    own, second = stand_in.replace("job-fetcher", "somebodys-own"), f"{stand_in}-2"
    docker_client.images.get(stand_in).tag(second)
    add_image(docker_client, own, shell_files(), f"LABEL {removal.LABEL_BUILD}=worker")
    left.append(docker_client.containers.create(stand_in))
    problems = removal.remove_images(docker_client, "job-fetcher")
    assert len(problems) == 1
    assert "is not removed: conflict: unable to " in problems[0]
    left[0].remove()
    assert removal.remove_images(docker_client, "job-fetcher") == []
    for name in (stand_in, second):
        with pytest.raises(ImageNotFound):
            docker_client.images.get(name)
    assert docker_client.images.get(own)
    assert docker_client.images.get(job_image)


def test_cleanup_removes_the_inputs_that_workers_kept_and_nothing_else_of_the_jobs_folder(tmp_path: Path) -> None:
    for path in (tmp_path / ".cache" / "a" / "content", tmp_path / "1" / "job.json"):
        path.parent.mkdir(parents=True)
        path.touch()
    env_file = tmp_path / ".env"
    env_file.write_text(f"PATH_HOST_BASE={tmp_path}\n")
    assert removal.remove_cache(command.jobs_folder(env_file)) == []
    assert removal.remove_cache(command.jobs_folder(tmp_path / "no.env")) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == [".env", "1"]
