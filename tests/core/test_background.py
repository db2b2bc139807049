"""Calls in threads, and how waiting for them ends."""

import threading
from concurrent.futures import Future
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation, in_background, run_all
from job_fetcher.core.errors import JobFailed, JobGone, StopRequested

LONG_S = 600


def test_the_first_reason_counts() -> None:
    cancelled = Cancellation()
    cancelled.check()
    assert not cancelled.is_set()
    cancelled.set(JobGone("deleted"))
    cancelled.set(StopRequested("too late"))
    for _ in range(2):
        with pytest.raises(JobGone, match="deleted"):
            cancelled.check()


def test_every_wait_ends_at_once_when_a_reason_is_given() -> None:
    """P12."""
    cancelled, never = Cancellation(), threading.Event()
    hanging = in_background(never.wait, "hanging")
    waits: list[Future[Any]] = [
        in_background(lambda: cancelled.wait(LONG_S), "wait"),
        in_background(lambda: cancelled.result_of(hanging), "result"),
        in_background(
            lambda: run_all(lambda _, left: left.wait(LONG_S), [1, 2], threads=2, cancelled=cancelled, name="x"), "all"
        ),
    ]
    cancelled.set(JobGone("deleted"))
    for wait in waits:
        with pytest.raises(JobGone):
            wait.result(timeout=LONG_S)
    never.set()


def test_who_registered_is_called_once_even_if_late() -> None:
    cancelled, calls = Cancellation(), []
    cancelled.call_when_set(lambda: calls.append("early"))
    cancelled.set(JobGone("deleted"))
    cancelled.call_when_set(lambda: calls.append("late"))
    assert calls == ["early", "late"]


def test_a_result_that_is_late_is_a_timeout_and_an_error_is_the_error() -> None:
    never = threading.Event()
    with pytest.raises(TimeoutError):
        Cancellation().result_of(in_background(never.wait, "hanging"), timeout_s=0.01)
    never.set()
    with pytest.raises(ZeroDivisionError):
        Cancellation().result_of(in_background(lambda: 1 // 0, "failing"))
    assert Cancellation().result_of(in_background(lambda: 7, "seven")) == 7


def test_no_thread_keeps_the_process_alive() -> None:
    """P1: a thread that was no daemon made a zombie of a worker whose main thread had ended."""
    assert in_background(threading.current_thread, "any").result(timeout=LONG_S).daemon


@pytest.mark.parametrize("threads", [1, 3, 8])
def test_all_items_are_done_on_so_many_threads_at_most(threads: int) -> None:
    done: list[int] = []
    names = set()

    def call(item: int, left: Cancellation) -> None:
        names.add(threading.current_thread().name)
        done.append(item)

    run_all(call, range(50), threads=threads, cancelled=Cancellation(), name="pool")
    assert sorted(done) == list(range(50))
    assert len(names) <= threads
    run_all(call, [], threads=threads, cancelled=Cancellation(), name="pool")


@pytest.mark.parametrize("error", [JobFailed("one cannot be fetched"), ZeroDivisionError("unforeseen")])
def test_the_first_error_is_raised_and_ends_the_others(error: Exception) -> None:
    others_ended = threading.Event()
    both = threading.Barrier(2)

    def call(item: int, left: Cancellation) -> None:
        both.wait(LONG_S)
        if item == 0:
            raise error
        left.call_when_set(others_ended.set)

    with pytest.raises(type(error), match=str(error)):
        run_all(call, [0, 1, 2], threads=2, cancelled=Cancellation(), name="pool")
    assert others_ended.wait(LONG_S)


def test_a_reason_that_is_due_later_comes_by_itself_unless_another_one_is_first() -> None:
    cancelled, first = Cancellation(), Cancellation()
    cancelled.after(0.01, StopRequested("too late"))
    with pytest.raises(StopRequested, match="too late"):
        cancelled.wait(LONG_S)
    first.after(LONG_S, StopRequested("too late"))
    first.set(JobGone("deleted"))
    with pytest.raises(JobGone, match="deleted"):
        first.wait(LONG_S)


def test_a_call_gives_its_result_or_its_error_or_the_reason_to_leave_it() -> None:
    cancelled, never = Cancellation(), threading.Event()
    assert cancelled.call(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        cancelled.call(lambda: 1 // 0)
    cancelled.after(0.01, JobGone("deleted"))
    with pytest.raises(JobGone, match="deleted"):
        cancelled.call(never.wait)
    never.set()
