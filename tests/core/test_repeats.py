"""A warning that repeats itself comes when it changes, then after 1, 10 and 60 minutes."""

import logging

import pytest

from job_fetcher.core.repeats import MAX_KNOWN, Repeats


class Log:
    """What the filter lets through of what is said at certain seconds."""

    def __init__(self) -> None:
        self._filter = Repeats()
        self.lines: list[str] = []

    def say(self, at_s: float, text: str, *arguments: object, level: int = logging.WARNING, name: str = "a") -> None:
        record = logging.LogRecord(name, level, "here", 1, text, arguments, None)
        record.created = 1_000_000.0 + at_s
        if self._filter.filter(record):
            self.lines.append(record.getMessage())


@pytest.fixture
def log() -> Log:
    return Log()


def test_the_same_warning_every_10_s_comes_at_once_and_after_1_10_60_and_120_minutes(log: Log) -> None:
    for at_s in range(0, 7_300, 10):
        log.say(at_s, "The worker cannot ask for a job: %s", "no route to host")
    said = "The worker cannot ask for a job: no route to host"
    times = [" (7 times in 1 min)", " (61 times in 10 min)", " (361 times in 60 min)", " (721 times in 120 min)"]
    assert log.lines == [said, *(said + each for each in times)]


@pytest.mark.parametrize("other", ["the name has no address", "503"])
def test_warning_that_changes_comes_at_once(log: Log, other: str) -> None:
    for reason in ("no route to host", other, other, "no route to host"):
        log.say(0, "The worker cannot ask for a job: %s", reason)
    assert len(log.lines) == 3


@pytest.mark.parametrize(("one", "two"), [("pid 17", "pid 4711"), ("in 3 s", "in 12.5 s"), ("9 MiB", "10 MiB")])
def test_warning_that_differs_in_numbers_alone_is_the_same(log: Log, one: str, two: str) -> None:
    for text in (one, two, one):
        log.say(0, "busy: %s", text)
    assert log.lines == [f"busy: {one}"]


@pytest.mark.parametrize("level", [logging.INFO, logging.ERROR, logging.CRITICAL])
def test_only_warnings_are_left_out(log: Log, level: int) -> None:
    for _ in range(3):
        log.say(0, "said", level=level)
    assert len(log.lines) == 3


def test_what_the_module_says_in_between_makes_a_warning_new(log: Log) -> None:
    log.say(0, "no job")
    log.say(1, "no job")
    log.say(2, "another module", level=logging.INFO, name="b")
    log.say(3, "no job")
    log.say(4, "job 3: pulled", level=logging.INFO)
    log.say(5, "no job")
    assert log.lines == ["no job", "another module", "job 3: pulled", "no job"]


def test_endless_different_warnings_take_no_endless_memory(log: Log) -> None:
    for number in range(10 * MAX_KNOWN):
        log.say(0, "x" * (number % 977) + "y" * number)
    assert len(log._filter._known) <= MAX_KNOWN
