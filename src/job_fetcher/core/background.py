"""Blocking calls in daemon threads, and the one way to leave them: a `Cancellation`.

The main thread never blocks in a socket. It waits here for a result, or for the reason to leave the call. A call that
nobody waits for ends by its own time-out, or with the process. Every thread is a daemon: no thread outlives the main
one.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextvars import copy_context
from typing import Any, Generic, NoReturn, TypeVar, cast

from job_fetcher.core import health
from job_fetcher.core.errors import JobFetcherError

T = TypeVar("T")
Task = Callable[["Cancellation"], Iterable["Task"]]
"""A call that gives up when it is cancelled, and returns what can be done once it is done."""


class Cancellation:
    """Whether, and why, the work in hand has to be left. Any thread sets it. The first reason counts.

    `future` never has a result, only the reason as its exception: it can be waited for beside other futures.
    """

    def __init__(self) -> None:
        self.future: Future[NoReturn] = Future()
        self._lock = threading.Lock()

    def set(self, reason: JobFetcherError) -> None:
        """Let every present and future wait raise `reason`."""
        with self._lock:
            if not self.future.done():
                self.future.set_exception(reason)

    @property
    def reason(self) -> JobFetcherError | None:
        """The reason, if one has been given."""
        error = self.future.exception() if self.future.done() else None
        assert error is None or isinstance(error, JobFetcherError)
        return error

    def is_set(self) -> bool:
        """Whether a reason has been given."""
        return self.future.done()

    def check(self) -> None:
        """Raise the reason, if there is one."""
        if self.reason is not None:
            raise self.reason.with_traceback(None)  # raised in many threads: each with a traceback of its own

    def wait(self, seconds: float) -> None:
        """Sleep. Ends early, by raising the reason. The caller is alive, and tells the health check so."""
        health.beat(seconds)
        wait([self.future], timeout=seconds)
        self.check()

    def result_of(self, call: "Future[T]", timeout_s: float | None = None) -> T:
        """The result of `call`, or its error; raises the reason as soon as there is one, `TimeoutError` when late."""
        wait(cast("list[Future[Any]]", [call, self.future]), timeout=timeout_s, return_when=FIRST_COMPLETED)
        self.check()
        return call.result(timeout=0)

    def call(self, function: Callable[[], T], name: str = "call") -> T:
        """The result of `function`, which a daemon thread `name` computes, or its error.

        Raises the reason as soon as there is one; the thread then ends by a time-out of its own.
        """
        return self.result_of(in_background(function, name))

    def after(self, seconds: float, reason: JobFetcherError) -> None:
        """Set `reason` in so many seconds, unless another one comes first."""
        timer = threading.Timer(seconds, self.set, [reason])
        timer.daemon = True
        timer.start()

    def call_when_set(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when a reason is given, in the thread that gives it (at once if there is one)."""
        self.future.add_done_callback(lambda _: callback())


def in_background(call: Callable[[], T], name: str) -> "Future[T]":
    """Start `call` in a daemon thread of its own, in the context of this one. Returns the future of its result."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            value = call()
        except BaseException as error:  # noqa: BLE001 - whoever waits for the result gets it, whatever it is
            result.set_exception(error)
        else:
            result.set_result(value)

    threading.Thread(target=copy_context().run, args=[run], name=name, daemon=True).start()
    return result


def run_all(
    call: Callable[[T, Cancellation], Iterable[T] | None],
    items: Iterable[T],
    *,
    threads: int,
    cancelled: Cancellation,
    name: str,
) -> None:
    """Call `call(item, left)` for every item, and for the items that such a call returns, on up to `threads` threads.

    Returns when all are done. Raises the first error at once, or the reason of `cancelled`. Then `left` is set for the
    calls that still run.
    """
    left = Cancellation()
    queue = _Queue(items)
    left.call_when_set(queue.close)

    def work() -> None:
        for item in queue:
            more: Iterable[T] | None = None
            try:
                more = call(item, left)
            finally:
                queue.done(more or ())

    workers = [in_background(work, f"{name}-{n}") for n in range(threads if queue else 0)]
    try:
        while workers:
            done, _ = wait(cast("list[Future[Any]]", [*workers, cancelled.future]), return_when=FIRST_COMPLETED)
            cancelled.check()
            for worker in done:
                worker.result()
            workers = [worker for worker in workers if worker not in done]
    except BaseException as error:
        left.set(error if isinstance(error, JobFetcherError) else JobFetcherError("something else went wrong"))
        raise


class _Queue(Generic[T]):
    """Items for several threads. It ends when all are done, since no more can come then, or when it is closed."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = deque(items)
        self._busy = 0
        self._closed = False
        self._changed = threading.Condition()

    def __bool__(self) -> bool:
        return bool(self._items)

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._items or not self._busy or self._closed)
                if self._closed or not self._items:
                    return
                self._busy += 1
                item = self._items.popleft()
            yield item

    def done(self, more: Iterable[T]) -> None:
        """An item is done, and has brought `more` of them."""
        with self._changed:
            self._items.extend(more)
            self._busy -= 1
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
