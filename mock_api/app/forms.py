"""multipart/form-data from the wire to the disk, in bounded memory and at the disk's speed."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from .store import ObjectStore, Writer

MAX_FIELDS_SIZE = 64 * 1024


class BadForm(Exception):
    """The body is not a form that this server understands (400)."""


@dataclass
class Form:
    """What was sent: the fields before the file, the file's name as the client has it, and the written file."""

    fields: dict[str, str]
    filename: str
    file: Writer
    too_large: bool  # the file has more bytes than allowed; what is over is not on disk


async def receive_form(
    request: Request, store: ObjectStore, max_bytes: int | None = None, *, as_fastapi: bool = False
) -> Form:
    """Read a form to its end, whatever it holds, so that the client hears the answer instead of a reset.

    `as_fastapi`: read the file's name as the platform's own store does (`as_fastapi_reads`), and not as S3 may.

    Raises `BadForm`, or starlette's `ClientDisconnect` when the client leaves in the middle; nothing is kept then.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or b"boundary" not in options:
        raise BadForm("not multipart/form-data")
    parser = _FormParser(options[b"boundary"], as_fastapi_reads if as_fastapi else parameter)
    writer = store.writer()
    too_large = False
    try:
        async for chunk in request.stream():
            for data in parser.feed(chunk):
                too_large = too_large or (max_bytes is not None and writer.size + len(data) > max_bytes)
                if not too_large:
                    await writer.write(data)
        parser.check_complete()
    except BaseException:
        await writer.discard()
        raise
    return Form(parser.fields, parser.filename, writer, too_large)


class _FormParser:
    """Sorts the parts of a form: text fields are kept, the bytes of the part `file` handed on as they come."""

    def __init__(self, boundary: bytes, read: Callable[[bytes, str], str | None]) -> None:
        self._read = read
        self.fields: dict[str, str] = {}
        self.filename = ""
        self._complete = False
        self._in_file = self._had_file = False
        self._fields_size = 0
        self._on_part_begin()
        self._file_data: list[bytes] = []
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._on_part_begin,
            "on_header_field": self._on_header_field,
            "on_header_value": self._on_header_value,
            "on_header_end": self._on_header_end,
            "on_headers_finished": self._on_headers_finished,
            "on_part_data": self._on_part_data,
            "on_part_end": self._on_part_end,
            "on_end": self._on_end,
        }
        self._parser = MultipartParser(boundary, callbacks, max_header_size=16 * 1024)  # type: ignore[arg-type]

    def feed(self, chunk: bytes) -> list[bytes]:
        """Parse some bytes of the body and return those of them that are the file's."""
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise BadForm(str(error)) from error
        data, self._file_data = self._file_data, []
        return data

    def check_complete(self) -> None:
        """Raises `BadForm` unless the form has come to its end and there was a file in it."""
        if not self._complete:
            raise BadForm("the form ends too early or has no field 'file'")

    def _on_part_begin(self) -> None:
        self._name = ""
        self._header = self._header_value = self._disposition = self._value = b""

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _on_header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header = self._header_value = b""

    def _on_headers_finished(self) -> None:
        self._name = self._read(self._disposition, "name") or ""
        self._in_file = self._name == "file" and not self._had_file
        if self._in_file:
            self._had_file = True
            self.filename = self._read(self._disposition, "filename") or ""

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._in_file:
            self._file_data.append(data[start:end])
        elif not self._had_file:  # like S3, which ignores what follows the file
            self._fields_size += end - start
            if self._fields_size > MAX_FIELDS_SIZE:
                raise BadForm("the fields before the file are too large")
            self._value += data[start:end]

    def _on_part_end(self) -> None:
        if not self._had_file:
            self.fields[self._name] = self._value.decode(errors="replace")
        self._in_file = False

    def _on_end(self) -> None:
        self._complete = self._had_file


def as_fastapi_reads(disposition: bytes, name: str) -> str | None:
    """Read a parameter of a part's Content-Disposition as FastAPI does, by way of Starlette and python-multipart.

    It leaves `%22`, `%0D` and `%0A`, with which clients write a quote, CR and LF, as they are. It cuts Windows paths.
    """
    value = parse_options_header(disposition)[1].get(name.encode())
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def parameter(disposition: bytes, name: str) -> str | None:
    r"""Read a parameter of a part's Content-Disposition the way that browsers and HTTP libraries write it.

    `name*=` (RFC 5987) goes before `name=`. In a quoted value, `%22`, `%0D` and `%0A` stand for the three characters
    that cannot be there (WHATWG), and `\"` for a quote (RFC 7578's forerunners); any other `%` or `\` is itself.

    Raises `BadForm`.
    """
    try:
        text = disposition.decode()
    except UnicodeDecodeError as error:
        raise BadForm("a name in the form is not UTF-8") from error
    if extended := re.search(rf";\s*{name}\*=([\w-]+)'[^']*'([^;\s]*)", text, re.IGNORECASE):
        return unquote(extended[2], encoding=extended[1])
    if quoted := re.search(rf';\s*{name}="(.*?)"\s*(?=;\s*[\w*]+=|$)', text, re.IGNORECASE):
        value = quoted[1].replace('\\"', '"')
        for code, character in (("%22", '"'), ("%0D", "\r"), ("%0A", "\n")):
            value = value.replace(code, character)
        return value
    plain = re.search(rf";\s*{name}=([^;\s]*)", text, re.IGNORECASE)
    return plain[1] if plain else None
