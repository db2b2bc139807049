"""What the signals do to the worker, in a process of its own."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PROCESS = """
import os, sys, threading
from job_fetcher.worker import signals

def say(*words):
    os.write(1, " ".join(words).encode() + b"\\n")  # one write: two threads do not mix their lines

class Worker:
    def __getattr__(self, name):
        return lambda *arguments: say(name, *arguments)

signals.block()
say("held")
sys.stdin.readline()
signals.handle(Worker())
say("obeyed")
threading.Event().wait()
"""

ACTIONS = {
    signal.SIGTERM: "stop The worker was stopped (SIGTERM).",
    signal.SIGINT: "stop The worker was stopped (SIGINT).",
    signal.SIGHUP: "stop The worker was stopped (SIGHUP).",
    signal.SIGQUIT: "drain",
    signal.SIGUSR1: "detach",
}


class Process:
    def __init__(self, popen: "subprocess.Popen[str]") -> None:
        self._popen = popen
        self.send, self.wait = popen.send_signal, popen.wait

    def line(self) -> str:
        assert self._popen.stdout is not None
        return self._popen.stdout.readline().rstrip("\n")

    def go_on(self) -> None:
        assert self._popen.stdin is not None
        self._popen.stdin.write("\n")
        self._popen.stdin.flush()


@contextmanager
def process(*started_by: str) -> Iterator[Process]:
    """A process that blocks its signals, and handles them after `go_on`."""
    command = [*started_by, sys.executable, "-c", PROCESS]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as popen:
        running = Process(popen)
        try:
            assert running.line() == "held"
            yield running
        finally:
            popen.kill()


@pytest.mark.parametrize("received", ACTIONS)
def test_each_signal_has_one_meaning_and_a_second_exits_at_once(received: signal.Signals) -> None:
    """P20: SIGTERM was ignored by PID 1, and `docker stop` left the job's container on the GPU."""
    with process() as worker:
        worker.go_on()
        assert worker.line() == "obeyed"
        worker.send(received)
        assert worker.line() == ACTIONS[received]
        worker.send(signal.SIGQUIT)
        assert worker.wait(60) == 128 + signal.SIGQUIT


def test_a_drain_may_still_become_a_stop() -> None:
    with process() as worker:
        worker.go_on()
        assert worker.line() == "obeyed"
        for received in (signal.SIGQUIT, signal.SIGTERM):
            worker.send(received)
            assert worker.line() == ACTIONS[received]
        worker.send(signal.SIGTERM)
        assert worker.wait(60) == 128 + signal.SIGTERM


def test_a_signal_that_comes_before_the_worker_is_there_is_obeyed_later() -> None:
    with process() as worker:
        worker.send(signal.SIGTERM)
        worker.go_on()
        assert {worker.line(), worker.line()} == {"obeyed", ACTIONS[signal.SIGTERM]}


@pytest.mark.parametrize("before", [(), (signal.SIGQUIT,), (signal.SIGTERM,), (signal.SIGUSR1,)])
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_terminal_that_is_closed_sends_sighup_twice_and_never_makes_the_worker_exit_at_once(
    before: tuple[signal.Signals, ...], second: signal.Signals
) -> None:
    """The shell sends one and the kernel the other. Of two pending signals the kernel hands out SIGHUP first."""
    with process() as worker:
        worker.go_on()
        assert worker.line() == "obeyed"
        for received in before or (signal.SIGHUP,):
            worker.send(received)
            assert worker.line() == ACTIONS[received]
        if before == (signal.SIGQUIT,):
            worker.send(signal.SIGHUP)
            assert worker.line() == ACTIONS[signal.SIGHUP]
        worker.send(signal.SIGHUP)
        worker.send(second)
        assert worker.wait(60) == 128 + second


IGNORING = {
    "nohup": ("nohup",),
    "env": ("env", "--ignore-signal=HUP"),
    "a shell": ("sh", "-c", """trap '' HUP; exec "$0" "$@" """),
}


@pytest.mark.parametrize("started_by", IGNORING.values(), ids=IGNORING)
def test_a_worker_that_was_started_to_ignore_sighup_outlives_its_terminal(started_by: tuple[str, ...]) -> None:
    with process(*started_by) as worker:
        worker.go_on()
        assert worker.line() == "obeyed"
        worker.send(signal.SIGHUP)
        worker.send(signal.SIGTERM)
        assert worker.line() == ACTIONS[signal.SIGTERM]
