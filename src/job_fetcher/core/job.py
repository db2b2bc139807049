"""The words of the contract: jobs, statuses, requests to make. Frozen models, no input or output.

The shapes are those of the worker-facing API (`GET /jobs`, `PUT /jobs/{id}/status`, the two `…/url` endpoints).
Models ignore fields that they do not know: the API grows without asking its workers.
"""

import posixpath
import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from urllib.parse import quote

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from job_fetcher.core.cause import Cause
from job_fetcher.core.errors import JobFailed

MAX_DETAILS = 3_500
"""Percent-encoded length of `runtime_details`: a query parameter, and the server takes a request line of 4 KiB."""

LOG_HEADING = "The end of the log:"

_MAX_NAME = 255  # bytes of a file name on Linux (NAME_MAX)
_MAX_PATH = 4_000  # bytes of a path on Linux are 4,096 (PATH_MAX); the rest is the job folder's own path
_MAX_FOLDERS = 200
_FOLDER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""Characters that a log can hold and a database (NUL) or a mail cannot; tabs and line breaks are not among them."""
_CARRIAGE_RETURN = re.compile(r"\r+(?=\n|\Z)")
"""Web forms send CRLF, and split it into words at the LF. A shell takes the CR for a part of the word before it."""


class JobStatus(StrEnum):
    """The statuses that the API knows; a worker sends all but `pulled`."""

    QUEUED = "queued"
    PULLED = "pulled"
    PREPROCESSING = "preprocessing"
    RUNNING = "running"
    POSTPROCESSING = "postprocessing"
    FINISHED = "finished"
    ERROR = "error"


class OutputType(StrEnum):
    """What an uploaded file is; it decides where the user finds it."""

    OUTPUT = "output"
    LOG = "log"
    ARTIFACT = "artifact"


def _relative_path(name: str) -> str:
    """`name` as a normalised path inside of the job folder; `ValueError` if it is none."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/"):
        raise ValueError("is an absolute path")
    if ".." in parts:
        raise ValueError("leaves the job's folder by '..'")
    if not parts:
        raise ValueError("names nothing inside of the job's folder")
    if "\0" in name:
        raise ValueError("has a character that a path cannot have")
    if any(len(part.encode()) > _MAX_NAME for part in parts) or len(name.encode()) > _MAX_PATH:
        raise ValueError("is too long")
    if len(parts) > _MAX_FOLDERS:
        raise ValueError("is too deep")
    return "/".join(parts)


def _input_path(name: str) -> str:
    if name.endswith(("/", "/.")):
        raise ValueError("names a folder, not a file")
    return _relative_path(name)


def _distinct(files: dict[str, str], folders: Iterable[str] = ()) -> dict[str, str]:
    """Refuse an input, or one of `folders`, below a path where an input is a file: one of the two would be lost."""
    for name in [*files, *(posixpath.join(folder, "") for folder in folders)]:
        folder = posixpath.dirname(name)
        while folder:
            if folder in files:
                raise ValueError(f"'{name}' and '{folder}' cannot both be files")
            folder = posixpath.dirname(folder)
    return files


RelativePath = Annotated[str, AfterValidator(_relative_path)]
InputPath = Annotated[str, AfterValidator(_input_path)]
FileId = Annotated[str, Field(max_length=4_096)]


def _by_own_name(path: str, file_id: Any) -> str:
    """`<folder>/.` stands for `<folder>/<the file's own name>`, the last part of its file id as it is."""
    if not path.endswith("/.") or not isinstance(file_id, str):
        return path
    own_name = file_id.rpartition("/")[2]
    if own_name in ("", ".", ".."):
        raise ValueError(f"'{path}' stands for the file's own name, and the file id '{file_id[:500]}' has none")
    return f"{path.removesuffix('.')}{own_name}"


def _named_files(files: Any) -> Any:
    """The inputs by their paths; refuses two inputs that are one path, such as `a/b` and `a//b`: one would be lost."""
    if not isinstance(files, dict):
        return files
    named: dict[Any, Any] = {}
    seen: dict[str, str] = {}
    for key, file_id in files.items():
        name = _by_own_name(key, file_id)
        path = posixpath.normpath(name)
        if path in seen:
            raise ValueError(f"'{seen[path]}' and '{key}' are the same file, '{path}'")
        seen[path] = key
        named[name] = file_id
    return named


InputFiles = Annotated[dict[InputPath, FileId], BeforeValidator(_named_files), AfterValidator(_distinct)]


