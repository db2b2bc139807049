"""Signals. A thread waits for them, so that no handler ever interrupts other code.

| signal | does |
|---|---|
| SIGTERM, SIGINT, SIGHUP | stop: the worker requeues the job (`shutdown` tells the steps) |
| SIGQUIT | drain: the worker finishes the job first |
| SIGUSR1 | detach: the job's container runs on for the next start |

A second one of these exits at once, but a drain may still become a stop. The process blocks them, and never ignores
them. So they reach PID 1 of a container, too, for which the kernel leaves out the default actions.

SIGHUP comes when a terminal is closed: once from its shell, and once from the kernel. So it is never the second signal
that exits at once. A process that was started with `nohup` ignores it, and goes on.
"""

import logging
import os
import signal
from typing import TYPE_CHECKING

from job_fetcher.core.background import in_background

if TYPE_CHECKING:
    from job_fetcher.worker.shutdown import Shutdown

log = logging.getLogger(__name__)


def block() -> None:
    """Let the worker's signals wait until `handle`. Call this before any thread starts: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ours())


def handle(shutdown: "Shutdown") -> None:
    """From now on tell `shutdown` what each signal means."""

    def watch() -> None:
        received = _next()
        if received is signal.SIGQUIT:
            shutdown.drain()
            log.info("The worker takes no new job, and ends after those in hand")
            received = _next()
        if received is signal.SIGUSR1:
            shutdown.detach()
            received = _next_but_sighup()
        elif received is not signal.SIGQUIT:
            shutdown.stop(f"The worker was stopped ({received.name}).")
            received = _next_but_sighup()
        log.warning("The worker exits at once: this was the second signal")
        os._exit(128 + received)

    in_background(watch, "signals")


def _ours() -> set[signal.Signals]:
    """The signals that the worker obeys: all but a SIGHUP that it was started to ignore."""
    ours = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1}
    return ours if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else ours | {signal.SIGHUP}


def _next() -> signal.Signals:
    received = signal.Signals(signal.sigwait(_ours()))
    log.info("Received %s", received.name)
    return received


def _next_but_sighup() -> signal.Signals:
    while (received := _next()) is signal.SIGHUP:
        pass
    return received
