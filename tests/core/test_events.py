"""Events: everybody who listens hears them, and who fails at that harms nobody."""

import logging
from collections.abc import Callable
from functools import partial

import pytest

from job_fetcher.core.background import Cancellation, in_background, run_all
from job_fetcher.core.events import Event, Moved, Planned, Polled, Transfer, TriedAgain, about, listening, tell


def test_event_that_nobody_listens_to_is_no_error() -> None:
    tell(Polled())


def test_everybody_who_listens_hears_each_event_in_order() -> None:
    first: list[Event] = []
    second: list[Event] = []
    with listening(first.append), listening(second.append):
        tell(Polled())
        tell(Moved(Transfer.UPLOAD, 5))
    tell(TriedAgain())
    assert first == second == [Polled(), Moved(Transfer.UPLOAD, 5)]


@pytest.mark.parametrize("error", [ValueError("odd"), OSError(28, "No space left on device"), MemoryError()])
def test_listener_that_fails_is_told_nothing_more_and_the_log_says_so_once(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    calls: list[Event] = []

    def fail(event: Event) -> None:
        calls.append(event)
        raise error

    with listening(fail), listening(heard.append), caplog.at_level(logging.ERROR):
        for _ in range(3):
            tell(Polled())
    assert len(calls) == 1
    assert len(heard) == 3
    assert [record.levelname for record in caplog.records] == ["ERROR"]


THREADS: dict[str, Callable[[Callable[[], None]], object]] = {
    "the same thread": lambda call: call(),
    "a thread in the background": lambda call: in_background(call, "call").result(),
    "a call that can be left": lambda call: Cancellation().call(call),
    "several threads": lambda call: run_all(
        lambda _, __: call(), [1], threads=2, cancelled=Cancellation(), name="call"
    ),
}


@pytest.mark.parametrize("where", THREADS)
@pytest.mark.parametrize(
    "make", [partial(Planned, Transfer.PULL, 5), partial(Moved, Transfer.DOWNLOAD, 5), partial(TriedAgain, 1.0)]
)
def test_event_says_for_which_job_it_is_in_whatever_thread_the_work_is_done(
    where: str, make: Callable[[], Planned | Moved | TriedAgain]
) -> None:
    heard: list[Event] = []
    with listening(heard.append):
        for job in ("17", "18"):
            with about(job):
                THREADS[where](lambda: tell(make()))
        THREADS[where](lambda: tell(make()))
    assert [each.job_id for each in heard if isinstance(each, Planned | Moved | TriedAgain)] == ["17", "18", None]
