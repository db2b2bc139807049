"""What a thousand workers send to the API: normally, in an outage of two minutes, and in the minute after it.

    python -m scripts.fleet                # 1,000 workers, half of them with a job: five minutes
    python -m scripts.fleet --busy 0       # all of them without one
    python -m scripts.fleet --speed 10     # in a tenth of the time: all intervals are shorter, all rates higher

The workers are the real loop, keep-alive and client, each with a folder of its own, as threads of a few processes; only
their engine is a stand-in, whose containers run on and do nothing. The API is the mock, in a process of its own: it
notes each request, answers 503 in the outage, and is so quick that what is seen is what the workers ask.
"""

import argparse
import logging
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePosixPath
from typing import Any, cast

from pydantic import SecretStr

from job_fetcher.config.settings import WorkerSettings
from job_fetcher.engine import client as engine
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.auth import FixedToken
from job_fetcher.worker.loop import Worker
from job_fetcher.workspace.workspace import Workspace
from scripts.benchmark.report import machine_alone
from scripts.benchmark.stage import TOKEN, Mock

PROCESSES = 4
INTERVAL_S = 30.0
"""Between two polls, and between two keep-alives: the worker's defaults."""
STEADY_S, OUTAGE_S, AFTER_S = 60.0, 120.0, 60.0
SLICES = 12
"""The parts of each minute: the peak is that of five seconds."""
ALLOWED = 2.0


