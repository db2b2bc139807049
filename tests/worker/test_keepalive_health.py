"""The worker is well only while the loop and every keep-alive get on: `/healthz` and the HEALTHCHECK say the same."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from job_fetcher.core import health
from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.job import JobStatus
from job_fetcher.monitoring.access import Access
from job_fetcher.platform.api import WorkerApi
from job_fetcher.worker.keepalive import KeepAlive
from job_fetcher.worker.overlap import Overlap
from job_fetcher.worker.shutdown import JobCancellation, Shutdown
from tests.monitoring.test_access import ask
from tests.support.worker import wait_until

LONG_S = 3600.0


class Api:
    """Answers each status at once, or hangs until it is let go."""

    def __init__(self) -> None:
        self.heard, self.hangs, self.let_go = threading.Event(), False, threading.Event()

    def put_status(self, *_: object, **__: object) -> None:
        self.heard.set()
        if self.hangs:
            self.let_go.wait()


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The time stamp, of this test alone. A step may take no time besides what is waited for."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(health, "_until_s", {})
    monkeypatch.setattr(health, "_earliest_s", 0.0)
    monkeypatch.setattr(health, "MARGIN_S", 0.0)
    return tmp_path / "job-fetcher.alive"


def says() -> tuple[str, bool]:
    """The status of `/healthz`, and what the HEALTHCHECK of the image finds."""
    return ask(Access(), "/healthz", "127.0.0.1", "localhost"), health.file_is_well()


WELL, NOT_WELL = ("200", True), ("503", False)


@contextmanager
def kept_alive(*, hangs: bool = False) -> Iterator[None]:
    """A job whose keep-alive has sent its first status, and then waits long, or hangs."""
    api = Api()
    api.hangs = hangs
    interval_s = 0.01 if hangs else LONG_S
    with KeepAlive(cast(WorkerApi, api), "17", JobStatus.RUNNING, Cancellation(), interval_s) as keep_alive:
        assert api.heard.wait(60)
        if not hangs:
            keep_alive.tried.result(60)
        try:
            yield
        finally:
            api.let_go.set()


@contextmanager
def behind(life: Callable[[], Any]) -> Iterator[None]:
    """A job of which only `life` is left, in a thread of its own, behind the loop."""
    begun, release = threading.Event(), threading.Event()

    def finish(cancelled: JobCancellation) -> None:
        with health.job(), life():
            begun.set()
            cancelled.container_gone.set_result(None)
            release.wait()

    overlap = Overlap(Shutdown(), enabled=True)
    overlap.run(finish, "job-17")
    assert begun.wait(60)
    try:
        yield
    finally:
        release.set()
        overlap.wait()


def loop_gets_on() -> None:
    health.beat(LONG_S)


def loop_hangs() -> None:
    health.beat(0)


@contextmanager
def in_hand(life: Callable[[], Any]) -> Iterator[None]:
    """A job in hand, for which the loop waits."""
    with health.loop_rests(), health.job(), life():
        yield


@contextmanager
def waits() -> Iterator[None]:
    """Without a keep-alive: the last status is tried again later."""
    health.beat(LONG_S)
    yield


@contextmanager
def nothing() -> Iterator[None]:
    yield


def hangs() -> Any:
    return kept_alive(hangs=True)


CASES: dict[str, tuple[Callable[[], Any], Callable[[], None], tuple[str, bool]]] = {
    "a keep-alive hangs while the loop gets on": (lambda: behind(hangs), loop_gets_on, NOT_WELL),
    "the keep-alive of the job in hand hangs": (lambda: in_hand(hangs), lambda: None, NOT_WELL),
    "a keep-alive hangs while its job retries": (lambda: in_hand(hangs), lambda: health.beat(LONG_S), NOT_WELL),
    "the keep-alive of a job left behind hangs": (hangs, loop_gets_on, NOT_WELL),
    "the loop hangs while a keep-alive gets on": (lambda: behind(kept_alive), loop_hangs, NOT_WELL),
    "a job hangs after its keep-alive": (lambda: in_hand(nothing), lambda: None, NOT_WELL),
    "a job behind hangs after its keep-alive": (lambda: behind(nothing), loop_gets_on, NOT_WELL),
    "the loop waits": (nothing, loop_gets_on, WELL),
    "the loop waits for a job that is kept alive": (lambda: in_hand(kept_alive), lambda: None, WELL),
    "the loop waits, and a job finishes behind it": (lambda: behind(kept_alive), loop_gets_on, WELL),
    "a job waits until its last status is heard": (lambda: in_hand(waits), lambda: None, WELL),
}


@pytest.mark.parametrize("case", CASES)
def test_worker_is_well_while_the_loop_and_all_keep_alives_get_on(case: str) -> None:
    life, then, expected = CASES[case]
    loop_gets_on()
    with ExitStack() as stack:
        stack.enter_context(life())
        then()
        wait_until(lambda: says() == expected, f"{expected}, not {says()}")
        if expected == WELL:
            in_background(loop_gets_on, "another").result()
            assert says() == WELL


def test_keep_alive_that_has_hung_harms_no_later_job() -> None:
    with in_hand(hangs):
        wait_until(lambda: says() == NOT_WELL, "the keep-alive to be missed")
    loop_gets_on()
    assert says() == WELL
    with in_hand(kept_alive):
        assert says() == WELL


def test_worker_stays_well_until_the_next_life_begins() -> None:
    """The loop has handed over to a job, which has not begun yet; then the job is over, and the loop goes on."""
    loop_gets_on()
    with health.loop_rests():
        assert says() == WELL
        with health.job():
            health.beat(LONG_S)
            assert says() == WELL
        assert says() == WELL
