"""A Python that has imported the worker once: it forks the workers of the tests, each of which starts in no time.

Most of a start is imports (0.7 s of a processor), and the tests start hundreds of workers. What is forked here behaves
as what `python -m job_fetcher` starts: its environment, folder, arguments and files are its own, and it ends by itself.
This file is also the program of that Python.
"""

import atexit
import faulthandler
import gc
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from subprocess import CompletedProcess
from types import MappingProxyType

MAX_REQUEST_BYTES = 1 << 20
STRICT = {"PYTHONWARNINGS": "error", "PYTHONFAULTHANDLER": "1"}
"""A warning is an error, and an end by SIGABRT tells what the threads were doing. A fork does as these say."""
ROOT = Path(__file__).parents[2]


class Forked:
    """A process that the preloaded Python has forked: what tests use of `subprocess.Popen`."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = int(connection.recv(32))
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code (the negative number of a signal that has ended it), or None while it runs."""
        try:
            return self._exit_code(0)
        except BlockingIOError:
            return None

    def wait(self, timeout: float) -> int:
        try:
            return self._exit_code(timeout)
        except TimeoutError:
            raise subprocess.TimeoutExpired("the worker", timeout) from None

    def _exit_code(self, timeout: float) -> int:
        if self._code is None:
            self._connection.settimeout(timeout)
            self._code = int(self._connection.recv(32))
            self._connection.close()
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(self.pid, number)


def can_fork(environment: Mapping[str, str | None]) -> bool:
    """Whether nothing in `environment`, besides `STRICT`, is read by Python or the C library as a process starts."""
    read = {name: value for name, value in environment.items() if name.startswith(("PYTHON", "LC_", "LANG", "LD_"))}
    return read.items() <= STRICT.items()


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path,
    out: int,
    err: int,
    constants: Mapping[str, float] = MappingProxyType({}),
) -> Forked:
    """As `python -m job_fetcher ARGUMENTS` with the files `out` and `err`, and nothing to read.

    It has other `constants` than the source, by their names: minutes of patience may be a second in a test.
    """
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        request = {
            "arguments": arguments,
            "environment": dict(environment),
            "cwd": str(cwd),
            "constants": dict(constants),
        }
        socket.send_fds(_preloaded(), [json.dumps(request).encode()], [theirs.fileno(), out, err])
    return Forked(ours)


def run(arguments: Sequence[str], environment: Mapping[str, str], cwd: Path, timeout: float) -> CompletedProcess[str]:
    """As `start`, to its end, with what it has written."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        code = start(arguments, environment, cwd, out.fileno(), err.fileno()).wait(timeout)
        out.seek(0)
        err.seek(0)
        return CompletedProcess(arguments, code, out.read().decode(), err.read().decode())


@cache
def _preloaded() -> socket.socket:
    """The socket of this session's preloaded Python, which ends with this process."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.preloaded", str(theirs.fileno())],
            env={"PATH": os.environ["PATH"]},
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def _import_everything() -> None:
    package = import_module("job_fetcher")
    for module in pkgutil.walk_packages(package.__path__, "job_fetcher."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


def _serve(requests: socket.socket) -> list[str]:
    """Fork a process for each request; returns, in that process only, its arguments."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no process of ours stays as a zombie
    while True:
        request, files, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
        if not request:
            os._exit(0)
        if os.fork() == 0:
            break
        for each in files:
            os.close(each)
    requests.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if (pid := os.fork()) != 0:
        _report_end(pid, files)
    connection, out, err = files
    os.dup2(out, 1)
    os.dup2(err, 2)
    for each in {connection, out, err}:
        os.close(each)
    wanted = json.loads(request)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    time.tzset()
    tempfile.tempdir = None  # else it stays what it was for this Python
    if "PYTHONWARNINGS" in os.environ:
        warnings.simplefilter("error")
    if "PYTHONFAULTHANDLER" in os.environ:
        faulthandler.enable()
    for name, value in wanted["constants"].items():
        _set_constant(name, value)
    return [str(each) for each in wanted["arguments"]]


def _set_constant(name: str, value: float) -> None:
    """Set it in the module that defines it, and in those that have imported it."""
    modules = [each for key, each in sys.modules.items() if key.startswith("job_fetcher.") and hasattr(each, name)]
    assert modules, f"no module has {name}"
    for each in modules:
        setattr(each, name, value)


def _report_end(pid: int, files: list[int]) -> None:
    """Tell the test the number of its process, and, when that has ended, its exit code."""
    connection, *others = files
    for each in others:
        os.close(each)
    with socket.socket(fileno=connection) as answer:
        answer.send(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        answer.send(str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


if __name__ == "__main__":
    _import_everything()
    gc.freeze()  # a collection in a fork would copy the pages of all that was imported
    sys.argv[1:] = _serve(socket.socket(fileno=int(sys.argv[1])))
    runpy.run_module("job_fetcher", run_name="__main__", alter_sys=True)
