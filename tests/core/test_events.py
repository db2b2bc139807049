"""Events: everybody who listens hears them, and who fails at that harms nobody."""

import logging

import pytest

from job_fetcher.core.events import Event, Moved, Polled, Transfer, TriedAgain, listening, tell


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
