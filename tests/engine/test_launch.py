"""The look into a created container, and the trial of the engine's init, with a stand-in for the engine."""

import tarfile
from io import BytesIO
from typing import Any

import pytest
import requests
import urllib3
from docker.errors import APIError

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.job import JobSpecs
from job_fetcher.engine import client as engine
from job_fetcher.engine import launch
from job_fetcher.engine.image_config import ImageConfig
from tests.support.fake_engine import FakeEngine

START = "POST /start"


def _trials(fake: FakeEngine) -> int:
    return fake.calls.count("POST /containers/create")


@pytest.mark.parametrize(
    "refusal",
    [
        (500, "device or resource busy"),
        (400, "unable to find user app: no matching entries in passwd file"),
        (400, "mkdir /etc/passwd: not a directory: unknown"),
        (404, "the network is gone"),
    ],
)
def test_container_that_does_not_start_for_another_reason_says_nothing_about_the_init(
    fake: FakeEngine, client: engine.Client, refusal: tuple[int, str]
) -> None:
    fake.refusals[START] = refusal
    assert not launch.has_init(client, "image")
    assert client.init_works is None
    fake.refusals.clear()
    assert launch.has_init(client, "image")
    assert client.init_works is True
    assert fake.containers == {}


def test_engine_without_init_is_believed_once_a_container_without_one_starts(
    fake: FakeEngine, client: engine.Client
) -> None:
    fake.has_init = False
    assert not launch.has_init(client, "image")
    assert client.init_works is False
    tried = _trials(fake)
    assert not launch.has_init(client, "image")
    assert _trials(fake) == tried
    assert fake.containers == {}


@pytest.mark.parametrize("status", [400, 404, 409, 500])
def test_engine_that_looks_for_its_init_at_the_creation_has_none_either(
    fake: FakeEngine, client: engine.Client, status: int
) -> None:
    fake.init_refused_by = status
    assert not launch.has_init(client, "image")
    assert client.init_works is False
    assert fake.containers == {}


@pytest.mark.parametrize("status", [400, 500])
def test_creation_that_is_refused_without_an_init_too_says_nothing_about_the_init(
    fake: FakeEngine, client: engine.Client, status: int
) -> None:
    fake.refusals["POST /containers/create"] = (status, "no")
    with pytest.raises((JobFailed, EngineUnavailable), match="create a container on trial: no"):
        launch.has_init(client, "image")
    assert client.init_works is None


def test_trial_needs_neither_the_images_user_nor_its_folder(
    fake: FakeEngine, client: engine.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    create = FakeEngine._create

    def noted(self: FakeEngine, name: str, config: dict[str, Any]) -> Any:
        asked.append(config)
        return create(self, name, config)

    monkeypatch.setattr(FakeEngine, "_create", noted)
    assert launch.has_init(client, "image")
    assert [(each["User"], each["WorkingDir"]) for each in asked] == [("0", "/")]


AWAY = [
    requests.ConnectionError("Connection aborted."),
    requests.ReadTimeout("Read timed out."),
    requests.exceptions.ChunkedEncodingError("Connection broken"),
    urllib3.exceptions.ProtocolError("Connection broken"),
    ConnectionResetError("reset"),
]


@pytest.mark.parametrize("error", AWAY, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("look", ["stat", "get_archive"])
def test_engine_that_goes_away_during_the_look_is_waited_for(
    client: engine.Client, monkeypatch: pytest.MonkeyPatch, look: str, error: Exception
) -> None:
    def away(*_: object, **__: object) -> Any:
        raise error

    monkeypatch.setattr(client, "stat", lambda *_: "eyJtb2RlIjogNDkzfQ==")  # {"mode": 493}, an executable file
    monkeypatch.setattr(client, look, away)
    with pytest.raises(EngineUnavailable) as unavailable:
        launch.require_program(client, "c", ImageConfig(id="sha256:1"), _specs())
    assert unavailable.value.status is None


@pytest.mark.parametrize("status", [400, 403, 404, 500, 501])
@pytest.mark.parametrize("look", ["stat", "get_archive"])
def test_engine_that_cannot_tell_what_is_in_a_container_is_not_believed(
    client: engine.Client, monkeypatch: pytest.MonkeyPatch, look: str, status: int
) -> None:
    response = requests.Response()
    response.status_code = status

    def refused(*_: object, **__: object) -> Any:
        raise APIError("refused", response=response)

    monkeypatch.setattr(client, "stat", lambda *_: "eyJtb2RlIjogNDkzfQ==")
    monkeypatch.setattr(client, look, refused)
    launch.require_program(client, "c", ImageConfig(id="sha256:1"), _specs())


@pytest.mark.parametrize(
    ("image", "path", "looks_again"),
    [("sha256:1", None, False), ("sha256:2", None, True), ("sha256:1", "/opt", True), ("", None, True)],
    ids=["the same image", "another image", "another PATH", "an image without an id"],
)
def test_what_was_found_in_an_image_is_not_looked_for_again(
    client: engine.Client, monkeypatch: pytest.MonkeyPatch, image: str, path: str | None, looks_again: bool
) -> None:
    looks: list[object] = []

    def stat(*look: object) -> str:
        looks.append(look)
        return "eyJtb2RlIjogNDkzfQ=="

    monkeypatch.setattr(client, "stat", stat)
    monkeypatch.setattr(client, "get_archive", lambda *_, **__: ((each for each in [_archive()]), {}))
    launch.require_program(client, "c", ImageConfig(id="sha256:1" if image else ""), _specs())
    before = len(looks)
    launch.require_program(client, "c", ImageConfig(id=image), _specs(PATH=path) if path else _specs())
    assert (len(looks) > before) == looks_again


def test_a_program_that_was_not_found_is_looked_for_again(
    client: engine.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "stat", lambda *_: None)
    monkeypatch.setattr(client, "inspect_container", lambda *_: {})
    for _ in range(2):
        with pytest.raises(JobFailed, match="has no /bin/sh"):
            launch.require_program(client, "c", ImageConfig(id="sha256:1"), _specs())


def _archive() -> bytes:
    """The program as the engine sends it: as a tar archive."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("sh"))
    return content.getvalue()


def _specs(**env: str) -> JobSpecs:
    return JobSpecs.model_validate({"app": {"cmd": ["true"], "env": env}, "handler": {"image_url": "image"}})
