"""The beginning and the end of a text of any length, kept in a file of bounded size."""

from typing import BinaryIO

MAX_EXCERPT = 1 << 20
"""Bytes of an excerpt, the line between its two parts included."""
BETWEEN = (
    b"\n[job-fetcher] The middle is left out here. The complete log follows when the command has ended.\n"
    b"[job-fetcher] The end of the log so far:\n"
)
HALF = (MAX_EXCERPT - len(BETWEEN)) // 2
"""Bytes of each of the two parts."""
_BLOCK = 1 << 16


class Excerpt:
    """Takes a text in pieces, and keeps its first and its last `HALF` bytes in `file`, which nobody else changes.

    Raises the `OSError` of the file. A text that fits stays whole.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = 0
        self._skipped = False

    @property
    def is_cut(self) -> bool:
        """Whether something between the two parts is left out."""
        return self._skipped or self._size > 2 * HALF

    def add(self, piece: bytes) -> None:
        """Take the next piece."""
        left = memoryview(piece)
        while left:
            at = self._size if self._size < HALF else HALF + (self._size - HALF) % HALF
            room = (HALF if at < HALF else 2 * HALF) - at
            self._file.seek(at)
            self._file.write(left[:room])
            self._size += len(left[:room])
            left = left[room:]

    def skip(self) -> None:
        """Leave out all but the first `HALF` bytes, which have been taken: what is added now is the end."""
        self._size, self._skipped = HALF, True

    def clear(self) -> None:
        """Begin anew."""
        self._size, self._skipped = 0, False

    def write_to(self, target: BinaryIO) -> None:
        """Write the text, or the whole lines of both its parts with a line between them."""
        if not self.is_cut:
            self._copy(0, self._size, target)
            return
        end, wrapped = HALF + (self._size - HALF) % HALF, self._size >= 2 * HALF
        self._copy(0, HALF - self._broken_line(), target)
        target.write(BETWEEN)
        begin = self._first_line(end if wrapped else HALF, 2 * HALF if wrapped else end)
        self._copy(begin, 2 * HALF if wrapped else end, target)
        if wrapped:
            self._copy(HALF, end, target)

    def _copy(self, begin: int, end: int, target: BinaryIO) -> None:
        for at in range(begin, end, _BLOCK):
            self._file.seek(at)
            target.write(self._file.read(min(_BLOCK, end - at)))

    def _broken_line(self) -> int:
        """Bytes at the end of the first part that are no whole line; 0 if it would be much."""
        self._file.seek(HALF - _BLOCK)
        return (_BLOCK - 1 - found) if (found := self._file.read(_BLOCK).rfind(b"\n")) >= 0 else 0

    def _first_line(self, begin: int, end: int) -> int:
        """Where the first whole line after `begin` begins; `begin` if that is not near."""
        self._file.seek(begin)
        return begin + self._file.read(min(_BLOCK, end - begin)).find(b"\n") + 1


def excerpt_of(source: BinaryIO, excerpt: Excerpt) -> None:
    """Take the beginning and the end of a file into an empty `excerpt`; nothing in between is read."""
    size = source.seek(0, 2)
    source.seek(0)
    whole = size <= 2 * HALF
    _take(source, size if whole else HALF, excerpt)
    if not whole:
        excerpt.skip()
        source.seek(size - HALF)
        _take(source, HALF, excerpt)


def _take(source: BinaryIO, size: int, excerpt: Excerpt) -> None:
    while size > 0 and (piece := source.read(min(_BLOCK, size))):  # it may become shorter meanwhile
        excerpt.add(piece)
        size -= len(piece)
