"""The report of one job in numbers, `job-report.json`: what docs/job-report.md describes. No input or output."""

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from job_fetcher.core.cause import Cause
from job_fetcher.core.job import Model

VERSION = 1
"""Of the report's fields. A new field keeps it; another meaning, or a field that goes, raises it."""


class JobResult(StrEnum):
    """How a job ended on this worker."""

    FINISHED = "finished"
    ERROR = "error"
    REQUEUED = "requeued"
    DROPPED = "dropped"


class JobReport(Model):
    """What a job took, and how it ended. `None` where something is not known, never 0; times in UTC.

    A worker that resumes a job knows of its own part only what the folder tells, so that some numbers are `None` then.
    """

    version: int = Field(default=VERSION, description="version of these fields")
    job_id: str = Field(description="the job's id at the platform's API")
    user_job_id: int | None = Field(default=None, description="the number of the job on its user's page")
    application: str | None = Field(default=None, description="name and version of the application, `decode/v0_10_1`")
    worker_version: str = Field(description="version of the worker")
    engine_version: str | None = Field(default=None, description="product and version of the engine, and its API")

    result: JobResult | None = Field(default=None, description="how the job ended on this worker")
    cause: Cause | None = Field(default=None, description="what ended the command")
    exit_code: int | None = Field(default=None, description="exit code of the command")
    reason: str | None = Field(default=None, description="the end of the command in a sentence")
    runs: int | None = Field(
        default=None, description="containers that the worker has run for the job, one after the other"
    )

    started_at: datetime | None = Field(default=None, description="when this worker began with the job, in UTC")
    ended_at: datetime | None = Field(default=None, description="when the report was made, in UTC")
    preprocessing_s: float | None = Field(
        default=None, description="seconds from the first status to the command's start"
    )
    running_s: float | None = Field(default=None, description="seconds from the command's start to its end")
    postprocessing_s: float | None = Field(default=None, description="seconds from the command's end to this report")
    pull_s: float | None = Field(default=None, description="seconds until the image was here, its waits included")
    pull_wait_s: float | None = Field(
        default=None, description="seconds of it between a try that failed and the next one"
    )
    download_s: float | None = Field(default=None, description="seconds until all inputs were here, waits included")
    upload_s: float | None = Field(default=None, description="seconds until all outputs had arrived, waits included")
    retries: int | None = Field(
        default=None, description="requests that the worker tried again for the job, without keep-alives"
    )
    retry_wait_s: float | None = Field(
        default=None, description="seconds that the worker waited for these tries, of all files together"
    )

    image: str | None = Field(default=None, description="the image, as the job names it")
    image_digest: str | None = Field(default=None, description="the digest that the image had in its registry")
    input_files: int | None = Field(default=None, description="inputs of the job")
    input_bytes: int | None = Field(default=None, description="bytes of the inputs")
    input_mib_per_s: float | None = Field(
        default=None, description="MiB a second over the network; `null` if all inputs were here already"
    )
    output_files: int | None = Field(default=None, description="outputs and logs that arrived, without this report")
    output_bytes: int | None = Field(default=None, description="bytes of these")
    output_mib_per_s: float | None = Field(
        default=None, description="MiB a second over the network; `null` if all of them had arrived before"
    )
    left_out_files: int | None = Field(default=None, description="files and folders that did not arrive")
    live_log_bytes: int | None = Field(
        default=None, description="bytes of logs that went up while the command ran, besides the complete ones"
    )

    peak_memory_mib: float | None = Field(
        default=None, description="most memory that the container had, in MiB, page cache included"
    )
    cpu_s: float | None = Field(
        default=None, description="seconds of processor time of the container, of all cores, at the last sample"
    )
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
