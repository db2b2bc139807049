"""The steps of a job besides running it: plain functions with explicit arguments, each safe to repeat.

The worker calls them one after the other. The platform's cloud side calls each in an AWS Lambda of its own, without
Docker, threads of the caller, or settings (docs/cloud.md). A step finds out what is already done: a call after one that
was cut off resumes there.

A step waits for what passes (no answer, 429, 5xx, …) for as long as it takes. A caller with less time sets `cancelled`;
the step then raises its reason. A step that returns leaves no thread at work. A step that raises may leave some in the
middle of a request, which ends with its time-outs (`http`). Every step raises `SettingsError` as `api` does, and
`CredentialsError` when the API has refused the credentials for three minutes. It raises `InvalidAnswer` when the
answers are never what the contract says. A step's docstring has its other errors.
"""

import logging
import posixpath
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

from job_fetcher.core import retry
from job_fetcher.core.background import Cancellation, Task, run_all
from job_fetcher.core.errors import JobFailed, JobGone, Unavailable
from job_fetcher.core.events import Planned, Transfer, tell
from job_fetcher.core.job import LOG_HEADING, Final, JobSpecs, JobStatus, Outcome, OutputType, details
from job_fetcher.core.log_text import log_tail as log_tail  # for callers of this module
from job_fetcher.platform.api import WorkerApi
from job_fetcher.platform.last_status import LastStatus
from job_fetcher.transfer.download import Download
from job_fetcher.transfer.failure_hints import inputs_there, newest_log
from job_fetcher.transfer.outbox import LEFT_OUT, Outbox, Upload
from job_fetcher.transfer.outputs import LeftOut
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.sender import Sender, WhenFailed
from job_fetcher.transfer.upload_report import Summary, UploadReport, conclusion, in_words
from job_fetcher.workspace.disk import is_broken, is_full, open_to_all
from job_fetcher.workspace.input_cache import InputCache
from job_fetcher.workspace.ledger import Ledger

TRANSFERS = 8
"""Files that a step transfers at the same time."""

log = logging.getLogger(__name__)


def download_inputs(
    api: WorkerApi,
    specs: JobSpecs,
    files: Path,
    parts: Path,
    *,
    cancelled: Cancellation | None = None,
    transfers: int = TRANSFERS,
    job_id: str | None = None,
    cache: InputCache | None = None,
) -> None:
    """Fetch every input of `specs` into `files`, by way of `parts`: two folders that exist, on the same file system.

    An input that is in `files` is complete and stays. `transfers` files come at the same time. Every input is writable
    for the container's user. `job_id`, if given, is for the log. What `cache` has in the storage's version is copied.

    Raises `JobFailed`, naming the file, for one that does not exist, is refused, or does not fit on the disk. Raises
    the reason of `cancelled`, and `OSError` if nothing can be written. Raises `CredentialsError`, `SettingsError` and
    `InvalidAnswer` as every step does.
    """
    downloads: list[Download] = []
    folders, missing = set(), []
    cancelled = cancelled or Cancellation()
    for number, (path, file_id) in enumerate((specs.handler.files_down or {}).items()):
        cancelled.check()
        target = files / path
        folders |= {parent for parent in target.parents if files in parent.parents}
        if not _is_there(target, path):
            request = PresignedRequest(partial(api.input_request, file_id))
            downloads.append(Download(path, request, target, parts / str(number), file_id, cache))
            missing.append(target)

    if job_id:
        log.info("job %s: downloading %d inputs", job_id, len(missing))
    beginnings: list[Task] = [download.begin for download in downloads]
    run_all(lambda task, left: task(left), beginnings, threads=transfers, cancelled=cancelled, name="down")
    if job_id:
        size = in_words(sum(target.stat().st_size for target in missing))
        log.info("job %s: downloaded %d inputs (%s)", job_id, len(missing), size)
    for folder in folders:
        open_to_all(folder, 0o777)  # the container's user may not be the worker's
    for download in downloads:  # not before: a copy must not take the room of the next input
        download.keep(cancelled)


