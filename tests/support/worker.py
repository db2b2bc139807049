"""The real worker as a process of its own: started as on a lab's machine, watched through its log, always ended."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import docker
from docker.models.containers import Container

from job_fetcher.engine.container import LABEL_JOB
from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.support import preloaded
from tests.support.engine import remove
from tests.support.platform import PASSWORD, USERNAME, Platform
from tests.support.turns import wait_within
from tests.support.waiting import PATIENCE_S, wait_until

__all__ = ["PASSED_ON", "PATIENCE_S", "PATIENT", "TRIED", "WorkerProcess", "killed", "run_job", "wait_until"]

killed: set[Path] = set()
"""The folders (PATH_BASE) of the workers that this process has killed."""
PATIENT = {"STOP_S": 60.0, "FINISH_S": 60.0}
"""With these constants a worker that is stopped has as long as a test waits, for what has to arrive before it ends."""
TRIED = (".probe-", ".trial-")
"""What a worker leaves that is killed at its start. A start removes it after 10 minutes: another may be using it."""
PASSED_ON = ("PATH", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_TLS_VERIFY")


class WorkerProcess:
    """`python -m job_fetcher` with an environment of its own, and its folder `base` (PATH_BASE) and `log_file`.

    `settings` add to or replace those of a worker of `platform`; `None` leaves one out. It is forked where that makes
    no difference (`tests/support/preloaded.py`), with other `constants` than the source; `None`: it is never forked.
    """

    run_by: tuple[str, ...] = ()
    """A command that runs it in some other way, such as setpriv."""
    python: str = sys.executable
    arguments: tuple[str, ...] = ()
    """None: it is the worker. Others: a command such as `check`."""

    def __init__(
        self,
        platform: Platform,
        client: docker.DockerClient,
        base: Path,
        log_file: Path,
        settings: Mapping[str, str | None],
        constants: Mapping[str, float] | None = MappingProxyType({}),
    ) -> None:
        self.base, self.log_file, self._client, self._constants = base, log_file, client, constants
        self._platform = platform
        defaults = {
            "API_URL": platform.url,
            "USERNAME": USERNAME,
            "PASSWORD": PASSWORD,
            "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": platform.cognito_url,
            "PATH_BASE": str(base),
            "TIMEOUT_JOB": "0.2",
            "TIMEOUT_STATUS": "1",
            "MIN_FREE_GIB": "0",  # else a disk that other tests fill keeps jobs away, and images of other tests go
        } | preloaded.STRICT
        passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        self.environment = {
            name: value for name, value in (passed_on | defaults | dict(settings)).items() if value is not None
        }
        self._cwd = base.with_name(f"{base.name}-cwd")  # without an .env
        self._cwd.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        """Start it, or start it again: its log goes on where it was."""
        with self.log_file.open("ab") as log:
            self._process = self._start(log)

    def _start(self, log: IO[bytes]) -> subprocess.Popen[bytes] | preloaded.Forked:
        is_usual = not self.run_by and self.python == sys.executable
        if is_usual and self._constants is not None and preloaded.can_fork(self.environment):
            return preloaded.start(
                self.arguments, self.environment, self._cwd, log.fileno(), log.fileno(), self._constants
            )
        assert not self._constants, "the constants of a worker that is started from nothing are those of the source"
        return subprocess.Popen(
            [*self.run_by, self.python, "-m", "job_fetcher", *self.arguments],
            env=self.environment,
            cwd=self._cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_for_log(self, text: str) -> None:
        """Wait until the worker has said something."""
        wait_until(lambda: text in self.log or not self.is_running, f"{text!r} in the worker's log")
        assert text in self.log, f"the worker ended without saying {text!r}:\n{self.log}"

    @property
    def peak_memory_mib(self) -> float:
        """The most resident memory that it has had so far (VmHWM, proc_pid_status(5))."""
        assert isinstance(self._process, subprocess.Popen), "what is forked shares memory"
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+) kB", status)
        assert found is not None, "the worker has ended"
        return int(found[1]) / 1024

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        """Its exit code, as soon as it has ended and the platform has done what it sent last."""
        code = self._process.wait(timeout_s)
        self._platform.settle()
        return code

    def wait_no_longer_than(self, seconds: float) -> int:
        """Its exit code. `AssertionError` if it is there after `seconds` in which this process had its turns."""
        wait_within(seconds, lambda: not self.is_running, "the worker's end")
        return self.wait()

    def stop(self) -> int:
        """Stop it as `docker stop` does; returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def folders(self) -> list[str]:
        """The folders below PATH_BASE: those of jobs, and whatever else was left there."""
        return sorted(path.name for path in self.base.iterdir() if path.is_dir())

    def containers(self) -> list[Container]:
        """Its jobs' containers, in whatever state."""
        found = self._client.containers.list(all=True, ignore_removed=True, filters={"label": LABEL_JOB})
        return [each for each in found if Path(each.labels.get(LABEL_FOLDER, "")).parent == self.base]

    def container(self) -> Container:
        """The container of the job in hand, as soon as it runs."""
        running = wait_until(
            lambda: [each for each in self.containers() if each.status == "running"], "the job's container to run"
        )
        return running[0]

    def assert_nothing_left(self) -> None:
        """Neither a job's container nor its folder is there any more."""
        assert [each.name for each in self.containers()] == []
        assert self.folders() == []

    def end(self) -> None:
        """Kill it, what its threads are doing goes to its log, and remove the containers that it has left."""
        killed.add(self.base)
        self.signal(signal.SIGABRT)
        self.wait()
        for each in self.containers():
            remove(each)


def run_job(platform: Platform, *cmd: str, **job: Any) -> str:
    """Submit a job (see `Platform.submit`), wait for its end and return its id. Its last status was sent once."""
    job_id = platform.submit(*cmd, **job)
    platform.wait_for_status(job_id)
    sent = [update.status for update in platform.job(job_id).history if update.account]
    assert [status for status in sent if status in ("finished", "error")] == [platform.job(job_id).status]
    assert sent[-1] == platform.job(job_id).status
    return job_id
