"""How to get the figures. Each scenario runs several times, and returns (value, floor) by row."""

import statistics
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from tests.support.ports import free_port

from scripts.benchmark import floors
from scripts.benchmark.cached import CachedInput
from scripts.benchmark.gap import Gap, GpuShare
from scripts.benchmark.large import LargeFiles
from scripts.benchmark.stage import GO_ON, MIB, Stage, Values, let_go, wait_for
from scripts.docker import build_image

OBEYS = "trap 'exit 0' TERM; echo begun; sleep 1000 & wait"
"""A command that runs for long, and ends at once on SIGTERM."""


@dataclass(frozen=True)
class Scale:
    """How much one run does. `latency_s` is that of "far away".

    `bandwidth`: of one slow connection, and of the line that all connections share where the GPU waits for it.
    """

    jobs: int = 12
    large_files: int = 4
    large_bytes: int = 512 * MIB
    wire_bytes: int = 128 * MIB
    small_files: int = 1000
    small_bytes: int = 1024
    latency_s: float = 0.05
    bandwidth: float = 30 * MIB
    one_bytes: int = 1024 * MIB
    gaps_mib: tuple[int, int] = (1, 1024)
    share_jobs: int = 10
    share_s: float = 60
    cached_bytes: int = 2048 * MIB
    idle_s: float = 60.0
    settle_s: float = 0.5


QUICK = Scale(
    jobs=3, large_bytes=8 * MIB, wire_bytes=2 * MIB, small_files=24, idle_s=2.0, settle_s=0.2,
    one_bytes=8 * MIB, gaps_mib=(1, 8), share_jobs=2, share_s=0.5, cached_bytes=8 * MIB,
)  # fmt: skip


