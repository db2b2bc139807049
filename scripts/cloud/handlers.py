"""A job's steps as AWS Lambda functions, one handler each, to copy: docs/cloud.md says how to put them together.

Every handler takes JSON and returns JSON, whose `next` names the state that follows. What is handed over is the job as
it was pulled, and how it ends; the files stay in its folder on the shared file system::

    <base>/<job id>/
      lock              held by the call that works on the job
      files/            mounted at /files in the job's container
      parts/            inputs on their way
      container.log     what the container wrote to its standard output and error
      uploads.jsonl     what has arrived
      untold            made when the API has answered 500 to the last status: the job's user may not know it

The folder is there from the pull to the end of the job. So every call may be repeated, however the one before it
ended: one for a job that is over does nothing, any other goes on where it was.
"""

import fcntl
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from job_fetcher import (
    Cancellation,
    Cancelled,
    Final,
    Job,
    JobFailed,
    JobGone,
    JobSpecs,
    JobStatus,
    KeepAlive,
    Ledger,
    Outcome,
    Unavailable,
    WorkerApi,
    details,
    steps,
)

Event = dict[str, Any]
Step = Callable[[Job, Path, Event, Cancellation], Event]
"""A handler's work on a job in its folder: it returns the next event, and raises the errors of `steps`."""

MARGIN_S = 90.0
"""Seconds before its end in which a Lambda begins nothing more: a request that hangs ends within `http`'s time-outs."""
KEEP_ALIVE_S = 60.0
LOG, UNTOLD = "container.log", "untold"
RESENT_FOR_S = 1800.0
"""For so long after a 500 the last status is sent again, by as many calls as that takes."""
THREADS = ("down-", "upload-", "keep-alive-")
"""How the names of the steps' threads begin."""
LOST = {"exit_code": 125, "reason": "The machine that ran the container was lost.", "succeeded": False}
"""What to report if nobody knows how the container ended."""


class Context(Protocol):
    """The part of Lambda's `context` that the handlers use."""

    def get_remaining_time_in_millis(self) -> int: ...


class TimeIsUp(Cancelled):
    """The Lambda is about to end. What the step has done so far is kept."""


