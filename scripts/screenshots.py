"""Take the pictures of the worker's page for the documentation: `python -m scripts.screenshots` (needs Chromium).

The page is the real one. What it shows is made up here, so that the pictures differ only where the page does.
"""

import math
import shutil
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import waitress
from playwright.sync_api import sync_playwright

from job_fetcher.core import health
from job_fetcher.core.events import (
    Event,
    GpuFound,
    JobBegan,
    JobEnd,
    LogGrows,
    Moved,
    Offered,
    Planned,
    Polled,
    StageBegan,
    StatusHeard,
    Transfer,
)
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.core.job_report import JobReport, JobResult
from job_fetcher.monitoring.access import Access
from job_fetcher.monitoring.history import History
from job_fetcher.monitoring.log_tail import LogTail
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.server import app
from job_fetcher.monitoring.snapshot import GpuSample, GpuState, PastJob, StageTime

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"page": (1100, 1180), "page-phone": (390, 844)}
GPU = GpuFound("GPU-1", "NVIDIA RTX A4000", 16_376)
LOG = "\n".join(f"epoch {n:3d}  loss {2.0 / (n + 1):.4f}  jaccard {1 - 0.7 / (n + 1):.3f}" for n in range(180, 213))


def browser() -> str | None:
    """The path of a Chromium on this machine, if there is one."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def _begin(job_id: str, number: int) -> list[Event]:
    raw = {"meta": {"job_id": number}, "handler": {"image_name": "decode", "image_version": "v0_10_1"}}
    return [
        JobBegan(Job(id=job_id, raw=raw), Path("log")),
        StageBegan(job_id, JobStatus.PREPROCESSING),
        StageBegan(job_id, JobStatus.RUNNING),
    ]


BEHIND: list[Event] = [
    *_begin("4710", 1),
    StageBegan("4710", JobStatus.POSTPROCESSING),
    Planned(Transfer.UPLOAD, 3 << 30, "4710"),
    Moved(Transfer.UPLOAD, 1 << 30, "4710"),
]
"""A job whose outputs go up while the next one runs."""


def recorder(before: Iterable[Event] = ()) -> Recorder:
    """A worker in the middle of a job; `before` is what happened before that began."""
    health.beat()
    made = Recorder(
        worker_version="1.0.0",
        account="workstation-7 at https://api.example.org",
        settings={"API_URL": "https://api.example.org", "PASSWORD": "(set)", "PATH_BASE": "/data"},
        reserve_bytes=10 << 30,
        free_bytes=lambda: 412 << 30,
    )
    offer: dict[str, str | int] = {
        "cpu_cores": 16,
        "memory": 63_000,
        "gpu_mem": 16_376,
        "gpu_model": GPU.model,
        "gpu_archi": "Ampere",
    }
    events: list[Event] = [GPU, Offered(offer), Polled(), *before, *_begin("4711", 2)]
    for event in [*events, LogGrows("4711", lambda size: LOG.encode()[-size:]), StatusHeard("4711")]:
        made(event)
    state = GpuState(model=GPU.model, memory_mib=GPU.memory_mib, answers=True, samples=tuple(_samples()))
    made.gpu_state = lambda: state
    return made


def _samples() -> Iterator[GpuSample]:
    now = datetime.now(UTC)
    for number in range(360):
        busy = number % 150 > 40
        yield GpuSample(
            at=now - timedelta(seconds=10 * (360 - number)),
            utilisation_percent=round(88 + 10 * math.sin(number / 3)) if busy else 0,
            memory_used_mib=11_200 if busy else 310,
            temperature_celsius=71 if busy else 42,
        )


def history() -> History:
    """Some jobs that are over."""
    kept = History(None)
    ends = [
        (JobEnd.FINISHED, "The command ended with exit code 0. 2 artifact files (31.0 MiB) and 3 log files arrived."),
        (JobEnd.ERROR, "The command ended with exit code 137 (SIGKILL): the container needed more than its memory."),
        (JobEnd.REQUEUED, "The worker was stopped (SIGTERM)."),
    ]
    now = datetime.now(UTC)
    for number in range(12):
        end, sentence = ends[0 if number % 4 else number // 4]
        seconds = (40.0 + 7 * number, 900.0 + 400 * (number % 5), 20.0 + 30 * (number % 3))
        stages = (JobStatus.PREPROCESSING, JobStatus.RUNNING, JobStatus.POSTPROCESSING)
        ended_at = now - timedelta(hours=13 - number)
        job_id = str(4690 + number)
        report = JobReport(
            job_id=job_id, worker_version="1.0.0", result=JobResult.FINISHED, gpu_busy_s=seconds[1] * 0.9
        )
        kept.add(
            PastJob(
                job_id=job_id,
                application="decode/v0_10_1" if number % 3 else "comet/v0_3",
                began_at=ended_at - timedelta(seconds=sum(seconds)),
                ended_at=ended_at,
                end=end,
                sentence=sentence,
                stages=tuple(StageTime(stage=stage, seconds=each) for stage, each in zip(stages, seconds, strict=True)),
                report=report if end is JobEnd.FINISHED else None,
            )
        )
    return kept


@contextmanager
def served(before: Iterable[Event] = ()) -> Iterator[str]:
    """The page of the made-up worker, on a free port."""
    known = recorder(before)
    server = waitress.create_server(app(known, history(), Access(), LogTail(known).text), host="127.0.0.1", port=0)
    threading.Thread(target=server.run, daemon=True).start()
    yield f"http://127.0.0.1:{server.effective_port}/"
    server.close()


def take(folder: Path = IMAGES) -> list[Path]:
    """Take all pictures into `folder`. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    with served() as url, sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        for name, (width, height) in SIZES.items():
            for scheme in ("light", "dark"):
                page = running.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
                page.goto(url)
                page.locator("#jobs li").first.wait_for()
                made.append(folder / f"{name}-{scheme}.png")
                page.screenshot(path=made[-1])
                page.close()
        running.close()
    return made


if __name__ == "__main__":
    for path in take():
        print(path.relative_to(ROOT))
