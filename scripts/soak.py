"""Jobs without end for real workers and the platform's mock, with every kind of trouble at random.

Three workers share one engine. `steady` and `shaken` have the same account and the same PATH_BASE; `shaken` is killed
(SIGKILL) or updated (SIGUSR1) every few seconds and started again, the other two live through it all: theirs are the
figures of memory, open files and threads. `other` has an account and a folder of its own: it gets the jobs that the API
has handed out to a worker which was killed before it could write that down. Requests of all of them go wrong in every
way that the mock knows, and users cancel jobs. Every worker has up to two jobs in hand: the storage is so slow that one
finishes behind the next. Half of the jobs share their inputs, which the cache keeps, and overwrite them.

At the end every job must have ended as it should, reported once, with its outputs equal byte by byte and its command
run once; no container and no folder may be left. `scripts/soak.sh` prepares the machine and runs this; it prints a
table, and ends with 1 and the reasons if something is wrong.
"""

# ruff: noqa: S311 - chance is to be repeatable here, and no secret
import os
import platform as machine
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL, SIGUSR1
from typing import Any

import docker
from tests.support.engine import connect, running_registry
from tests.support.images import JobImages, make_job_images, remove_images
from tests.support.platform import Platform, running_platform
from tests.support.worker import WorkerProcess

from app.config import DEFAULT_ACCOUNTS
from job_fetcher.engine.container import LABEL_JOB
from job_fetcher.engine.isolation import LABEL_FOLDER

QUEUED = 6
"""How many jobs wait at any time."""
BANDWIDTH = 4e6
"""Bytes per second of each connection."""
SIZES = [0, 100, 50_000, 2_000_000]
"""Of inputs, in bytes."""
GIVEN_UP_S = 60.0
"""Silence after which the mock requeues a job: 300 s on the platform."""
LAST_JOBS_S = 240.0

API = ["/jobs/*/status", "/jobs/*/files/url", "/files/*/url"]
STORE = ["/files/*/download", "/store/jobs/*"]
Fault = dict[str, Any]


def random_fault(draw: random.Random) -> Fault:
    """One kind of trouble for a few requests, or for some seconds.

    The answer to `GET /jobs` is never lost on the way: the API would have given a job to nobody.
    """
    path = draw.choice([*API, *STORE])
    kinds: list[Callable[[], Fault]] = [
        lambda: {"path": draw.choice([path, "*"]), "status": draw.choice([500, 502, 503]), "times": draw.randint(1, 4)},
        lambda: {"path": path, "status": 429, "headers": {"Retry-After": "1"}, "times": draw.randint(1, 2)},
        lambda: {"path": draw.choice([path, "*"]), "cut": "before", "times": draw.randint(1, 3)},
        lambda: {"path": path, "cut": "after", "times": draw.randint(1, 2)},
        lambda: {"path": draw.choice([path, "*"]), "delay_s": draw.uniform(0.1, 3), "times": draw.randint(1, 4)},
        lambda: {"path": path, "hang": True, "seconds": draw.uniform(1, 6)},
        lambda: {"path": "*", "status": 503, "seconds": draw.uniform(1, 4)},
        lambda: {"path": "/files/*/download", "cut_body_after": draw.randrange(200_000), "times": draw.randint(1, 3)},
    ]
    return draw.choice(kinds)()


@dataclass
class Expected:
    """How a job must end: `status` is `None` if its user has cancelled it; `starts` of its container."""

    status: str | None
    starts: int = 1
    outputs: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Samples:
    """What a process needed, once a second."""

    rss_mib: list[float] = field(default_factory=list)
    open_files: list[float] = field(default_factory=list)
    threads: list[float] = field(default_factory=list)

    def take(self, pid: int) -> None:
        process = Path(f"/proc/{pid}")
        pages = int((process / "statm").read_text().split()[1])
        self.rss_mib.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)
        self.open_files.append(len(list((process / "fd").iterdir())))
        self.threads.append(len(list((process / "task").iterdir())))


def is_of_a_job(folder: str) -> bool:
    """Not the cache, nor a trial of a worker that was killed in it: a start removes that after ten minutes."""
    return not folder.startswith((".cache", ".trial-", ".probe-"))


