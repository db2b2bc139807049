"""The live log of a job that prints 1 MiB/s: `scripts/live_log.sh [MINUTES]`, ten by default.

A real worker with the default settings runs a real container. Its command prints a mebibyte a second, and writes the
same to `/files/log/log.log`, as the platform's Comet does. Somebody looks at the page meanwhile, as a browser does. At
the end the worker must have needed at most 120 MiB, every keep-alive must have come in time, and the log file must be
complete. Of what a container prints, the engine keeps the last 60 MB. A thousand scrapes of its metrics follow.
"""

import os
import platform as machine
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.support.engine import connect, running_registry
from tests.support.images import add_image, push, remove_images, shell_files
from tests.support.page import ask
from tests.support.platform import Platform, running_platform
from tests.support.ports import free_port
from tests.support.worker import WorkerProcess

from job_fetcher.core.job_report import JobReport
from job_fetcher.transfer.excerpt import MAX_EXCERPT

MIB = 1 << 20
MAX_MEMORY_MIB = 120
SILENCE_S = 300.0
"""After so long without a status the API gives the job to another worker (`TIMEOUT_FAILURE`)."""
SCRAPES = 1_000
MAX_SCRAPE_MS = 20
MAX_GROWTH_MIB = 2.0
LOGS = ("log/log/container.log", "log/log/log.log")
LINE = "\x1b[32mepoch {:7d}\x1b[0m  loss 0.0421  jaccard 0.912  <b>lateral</b> 11.3 nm  axial 24.8 nm\n"
COMMAND = "for n in $(seq {}); do cat /files/chunk; cat /files/chunk >> /files/log/log.log; sleep 1; done"