class IdleEngine:
    """A stand-in for an engine's client, as far as the worker uses it. Its containers run on and do nothing."""

    root_dir = Path("/")
    known_programs: frozenset[object] = frozenset()

    def __init__(self) -> None:
        self._created = False

    def info(self) -> dict[str, Any]:
        return {"NCPU": 8, "MemTotal": 32 * 2**30, "DockerRootDir": "/"}

    def ping(self) -> bool:
        return True

    def images(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return []

    def pull(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        return iter(())

    def inspect_image(self, _image: str) -> dict[str, Any]:
        return {"Id": "image"}

    def containers(self, *_: Any, **__: Any) -> list[dict[str, Any]]:
        return [{"Id": "container"}] if self._created else []

    def create_host_config(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}

    def create_container(self, *_: Any, **__: Any) -> dict[str, Any]:
        self._created = True
        return {"Id": "container"}

    def start(self, *_: Any, **__: Any) -> None:
        pass

    def inspect_container(self, _container: str) -> dict[str, Any]:
        return {"State": {"Status": "running", "StartedAt": "2026-01-01T00:00:00Z"}}

    def wait(self, _container: str, timeout: float | None = None, **__: Any) -> dict[str, Any]:
        time.sleep(timeout or INTERVAL_S)
        return {"StatusCode": 0}


def run_workers(url: str, folder: Path, count: int, interval_s: float) -> None:
    """Run `count` workers until this process ends; they begin one after the other, within one interval."""
    logging.disable()
    for number in range(count):
        settings = WorkerSettings(timeout_job=interval_s, timeout_status=interval_s)
        workspace = Workspace(folder / str(number), owner="fleet")
        client = cast("engine.Client", IdleEngine())
        api = WorkerApi(url, FixedToken(SecretStr(TOKEN)))
        worker = Worker(api, client, workspace, PurePosixPath("/nowhere"), settings)
        threading.Timer(random.uniform(0, interval_s), worker.run_forever).start()  # noqa: S311


@dataclass(frozen=True)
class Phase:
    """A span of time and its requests by kind, in slices."""

    name: str
    slice_s: float
    slices: list[Counter[str]]

    @property
    def rates(self) -> list[float]:
        """Requests per second."""
        return [sum(counts.values()) / self.slice_s for counts in self.slices]


def watch(mock: Mock, name: str, duration_s: float, speed: float) -> Phase:
    """The requests to the API from now on."""
    began = time.time()
    mock.forget_requests()
    time.sleep(duration_s / speed)
    slice_s = 60 / SLICES / speed
    slices: list[Counter[str]] = [Counter() for _ in range(round(duration_s / 60 * SLICES))]
    for each in mock.ask("GET", "/_requests"):
        number = int((each["time"] - began) / slice_s)
        if 0 <= number < len(slices):
            slices[number]["polls" if each["path"] == "/jobs" else "keep-alives"] += 1
    return Phase(name, slice_s, slices)


def observe(mock: Mock, speed: float) -> list[Phase]:
    steady = watch(mock, "steady", STEADY_S, speed)
    mock.ask("POST", "/_faults", json={"path": "*", "status": 503})
    outage = watch(mock, "outage", OUTAGE_S, speed)
    mock.ask("DELETE", "/_faults")
    return [steady, outage, watch(mock, "after", AFTER_S, speed)]


def wait_for_polls(mock: Mock, workers: int, interval_s: float, processes: Sequence[BaseProcess]) -> None:
    """Wait until there were as many polls as workers, however long a busy machine takes to start them."""
    mock.forget_requests()
    while sum(each["path"] == "/jobs" for each in mock.ask("GET", "/_requests")) < workers:
        if not all(each.is_alive() for each in processes):
            sys.exit("A process of workers has ended.")
        time.sleep(interval_s)


def submit(mock: Mock, jobs: int, duration_s: float) -> None:
    """Submit that many jobs at even intervals, so that their keep-alives begin evenly, too."""
    began = time.monotonic()
    for number in range(jobs):
        time.sleep(max(0.0, began + number / jobs * duration_s - time.monotonic()))
        mock.submit("", "image")


def run_fleet(workers: int, busy: int, speed: float) -> list[Phase]:
    """The phases of a fleet of `workers`, of which `busy` have a job."""
    start = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="job-fetcher-fleet-") as name:
        folder, processes = Path(name), []
        mock = Mock(folder / "store")
        try:
            for number in range(min(PROCESSES, workers)):
                share = len(range(number, workers, PROCESSES))
                base = folder / f"workers-{number}"
                base.mkdir()
                processes.append(start.Process(target=run_workers, args=(mock.url, base, share, INTERVAL_S / speed)))
                processes[-1].start()
            wait_for_polls(mock, workers, INTERVAL_S / speed, processes)
            submit(mock, busy, INTERVAL_S / speed)
            time.sleep(2 * INTERVAL_S / speed)  # until all jobs are pulled
            return observe(mock, speed)
        finally:
            for process in processes:
                process.kill()
                process.join()
            mock.close()


def table(phases: list[Phase]) -> str:
    """The load over time, and the peaks against the mean while all was well."""
    mean = statistics.mean(phases[0].rates)
    lines = ["| s | | polls/s | keep-alives/s | requests/s | |", "|---|---|---|---|---|---|"]
    at = 0.0
    for phase in phases:
        for counts, rate in zip(phase.slices, phase.rates, strict=True):
            each = " | ".join(f"{counts[what] / phase.slice_s:.0f}" for what in ("polls", "keep-alives"))
            lines.append(f"| {at:g} | {phase.name} | {each} | {rate:.0f} | {'█' * round(rate / mean * 10)} |")
            at += 60 / SLICES
    for phase in phases:
        peak = max(phase.rates)
        lines.append(f"| | **{phase.name}** | | | mean {statistics.mean(phase.rates):.0f}, peak {peak:.0f} | "
                     f"{peak / mean:.2f} x the steady mean |")  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Show what a fleet of workers asks of the API.")
    parser.add_argument("--workers", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument(
        "--busy", type=float, default=0.5, help="share of workers that have a job (default: %(default)s)"
    )
    parser.add_argument("--speed", type=float, default=1, help="shorten time by this factor (default: %(default)s)")
    options = parser.parse_args()
    busy = round(options.workers * options.busy)
    phases = run_fleet(options.workers, busy, options.speed)
    ratio = max(phases[2].rates) / statistics.mean(phases[0].rates)
    print(
        f"{options.workers} workers, {busy} of them with a job, time shortened by {options.speed:g};", machine_alone()
    )
    print(f"\n{table(phases)}\n")
    print(f"Peak after the outage: {ratio:.2f} x the steady mean; allowed: {ALLOWED:g}.")


if __name__ == "__main__":
    main()