def _is_there(target: Path, path: str) -> bool:
    """Whether the input `path` is at `target`; makes its folder if not. `JobFailed` if no file can have that name."""
    try:
        target.lstat()
    except FileNotFoundError:
        _make_folders(target.parent, path)
        return False
    except OSError as error:
        if is_broken(error):
            raise
        raise JobFailed(f"An input cannot be written ({error.strerror}): '{path}'.") from error
    return True


def _make_folders(folder: Path, path: str) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        raise JobFailed(f"A folder cannot be made ({error.strerror}) for '{path}'.") from error


def make_output_folders(specs: JobSpecs, files: Path) -> None:
    """Make the output folders, except those that the job's own command makes.

    The platform's commands need both: `mkdir /files/output && …` fails if the folder exists, and
    `… > /files/output/x` if it does not. Raises `JobFailed`, naming the folder, for one that cannot be made, and
    `OSError` if the disk is full.
    """
    made_by_command = set(_made_folders(specs.command_line or ""))
    for name in (specs.handler.files_up or {}).values():
        if not made_by_command.isdisjoint(_with_parents(name)):
            continue
        _make_folders(files / name, name)
        for each in _with_parents(name):
            open_to_all(files / each, 0o777)


def _made_folders(command_line: str) -> Iterator[str]:
    """The folders, relative to the job's, that a shell line gives to `mkdir`."""
    for arguments in re.findall(r"\bmkdir\s([^;&|\n]*)", command_line):
        for word in re.split(r"[\s<>]+", arguments):
            path = posixpath.normpath(word.strip("\"'`(){}"))
            yield path.removeprefix("/files/").removeprefix("./")


def _with_parents(path: str) -> list[str]:
    """`a/b/c` → `a`, `a/b`, `a/b/c`."""
    parts = path.split("/")
    return ["/".join(parts[: count + 1]) for count in range(len(parts))]


def upload_outputs(
    api: WorkerApi,
    job_id: str,
    specs: JobSpecs,
    files: Path,
    container_log: Path,
    ledger: Ledger,
    *,
    max_bytes: int | None = None,
    when_failed: WhenFailed | None = None,
    cancelled: Cancellation | None = None,
    transfers: int = TRANSFERS,
    before_logs: Callable[[Cancellation], None] = lambda _: None,
) -> UploadReport:
    """Send every file of the output folders, then the container's log, except what `ledger` has as arrived.

    `files` is the folder that the container saw as `/files`, `container_log` a file outside of it. `transfers` files
    are sent at the same time, `max_bytes` bytes at most in all; an empty container's log is not sent. `before_logs`
    returns when files of type `log` may be sent, the last ones. `when_failed` hears of failures that may mean that the
    job is gone; without it, the API is asked. Raises `JobGone` if it is; the reason of `cancelled`; `CredentialsError`
    and `SettingsError` as every step does.

    Returns a list with a sentence for each file that the storage refuses, and for each file or folder that cannot be
    read. One more follows if `max_bytes` is reached. None keeps the other files from arriving. Its `summary` are
    sentences about what arrived, which folders are empty and what was left out, for `conclude`. A link is followed
    within `files`, except to an input. What is not a file of the job (other links, FIFOs, …) is left out.
    `left-out.txt` beside the log lists all that did not arrive.
    """
    cancelled = cancelled or Cancellation()
    folders = specs.handler.files_up or {}
    max_bytes = sys.maxsize if max_bytes is None else max_bytes
    outbox = Outbox(files, max_bytes, cancelled, inputs=specs.handler.files_down or {})
    for output_type, name in folders.items():
        outbox.look_into(output_type, name)
    log_folder = folders.get(OutputType.LOG, "log")
    log.info("job %s: uploading %d outputs (%s) and the log", job_id, len(outbox.uploads), in_words(outbox.size))
    outbox.add_container_log(log_folder, container_log)
    tell(Planned(Transfer.UPLOAD, outbox.size))
    sender = Sender(api, job_id, ledger, when_failed or _ask_api(api, job_id))
    send = partial(_send, sender, before_logs)
    run_all(send, outbox.logs_last(), threads=transfers, cancelled=cancelled, name="upload")
    list_path = _send_list(outbox, sender, log_folder, cancelled)
    problems = sorted(outbox.problems) + sorted(f"The {each.type} '{each.path}' {why}." for each, why in sender.failed)
    summary = Summary(sender.arrived, outbox.empty, outbox.left_out.count, outbox.left_out.named, list_path)
    return summary.report(problems, logs=[each.path for each in outbox.uploads if each.type is OutputType.LOG])