class Model(BaseModel):
    """Frozen; ignores fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def _argument(text: str) -> str:
    if "\0" in text:
        raise ValueError("has a character that a command cannot contain")
    return text


Argument = Annotated[str, AfterValidator(_argument)]


class App(Model):
    """What the application runs: the words of one shell line, and its environment."""

    cmd: tuple[Argument, ...] | None = None
    env: dict[Argument, Argument] | None = None


class Handler(Model):
    """What surrounds the application: its image, its inputs and its outputs.

    `files_down` has file ids by path. A key `<folder>/.` of the API has become `<folder>/<last part of the file id>`.
    """

    image_url: str = Field(min_length=1, max_length=1_000)
    files_down: Annotated[dict[InputPath, FileId], BeforeValidator(_named_files), AfterValidator(_distinct)] | None = (
        None
    )
    files_up: dict[OutputType, RelativePath] | None = None

    @field_validator("files_up")
    @classmethod
    def _are_no_inputs(
        cls, files_up: dict[OutputType, str] | None, info: ValidationInfo
    ) -> dict[OutputType, str] | None:
        """Refuse an output folder where an input is a file: it could not be made."""
        _distinct(dict(info.data.get("files_down") or {}), (files_up or {}).values())
        return files_up


class JobSpecs(Model):
    """`JobSpecs` of the contract, as far as a worker needs them."""

    app: App
    handler: Handler

    @classmethod
    def parse(cls, raw: Any) -> "JobSpecs":
        """The specs in a job as it was pulled; raises `JobFailed` with a sentence that names what is wrong."""
        try:
            return cls.model_validate(raw)
        except ValidationError as error:
            raise JobFailed(f"The job's description is not valid: {_in_words(error)}.") from error

    @property
    def command_line(self) -> str | None:
        """The shell line, with LF as its line break, or `None` for the image's own command."""
        return " ".join(_CARRIAGE_RETURN.sub("", word) for word in self.app.cmd) if self.app.cmd else None


class Job(Model):
    """A job as it was pulled: the key of the API's answer, and its description, not validated yet.

    A job whose description is not valid belongs to this worker all the same: its user waits for an answer.
    """

    id: str = Field(min_length=1)
    raw: Any

    @property
    def folder_name(self) -> str:
        """The name of the job's folder; `JobFailed` for an id that makes no such name."""
        if not _FOLDER_NAME.fullmatch(self.id):
            raise JobFailed("The job's id cannot be the name of a folder.")
        return self.id


class RequestToMake(Model):
    """What the API hands out for a file: a request to make exactly as it is, without the API's token."""

    method: str
    url: str
    headers: dict[str, str] = {}
    data: dict[str, str] = {}

    def for_method(self, method: Literal["get", "post"]) -> Self:
        """This request, if the contract allows it; raises `JobFailed` for another method or another protocol."""
        if self.method.lower() != method or not re.match(r"(?i)https?://[^/]", self.url):
            raise JobFailed(
                f"the API hands out a request that the worker does not make: {self.method[:20]} {self.url[:100]}"
            )
        return self


class Outcome(Model):
    """How the container ended. `reason` is a sentence; `cause` is not known to every caller."""

    exit_code: int
    reason: str
    succeeded: bool
    cause: Cause | None = None


class Final(Model):
    """The last status of a job on this worker: `finished`, `error`, or `queued` when the worker requeues it."""

    status: Literal[JobStatus.FINISHED, JobStatus.ERROR, JobStatus.QUEUED]
    details: str


def details(reason: str, log_tail: str = "", heading: str = LOG_HEADING) -> str:
    """`runtime_details` of a final status: the reason, and below `heading` as many of the log's last lines as fit.

    The percent-encoded length stays below `MAX_DETAILS`. A reason that is too long is cut at its end. The log begins
    at a line; only a single line that is too long is cut at its beginning.
    """
    reason, log_tail = (_sendable(text) for text in (reason, log_tail))
    head = fitting(reason, MAX_DETAILS)
    if not log_tail.strip():
        return head
    head += f"\n\n{_sendable(heading)}\n"
    log_tail = log_tail.strip("\n").rstrip()
    tail = fitting(log_tail[::-1], MAX_DETAILS - encoded_length(head))[::-1]
    if len(tail) < len(log_tail) and log_tail[len(log_tail) - len(tail) - 1] != "\n":
        tail = tail.partition("\n")[2] or tail
    return head + tail if tail else fitting(reason, MAX_DETAILS)


def fitting(text: str, max_length: int) -> str:
    """The longest beginning of `text` whose percent-encoded length is at most `max_length`."""
    for index, character in enumerate(text):
        max_length -= encoded_length(character)
        if max_length < 0:
            return text[:index]
    return text


def encoded_length(text: str) -> int:
    """How long `text` is in the query of a URL."""
    return len(quote(text, safe="", errors="replace"))


def _sendable(text: str) -> str:
    return _CONTROL.sub("\ufffd", text).encode(errors="replace").decode()


def _in_words(error: ValidationError) -> str:
    """A validation error in one line, by field: `handler.image_url: Field required`."""
    return "; ".join(f"{_place(each['loc'])}: {_reason(each['msg'])}" for each in error.errors()[:5])


def _place(location: Iterable[int | str]) -> str:
    return ".".join(str(part)[:500] for part in location if part != "[key]") or "the whole"


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