def span(values: list[float]) -> tuple[float, float, float]:
    """Medians of the third and of the last tenth, and the maximum: the first two are for warming up."""
    tenth = max(1, len(values) // 10)
    return statistics.median(values[2 * tenth : 3 * tenth] or values), statistics.median(values[-tenth:]), max(values)


class Soak:
    """One soak of `duration_s`; `seed` decides what happens."""

    def __init__(self, platform: Platform, client: docker.DockerClient, images: JobImages, folder: Path, seed: int):
        self.platform, self.images, self.draw = platform, images, random.Random(seed)
        self.expected: dict[str, Expected] = {}
        self.counts: Counter[str] = Counter()
        self.faults = [platform.fault("nothing")]
        other = next(account for account in DEFAULT_ACCOUNTS if account.username == "worker2")
        cache = {"CACHE_GIB": "1"}
        own = cache | {"USERNAME": other.username, "PASSWORD": other.password}
        log = folder / "workers.log"
        shared = {f"s3://bucket/shared/{size}": self.draw.randbytes(size) for size in SIZES}
        self.shared = [(platform.put_file(file_id, data), data) for file_id, data in shared.items()]
        self.steady = WorkerProcess(platform, client, folder / "data", log, cache, constants=None)
        self.shaken = WorkerProcess(platform, client, folder / "data", log, cache, constants=None)
        self.other = WorkerProcess(platform, client, folder / "other", log, own, constants=None)
        self.samples = {self.steady: Samples(), self.other: Samples()}

    def run(self, duration_s: float) -> None:
        """Keep the queue filled and make trouble for `duration_s`, then let the remaining jobs end."""
        due = {self.make_trouble: 4.0, self.shake: 7.0, self.cancel: 15.0, self.sample: 1.0}
        next_at = dict.fromkeys(due, time.monotonic())
        end = time.monotonic() + duration_s
        while time.monotonic() < end:
            for action, every_s in due.items():
                if next_at[action] <= time.monotonic():
                    action()
                    next_at[action] += every_s if action == self.sample else self.draw.uniform(0.2, 1.8) * every_s
            while sum(job.status == "queued" and not job.deleted for job in self.platform.state.jobs.all()) < QUEUED:
                self.submit()
            time.sleep(0.05)
        self.platform.heal()
        self.platform.wait_until(lambda: not self.unfinished(), "the last jobs", LAST_JOBS_S)

    def unfinished(self) -> list[str]:
        jobs = (self.platform.job(job) for job in self.expected)
        return [job.id for job in jobs if not job.deleted and job.status not in ("finished", "error")]

    def submit(self) -> None:
        """A job of a random kind, which says how it will end."""
        file_id, data = self.draw.choice(self.shared)
        if self.draw.random() < 0.5:
            data = self.draw.randbytes(len(data))
            file_id = self.platform.put_file(f"s3://bucket/user/{len(self.expected)}", data)
        sleep = f"sleep {self.draw.choice([0, 0, 0.2, 1, 3])}"
        copy = f"cp -r /files/in /files/output/; echo mine > /files/in/x; {sleep}"
        copied, log = {"output/output/in/x": data}, "log/log/container.log"
        kinds: list[tuple[Expected, list[str], dict[str, Any]]] = [
            (Expected("finished", outputs=copied | {log: b"x\n"}), [copy, "; echo x"], {}),
            (Expected("error", outputs=copied), [copy, "; exit 3"], {}),
            (Expected("finished", outputs={log: b"own command\n"}), [], {}),
            (Expected("error", starts=0), ["true"], {"files": {"in/x": "s3://bucket/nothing"}}),
            (Expected("error", starts=0), ["true"], {"image": self.images.missing}),
        ]
        expected, words, more = self.draw.choices(kinds, weights=[6, 2, 1, 1, 1])[0]
        specs: dict[str, Any] = {"image": self.images.job, "files": {"in/x": file_id}, "up": {"output": "output"}}
        self.expected[self.platform.submit(*words, **specs | more)] = expected

    def make_trouble(self) -> None:
        self.faults.append(self.platform.fault(**random_fault(self.draw)))

    def shake(self) -> None:
        """Kill or update the worker, whatever it does, and start it again."""
        number = self.draw.choice([SIGKILL, SIGUSR1])
        self.counts[number.name] += 1
        self.shaken.signal(number)
        self.shaken.wait()
        self.shaken.start()

    def cancel(self) -> None:
        if jobs := self.unfinished():
            job = self.draw.choice(jobs)
            with suppress(KeyError):
                self.platform.cancel(job)
                self.expected[job] = Expected(None)

    def sample(self) -> None:
        for worker, samples in self.samples.items():
            samples.take(worker.pid)
        if (seconds := len(samples.rss_mib)) % 60 == 0:
            memory = " and ".join(f"{each.rss_mib[-1]:.0f} MiB" for each in self.samples.values())
            print(
                f"{seconds // 60} min: {len(self.expected)} jobs so far, the steady workers need {memory}", flush=True
            )

    def problems(self, starts: Counter[str]) -> Iterator[str]:
        """What is wrong with the jobs, and what they left behind. Ends the workers."""
        for job_id, expected in self.expected.items():
            job = self.platform.job(job_id)
            statuses = [update.status.value for update in job.history if update.account]
            runs, ends = starts[job_id], [status for status in statuses if status in ("finished", "error")]
            if expected.status is None:
                if runs > 1:
                    yield f"RUN TWICE: job {job_id}, cancelled, was started {runs} times"
                continue
            if job.status != expected.status or ends != [expected.status]:
                details = self.platform.details(job_id)
                yield f"LOST: job {job_id} was to end as {expected.status}: {statuses}, {details!r}"
            elif expected.outputs and self.platform.outputs(job_id) != expected.outputs:
                yield f"LOST: job {job_id} has other outputs: {sorted(self.platform.outputs(job_id))}"
            if runs != expected.starts:
                yield f"RUN TWICE: job {job_id} was started {runs} times instead of {expected.starts}"
        for worker in (self.steady, self.shaken, self.other):
            if (code := worker.stop()) != 0:
                yield f"A worker ended with exit code {code}"
            for name in (*filter(is_of_a_job, worker.folders()), *(str(each.name) for each in worker.containers())):
                yield f"LEFT BEHIND: {name}"
        for samples in self.samples.values():
            for what, (start, end, _) in {name: span(values) for name, values in vars(samples).items()}.items():
                if end > start * 1.15 + 3:
                    yield f"GROWN: {what}, from {start:.0f} to {end:.0f}"

    def table(self, duration_s: float, seed: int, problems: list[str]) -> str:
        jobs = [self.platform.job(job) for job in self.expected]
        ends = Counter("cancelled" if job.deleted else job.status.value for job in jobs)
        again = sum(job.retries for job in jobs)
        hit = sum(min(each.matched, each.fault.times or each.matched) for each in self.faults)
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        system = f"{os.cpu_count()} CPUs, {memory:.0f} GiB of memory, {machine.system()} {machine.release()}"
        kinds = {kind: sum(each.startswith(kind) for each in problems) for kind in ("LOST", "RUN TWICE", "LEFT BEHIND")}
        rows = [
            ("machine", f"{system}, Python {machine.python_version()}"),
            ("duration, seed", f"{duration_s / 60:g} min, {seed}"),
            ("jobs", f"{len(jobs)}: {ends['finished']} finished, {ends['error']} failed as they were to, "
             f"{ends['cancelled']} cancelled"),
            ("trouble", f"{hit} requests went wrong, {self.counts['SIGKILL']} kills, {self.counts['SIGUSR1']} updates"),
            ("handed out again by the API", f"{again}, after a kill before the job was written down"),
            *((f"jobs {kind.lower()}", str(count)) for kind, count in list(kinds.items())[:2]),
            ("containers and folders left behind", str(kinds["LEFT BEHIND"])),
        ]  # fmt: skip
        for what, name in (("memory, MiB", "rss_mib"), ("open files", "open_files"), ("threads", "threads")):
            spans = (span(getattr(samples, name)) for samples in self.samples.values())
            values = "; ".join(f"{start:.0f} → {end:.0f} (at most {most:.0f})" for start, end, most in spans)
            rows.append((f"{what}, of each steady worker", values))
        return "\n".join(["| soak | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def count_starts(client: docker.DockerClient, folder: Path) -> Counter[str]:
    """How often the engine starts a container from now on, by job: no worker knows that better."""
    starts: Counter[str] = Counter()
    events = client.api.events(decode=True, filters={"type": "container", "event": "start", "label": LABEL_JOB})

    def count() -> None:
        for event in events:
            if folder in Path(event["Actor"]["Attributes"].get(LABEL_FOLDER, "")).parents:
                starts[event["Actor"]["Attributes"][LABEL_JOB]] += 1

    threading.Thread(target=count, daemon=True).start()
    return starts


def main() -> None:
    duration_s = float(sys.argv[1] if len(sys.argv) > 1 else 15) * 60
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10_000)
    print(f"Soaking for {duration_s / 60:g} minutes, seed {seed}", flush=True)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="job-fetcher-soak-"))
        (folder / "registry").mkdir()
        client = stack.enter_context(closing(connect()))
        registry = stack.enter_context(running_registry(folder / "registry"))
        images = make_job_images(client, registry)
        stack.callback(remove_images, client, registry)
        platform = stack.enter_context(running_platform(timeout_failure_s=GIVEN_UP_S, bandwidth=BANDWIDTH))
        starts = count_starts(client, folder)
        soak = Soak(platform, client, images, folder, seed)
        for worker in (soak.steady, soak.shaken, soak.other):
            stack.callback(worker.end)
        soak.run(duration_s)
        problems = list(soak.problems(starts))
        print(soak.table(duration_s, seed, problems))
    if problems:
        sys.exit("\n".join([*problems, f"The workers' log: {folder / 'workers.log'}"]))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
