"""Images that attack: by what their configuration says, by their names, by being there already."""

from typing import Any

import docker
import pytest

from tests.hostile.conftest import LOG, Victim
from tests.support.images import add_image, push, shell_files

WAIT_FOR_GO = "until [ -e /files/go ]; do sleep 0.02; done"
GREEDY = (
    "ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_GDS=enabled NVIDIA_MOFED=enabled NVIDIA_IMEX_CHANNELS=0",
    "LABEL job-fetcher.job=other job-fetcher.folder=/etc job-fetcher.worker=other",
    "LABEL job-fetcher.helper=/etc job-fetcher.build=worker",
    'VOLUME ["/volume", "/files"]',
    "HEALTHCHECK --interval=1ms CMD touch /files/checked",
)


@pytest.fixture(scope="module")
def greedy(victim: Victim, docker_client: docker.DockerClient) -> str:
    """An image that asks for all that an image can ask for."""
    image = add_image(docker_client, f"{victim.images.registry}/greedy:latest", shell_files(), *GREEDY)
    push(docker_client, image)
    return image


def test_image_that_asks_for_all_gpus_other_labels_and_its_own_volumes_gets_none(
    victim: Victim, docker_client: docker.DockerClient, greedy: str
) -> None:
    assert docker_client.images.get(greedy).labels["job-fetcher.build"] == "worker"
    job = victim.platform.submit(
        f"{WAIT_FOR_GO}; env | grep NVIDIA | sort; echo x > /volume/x; ls /files", image=greedy, files={"in": b""}
    )
    container: dict[str, Any] = docker_client.api.inspect_container(str(victim.worker.container().id))
    labels = container["Config"]["Labels"]
    assert (labels.pop("job-fetcher.job"), labels.pop("job-fetcher.worker") != "other") == (job, True)
    assert labels.pop("job-fetcher.token") not in ("", "other")
    assert labels == {
        "job-fetcher.folder": str(victim.worker.base / job),
        "job-fetcher.helper": "",
        "job-fetcher.build": "",
    }
    assert container["Config"]["Healthcheck"]["Test"] == ["NONE"]
    assert "Health" not in container["State"]
    volumes = [each["Name"] for each in container["Mounts"] if each["Type"] == "volume"]
    assert len(volumes) == 1
    (victim.worker.base / job / "files" / "go").touch()
    victim.survive()
    assert victim.fate(job).log == (
        "NVIDIA_GDS=disabled\nNVIDIA_IMEX_CHANNELS=\nNVIDIA_MOFED=disabled\nNVIDIA_VISIBLE_DEVICES=void\ngo\nin\n"
    )
    assert volumes[0] not in [each.name for each in docker_client.volumes.list()]


@pytest.mark.parametrize("volume", ["/files/in", "//files/in", "/files/../files/in", "/x/../files/in/", "files/in"])
def test_volume_that_would_hide_a_file_of_the_job_is_refused(
    victim: Victim, docker_client: docker.DockerClient, volume: str
) -> None:
    image = f"{victim.images.registry}/hides:latest"
    push(docker_client, add_image(docker_client, image, shell_files(), f'VOLUME ["{volume}"]'))
    job = victim.platform.submit("true", image=image, files={"in/a": b"1"})
    victim.platform.wait_for_status(job)
    fate = victim.fate(job)
    assert (fate.status, LOG in fate.outputs) == ("error", False)
    assert fate.told.startswith(f"The image '{image}' has a VOLUME that would hide the job's own folder: ")
