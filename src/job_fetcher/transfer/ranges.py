"""What a storage's answer says about a file, and which of its ranges are still missing: pure functions.

The statuses and headers are those of RFC 9110: 206 and `Content-Range` (14.4), 416 (15.5.17), validators (8.8).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

import requests

Range = tuple[int, int]
"""Bytes of a file: from the first number to before the second."""

_CONTENT_RANGE = re.compile(r"\s*bytes[ =]+(?:(\d{1,18})-\d{1,18}|\*)/(?:(\d{1,18})|\*)\s*")


@dataclass(frozen=True)
class Version:
    """The validators of an answer, as its headers have them; an empty text if the answer has none."""

    etag: str = ""
    modified: str = ""

    @property
    def if_range(self) -> str:
        """The value of `If-Range` (RFC 9110, 13.1.5), which takes no weak `ETag`."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified

    def differs_from(self, other: "Version") -> bool:
        """Whether the two are known to be of two versions. The dates decide, unless both have an `ETag` that does.

        `ETag`s that differ are of two versions. Equal ones are of the same bytes only if they are strong (RFC 9110,
        8.8.1): a weak one says nothing about ranges.
        """
        if self.etag and other.etag:
            if self.etag.removeprefix("W/") != other.etag.removeprefix("W/"):
                return True
            if not self.etag.startswith("W/") and not other.etag.startswith("W/"):
                return False
        return bool(self.modified and other.modified and self.modified != other.modified)

    def completed_by(self, other: "Version") -> "Version":
        """This version, with what it lacks of the validators of `other`: an answer for the same file."""
        return Version(self.etag or other.etag, self.modified or other.modified)


@dataclass(frozen=True)
class Answer:
    """The head of an answer 200, 206 or 416.

    `size` is that of the whole file in bytes, `start` the place of the body in the file. Both are `None` if the answer
    does not say. `is_chunked`: the end of the body shows, though its length is not announced.
    """

    status: int
    size: int | None = None
    start: int | None = None
    version: Version = Version()
    is_chunked: bool = False

    @classmethod
    def of(cls, response: requests.Response) -> "Answer":
        """The head of `response`, whose body has not been read."""
        version = Version(response.headers.get("ETag", ""), response.headers.get("Last-Modified", ""))
        if response.status_code == 200:  # `Content-Length`, as urllib3 reads it, and later checks it
            return cls(200, response.raw.length_remaining, 0, version, bool(response.raw.chunked))
        start, size = content_range(response.headers.get("Content-Range", ""))
        return cls(response.status_code, size, start, version)


def content_range(header: str) -> tuple[int | None, int | None]:
    """First byte and size of the file by a `Content-Range`: `bytes 0-4/8` is `(0, 8)`, `bytes */8` `(None, 8)`."""
    found = _CONTENT_RANGE.fullmatch(header)
    start, size = found.groups() if found else (None, None)
    return int(start) if start else None, int(size) if size else None


class First(Enum):
    """What the answer to the first request for a file is."""

    BEGINNING = auto()
    """The first bytes of a file of known size; the rest can be fetched by ranges."""
    WHOLE = auto()
    """All of the file, from a host that does not know ranges."""
    EMPTY = auto()
    NO_RANGES = auto()
    """The host answers ranges without the size of the file: the whole file is to be requested."""
    ENDLESS = auto()
    """A body whose end does not show: a connection that breaks would pass for the end."""


def first_answer(answer: Answer) -> First:
    """What `answer` to a request for the first bytes of a file is."""
    if answer.status == 200:
        return First.WHOLE if answer.size is not None or answer.is_chunked else First.ENDLESS
    if answer.status == 416:  # an empty file has no first byte
        return First.EMPTY if answer.size == 0 else First.NO_RANGES
    return First.BEGINNING if answer.start == 0 and answer.size is not None else First.NO_RANGES


class Next(Enum):
    """What the answer to a request for a later range is."""

    WANTED = auto()
    CHANGED = auto()
    """The storage has another version of the file by now."""
    OTHER_RANGE = auto()


def next_answer(answer: Answer, start: int, size: int, version: Version) -> Next:
    """What `answer` to a request for the bytes from `start` on is, of a file that had `size` and `version` before.

    A host may ignore `If-Range` and send a range of a newer version: each answer's validators are compared.
    """
    if answer.status != 206:
        return Next.CHANGED
    if answer.start != start:
        return Next.OTHER_RANGE
    return Next.CHANGED if answer.size != size or answer.version.differs_from(version) else Next.WANTED


def missing(size: int, arrived: Iterable[Range], piece: int) -> list[Range]:
    """What has not arrived of a file of `size` bytes, in ranges of at most `piece` bytes."""
    gaps: list[Range] = []
    position = 0
    for start, end in [*sorted(arrived), (size, size)]:
        gaps += [(at, min(at + piece, start)) for at in range(position, start, piece)]
        position = max(position, end)
    return gaps


@dataclass(frozen=True)
class Plan:
    """The ranges that are fetched one after the other first, and those that are fetched in parallel after that."""

    first: list[Range]
    rest: list[Range]


def plan(size: int, arrived: Iterable[Range], piece: int) -> Plan:
    """How to fetch what is missing: a file of at least `piece` bytes in parallel, once one range has proved right."""
    gaps = missing(size, arrived, piece)
    return Plan(gaps[:1], gaps[1:]) if size >= piece else Plan(gaps, [])
