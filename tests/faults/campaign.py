"""Many jobs with faults of their own, done by several workers at the same time: most of what they do is wait.

Every fault names the job that it is for, so that none disturbs another one.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from app.faults import ArmedFault
from app.jobs import Job
from tests.support.leaks import Evidence
from tests.support.platform import Platform, running_platform
from tests.support.worker import WorkerProcess

WORKERS = 8
SETTINGS = {"TIMEOUT_JOB": "2", "CACHE_GIB": "1"}
"""Each worker finishes one job behind the next, and all jobs have an input in common, which the cache keeps."""
PATIENCE_S = 240

STAGES: dict[str, tuple[str, str, str]] = {
    "first status": ("PUT", "/jobs/{job}/status", "status=preprocessing*"),
    "input URL": ("GET", "/files/s3://bucket/user/{job}/*/url", "*"),
    "download": ("GET", "/files/s3://bucket/user/{job}/*/download", "*"),
    "running": ("PUT", "/jobs/{job}/status", "status=running*"),
    "postprocessing": ("PUT", "/jobs/{job}/status", "status=postprocessing*"),
    "upload URL": ("POST", "/jobs/{job}/files/url", "*"),
    "upload": ("POST", "/store/jobs/{job}/*", "*"),
    "last status": ("PUT", "/jobs/{job}/status", "re:status=(finished|error).*"),
}
"""Method, path and query of the request that each stage makes. Polling comes before a job has an id."""

POLLING = "polling"


@dataclass(frozen=True)
class Case:
    """A job: what goes wrong in which of its stages (see `app.faults.Fault`), and the size of its input in bytes."""

    faults: Mapping[str, Mapping[str, Any]]
    size: int = 1000


@dataclass
class Ran:
    """A case that is over."""

    job: str
    content: bytes
    faults: dict[str, ArmedFault] = field(default_factory=dict)


class Campaign:
    """Cases by name, submitted to a platform of their own."""

    def __init__(self, platform: Platform, workers: list[WorkerProcess]) -> None:
        self.platform, self.workers = platform, workers
        self.ran: dict[str, Ran] = {}
        self.polls: dict[str, ArmedFault] = {}
        self.died: list[str] = []
        """The logs of workers that had ended by themselves when all was over."""

    def job(self, name: str) -> Job:
        return self.platform.job(self.ran[name].job)

    def sent(self, name: str) -> list[str]:
        """The statuses that arrived for a case, in order, keep-alives left out."""
        return self.platform.statuses(self.ran[name].job)

    def submit(self, name: str, case: Case, image: str) -> None:
        number = str(len(self.ran) + 1)  # the platform's next
        ran = Ran(number, os.urandom(case.size))
        for stage, fault in case.faults.items():
            method, path, query = STAGES[stage]
            armed = self.platform.fault(path.format(job=number), method, query=query, **fault)
            ran.faults[stage] = armed
        self.ran[name] = ran
        file_id = self.platform.put_file(f"s3://bucket/user/{number}/a b#1", ran.content)
        shared = self.platform.put_file("s3://bucket/shared", b"the same for all")
        line = "cp /files/data/a /files/output/a; echo done"
        job = self.platform.submit(
            line, image=image, files={"data/a": file_id, "data/shared": shared}, up={"output": "output"}
        )
        assert job == number

    def poll_through(self, faults: Mapping[str, Mapping[str, Any]]) -> dict[str, ArmedFault]:
        """Let one look for a job after the other go wrong, before there is a job."""
        query = "re:.*memory=[0-9].*"  # not that of the start, which asks whether this is the workers' API
        armed = {
            name: self.platform.fault("/jobs", "GET", query=query, **{**fault, "times": 1})
            for name, fault in faults.items()
        }
        self.platform.wait_until(lambda: all(each.matched for each in armed.values()), "looks for a job")
        return armed

    def wait(self) -> None:
        """Until all jobs are over, or never will be: each test looks at its own."""
        with suppress(AssertionError):
            self.platform.wait_until(lambda: all(self._is_over(ran.job) for ran in self.ran.values()), "", PATIENCE_S)
        self.died = [worker.log for worker in self.workers if not worker.is_running]
        for worker in self.workers:
            worker.stop()

    def _is_over(self, job: str) -> bool:
        """Whether a worker has had it, and has nothing of it any more."""
        updates = {update.status.value for update in self.platform.job(job).history}
        had = not updates <= {"queued", "pulled"}  # whose last status was refused is queued again some time
        return had and not any((worker.base / job).exists() for worker in self.workers)


@contextmanager
def running_campaign(client: docker.DockerClient, evidence: Evidence, folder: Path) -> Iterator[Campaign]:
    """A platform with workers, each with a folder of its own."""
    with running_platform() as platform:
        workers = [
            WorkerProcess(platform, client, folder / f"data-{number}", evidence.file("campaign"), SETTINGS)
            for number in range(WORKERS)
        ]
        try:
            yield Campaign(platform, workers)
        finally:
            for worker in workers:
                worker.end()
            evidence.keep_history(platform)
