"""What hostile tests share: a worker that goes through many jobs, a good one after each hostile one."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import docker
import pytest

from tests.support.images import JobImages
from tests.support.leaks import Evidence
from tests.support.platform import PASSWORD, Platform, running_platform
from tests.support.worker import WorkerProcess, wait_until

LAB_SECRET = "what only the worker may know"
LOG = "log/log/container.log"
LEFT_OUT = "log/log/left-out.txt"
PATIENCE_S = 180.0


@dataclass(frozen=True)
class Fate:
    """What became of a hostile job: its last status, what its user was told, what arrived."""

    status: str
    told: str
    outputs: dict[str, bytes]

    @property
    def log(self) -> str:
        return self.outputs.get(LOG, b"").decode(errors="replace")

    @property
    def left_out(self) -> str:
        return self.outputs.get(LEFT_OUT, b"").decode()


class Victim:
    """One worker and its platform. `attack` submits a hostile job, then a good one, and waits for both."""

    def __init__(self, platform: Platform, worker: WorkerProcess, images: JobImages) -> None:
        self.platform, self.worker, self.images = platform, worker, images

    def attack(self, *cmd: str, **job: Any) -> Fate:
        bad = self.platform.submit(*cmd, **({"image": self.images.job} | job))
        self.survive()
        return self.fate(bad)

    def attack_all(self, jobs: Mapping[str, Mapping[str, Any]], *cmd: str, **common: Any) -> dict[str, Fate]:
        """The same for many at once, by any name: all of them hostile, then the good one."""
        usual = {"image": self.images.job} | common
        submitted = {name: self.platform.submit(*cmd, **(usual | dict(job))) for name, job in jobs.items()}
        self.survive()
        return {name: self.fate(job_id) for name, job_id in submitted.items()}

    def fate(self, job_id: str) -> Fate:
        """What became of the job; its end was told once, and it got none of the worker's secrets.

        It may end after the good job: it finishes behind that one.
        """
        self.platform.wait_for_status(job_id)
        job = self.platform.job(job_id)
        ends = [each.status.value for each in job.history if each.status in ("finished", "error")]
        assert ends == [job.status], f"told {ends} about job {job_id}"
        fate = Fate(job.status.value, self.platform.details(job_id), self.platform.outputs(job_id))
        for content in (fate.told.encode(), *fate.outputs.values()):
            assert LAB_SECRET.encode() not in content
            assert PASSWORD.encode() not in content
        return fate

    def survive(self) -> None:
        """A good job runs as if nothing had happened, after all that were submitted before it."""
        line = "echo good > /files/output/x"
        good = self.platform.submit(line, image=self.images.job, up={"output": "output"})
        over = ("finished", "error")
        wait_until(
            lambda: self.platform.job(good).status in over or not self.worker.is_running, "a good job", PATIENCE_S
        )
        assert self.worker.is_running, f"the worker has ended:\n{self.worker.log[-5000:]}"
        assert self.platform.statuses(good) == ["preprocessing", "running", "postprocessing", "finished"]
        assert self.platform.outputs(good) == {"output/output/x": b"good\n"}
        assert "Traceback" not in self.worker.log


StartVictim = Callable[..., Victim]


@pytest.fixture(scope="module")
def start_victim(
    docker_client: docker.DockerClient,
    job_images: JobImages,
    evidence: Evidence,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[StartVictim]:
    """Starts victims with settings of their own; at the end of the module each is well, and nothing is left of jobs."""
    numbers = count(1)
    victims: list[Victim] = []
    with ExitStack() as stack:

        def start(**settings: str | None) -> Victim:
            platform = stack.enter_context(running_platform())
            base = tmp_path_factory.mktemp("x" * 100) / f"data-{next(numbers)}"
            mine = {"LAB_SECRET": LAB_SECRET, "TIMEOUT_JOB": "0.05"} | settings
            worker = WorkerProcess(platform, docker_client, base, evidence.file("hostile"), mine)
            victims.append(Victim(platform, worker, job_images))
            return victims[-1]

        yield start
        try:
            for victim in victims:
                assert victim.worker.stop() == 0
                victim.worker.assert_nothing_left()
        finally:
            for victim in victims:
                victim.worker.end()
                evidence.keep_history(victim.platform)


@pytest.fixture(scope="module")
def victim(start_victim: StartVictim) -> Victim:
    """A worker with the usual settings, for all tests of the module."""
    return start_victim()
