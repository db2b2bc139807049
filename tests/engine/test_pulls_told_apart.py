"""What becomes of pulls that fail, with a stand-in for the engine: who waits for a registry, and whose fault DNS is."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, MachineFault
from job_fetcher.engine import client as engine
from job_fetcher.engine import images, pull
from job_fetcher.engine.images import Images
from job_fetcher.workspace.workspace import Workspace
from tests.support.fake_engine import FakeEngine

pytestmark = pytest.mark.usefixtures("needs_time")

PULL = "POST /images/create"
DEAD = (500, "dial tcp 10.0.0.9:5000: connect: connection refused")


@pytest.fixture
def worker_images(
    fake: FakeEngine, tmp_path: Path, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Images]:
    """The images of a worker whose DNS resolves the API's host, and nothing of the internet. Time passes in `waits`."""
    monkeypatch.setattr(pull, "_resolves", lambda host: host == "api.lab")
    monkeypatch.setattr(images, "PATIENCE_S", 5)
    monkeypatch.setattr(pull, "time", SimpleNamespace(monotonic=lambda: sum(waits)))
    workspace = Workspace(tmp_path / "data", "me")
    workspace.prepare()
    connected = engine.connect()
    yield Images(connected, workspace, min_free=0, hosts=["api.lab"])
    connected.close()


def _waits_for(worker_images: Images, image: str, waits: list[float]) -> bool:
    """Whether the job of `image`, which is requeued in the end, waits for the image's registry before that."""
    before = len(waits)
    _requeued(worker_images, image)
    return len(waits) > before


def _requeued(worker_images: Images, image: str) -> str:
    with pytest.raises(MachineFault) as failed:
        worker_images.pull(image, cancelled=Cancellation())
    return str(failed.value)


@pytest.mark.parametrize(
    "words",
    [
        "dial tcp 10.0.0.9:5000: connect: connection refused",
        "received unexpected HTTP status: 502 Bad Gateway",
        "toomanyrequests: You have reached your pull rate limit.",
        "net/http: request canceled while waiting for connection",
    ],
)
def test_registry_that_has_used_up_the_patience_gets_none_until_a_pull_from_it_works(
    fake: FakeEngine, worker_images: Images, waits: list[float], words: str
) -> None:
    fake.refusals[PULL] = (500, words)
    assert _waits_for(worker_images, "dead.lab:5000/a:1", waits)
    for image in ("dead.lab:5000/a:1", "dead.lab:5000/b:1", "dead.lab:5000/c@sha256:" + "0" * 64):
        assert not _waits_for(worker_images, image, waits)
    assert _waits_for(worker_images, "other.lab/a:1", waits), "each registry has its own patience"
    fake.refusals.clear()
    fake.images.add("dead.lab:5000/a:1")
    worker_images.pull("dead.lab:5000/a:1", cancelled=Cancellation())
    fake.refusals[PULL] = (500, words)
    assert _waits_for(worker_images, "dead.lab:5000/b:1", waits)


def test_registry_that_gives_its_word_about_an_image_has_the_patience_again(
    fake: FakeEngine, worker_images: Images, waits: list[float]
) -> None:
    fake.refusals[PULL] = DEAD
    _requeued(worker_images, "dead.lab/a:1")
    fake.refusals.clear()
    with pytest.raises(JobFailed, match="is not found"):
        worker_images.pull("dead.lab/no:1", cancelled=Cancellation())
    fake.refusals[PULL] = DEAD
    assert _waits_for(worker_images, "dead.lab/b:1", waits)


def test_registry_that_gives_a_layer_has_the_patience_again(
    fake: FakeEngine, worker_images: Images, waits: list[float]
) -> None:
    fake.refusals[PULL] = DEAD
    _requeued(worker_images, "dead.lab/a:1")
    fake.refusals.clear()
    fake.pull_lines = [{"status": "Download complete", "id": "1"}, {"error": "unexpected EOF"}]
    assert _waits_for(worker_images, "dead.lab/a:1", waits)


@pytest.mark.parametrize(
    ("image", "looked_up"),
    [
        ("lab/x:1", "registry-1.docker.io"),
        ("ghcr.io/lab/x:1", "ghcr.io"),
        ("quay.io/lab/x:1", "quay.io"),
        ("nvcr.io/nvidia/x:1", "nvcr.io"),
        ("gcr.io/lab/x:1", "gcr.io"),
        ("registry.gitlab.com/lab/x:1", "registry.gitlab.com"),
        ("lab/x:1", "auth.docker.io"),
        ("lab/x:1", "production.cloudflare.docker.com"),
        ("registry.lab/x:1", "auth.lab"),
        ("registry.lab:5000/x:1", "storage.lab"),
    ],
)
def test_name_that_does_not_resolve_is_this_machines_fault_unless_it_is_an_unknown_registrys_own(
    fake: FakeEngine, worker_images: Images, image: str, looked_up: str
) -> None:
    fake.refusals[PULL] = (500, f"Get: dial tcp: lookup {looked_up} on 10.0.0.1:53: no such host")
    assert "this machine cannot resolve host names now" in _requeued(worker_images, image)


@pytest.mark.parametrize("status", ["Pulling fs layer", "Downloading", "Download complete"])
def test_name_that_no_longer_resolves_in_the_middle_of_a_pull_is_this_machines_fault(
    fake: FakeEngine, worker_images: Images, status: str
) -> None:
    error = "dial tcp: lookup registry.lab on 10.0.0.1:53: no such host"
    fake.pull_lines = [{"status": "Pulling fs layer", "id": "1"}, {"status": status, "id": "1"}, {"error": error}]
    assert "this machine cannot resolve host names now" in _requeued(worker_images, "registry.lab/x:1")


@pytest.mark.parametrize("image", ["mistyped.lab/x:1", "mistyped.lab:5000/x:1", "Mistyped.lab/x:1"])
def test_registry_whose_own_name_nobody_knows_is_the_jobs_fault(
    fake: FakeEngine, worker_images: Images, image: str
) -> None:
    fake.refusals[PULL] = (500, "Get: dial tcp: lookup mistyped.lab on 10.0.0.1:53: no such host")
    with pytest.raises(JobFailed, match="does not exist") as failed:
        worker_images.pull(image, cancelled=Cancellation())
    assert not isinstance(failed.value, MachineFault)


@pytest.mark.parametrize(
    "words",
    [
        "registry.lab/x:1: not found",  # containerd
        'failed to resolve reference "registry.lab/x:1": registry.lab/x:1: not found',
        "manifest for registry.lab/x:1 not found: manifest unknown",
        f"failed to extract layer sha256:{'0' * 64}: content digest sha256:{'0' * 64}: not found",
        "No such image: registry.lab/x:1",
    ],
)
def test_what_is_not_found_any_more_in_the_middle_of_a_pull_was_pruned(
    fake: FakeEngine, worker_images: Images, waits: list[float], words: str
) -> None:
    """A prune in a loop removes what the registry has just given: the pull is repeated, and no job ends for it."""
    fake.pull_lines = [{"status": "Pulling fs layer", "id": "1"}, {"error": words}]
    assert "something on this machine removes images" in _requeued(worker_images, "registry.lab/x:1")
    assert len(waits) > 1
