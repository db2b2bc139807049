"""Sends the report of a job, after all of its outputs and before its last status. It never fails the job."""

import logging
from collections.abc import Callable
from io import BytesIO

from job_fetcher.core.errors import Cancelled, Unavailable
from job_fetcher.core.events import JobReported, Planned, Transfer, tell
from job_fetcher.core.job import OutputType
from job_fetcher.core.job_report import JobReport
from job_fetcher.platform.api import WorkerApi
from job_fetcher.transfer.outbox import free_name
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload
from job_fetcher.transfer.upload_report import UploadReport
from job_fetcher.worker.in_hand import JobInHand

JOB_REPORT = "job-report.json"

log = logging.getLogger(__name__)


def send_report(api: WorkerApi, job: JobInHand, make: Callable[[], JobReport], uploaded: UploadReport) -> None:
    """Make the report and send it, once. Raises the reason of the job's cancellation, and nothing else."""
    try:
        report = make()
        tell(JobReported(report))
        content = report.model_dump_json(indent=2).encode() + b"\n"
        folder = (job.specs.handler.files_up or {}).get(OutputType.LOG, "log")
        form = job.cancelled.call(lambda: api.output_request(job.id, OutputType.LOG, folder), "report-form")
        tell(Planned(Transfer.UPLOAD, len(content)))

        def send() -> None:
            name = free_name(folder, JOB_REPORT, uploaded.logs)
            upload(PresignedRequest(lambda: form), name, BytesIO(content), cancelled=job.cancelled, once=True)

        job.cancelled.call(send, "send-report")
    except Cancelled:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the job ends as it would have ended
        if isinstance(error, Unavailable):
            job.keep_alive.ask(error)
        log.warning("job %s: report not sent: %s", job.id, error)
