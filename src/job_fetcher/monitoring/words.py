"""What the worker is doing, in a sentence; and times as a person reads them."""

from job_fetcher.core.events import Transfer
from job_fetcher.core.job import JobStatus
from job_fetcher.monitoring.snapshot import JobNow, Progress
from job_fetcher.transfer.upload_report import in_words

_STAGES = {
    JobStatus.PREPROCESSING: "prepares",
    JobStatus.RUNNING: "runs",
    JobStatus.POSTPROCESSING: "uploads the outputs of",
}
_TRANSFERS = {Transfer.PULL: "the image", Transfer.DOWNLOAD: "the inputs", Transfer.UPLOAD: "the outputs"}


def doing(job: JobNow | None, finishing: JobNow | None, reason_against: str | None, *, has_polled: bool) -> str:
    """What the worker is doing, as a sentence without its full stop's cause: `The worker runs job 17, for 3 min.`"""
    if job is not None:
        name = f"job {job.job_id}" + (f" ({job.application})" if job.application else "")
        behind = f" It still uploads the outputs of job {finishing.job_id}." if finishing is not None else ""
        return f"The worker {_STAGES.get(job.stage, 'has')} {name}, for {duration(job.seconds)} so far.{behind}"
    if reason_against is not None:
        return f"The worker asks for no job: {reason_against.removesuffix('.')}."
    if has_polled:
        return "The worker waits for a job: the platform has none for it now."
    return "The worker starts."


def progress(each: Progress) -> str:
    """`the inputs: 1.2 GiB of 3.4 GiB, 35.1 MiB/s, 1 min 3 s left`"""
    parts = [f"{in_words(each.done_bytes)} of {in_words(each.total_bytes)}"]
    if each.bytes_per_s:
        parts.append(f"{in_words(int(each.bytes_per_s))}/s")
    if each.left_s:
        parts.append(f"{duration(each.left_s)} left")
    return f"{_TRANSFERS[each.transfer]}: {', '.join(parts)}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`"""
    whole = int(seconds)
    for unit, name, smaller, smaller_name in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // smaller
            return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"
