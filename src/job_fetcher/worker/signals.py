"""Signals. A thread waits for them, so that no handler ever interrupts other code.

| signal | does |
|---|---|
| SIGTERM, SIGINT | stop: the worker requeues the job (`shutdown` tells the steps) |
| SIGQUIT | drain: the worker finishes the job first |
| SIGUSR1 | detach: the job's container runs on for the next start |

A second one of these exits at once, but a drain may still become a stop. The process blocks them, and never ignores
them. So they reach PID 1 of a container, too, for which the kernel leaves out the default actions.
"""

import logging
import os
import signal
from typing import TYPE_CHECKING

from job_fetcher.core.background import in_background

if TYPE_CHECKING:
    from job_fetcher.worker.shutdown import Shutdown

_OURS = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1}

log = logging.getLogger(__name__)


def block() -> None:
    """Let the worker's signals wait until `handle`. Call this before any thread starts: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def handle(shutdown: "Shutdown") -> None:
    """From now on tell `shutdown` what each signal means."""

    def watch() -> None:
        received = _next()
        if received is signal.SIGQUIT:
            shutdown.drain()
            received = _next()
        if received is signal.SIGUSR1:
            shutdown.detach()
            received = _next()
        elif received is not signal.SIGQUIT:
            shutdown.stop(f"The worker was stopped ({received.name}).")
            received = _next()
        log.warning("The worker exits at once: this was the second signal")
        os._exit(128 + received)

    in_background(watch, "signals")


def _next() -> signal.Signals:
    received = signal.Signals(signal.sigwait(_OURS))
    log.info("Received %s", received.name)
    return received
