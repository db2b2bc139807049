"""What the check says about registries, and that it removes no image."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.preflight.conftest import Check
from tests.support.images import add_image, remove_images, shell_files
from tests.support.scripted_registry import ScriptedRegistry, page, scripted_registry

LOGIN = "lab:registry-password-of-the-lab"


@pytest.fixture
def registry() -> Iterator[ScriptedRegistry]:
    """A registry that wants a login."""
    with scripted_registry() as registry:
        registry.login = LOGIN
        yield registry


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "docker").mkdir()
    return tmp_path / "docker" / "config.json"


def _auths(**logins: str) -> str:
    return json.dumps(
        {"auths": {host: {"auth": base64.b64encode(each.encode()).decode()} for host, each in logins.items()}}
    )


def test_login_that_the_registry_accepts_is_well(check: Check, registry: ScriptedRegistry, config: Path) -> None:
    config.write_text(_auths(**{registry.address: LOGIN}))
    assert check(DOCKER_CONFIG=str(config.parent)).ticks["registries"] == f"{registry.address} accepted"
    assert registry.logins == [LOGIN]


def test_no_login_is_well(check: Check, registry: ScriptedRegistry, config: Path) -> None:
    report = check(DOCKER_CONFIG=str(config.parent), ALLOWED_IMAGES=f"{registry.address}/*,*")
    assert report.ticks["registries"] == "no login: only public images can be pulled"
    assert registry.paths, "it is tried all the same, since it is named"


@pytest.mark.parametrize("trouble", ["refused", "no helper", "no file", "away", "a page"])
def test_registry_that_cannot_be_used_is_named_with_the_cure(
    check: Check, registry: ScriptedRegistry, config: Path, trouble: str
) -> None:
    address = registry.address
    told = f"{address} refuses this machine's login. Log in again with `docker login {address}`"
    config.write_text(_auths(**{address: "lab:expired"}))
    if trouble == "no helper":
        config.write_text(json.dumps({"credHelpers": {address: "nowhere"}}))
        told = f"The worker has no login for {address}: docker-credential-nowhere cannot be run"
    elif trouble == "no file":
        config.write_text("{")
        told = f"{config} cannot be read"
    elif trouble == "away":
        config.write_text(_auths(**{"127.0.0.1:1": LOGIN}))
        told = "The Docker engine cannot use the registry 127.0.0.1:1"
    elif trouble == "a page":
        registry.fail("", page(404))
        told = f"The Docker engine cannot use the registry {address}"
    report = check(DOCKER_CONFIG=str(config.parent))
    [(name, text)] = report.crosses
    assert name == "registries"
    assert text.startswith(told)


@pytest.mark.parametrize("allowed", ["no-such-host.nosuchtld/x", "127.0.0.1:1/*"])
def test_registry_of_allowed_images_is_tried_without_a_login(check: Check, config: Path, allowed: str) -> None:
    report = check(DOCKER_CONFIG=str(config.parent), ALLOWED_IMAGES=allowed)
    [(name, text)] = report.crosses
    assert (name, text[:42]) == ("registries", "The Docker engine cannot use the registry ")


def test_check_removes_no_image(check: Check, docker_client: docker.DockerClient, tmp_path: Path) -> None:
    name = f"127.0.0.1:1/brought-by-a-job-{tmp_path.name.lower()}:latest"
    try:
        brought = docker_client.images.get(add_image(docker_client, name, shell_files()))
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / ".images.json").write_text(json.dumps({brought.id: 1.0}))
        report = check(MIN_FREE_GIB="1000000")
        assert "disk" in dict(report.crosses)
        assert docker_client.images.get(name).id == brought.id
    finally:
        remove_images(docker_client, name)
