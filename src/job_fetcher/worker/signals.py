"""Signals, received by a thread that waits for them, so that no code is ever interrupted by a handler.

| signal | does |
|---|---|
| SIGTERM, SIGINT | stop: the job is handed back |
| SIGQUIT | drain: the job is finished first |
| SIGUSR1 | leave: the job's container runs on for the next start |

A second one of these exits at once, but a drain may still become a stop. They are blocked, never ignored, which also
makes them arrive at PID 1 of a container, whose default actions the kernel leaves out.
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
    """Let our signals wait until `handle`. Call this before any thread starts: threads inherit it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _OURS)


def handle(shutdown: "Shutdown") -> None:
    """From now on give the shutdown that the signals mean."""

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
        log.warning("A second signal: exiting at once")
        os._exit(128 + received)

    in_background(watch, "signals")


def _next() -> signal.Signals:
    received = signal.Signals(signal.sigwait(_OURS))
    log.info("Received %s", received.name)
    return received
