"""The report of one job in numbers, `job-report.json`: what docs/job-report.md describes. No input or output."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from job_fetcher.core.job import Model

VERSION = 1
"""Of the report's fields. A new field keeps it; another meaning, or a field that goes, raises it."""


class JobResult(StrEnum):
    """How a job ended on this worker."""

    FINISHED = "finished"
    ERROR = "error"
    REQUEUED = "requeued"
    DROPPED = "dropped"


class Cause(StrEnum):
    """What ended a job's command."""

    EXIT = "exit"
    """It ended by itself, whatever its exit code is."""
    SIGNAL = "signal"
    """A signal that it, or another of its container's processes, sent: the exit code has the signal, plus 128."""
    KILLED_FOR_MEMORY = "killed_for_memory"
    CHILD_KILLED_FOR_MEMORY = "child_killed_for_memory"
    MACHINE_OUT_OF_MEMORY = "machine_out_of_memory"
    TIME_LIMIT = "time_limit"
    STOPPED_BY_OWNER = "stopped_by_owner"
    CANCELLED = "cancelled"
    GPU_LOST = "gpu_lost"


class JobReport(Model):
    """What a job took, and how it ended. `None` where something is not known, never 0; times in UTC.

    A worker that resumes a job knows of its own part only what the folder tells, so that some numbers are `None` then.
    """

    version: int = Field(default=VERSION, description="version of these fields")
    job_id: str = Field(description="the job's id at the platform's API")
    user_job_id: int | None = Field(default=None, description="the number of the job on its user's page")
    application: str | None = Field(default=None, description="name and version of the application, `decode/v0_10_1`")
    worker_version: str = Field(description="version of the worker")
    engine_version: str | None = Field(default=None, description="version of the Docker engine")

    result: JobResult | None = Field(default=None, description="how the job ended on this worker")
    cause: Cause | None = Field(default=None, description="what ended the command")
    exit_code: int | None = Field(default=None, description="exit code of the command")
    reason: str | None = Field(default=None, description="the end of the command in a sentence")
    runs: int | None = Field(
        default=None, description="containers that the worker has run for the job, one after the other"
    )

    started_at: datetime | None = Field(default=None, description="when this worker began with the job, in UTC")
    ended_at: datetime | None = Field(default=None, description="when the report was made, in UTC")
    preprocessing_s: float | None = Field(default=None, description="seconds from the beginning to the command's start")
    running_s: float | None = Field(default=None, description="seconds from the command's start to its end")
    postprocessing_s: float | None = Field(
        default=None, description="seconds from the command's end to the arrival of the last output"
    )
    pull_s: float | None = Field(default=None, description="seconds until the image was here, its waits included")
    pull_wait_s: float | None = Field(
        default=None, description="seconds of it between a try that failed and the next one"
    )
    download_s: float | None = Field(default=None, description="seconds until all inputs were here, waits included")
    upload_s: float | None = Field(default=None, description="seconds until all outputs had arrived, waits included")
    retries: int | None = Field(
        default=None, description="requests for inputs and outputs, and pulls, that were tried again"
    )
    retry_wait_s: float | None = Field(
        default=None, description="seconds that these tries were waited for, of all files together"
    )

    image: str | None = Field(default=None, description="the image, as the job names it")
    image_digest: str | None = Field(default=None, description="the digest that the image had in its registry")
    input_files: int | None = Field(default=None, description="inputs of the job")
    input_bytes: int | None = Field(default=None, description="bytes of the inputs")
    input_mib_per_s: float | None = Field(
        default=None, description="MiB a second that the inputs came with; `null` if an earlier start had them"
    )
    output_files: int | None = Field(default=None, description="outputs and logs that arrived, without this report")
    output_bytes: int | None = Field(default=None, description="bytes of these")
    output_mib_per_s: float | None = Field(
        default=None, description="MiB a second that they went up with; `null` if an earlier start sent some"
    )
    left_out_files: int | None = Field(default=None, description="files and folders that did not arrive")
    live_log_bytes: int | None = Field(
        default=None, description="bytes of logs that went up while the command ran, besides the complete ones"
    )

    peak_memory_mib: float | None = Field(default=None, description="most memory that the container had, in MiB")
    cpu_s: float | None = Field(default=None, description="seconds of processor time of the container, of all cores")
    gpu_model: str | None = Field(default=None, description="model of the GPU")
    gpu_peak_memory_mib: float | None = Field(
        default=None, description="most memory in use on the GPU, in MiB, by whomever; sampled once a second"
    )
    gpu_busy_s: float | None = Field(
        default=None, description="seconds in which the GPU was at work, by whomever; sampled once a second"
    )
    gpu_utilisation_percent: float | None = Field(
        default=None, description="mean utilisation of the GPU while the command ran, in percent"
    )
