"""Labels of an image steer none of the owner's tools, whichever container the worker makes of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import docker
import pytest

from job_fetcher.engine import cleanup, launch, probe
from job_fetcher.engine import client as engine
from tests.support.engine import events_told
from tests.support.images import add_image, remove_images, shell_files

STEERING = ("com.docker.compose.project", "com.docker.swarm.service.id", "com.centurylinklabs.watchtower.enable")
"""What Compose, Swarm and Watchtower find their containers by."""

pytestmark = pytest.mark.usefixtures("needs_engine")


@pytest.fixture
def steering_image(docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An image as `docker compose build` makes them, which the worker tries containers with."""
    name = f"job-fetcher-labels-{os.getpid()}:latest"
    add_image(docker_client, name, shell_files(), *(f"LABEL {each}=lab" for each in STEERING))
    monkeypatch.setattr(probe, "image", lambda _: name)
    yield name
    remove_images(docker_client, name)


def give_files(client: engine.Client, image: str, folder: Path) -> None:
    (folder / "files").mkdir()
    cleanup.give_files_to_worker(client, image, PurePosixPath(folder))


MAKERS: dict[str, Callable[[engine.Client, str, Path], Any]] = {
    "trial of the init": lambda client, image, _: launch.has_init(client, image),
    "probe": lambda client, image, _: probe.run(client, image, "true"),
    "probe of the folder": lambda client, _, folder: probe.is_seen(client, PurePosixPath(folder), folder),
    "helper": give_files,
}


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_labels_of_the_image_are_empty_in_each_container_of_the_worker(
    docker_client: docker.DockerClient,
    engine_client: engine.Client,
    steering_image: str,
    tmp_path: Path,
    make: Callable[[engine.Client, str, Path], Any],
) -> None:
    with events_told(docker_client, event="create", type="container", image=steering_image) as told:
        make(engine_client, steering_image, tmp_path)
        made = told()
    assert made
    for event in made:
        assert [event["Actor"]["Attributes"].get(each, "") for each in STEERING] == [""] * len(STEERING)
