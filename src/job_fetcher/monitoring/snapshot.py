"""What the worker is doing, as `/status.json`, `/jobs.json` and `status` show it: docs/monitoring.md has the fields.

Times are in UTC, seconds and bytes have their units in their names. `None` stands where something is not known.
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field, PlainSerializer

from job_fetcher.core.events import JobEnd, Transfer
from job_fetcher.core.job import JobStatus, Model
from job_fetcher.core.job_report import JobReport

VERSION = 1
"""Of these fields. A new field keeps it; another meaning, or a field that goes, raises it."""

Rounded = Annotated[float, PlainSerializer(lambda value: round(value, 1), when_used="json")]
"""Seconds, with a tenth."""


class StageTime(Model):
    """How long a job has been, or was, in one stage."""

    stage: JobStatus = Field(description="`preprocessing`, `running` or `postprocessing`")
    seconds: Rounded = Field(description="seconds in this stage, so far")


class Progress(Model):
    """Bytes that move for a job now."""

    transfer: Transfer = Field(description="what moves them: `pull`, `download` or `upload`")
    done_bytes: int = Field(description="bytes that have moved")
    total_bytes: int = Field(description="bytes that are to move, as far as that is known yet")
    bytes_per_s: Rounded | None = Field(default=None, description="bytes a second, over the last 30 s")
    left_s: Rounded | None = Field(default=None, description="seconds that the rest takes at this speed")


class _JobFacts(Model):
    """What is known of a job from its description."""

    job_id: str = Field(description="the job's id at the platform's API")
    user_job_id: int | None = Field(default=None, description="the number of the job on its user's page")
    application: str | None = Field(default=None, description="name and version of the application")
    image: str | None = Field(default=None, description="the image, as the job names it")
    began_at: datetime = Field(description="when this worker began with the job")
    stages: tuple[StageTime, ...] = Field(default=(), description="the stages so far, each with `stage` and `seconds`")


class JobNow(_JobFacts):
    """The job in hand."""

    stage: JobStatus = Field(description="the job's status")
    seconds: Rounded = Field(description="seconds since this worker began with the job")
    progress: tuple[Progress, ...] = Field(
        default=(),
        description="what moves, each: `transfer`, `done_bytes`, `total_bytes`, `bytes_per_s`, `left_s`",
    )


class PastJob(_JobFacts):
    """A job that has left this worker: a line of the history."""

    ended_at: datetime = Field(description="when the job left this worker")
    end: JobEnd = Field(description="`finished`, `error`, `requeued`, `dropped` or `kept` (for the next start)")
    sentence: str = Field(description="how it ended, in words")
    report: JobReport | None = Field(default=None, description="the job's report (docs/job-report.md)")


class GpuSample(Model):
    """The GPU at one moment."""

    at: datetime = Field(description="when it was asked")
    utilisation_percent: int | None = Field(default=None, description="its utilisation in percent, as NVML says it")
    memory_used_mib: int | None = Field(default=None, description="MiB of its memory in use, by whomever")
    temperature_celsius: int | None = Field(default=None, description="its temperature in degrees Celsius")


class GpuState(Model):
    """The worker's GPU."""

    model: str = Field(description="its model, as the driver names it")
    memory_mib: int = Field(description="MiB of its memory")
    answers: bool = Field(description="whether it answered when it was last asked")
    samples: tuple[GpuSample, ...] = Field(
        default=(),
        description=("its last hour, each with `at`, `utilisation_percent`, `memory_used_mib`, `temperature_celsius`"),
    )


class Status(Model):
    """All of it: `/status.json`."""

    version: int = Field(default=VERSION, description="version of these fields")
    worker_version: str = Field(description="version of the worker")
    account: str = Field(description="the account at the platform, and the platform's address")
    at: datetime = Field(description="when this was written")
    started_at: datetime = Field(description="when the worker was started")
    is_well: bool = Field(description="whether the loop and the keep-alives are alive: what `/healthz` says")
    doing: str = Field(description="what the worker is doing, in words")
    job: JobNow | None = Field(default=None, description="the job in hand")
    finishing: JobNow | None = Field(default=None, description="the job before it, whose outputs still go up")
    offer: dict[str, str | int] = Field(default={}, description="what the worker offers to the platform")
    reason_against: str | None = Field(default=None, description="why the worker asks for no job now")
    polled_s_ago: Rounded | None = Field(default=None, description="seconds since the platform last answered a poll")
    status_heard_s_ago: Rounded | None = Field(
        default=None,
        description="seconds since the platform last accepted a status; of two jobs the longer",
    )
    errors_in_a_row: int = Field(default=0, description="jobs that ended with `error`, one after the other")
    disk_free_bytes: int | None = Field(default=None, description="free bytes on the disk of `PATH_BASE`")
    disk_reserve_bytes: int = Field(default=0, description="bytes that the worker keeps free (`MIN_FREE_GIB`)")
    gpu: GpuState | None = Field(default=None, description="the worker's GPU")
    settings: dict[str, str] = Field(default={}, description="the settings by name; of a secret only that it is set")