@dataclass(frozen=True)
class Measured:
    """What was seen of one job."""

    seconds: float
    memory_mib: float
    longest_silence_s: float
    live_uploads: int
    live_bytes: int
    log_bytes: tuple[int, ...]
    asked: int
    status: str

    def problems(self, printed: int) -> Iterator[str]:
        """What is not as it should be, where the job has printed so many bytes."""
        if self.status != "finished":
            yield f"the job ended as {self.status}"
        if self.memory_mib > MAX_MEMORY_MIB:
            yield f"the worker needed {self.memory_mib:.0f} MiB"
        if self.longest_silence_s > SILENCE_S / 2:
            yield f"the platform heard nothing for {self.longest_silence_s:.0f} s"
        if self.live_bytes > self.live_uploads * MAX_EXCERPT:
            yield f"{self.live_uploads} live uploads had {self.live_bytes} bytes"
        if self.log_bytes[1] != printed:
            yield f"the complete log file has {self.log_bytes[1]} bytes of {printed}"

    def table(self) -> str:
        rows = [
            ("machine", f"{machine.system()} {machine.release()}, Python {machine.python_version()}"),
            ("the command ran for", f"{self.seconds:.0f} s"),
            ("complete logs", " and ".join(f"{each / MIB:.0f} MiB" for each in self.log_bytes)),
            ("live uploads", f"{self.live_uploads}, {self.live_bytes / MIB:.1f} MiB in all"),
            ("peak memory of the worker", f"{self.memory_mib:.1f} MiB"),
            ("longest time between two statuses", f"{self.longest_silence_s:.0f} s"),
            ("the page was asked", f"{self.asked} times"),
        ]
        return "\n".join(["| live log | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


class Browser:
    """Asks a page for what a browser asks it, every two seconds, until its block ends."""

    def __init__(self, port: int) -> None:
        self._port, self._ended, self.asked = port, threading.Event(), 0

    def __enter__(self) -> "Browser":
        threading.Thread(target=self._look, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def _look(self) -> None:
        while not self._ended.wait(2):
            with suppress(OSError):
                for path in ("/status.json", "/jobs.json", "/log.txt"):
                    self.asked += ask(self._port, path).status == 200


@dataclass(frozen=True)
class Scraped:
    """What a thousand scrapes cost the worker: its processor time for each, and its memory before and afterwards."""

    cpu_ms: float
    before_mib: float
    after_mib: float

    def problems(self) -> Iterator[str]:
        if self.cpu_ms > MAX_SCRAPE_MS:
            yield f"a scrape takes {self.cpu_ms:.1f} ms of processor time"
        if self.after_mib > self.before_mib + MAX_GROWTH_MIB:
            yield f"{SCRAPES} scrapes let the memory grow from {self.before_mib:.1f} to {self.after_mib:.1f} MiB"

    def row(self) -> str:
        memory = f"{self.before_mib:.1f} → {self.after_mib:.1f} MiB"
        return f"| {SCRAPES} scrapes | {self.cpu_ms:.1f} ms of processor time each, memory {memory} |"


def scrape(port: int, pid: int) -> Scraped:
    """Ask for the metrics again and again, the first time before anything is measured."""
    process = Path(f"/proc/{pid}")

    def cpu_s() -> float:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mib() -> float:
        return int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

    for _ in range(10):
        ask(port, "/metrics")
    cpu, before = cpu_s(), memory_mib()
    for _ in range(SCRAPES):
        assert ask(port, "/metrics").status == 200
    return Scraped((cpu_s() - cpu) / SCRAPES * 1000, before, memory_mib())


def measure(platform: Platform, worker: WorkerProcess, browser: Browser, image: str, seconds: int) -> Measured:
    """Run the job, and look at what it took."""
    lines = "".join(LINE.format(n) for n in range(MIB // len(LINE)))
    chunk = lines.encode()[: MIB - 1] + b"\n"
    job = platform.submit(COMMAND.format(seconds), image=image, files={"chunk": chunk}, up={"log": "log"})
    platform.wait_for_status(job, "running")
    began = time.monotonic()
    platform.wait_for_status(job, "postprocessing", timeout_s=3 * seconds + 120)
    took_s = time.monotonic() - began
    live = len([each for each in platform.requests("POST", "/store") if each.status == 201])
    platform.wait_for_status(job, timeout_s=600)
    outputs = platform.outputs(job, report=True)
    report = JobReport.model_validate_json(outputs["log/log/job-report.json"])
    times = [each.time for each in platform.requests("PUT", f"/jobs/{job}/status") if each.status == 204]
    return Measured(
        seconds=took_s,
        memory_mib=worker.peak_memory_mib,
        longest_silence_s=max(later - earlier for earlier, later in pairwise(times)),
        live_uploads=live,
        live_bytes=report.live_log_bytes or 0,
        log_bytes=tuple(len(outputs[each]) for each in LOGS),
        asked=browser.asked,
        status=platform.job(job).status.value,
    )


def main() -> None:
    seconds = int(float(sys.argv[1] if len(sys.argv) > 1 else 10) * 60)
    print(f"A job prints 1 MiB/s for {seconds} s", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="job-fetcher-live-log-"))
    (folder / "registry").mkdir()
    with ExitStack() as stack:
        client = stack.enter_context(closing(connect()))
        registry = stack.enter_context(running_registry(folder / "registry"))
        image = add_image(client, f"{registry}/job:latest", shell_files(), 'CMD ["/bin/true"]')
        stack.callback(remove_images, client, registry)
        push(client, image)
        platform = stack.enter_context(running_platform())
        port = free_port()
        settings = {"TIMEOUT_STATUS": None, "TIMEOUT_JOB": None, "STATUS_PORT": str(port)}
        worker = WorkerProcess(platform, client, folder / "data", folder / "worker.log", settings, constants=None)
        stack.callback(worker.end)
        browser = stack.enter_context(Browser(port))
        measured = measure(platform, worker, browser, image, seconds)
        scraped = scrape(port, worker.pid)
        print(measured.table(), scraped.row(), sep="\n", flush=True)
        problems = [*measured.problems(seconds * MIB), *scraped.problems()]
    if problems:
        sys.exit("\n".join([*problems, f"The worker's log: {folder / 'worker.log'}"]))
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
