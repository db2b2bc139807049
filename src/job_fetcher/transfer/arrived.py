"""Which ranges of an input have arrived, noted on disk for a process that comes after this one."""

import json
from pathlib import Path
from threading import Lock

from job_fetcher.transfer.ranges import Range, Version

MIN_NOTED = 8 << 20
"""Bytes: a file that is not larger is fetched anew after a crash."""


class Arrived:
    """The ranges of one file that are on disk, and the version of the file that they are of.

    The file `path` has size and version in its first line, and a range in each other one. It exists only for a file of
    more than `MIN_NOTED` bytes whose version is known.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._ranges: list[Range] = []
        self.size = 0
        self.version = Version()
        self.etag = ""
        """The `ETag` that the first answer had. All that has arrived is of it, unlike one that came later (`learn`)."""

    @property
    def ranges(self) -> list[Range]:
        """The ranges so far, in the order of their arrival."""
        with self._lock:
            return list(self._ranges)

    def load(self, part: Path) -> bool:
        """Read what an earlier process has noted about `part`. Returns whether there is such a note."""
        try:
            head, *lines = self._path.read_text(encoding="utf-8").split("\n")[:-1]  # a crash may cut the last line off
            known = json.loads(head)
            self.size, self.version = int(known["size"]), Version(str(known["etag"]), str(known["modified"]))
            self.etag = self.version.etag
            self._ranges = [(int(start), int(end)) for start, end in map(str.split, lines)]
            is_here = part.stat().st_size == self.size
        except (OSError, ValueError, KeyError, TypeError):
            is_here = False
        if not is_here:
            self.forget()
        return is_here

    def begin(self, size: int, version: Version) -> None:
        """Note that nothing has arrived yet of a file of `size` bytes."""
        self.forget()
        self.size, self.version, self.etag = size, version, version.etag
        if size > MIN_NOTED and version.if_range:
            head = {"size": size, "etag": version.etag, "modified": version.modified}
            self._path.write_text(json.dumps(head) + "\n", encoding="utf-8")

    def learn(self, version: Version) -> None:
        """Take the validators of a later answer that the first one did not have: the answers after it must have them.

        The note on disk stays as it is: it exists only for a version that was known from the beginning.
        """
        with self._lock:
            self.version = self.version.completed_by(version)

    def add(self, start: int, end: int) -> None:
        """Note that the bytes from `start` to before `end` are on disk."""
        with self._lock:
            self._ranges.append((start, end))
            if self._path.exists():
                with self._path.open("a", encoding="utf-8") as file:
                    file.write(f"{start} {end}\n")

    def forget(self) -> None:
        """Forget the file, and remove the note."""
        self._path.unlink(missing_ok=True)
        self._ranges = []
        self.size, self.version, self.etag = 0, Version(), ""
