"""The owner's logins: as they stand now, and no pull of a public image fails for one that is broken."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, MachineFault
from job_fetcher.engine import logins
from job_fetcher.engine.images import Images
from tests.support.scripted_registry import ScriptedRegistry, error

LOGIN = "lab:registry-password-of-the-lab"


def _auth(login: str) -> dict[str, str]:
    return {"auth": base64.b64encode(login.encode()).decode()}


def _write(path: Path, **config: Any) -> None:
    path.write_text(json.dumps(config))


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The credential helper `test`, a shell script whose text a test writes."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    path = folder / "docker-credential-test"
    path.write_text("#!/bin/sh\nexit 1\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def _answering(username: str, secret: str) -> str:
    return f"#!/bin/sh\nread -r server\n[ $1 = get ] && echo '{json.dumps({'Username': username, 'Secret': secret})}'\n"


HUB = "https://index.docker.io/v1/"
WRITTEN: dict[str, tuple[dict[str, Any], str, dict[str, str]]] = {
    "a host": (
        {"ghcr.io": _auth("a:b:c")},
        "ghcr.io",
        {"username": "a", "password": "b:c", "serveraddress": "ghcr.io"},
    ),
    "Docker Hub": ({HUB: _auth("a:b")}, "docker.io", {"username": "a", "password": "b", "serveraddress": HUB}),
    "an old address": (
        {"https://r:5000/v1/": _auth("a:b")},
        "r:5000",
        {"username": "a", "password": "b", "serveraddress": "https://r:5000/v1/"},
    ),
    "a token": ({"r": {"identitytoken": "t"}}, "r", {"identitytoken": "t", "serveraddress": "r"}),
    "plain words": (
        {"r": {"username": "a", "password": "b"}},
        "r",
        {"username": "a", "password": "b", "serveraddress": "r"},
    ),
    "another registry": ({"r": _auth("a:b")}, "r:5000", {}),
    "an entry without a login": ({"r": {}}, "r", {}),
}


@pytest.mark.parametrize(("auths", "registry", "found"), WRITTEN.values(), ids=WRITTEN)
def test_login_of_the_file_is_found(
    docker_config: Path, auths: dict[str, Any], registry: str, found: dict[str, str]
) -> None:
    _write(docker_config, auths=auths)
    assert logins.find(registry) == logins.Login(found)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"auths": [1]}', '{"auths": {"r": 1}}', '{"auths": {"r": {"auth": "ä"}}}']
)
def test_file_that_is_broken_costs_the_login_alone(docker_config: Path, content: str) -> None:
    docker_config.write_text(content)
    found = logins.find("r")
    assert found.auth == {}
    assert found.problem is not None
    assert str(docker_config) in found.problem


def test_no_file_is_no_problem() -> None:
    assert logins.find("ghcr.io") == logins.Login({})


def test_helper_is_asked_each_time_and_for_its_registries_only(docker_config: Path, helper: Path) -> None:
    _write(docker_config, credHelpers={"r": "test"}, auths={"other": _auth("a:b")})
    helper.write_text(_answering("AWS", "first"))
    assert logins.find("r").auth == {"username": "AWS", "password": "first", "serveraddress": "r"}
    helper.write_text(_answering("AWS", "second"))
    assert logins.find("r").auth["password"] == "second"
    helper.write_text(_answering("<token>", "third"))
    assert logins.find("r").auth == {"identitytoken": "third", "serveraddress": "r"}
    assert logins.find("other").auth["username"] == "a"
    assert logins.find("third").auth == {}


def test_store_without_a_login_leaves_it_to_the_file(docker_config: Path, helper: Path) -> None:
    _write(docker_config, credsStore="test", auths={"r": _auth("a:b")})
    helper.write_text("#!/bin/sh\necho credentials not found in native keychain\nexit 1\n")
    assert logins.find("r").auth["username"] == "a"
    assert logins.find("other") == logins.Login({})


WAITS = "#!/bin/sh\nsleep 1000 & read -r x < /dev/tty || sleep 1000\n"
BROKEN = {
    "missing": (None, "cannot be run (No such file or directory)"),
    "failing": ("#!/bin/sh\necho no session >&2\nexit 1\n", "fails (exit code 1)"),
    "failing with words": ("#!/bin/sh\necho no session\nexit 3\n", "fails (no session)"),
    "not executable": ("", "cannot be run (Exec format error)"),
    "no JSON": ("#!/bin/sh\necho hello\n", "answers no JSON"),
    "waiting for a passphrase": (WAITS, "is silent for 0.3 s"),
}


@pytest.fixture
def impatience(monkeypatch: pytest.MonkeyPatch, script: str | None) -> None:
    """A helper that waits is not waited for. Each other one has its usual time, however busy this machine is."""
    if script == WAITS:
        monkeypatch.setattr(logins, "HELPER_S", 0.3)


@pytest.mark.parametrize(("script", "told"), BROKEN.values(), ids=BROKEN)
def test_public_image_is_pulled_although_the_helper_is_broken(
    odd_registry: ScriptedRegistry,
    worker_images: Images,
    docker_config: Path,
    helper: Path,
    caplog: pytest.LogCaptureFixture,
    impatience: None,
    script: str | None,
    told: str,
) -> None:
    if script is None:
        helper.unlink()
    else:
        helper.write_text(script)
    _write(docker_config, credsStore="test")
    worker_images.pull(f"{odd_registry.address}/a/b:1", cancelled=Cancellation())
    assert f"docker-credential-test {told}" in caplog.text


@pytest.mark.parametrize(("script", "told"), BROKEN.values(), ids=BROKEN)
def test_job_with_a_private_image_is_requeued_while_the_helper_is_broken(
    odd_registry: ScriptedRegistry,
    worker_images: Images,
    docker_config: Path,
    helper: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    impatience: None,
    script: str | None,
    told: str,
) -> None:
    odd_registry.login = LOGIN
    if script is None:
        helper.unlink()
    else:
        helper.write_text(script)
    _write(docker_config, credHelpers={odd_registry.address: "test"})
    image = f"{odd_registry.address}/a/b:1"
    with pytest.raises(MachineFault, match="the owner of this worker has to log in") as failed:
        worker_images.pull(image, cancelled=Cancellation())
    assert "docker-credential" not in str(failed.value), "that is for the owner"
    assert f"docker-credential-test {told}" in caplog.text
    monkeypatch.setattr(logins, "HELPER_S", 60.0)
    helper.write_text(_answering(*LOGIN.split(":")))
    helper.chmod(0o755)
    worker_images.pull(image, cancelled=Cancellation())


def test_login_that_is_written_after_the_start_is_used(
    odd_registry: ScriptedRegistry, worker_images: Images, docker_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd_registry.login = LOGIN
    image = f"{odd_registry.address}/a/b:1"
    for wrong in (None, "lab:the-password-of-yesterday"):
        if wrong is not None:
            _write(docker_config, auths={odd_registry.address: _auth(wrong)})
        with pytest.raises(MachineFault, match="the owner of this worker has to log in"):
            worker_images.pull(image, cancelled=Cancellation())
        assert f"Log in on this machine with `docker login {odd_registry.address}`" in caplog.text
        caplog.clear()
    _write(docker_config, auths={odd_registry.address: _auth(LOGIN)})
    worker_images.pull(image, cancelled=Cancellation())
    assert odd_registry.logins[-1] == LOGIN


def test_public_image_is_pulled_although_the_registry_refuses_the_login(
    odd_registry: ScriptedRegistry, worker_images: Images, docker_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd_registry.hands_out_tokens = True
    _write(docker_config, auths={odd_registry.address: _auth("lab:expired")})
    worker_images.pull(f"{odd_registry.address}/a/b:1", cancelled=Cancellation())
    assert f"Log in again with `docker login {odd_registry.address}`" in caplog.text


def test_image_that_a_good_login_may_not_have_fails_the_job(
    odd_registry: ScriptedRegistry, worker_images: Images, docker_config: Path
) -> None:
    odd_registry.login = LOGIN
    odd_registry.fail("/manifests/", error(403, "DENIED", "requested access to the resource is denied"))
    _write(docker_config, auths={odd_registry.address: _auth(LOGIN)})
    with pytest.raises(JobFailed, match="refuses access") as failed:
        worker_images.pull(f"{odd_registry.address}/a/b:1", cancelled=Cancellation())
    assert not isinstance(failed.value, MachineFault)


def test_token_that_expired_is_the_owners_matter(
    odd_registry: ScriptedRegistry, worker_images: Images, docker_config: Path
) -> None:
    words = "Your authorization token has expired. Reauthenticate and try again."
    odd_registry.fail("/manifests/", error(403, "DENIED", words))
    odd_registry.login = LOGIN
    _write(docker_config, auths={odd_registry.address: _auth(LOGIN)})
    with pytest.raises(MachineFault, match="the owner of this worker has to log in"):
        worker_images.pull(f"{odd_registry.address}/a/b:1", cancelled=Cancellation())


def test_login_stays_out_of_what_is_printed() -> None:
    assert "hidden" not in repr(logins.Login({"username": "a", "password": "hidden"}))


def test_helper_does_not_see_the_workers_own_credentials(
    docker_config: Path, helper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("USERNAME", "PASSWORD", "ACCESS_TOKEN"):
        monkeypatch.setenv(name, "of-the-worker")
    helper.write_text(f"#!/bin/sh\nenv > {tmp_path}/env\n")
    _write(docker_config, credsStore="test")
    logins.find("r")
    assert "of-the-worker" not in (tmp_path / "env").read_text()