def _send(sender: Sender, before_logs: Callable[[Cancellation], None], each: Upload, left: Cancellation) -> None:
    if each.type is OutputType.LOG:
        before_logs(left)
    sender.send(each, left)


def _send_list(outbox: Outbox, sender: Sender, log_folder: str, cancelled: Cancellation) -> str:
    """Send the list of all that has not arrived, if there is something to list; returns its path if it arrives."""
    failed = list(sender.failed)
    for each, why in failed:
        outbox.left_out.add(LeftOut(each.name, why), each.base_path, is_named=False)
    if not outbox.left_out.count:
        return ""
    content = outbox.left_out.text().encode()
    upload = outbox.add_log(log_folder, LEFT_OUT, partial(BytesIO, content))
    run_all(sender.send, [upload], threads=1, cancelled=cancelled, name="upload")
    return upload.path if len(sender.failed) == len(failed) else ""


def _ask_api(api: WorkerApi, job_id: str) -> WhenFailed:
    """For callers without a keep-alive: ask whether the job still exists when something answers 500."""

    def ask(failure: Unavailable) -> None:
        if failure.status == 500:
            with suppress(Unavailable):
                if api.get_status(job_id) is None:
                    raise JobGone

    return ask


def conclude(
    outcome: Outcome,
    problems: Sequence[str],
    container_log: Path,
    *,
    specs: JobSpecs | None = None,
    files: Path | None = None,
) -> Final:
    """The last status of a job whose container has ended: `finished` only if it succeeded and all of it arrived.

    `problems` is what `upload_outputs` has returned, whose `summary` is part of the details; a plain list of sentences
    has none. The details end with the log's tail. Raises `OSError` if the log cannot be read.

    With `specs` and the job's `files`, the details of a command that failed tell more. Where the container has printed
    nothing, they end with the newest text of the log folder. Where a file was missing, they list the inputs.
    """
    tail, heading, hint = log_tail(container_log), LOG_HEADING, ""
    if not outcome.succeeded and specs is not None and files is not None:
        if not tail.strip():
            path, tail = newest_log(specs, files)
            heading = f"The end of the log file '{path}':"
        hint = inputs_there(tail, specs.handler.files_down or {})
    return Final(
        status=JobStatus.FINISHED if outcome.succeeded and not problems else JobStatus.ERROR,
        details=details(conclusion(outcome.reason, problems, hint), tail, heading),
    )


def report(
    api: WorkerApi,
    job_id: str,
    final: Final,
    *,
    again: bool = False,
    cancelled: Cancellation | None = None,
    untold: bool = False,
    when_untold: Callable[[], None] = lambda: None,
) -> None:
    """Send the last status of a job, once: if its answer was lost, the API is asked before it is sent again.

    After an answer of 500 the API's word does not count: the status is sent again for half an hour. `again`: somebody
    may have sent it before this call. A job that has ended stays as it is: another status comes too late.
    `when_untold` is called once after a 500. A caller that has to leave then calls `report` later with `untold`.

    Raises `JobGone` if the job is not ours any more, `JobFailed` if the API refuses the status, and the reason of
    `cancelled`. Raises `CredentialsError`, `SettingsError` and `InvalidAnswer` as every step does.
    """
    cancelled = cancelled or Cancellation()
    last = LastStatus(api, job_id, final, cancelled, may_have_arrived=again, untold=untold, when_untold=when_untold)
    retrying = retry.retrying(cancelled)
    try:
        retrying(last.send)
    except JobFailed as refusal:
        last.drop_details(refusal)
        retrying(last.send)
