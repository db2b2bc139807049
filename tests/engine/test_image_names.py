"""Which image a name means, and that no other way of writing it gets around ALLOWED_IMAGES or the registry."""

from typing import Any

import docker
import pytest

from job_fetcher.core.errors import JobFailed
from job_fetcher.engine.image_names import is_allowed, is_called, parse
from tests.hostile.conftest import StartVictim
from tests.support.images import JobImages, add_image, push, shell_files

DIGEST = f"sha256:{'0' * 63}1"
TAG = "t" * 128
MEANS = {
    "app": ("docker.io/library/app", "latest", None),
    "app:v1": ("docker.io/library/app", "v1", None),
    f"app:{TAG}": ("docker.io/library/app", TAG, None),
    "app:V1_.-x": ("docker.io/library/app", "V1_.-x", None),
    f"app@{DIGEST}": ("docker.io/library/app", "latest", DIGEST),
    f"app:v1@{DIGEST}": ("docker.io/library/app", "v1", DIGEST),
    "lab/app": ("docker.io/lab/app", "latest", None),
    "docker.io/app": ("docker.io/library/app", "latest", None),
    "index.docker.io/lab/app": ("docker.io/lab/app", "latest", None),
    "localhost/app": ("localhost/app", "latest", None),
    "localhost:5000/app:v1": ("localhost:5000/app", "v1", None),
    "host:5000/app": ("host:5000/app", "latest", None),
    "host.example.org/a/b/c:v1": ("host.example.org/a/b/c", "v1", None),
    "HOST/app": ("HOST/app", "latest", None),
    "Host.example.org:5000/app": ("Host.example.org:5000/app", "latest", None),
    "[::1]:5000/app:v1": ("[::1]:5000/app", "v1", None),
    "[2001:db8::1]/app": ("[2001:db8::1]/app", "latest", None),
    "a__b-c---d/e.f": ("docker.io/a__b-c---d/e.f", "latest", None),
}
NO_NAMES = [
    *("", "/", "App", "app:", "app@", "app:v1:evil", "app::v1", f"app:{TAG}t", "app:-v", "app:.v", "app:v/1"),
    *("app@sha256:1", f"app@{DIGEST}:v1", f"app@{DIGEST}@{DIGEST}", f"@{DIGEST}", DIGEST.upper(), "-app", "app-"),
    *("a//b", "/app", "app/", "a/../b", "a/./b", "[::1/app", "::1/app", "host:x/app", "app ", " app", "app\n", "äpp"),
    *("app:v\n", "app?", "app#x", "app%20", "http://host/app", "a\\b", "app:v1\u0661"),
]


@pytest.mark.parametrize("image", MEANS)
def test_name_means_what_docker_takes_it_for(image: str) -> None:
    name = parse(image)
    assert (name.repository, name.tag, name.digest) == MEANS[image]


@pytest.mark.parametrize("image", NO_NAMES)
def test_what_docker_takes_for_no_name_is_none(image: str) -> None:
    with pytest.raises(JobFailed, match="is not the name of an image"):
        parse(image)


ALLOWED = [
    ("*", ["app", f"app@{DIGEST}", "host:5000/a/b:v1"], []),
    ("app", ["app", "app:v1", f"app@{DIGEST}", f"app:v1@{DIGEST}", "docker.io/library/app"], ["apps", "lab/app"]),
    ("app:v1", ["app:v1", "docker.io/app:v1"], ["app", "app:v2", "app:v10", f"app@{DIGEST}", f"app:v1@{DIGEST}"]),
    (f"app@{DIGEST}", [f"app@{DIGEST}", f"app:v2@{DIGEST}"], ["app", "app:v1", f"app@{DIGEST[:-1]}2"]),
    ("app:v*", ["app:v1", "app:v2"], ["app", "app:x", f"app:v1@{DIGEST}"]),
    ("lab/*", ["lab/app", "lab/app:v1", f"lab/a/b@{DIGEST}"], ["lab", "labs/app", "host.org/lab/app", "evil.org/lab"]),
    ("host:5000/app", ["host:5000/app:v1"], ["host/app", "host:5001/app", "app", "evil/host/app"]),
]


@pytest.mark.parametrize(("pattern", "allowed", "refused"), ALLOWED, ids=[pattern for pattern, _, _ in ALLOWED])
def test_pattern_allows_what_it_names_and_nothing_else(pattern: str, allowed: list[str], refused: list[str]) -> None:
    assert [image for image in allowed + refused if is_allowed(parse(image), [pattern])] == allowed


def test_image_is_called_by_its_names_and_not_by_its_id() -> None:
    image_id = "bf6e72" + "0" * 58
    found: dict[str, Any] = {"Id": image_id, "RepoTags": ["app:v1"], "RepoDigests": [f"lab/app@{DIGEST}"]}
    called = ["app:v1", "docker.io/library/app:v1", f"lab/app@{DIGEST}", f"lab/app:v9@{DIGEST}"]
    others = [
        "app",
        "app:v2",
        "bf6e72",
        f"bf6e72:{image_id[:12]}",
        f"app@{DIGEST}",
        "lab/app:v1",
        f"x@sha256:{image_id}",
    ]
    assert [image for image in called + others if is_called(parse(image), found)] == called
    assert not is_called(parse("app"), {"RepoTags": None, "RepoDigests": None})


def test_version_that_is_allowed_brings_no_other_along(
    start_victim: StartVictim, docker_client: docker.DockerClient, job_images: JobImages
) -> None:
    app = f"{job_images.registry}/app"
    push(docker_client, add_image(docker_client, f"{app}:evil", {**shell_files(), "evil": b"x"}))
    [digest] = docker_client.images.get(f"{app}:evil").attrs["RepoDigests"]
    docker_client.images.remove(f"{app}:evil", force=True)
    push(docker_client, add_image(docker_client, f"{app}:v1", shell_files()))
    choosy = start_victim(ALLOWED_IMAGES=f"{app}:v1")
    names = [f"{app}:evil", digest, f"{app}:v1@{digest.split('@')[1]}", f"{app}:v1:evil", f"{app}:v1/evil"]
    jobs: dict[str, dict[str, Any]] = {name: {"image": name} for name in names}
    for name, job in jobs.items():
        jobs[name]["id"] = choosy.platform.submit("ls /evil", **job)
    jobs[f"{app}:v1"] = {"id": choosy.platform.submit("true", image=f"{app}:v1")}
    choosy.platform.wait_for_status(jobs[f"{app}:v1"]["id"])
    assert {name: choosy.platform.job(job["id"]).status.value for name, job in jobs.items()} == (
        dict.fromkeys(names, "error") | {f"{app}:v1": "finished"}
    )
    assert digest not in str([each.attrs["RepoDigests"] for each in docker_client.images.list()])
