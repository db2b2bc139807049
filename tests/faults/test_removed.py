"""What a person removes while a job needs it: its image is pulled again, and a folder is one job's loss only."""

import shutil

import docker
import pytest

from tests.faults.conftest import StartWorker
from tests.support.gate import DOCKER_SOCKET, free_socket, running_gate
from tests.support.images import JobImages, add_image, push, remove_images, shell_files
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess, run_job, wait_until


def test_image_that_is_removed_between_its_pull_and_its_container_is_pulled_again(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient, remote_image: str
) -> None:
    fault = mock.fault("/files/*/download", "GET", hang=True)
    job = mock.submit("cat /files/a", image=remote_image, files={"a": b"content"})
    mock.wait_until(lambda: fault.matched > 0, "the download")
    wait_until((worker.base / ".images.json").exists, "the image to be pulled")
    docker_client.images.remove(remote_image)
    mock.heal()
    mock.wait_for_status(job)
    assert (mock.job(job).status, mock.outputs(job)) == ("finished", {"log/log/container.log": b"content"})


def test_image_that_a_prune_removes_again_and_again_is_pulled_until_its_container_is_there(
    mock: Platform, start_worker: StartWorker, docker_client: docker.DockerClient, remote_image: str
) -> None:
    """Each time between the pull and the creation of a container, as a `docker image prune --all` in a loop does."""
    left = [3]

    def prune() -> None:
        if left[0] > 0:
            left[0] -= 1
            remove_images(docker_client, remote_image)

    socket = free_socket()
    with running_gate(DOCKER_SOCKET, socket) as gate:
        gate.before(b"/containers/create", prune)
        worker = start_worker(DOCKER_HOST=f"unix://{socket}")
        job = mock.submit("echo x", image=remote_image)
        mock.wait_for_status(job)
        assert (mock.job(job).status, left) == ("finished", [0]), mock.details(job)
        assert worker.stop() == 0


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/files/*/download", "Somebody has removed the job's folder on the worker."),
        ("/store/*", "cannot be read: No such file"),
    ],
    ids=["downloading", "uploading"],
)
def test_folder_that_is_removed_during_a_transfer_ends_its_job_alone(
    mock: Platform, worker: WorkerProcess, job_image: str, path: str, told: str
) -> None:
    fault = mock.fault(path, hang=True)
    line = "for n in $(seq 20); do : > /files/output/$n; done"
    job = mock.submit(line, image=job_image, files={"a": b"a"}, up={"output": "output"})
    mock.wait_until(lambda: fault.matched > 0, "the transfer")
    shutil.rmtree(worker.base / job)
    mock.heal()
    mock.wait_for_status(job)
    assert mock.job(job).status == "error"
    assert told in mock.details(job)
    assert mock.job(run_job(mock, "true", image=job_image)).status == "finished"
    assert worker.stop() == 0
    worker.assert_nothing_left()


def test_image_that_hides_the_outputs_below_a_volume_of_its_own_fails_its_job_by_name(
    mock: Platform, worker: WorkerProcess, docker_client: docker.DockerClient, job_images: JobImages
) -> None:
    """What is written there would be in another folder of the host, and lost with the container."""
    image = add_image(
        docker_client, f"{job_images.registry}/volume:latest", shell_files(), "VOLUME /data", "VOLUME /files/output/"
    )
    push(docker_client, image)
    job = run_job(mock, "touch /files/output/a", image=image, up={"output": "output"})
    assert mock.job(job).status == "error"
    assert mock.details(job).startswith(f"The image '{image}' has a VOLUME that would hide the job's own folder: ")
    assert "/files/output" in mock.details(job)
    worker.stop()
    worker.assert_nothing_left()
