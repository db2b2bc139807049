"""The look into a created container, and the trial of the engine's init, with a stand-in for the engine."""

from typing import Any

import pytest
import requests
import urllib3
from docker.errors import APIError

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.core.job import JobSpecs
from job_fetcher.engine import client as engine
from job_fetcher.engine import launch
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
        launch.require_program(client, "c", _specs())
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
    launch.require_program(client, "c", _specs())


def _specs() -> JobSpecs:
    return JobSpecs.model_validate({"app": {"cmd": ["true"]}, "handler": {"image_url": "image"}})
