"""The cloud's side for a test: each handler of scripts/cloud called in a process of its own, and AWS Batch's part."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import lambda_runner
from tests.support.platform import TOKEN, Platform
from tests.support.worker import wait_until

ROOT = Path(__file__).parent.parent.parent
OFFER = {"memory": 16_000, "cpu_cores": 4}
OUTCOME = {"exit_code": 0, "reason": "The command ended with exit code 0.", "succeeded": True}

Event = dict[str, Any]


class Cloud:
    """The handlers of scripts/cloud, each call a process of its own, for jobs of `mock` in `base`."""

    def __init__(self, mock: Platform, base: Path, log: Path) -> None:
        self.mock, self.base, self.log = mock, base, log

    @contextmanager
    def running(self, handler: str, event: Event, **more: Any) -> Iterator["subprocess.Popen[str]"]:
        """A call that has begun: `remaining_ms` and `kill_at_each_step` as in tests/support/lambda_runner.py."""
        call = {"handler": handler, "event": event, "url": self.mock.url, "token": TOKEN, "base": str(self.base)}
        call |= {"remaining_ms": 900_000, "kill_at_each_step": None} | more
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        with (
            self.log.open("a") as log,
            subprocess.Popen(lambda_runner.COMMAND, env={}, cwd=ROOT, stderr=log, **pipes) as process,
        ):
            assert process.stdin is not None
            with process.stdin as stdin:
                json.dump(call, stdin)
            try:
                yield process
            except BaseException:
                process.kill()
                raise

    def call(self, handler: str, event: Event, **more: Any) -> Event:
        """What a handler answers: JSON, from JSON."""
        with self.running(handler, event, **more) as process:
            assert process.stdout is not None
            answers = [json.loads(line) for line in process.stdout]
        assert process.returncode == any("errorType" in each for each in answers), self.log.read_text()
        assert all(each == answers[0] for each in answers), "a call that is repeated gives the same answer"
        answer: Event = answers[0]
        return answer

    def out_of_time(self, handler: str, event: Event, when: Callable[[], bool]) -> Event:
        """What a handler answers whose time is up when something has come true."""
        with self.running(handler, event) as process:
            wait_until(when, f"{handler} to get there")
            process.send_signal(signal.SIGUSR1)
            assert process.stdout is not None
            answer: Event = json.loads(process.stdout.readline())
        return answer

    def killed(self, handler: str, event: Event, when: Callable[[], bool]) -> None:
        """A call that is killed when something has come true."""
        with self.running(handler, event) as process:
            wait_until(when, f"{handler} to get there")
            process.kill()

    def pulled(self, *cmd: str, **job: Any) -> tuple[str, Event]:
        """Submit a job (see `Platform.submit`) and pull it: its id, and what the next state is given."""
        job_id = self.mock.submit(*cmd, **job)
        event = self.call("pull", {"offer": OFFER})
        assert (event["job"]["id"], event["next"]) == (job_id, "fetch")
        return job_id, event

    def files(self, job_id: str) -> Path:
        return self.base / job_id / "files"

    def folders(self) -> list[str]:
        return [path.name for path in self.base.iterdir()]


def run_container(container: Event) -> Event:
    """What AWS Batch does, by what `fetch` has answered; returns the outcome."""
    environment = [word for name, value in container["environment"].items() for word in ("--env", f"{name}={value}")]
    command = ["docker", "run", "--rm", "--user", f"{os.getuid()}:{os.getgid()}", *environment]
    command += ["--volume", f"{container['files']}:/files", container["image"], *(container["command"] or [])]
    with Path(container["log"]).open("wb") as log:
        code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False).returncode
    return {"exit_code": code, "reason": f"The command ended with exit code {code}.", "succeeded": code == 0}