class Cloud:
    """The handlers, for the jobs of `api` in folders below `base`, a folder of the shared file system."""

    def __init__(self, api: WorkerApi, base: Path) -> None:
        self._api, self._base = api, base

    def pull(self, event: Event, context: Context) -> Event:
        """`{"offer": {"memory": MiB, "cpu_cores": …, …}}` → `{"job", "next": "fetch"}`, or `{"next": "end"}`."""
        with TemporaryDirectory(prefix=".making-", dir=self._base):
            pass  # where no folder can be made, no job is asked for
        job = self._api.pull_job(event["offer"])
        if job is None:
            return {"next": "end"}
        try:
            self._begin(job)
        except JobFailed as error:
            self._give_up(job, Final(status=JobStatus.ERROR, details=details(str(error))), context)
            return {"next": "end"}
        except OSError:
            self._give_up(job, Final(status=JobStatus.QUEUED, details="The job's folder cannot be made."), context)
            raise
        return {"job": job.model_dump(mode="json"), "next": "fetch"}

    def fetch(self, event: Event, context: Context) -> Event:
        """`{"job"}` → the same with `container` and `"next": "run"`, or with `final` and `"next": "report"`."""
        return self._do("fetch", self._fetch, event, context)

    def keep_alive(self, event: Event, context: Context) -> Event:  # noqa: ARG002 - Lambda's signature
        """`{"job"}` → `{"gone": whether the container is to be ended}`. For every minute that the container runs."""
        job = Job.model_validate(event["job"])
        try:
            with suppress(Unavailable), _held(self._base / job.folder_name) as is_there:
                self._say_that_it_runs(job, is_there)
        except JobGone:
            return {"gone": True}
        return {"gone": False}

    def upload(self, event: Event, context: Context) -> Event:
        """`{"job", "outcome": {"exit_code", "reason", "succeeded"}}` → the same, `final` and `"next": "report"`."""
        return self._do("upload", self._upload, event, context)

    def report(self, event: Event, context: Context) -> Event:
        """`{"job", "final": {"status", "details"}}` → `{"next": "end"}`. The job's folder is removed."""
        return self._do("report", self._report, event, context)

    def _say_that_it_runs(self, job: Job, is_there: bool) -> None:
        """Send `running`, unless this call is late. `JobGone` after a 404 that a question and a second one confirm."""
        for second in (False, True):
            if self._status(job, is_there) is JobStatus.POSTPROCESSING:
                return
            try:
                self._api.put_status(job.id, JobStatus.RUNNING)
            except JobGone:
                if second:
                    raise
            else:
                return

    def _begin(self, job: Job) -> None:
        folder = self._base / job.folder_name
        _remove(folder)  # of an earlier try
        for each in (folder / "parts", folder / "files"):
            each.mkdir(parents=True)
        (folder / "files").chmod(0o777)  # the container's user may be another

    def _give_up(self, job: Job, final: Final, context: Context) -> None:
        with suppress(JobGone, JobFailed, TimeIsUp), within(context) as cancelled:
            steps.report(self._api, job.id, final, cancelled=cancelled)

    def _fetch(self, job: Job, folder: Path, event: Event, cancelled: Cancellation) -> Event:
        try:
            specs = JobSpecs.parse(job.raw)
            with KeepAlive(self._api, job.id, JobStatus.PREPROCESSING, cancelled, KEEP_ALIVE_S):
                steps.download_inputs(self._api, specs, folder / "files", folder / "parts", cancelled=cancelled)
            steps.make_output_folders(specs, folder / "files")
        except JobFailed as error:
            final = Final(status=JobStatus.ERROR, details=details(str(error)))
            return event | {"final": final.model_dump(mode="json"), "next": "report"}
        line = specs.command_line
        container = {
            "image": specs.handler.image_url,
            "command": ["/bin/sh", "-c", line] if line else None,
            "environment": {  # less what NVIDIA's runtime reads, which is Batch's to say
                name: value for name, value in (specs.app.env or {}).items() if not name.upper().startswith("NVIDIA_")
            },
            "files": str(folder / "files"),
            "log": str(folder / LOG),
        }
        return event | {"container": container, "next": "run"}

    def _upload(self, job: Job, folder: Path, event: Event, cancelled: Cancellation) -> Event:
        known = {name: value for name, value in event["outcome"].items() if value is not None}
        outcome = Outcome.model_validate(LOST | known)
        log = folder / LOG
        log.open("a").close()  # a container that never started has none
        specs = JobSpecs.parse(job.raw)
        with KeepAlive(self._api, job.id, JobStatus.POSTPROCESSING, cancelled, KEEP_ALIVE_S) as keep_alive:
            problems = steps.upload_outputs(
                self._api, job.id, specs, folder / "files", log, Ledger(folder / "uploads.jsonl"),
                when_failed=keep_alive.ask, cancelled=cancelled,
            )  # fmt: skip
        final = steps.conclude(outcome, problems, log, specs=specs, files=folder / "files")
        return event | {"final": final.model_dump(mode="json"), "next": "report"}

    def _report(self, job: Job, folder: Path, event: Event, cancelled: Cancellation) -> Event:
        steps.report(
            self._api, job.id, Final.model_validate(event["final"]), again=True, cancelled=cancelled,
            untold=_is_untold(folder), when_untold=(folder / UNTOLD).touch,
        )  # fmt: skip
        _remove(folder)
        return {"next": "end"}

    def _status(self, job: Job, is_there: bool) -> JobStatus:
        """The status of a job that goes on; `JobGone` for another, also if another call has had the one 404 of a PUT.

        Only what is over, or requeued, has no folder. A job that goes on without one has it elsewhere.
        """
        status = self._api.get_status(job.id)
        is_over = status in (JobStatus.FINISHED, JobStatus.ERROR) or (status is JobStatus.QUEUED and not is_there)
        if status is None or is_over:
            raise JobGone
        if not is_there:
            raise FileNotFoundError(f"Job {job.id} is {status}, without a folder in {self._base}: is that mounted?")
        return status

    def _do(self, name: str, step: Step, event: Event, context: Context) -> Event:
        """Do `step`, unless the job is over. One that has no time left is the `next` once more.

        A job whose user may not know that it is over is left to `report`, whatever the API says.
        """
        job = Job.model_validate(event["job"])
        folder = self._base / job.folder_name
        with _held(folder) as is_there:
            if (is_untold := _is_untold(folder)) and step != self._report:
                return {"next": "end"}
            try:
                if not is_untold:
                    with suppress(Unavailable) if is_there else nullcontext():
                        self._status(job, is_there)
                with within(context) as cancelled:
                    return step(job, folder, event, cancelled)
            except TimeIsUp:
                return event | {"next": name}
            except JobGone:
                _remove(folder)  # or what a call that was cut off has left of it
                return {"next": "end"}


@contextmanager
def within(context: Context) -> Iterator[Cancellation]:
    """What is done in the block is left by `TimeIsUp` before the Lambda ends, and no thread of it outlives the block.

    One that did would be frozen with the Lambda, and go on in the middle of another job's call. One that a host keeps
    for longer than there is time ends with the Lambda, whose time-out is the end of its process, too.
    """
    cancelled = Cancellation()
    left_s = context.get_remaining_time_in_millis() / 1000 - MARGIN_S
    timer = threading.Timer(max(0.0, left_s), cancelled.set, [TimeIsUp("The Lambda is about to end")])
    timer.start()
    try:
        yield cancelled
    finally:
        timer.cancel()
        for thread in threading.enumerate():
            if thread is timer or thread.name.startswith(THREADS):
                thread.join()


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Whether the job's folder is there; no other call works in it meanwhile. `Unavailable` if one does already."""
    try:
        lock = (folder / "lock").open("w")
    except FileNotFoundError:
        yield False
        return
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Unavailable("Another call works on this job") from error
        yield folder.exists()


def _is_untold(folder: Path) -> bool:
    """Whether the API has answered 500 to the last status, less than `RESENT_FOR_S` ago."""
    with suppress(FileNotFoundError):
        return time.time() - (folder / UNTOLD).stat().st_mtime < RESENT_FOR_S
    return False


def _remove(folder: Path) -> None:
    """Remove `folder`, which is gone as a whole at once; what is left of an earlier removal goes, too."""
    doomed = folder.with_name(f".removing-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    with suppress(FileNotFoundError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)