class Scenarios:
    """All of them, on one stage and one scale. `before`: the folder `src` of an earlier revision."""

    def __init__(self, stage: Stage, scale: Scale, before: Path | None = None) -> None:
        self._stage, self._scale, self._before = stage, scale, before
        large = LargeFiles(stage, "large", scale.large_files, scale.large_bytes)
        slow = LargeFiles(stage, "wire", scale.large_files, scale.wire_bytes, scale.bandwidth)
        one = LargeFiles(stage, "one", 1, scale.one_bytes)
        self._small = {f"data/{n}": f"s3://bucket/small/{n}" for n in range(scale.small_files)}
        self._all: dict[str, Callable[[], Values]] = {
            "empty": self.empty,
            "large": large.run,
            "wire": lambda: _only(slow.run(), "wire-in", "wire-out"),
            "one": lambda: _only(one.run(), "one-out", "one-out-hashed"),
            "small": lambda: self.small("small", 0),
            "far": lambda: self.small("far", self._scale.latency_s),
            "gap": self.gap,
            "share": GpuShare(stage, scale.share_jobs, scale.share_s, scale.gaps_mib[1], scale.bandwidth).run,
            "cached": CachedInput(stage, "cached", scale.cached_bytes).run,
            "reflink": self.reflink,
            "exit": self.exit,
            "start": self.start,
            "idle": self.idle,
            "image": self.image,
        }

    def run(self, name: str, run: int) -> Values:
        """One run of a scenario, the `run`th."""
        self._stage.run = run
        return self._all[name]()

    # Empty jobs.

    def empty(self) -> Values:
        """Several jobs wait in the queue: the time from one pull to the next."""
        (ours_ms, peak), (floor_ms, limited_ms) = self._stage.both(self._empty_jobs, self._empty_cycles)
        return {"empty": (ours_ms, floor_ms), "empty-isolated": (ours_ms, limited_ms), "empty-peak": (peak, None)}

    def _empty_jobs(self) -> tuple[float, float]:
        mock, jobs = self._stage.mock, []
        with self._stage.worker(TIMEOUT_JOB="1") as worker:
            jobs = [mock.submit("true", self._stage.image) for _ in range(self._scale.jobs)]
            mock.ended(jobs[-1])
            pulled = [mock.times(job)["pulled"] for job in jobs]
            return (pulled[-1] - pulled[0]) / (len(jobs) - 1) * 1000, worker.memory_mib("VmHWM")

    def _empty_cycles(self) -> tuple[float, float]:
        """Milliseconds of a bare container's cycle, and of one with a job's limits."""
        limits = floors.job_limits(self._stage)
        cycles = [
            (floors.engine_cycle(self._stage, "true"), floors.engine_cycle(self._stage, "true", limits))
            for _ in range(self._scale.jobs - 1)
        ]
        bare, limited = (statistics.mean(each) * 1000 for each in zip(*cycles, strict=True))
        return bare, limited

    # Small files.

    def small(self, name: str, latency_s: float) -> Values:
        """As many as `TRANSFERS` at a time, against one after the other."""
        mock = self._stage.mock
        if self._stage.run == 0:
            content = "x" * self._scale.small_bytes
            files = dict.fromkeys(self._small.values(), content)
            mock.ask("POST", "/_jobs", json={"environment": "cloud", "files": files})  # a job for nobody here
        mock.configure(latency_s=latency_s)
        try:
            (ours_in, ours_out, peak), (floor_in, floor_out, _) = self._stage.both(
                self._small_job, lambda: self._small_job(TRANSFERS="1")
            )
        finally:
            mock.configure(latency_s=0)
        count = self._scale.small_files
        return {
            f"{name}-in": (count / ours_in, count / floor_in),
            f"{name}-out": (count / ours_out, count / floor_out),
            f"{name}-peak": (peak, None),
        }

    def _small_job(self, **settings: str) -> tuple[float, float, float]:
        """Seconds of both ways, and the peak memory."""
        with self._stage.mock.forgetting_uploads(), self._stage.worker(**settings) as worker:
            line = "mv /files/data/* /files/output/"
            job = self._stage.mock.submit(line, self._stage.image, self._small, "output")
            times = self._stage.mock.ended(job)
            arrived, _ = self._stage.event(job, "create")
            seconds_out = times["finished"] - times["postprocessing"]
            return arrived - times["pulled"], seconds_out, worker.memory_mib("VmHWM")

    # Between two jobs.

    def gap(self) -> Values:
        """Few and many outputs, at loopback and over a line."""
        stage, scale = self._stage, self._scale
        few, many = scale.gaps_mib
        gaps = [
            Gap(stage, "gap-few", few, None, scale.settle_s),
            Gap(stage, "gap-many", many, None, scale.settle_s),
            Gap(stage, "gap-few-line", few, scale.bandwidth, scale.settle_s),
            Gap(stage, "gap-many-line", many, scale.bandwidth, scale.settle_s),
        ]
        with stage.worker(TIMEOUT_JOB="1", TIMEOUT_STATUS="2") as worker:
            return {name: value for gap in gaps for name, value in gap.run(worker).items()}

    def reflink(self) -> Values:
        """The second job on the same input where the file system can share blocks."""
        systems = [CachedInput(self._stage, mkfs, self._scale.cached_bytes, mkfs) for mkfs in ("xfs", "btrfs")]
        return {name: value for system in systems for name, value in system.run().items()}

    # Moments.

    def exit(self) -> Values:
        """A command that ends, then one that is stopped."""
        reported_ms, reported_floor = self._stage.both(
            self._exit_is_reported, lambda: floors.engine_tells_exit(self._stage, GO_ON, self._let_go) * 1000
        )
        stopped, stopped_floor = self._stage.both(
            self._job_is_stopped, lambda: floors.engine_stops(self._stage, OBEYS, timeout_s=3) * 1000
        )
        return {"exit": (reported_ms, reported_floor), "stop": (stopped, stopped_floor)}

    def _exit_is_reported(self) -> float:
        with self._stage.worker() as worker:
            job = self._stage.mock.submit(GO_ON, self._stage.image)
            wait_for(lambda: self._stage.mock.times(job).get("running"), "the job to run")
            ended = self._let_go(worker.base / job / "files")
            return (self._stage.mock.ended(job)["postprocessing"] - ended) * 1000

    def _let_go(self, files: Path) -> float:
        return let_go(files, self._scale.settle_s)

    def _job_is_stopped(self) -> float:
        with self._stage.worker() as worker:
            job = self._stage.mock.submit(OBEYS, self._stage.image)
            wait_for(lambda: self._stage.mock.times(job).get("running"), "the job to run")
            time.sleep(self._scale.settle_s)
            took_s = worker.stop()
        for note in worker.base.glob(".requeued-*.json"):  # else the next worker takes the job back
            note.unlink()
        return took_s * 1000

    def start(self) -> Values:
        """A worker that finds nothing to do; one with a page; and one of an earlier revision, if there is one."""
        (polled, stopped), (floor, _) = self._stage.both(self._start, lambda: (floors.bare_python() * 1000, 0.0))
        (with_page, _), (without, _) = self._stage.both(lambda: self._start(STATUS_PORT=str(free_port())), self._start)
        found: Values = {
            "start": (polled, floor), "start-page": (with_page, without), "stop-idle": (stopped, None),
        }  # fmt: skip
        if self._before is not None:
            source = str(self._before)
            (now, _), (before, _) = self._stage.both(self._start, lambda: self._start(PYTHONPATH=source))
            found["start-before"] = (now, before)
        return found

    def _start(self, **settings: str) -> tuple[float, float]:
        with self._stage.worker(TIMEOUT_JOB="30", **settings) as worker:
            first = self._stage.mock.first_request("/jobs") or 0.0
            time.sleep(self._scale.settle_s)
            return (first - worker.started_at) * 1000, worker.stop() * 1000

    # At rest.

    def idle(self) -> Values:
        """A worker with the default intervals."""
        with self._stage.worker(TIMEOUT_JOB="30") as worker:
            time.sleep(self._scale.settle_s)
            self._stage.mock.forget_requests()
            cpu, began = worker.cpu_s(), time.monotonic()
            time.sleep(self._scale.idle_s)
            took_s = time.monotonic() - began
            requests = len(self._stage.mock.ask("GET", "/_requests"))
            return {
                "idle-memory": (worker.memory_mib("VmRSS"), None),
                "idle-cpu": ((worker.cpu_s() - cpu) / took_s * 100, None),
                "idle-requests": (requests * 3600 / took_s, None),
            }

    def image(self) -> Values:
        """The worker's image and its base, as the engine counts them."""
        client, name = self._stage.client, "job-fetcher:bench"
        with redirect_stdout(StringIO()):
            build_image(client, name)
        try:
            sizes = [client.images.get(each).attrs["Size"] / MIB for each in (name, "python:3.11-slim")]
        finally:
            client.images.remove(name, force=True)
        return {"image": (sizes[0] - sizes[1], None)}


def _only(values: Values, *names: str) -> Values:
    return {name: values[name] for name in names}
