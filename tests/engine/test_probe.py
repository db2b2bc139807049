"""Which image a container is tried with: the worker's own, by all names that an engine gives it. A stand-in for it."""

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from job_fetcher.engine import cleanup, probe
from job_fetcher.engine.client import Client
from tests.support.fake_engine import FakeEngine


@pytest.fixture
def fake(fake: FakeEngine) -> FakeEngine:
    fake.images.add("busybox:latest")
    return fake


@pytest.mark.parametrize(
    "name", ["job-fetcher:main", "localhost/job-fetcher:main", "docker.io/library/job-fetcher:1.0"]
)
def test_the_workers_own_image_is_used_by_the_name_that_docker_or_podman_gives_it(
    fake: FakeEngine, client: Client, name: str
) -> None:
    fake.workers_images.add(name)
    assert probe.image(client).startswith("sha256:")


@pytest.mark.parametrize(
    "name",
    ["evil/job-fetcher:main", "localhost/evil:1", "localhost:5000/job-fetcher:main", "docker.io/evil/job-fetcher:1"],
)
def test_an_image_of_a_registry_is_not_the_workers_own_whatever_its_label_says(
    fake: FakeEngine, client: Client, name: str
) -> None:
    fake.workers_images.add(name)
    assert probe.image(client) == "busybox:latest"


def test_a_trial_container_has_a_logging_driver_of_its_own(fake: FakeEngine, client: Client, tmp_path: Path) -> None:
    """The owner's default may keep nothing (`none`), lose lines (`mode=non-blocking`) or need a service (`syslog`)."""
    assert probe.run(client, "busybox:latest", "echo seen") == "seen\n"
    assert probe.is_seen(client, PurePosixPath(tmp_path), tmp_path)
    probe.creation_warnings(client)
    logs = [each["HostConfig"]["LogConfig"] for each in fake.created]
    own = {"Type": "json-file", "Config": {"max-size": "20m", "max-file": "3", "mode": "blocking"}}
    assert logs == [own, own, own]


def test_no_image_is_pulled_for_the_warnings_of_a_creation(fake: FakeEngine, client: Client) -> None:
    """A start would wait twice for a registry that does not answer."""
    with pytest.raises(probe.NoImage):
        probe.creation_warnings(client)
    assert "POST /images/create" not in fake.calls


TRIALS: dict[str, Callable[[Client, Path], object]] = {
    "run": lambda client, _: probe.start_as_job(client, "none", None),
    "is seen": lambda client, folder: probe.is_seen(client, PurePosixPath(folder), folder),
    "warnings": lambda client, _: probe.creation_warnings(client) == [],
    "chown": lambda client, folder: cleanup.give_files_to_worker(client, "none", PurePosixPath(folder)),
}


@pytest.mark.parametrize("gone", [1, 2])
@pytest.mark.parametrize("trial", TRIALS)
def test_an_image_that_is_removed_before_its_container_is_made_is_replaced_by_another(
    fake: FakeEngine, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trial: str, gone: int
) -> None:
    """Whoever builds the worker's image anew, and cleans up, does so at any time."""
    found = iter([*(f"sha256:{number}" for number in range(gone)), "busybox:latest"])
    monkeypatch.setattr(probe, "image", lambda *_, **__: next(found))
    assert TRIALS[trial](client, tmp_path) is not False
    assert [each["Image"] for each in fake.created] == ["busybox:latest"]


def test_images_that_are_removed_again_and_again_are_given_up(fake: FakeEngine, client: Client) -> None:
    fake.workers_images.add("job-fetcher:main")  # listed, and never there
    with pytest.raises(probe.ProbeFailed, match="No such image"):
        probe.start_as_job(client, "none", None)
    assert fake.calls.count("GET /images/json") == 1 + probe.IMAGES - 1
