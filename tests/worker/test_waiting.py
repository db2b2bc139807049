"""A job that is not started for long says once what it waits for, with the status `preprocessing`."""

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.job import JobSpecs, JobStatus
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.waiting import Waiting
from tests.support.platform import Platform

OFTEN_S, NEVER_S, LONG_S = 0.01, 3600.0, 60
DOWN = {"data/a": "1", "b": "2"}


def _told(mock: Platform, job: str) -> list[str]:
    return [update.runtime_details for update in mock.job(job).history if update.runtime_details]


def _waiting(keep_alive: Any, files: Path, after_s: float = OFTEN_S, down: dict[str, str] | None = None) -> Waiting:
    specs = JobSpecs.parse({"app": {}, "handler": {"image_url": "image:1", "files_down": down}})
    job: Any = SimpleNamespace(specs=specs, keep_alive=keep_alive, folder=SimpleNamespace(files=files))
    return Waiting(job, after_s)


def test_it_is_said_once_with_preprocessing_and_not_again(mock: Platform, tmp_path: Path) -> None:
    job, go = mock.pulled(), Event()
    with KeepAlive(mock.api(), job, JobStatus.PREPROCESSING, Cancellation(), OFTEN_S) as keep_alive:
        waiting = _waiting(keep_alive, tmp_path)
        for _ in range(2):
            with waiting.told():
                pulling = in_background(lambda: waiting.image(go.wait)(LONG_S), "pull")
                mock.wait_until(lambda: bool(_told(mock, job)), "the sentence")
            go.set()
            pulling.result(LONG_S)
        keep_alive.say("another")
        keep_alive.set(JobStatus.RUNNING)
        mock.wait_until(lambda: mock.job(job).status == "running", "the next status")
    assert _told(mock, job) == ["The worker still waits for the image 'image:1'."]


def test_what_comes_in_time_says_nothing(mock: Platform, tmp_path: Path) -> None:
    job = mock.pulled()
    with KeepAlive(mock.api(), job, JobStatus.PREPROCESSING, Cancellation(), OFTEN_S) as keep_alive:
        waiting = _waiting(keep_alive, tmp_path, NEVER_S)
        with waiting.told():
            waiting.image(lambda: None)()
        heard = keep_alive.next_heard()
        heard.result(LONG_S)
    assert _told(mock, job) == []


def test_a_job_that_runs_already_is_told_nothing_of_the_wait(mock: Platform) -> None:
    job = mock.pulled()
    with KeepAlive(mock.api(), job, JobStatus.RUNNING, Cancellation(), OFTEN_S) as keep_alive:
        keep_alive.say("too late")
        keep_alive.next_heard().result(LONG_S)
        keep_alive.next_heard().result(LONG_S)
    assert _told(mock, job) == []


@pytest.mark.parametrize("status", [413, 414, 500])
def test_a_sentence_that_the_api_refuses_is_dropped_and_the_job_lives_on(mock: Platform, status: int) -> None:
    job = mock.pulled()
    mock.fault("/jobs/*/status", query="*runtime_details*", status=status)
    with KeepAlive(mock.api(), job, JobStatus.PREPROCESSING, Cancellation(), OFTEN_S) as keep_alive:
        keep_alive.next_heard().result(LONG_S)
        keep_alive.say("a sentence")
        keep_alive.next_heard().result(LONG_S)
    assert _told(mock, job) == []


@pytest.mark.parametrize(
    ("here", "parts", "sentence"),
    [
        ((), ("image",), "The worker still waits for the image 'image:1'."),
        ((), ("inputs",), "The worker still waits for 2 of 2 inputs ('data/a', …)."),
        (("data/a",), ("inputs",), "The worker still waits for 1 of 2 inputs ('b')."),
        (("data/a", "b"), ("inputs",), ""),
        ((), ("room", "image"), "The worker still waits for the image 'image:1' and room on its disk."),
    ],
)
def test_the_sentence_names_what_is_not_here(
    tmp_path: Path, here: tuple[str, ...], parts: tuple[str, ...], sentence: str
) -> None:
    for path in here:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    waiting, said = _waiting(None, tmp_path, down=DOWN), []
    call: Any = lambda: said.append(waiting.sentence())  # noqa: E731
    for part in parts:
        call = getattr(waiting, part)(call)
    call()
    assert said == [sentence]
    assert waiting.sentence() == ""
