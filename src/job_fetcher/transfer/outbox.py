"""What is to be uploaded of a job: the files of its output folders, its logs, and what is left out of them."""

import posixpath
import stat
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import BinaryIO

from job_fetcher.core.background import Cancellation
from job_fetcher.core.job import OutputType
from job_fetcher.transfer.job_files import NameBudget
from job_fetcher.transfer.outputs import LeftOut, OutputFolder

CONTAINER_LOG = "container.log"
LEFT_OUT = "left-out.txt"
MAX_LISTED = 10_000
"""Lines of the list of what is left out."""
MAX_NAMED, MAX_NAMED_PATH = 3, 80
"""Lines of it that the job's details have, too, and the characters of a path there."""


@dataclass(frozen=True)
class Upload:
    """A file to send: its type, its folder relative to the job's, its name, and how to open it."""

    type: OutputType
    base_path: str
    name: str
    open: Callable[[], AbstractContextManager[BinaryIO]]

    @property
    def path(self) -> str:
        return posixpath.join(self.base_path, self.name)


class LeftOutList:
    """The list of what is left out, of at most `MAX_LISTED` lines; `count` counts all of it.

    `named` are the first lines in short, for the job's details.
    """

    def __init__(self) -> None:
        self._lines: list[str] = []
        self.named: list[str] = []
        self.count = 0

    def add(self, what: LeftOut, folder: str, *, is_named: bool = True) -> None:
        self.count += 1
        if self.count <= MAX_LISTED:
            self._lines.append(what.line(folder))
        if is_named and len(self.named) < MAX_NAMED:
            self.named.append(what.line(folder, MAX_NAMED_PATH))

    def text(self) -> str:
        return "".join(self._lines) + ("… and more\n" if self.count > MAX_LISTED else "")


class Outbox:
    """What is to be uploaded, of at most `max_bytes` bytes, and what is left out. `inputs`: the paths of the inputs."""

    def __init__(self, files: Path, max_bytes: int, cancelled: Cancellation, *, inputs: Collection[str] = ()) -> None:
        self._files, self._bytes_left, self._cancelled, self._inputs = files, max_bytes, cancelled, inputs
        self._budget = NameBudget()
        self.uploads: list[Upload] = []
        self.size = 0
        self.left_out = LeftOutList()
        self.empty: list[tuple[OutputType, str]] = []
        self.problems: set[str] = set()

    def look_into(self, output_type: OutputType, name: str) -> None:
        """Add the files of the job's folder `name`."""
        folder = OutputFolder(self._files, name, self._budget, self._inputs)
        is_empty = True
        for each in folder.walk():
            is_empty = False
            self._cancelled.check()
            if isinstance(each, LeftOut):
                self.left_out.add(each, name)
                if each.is_lost:
                    self.problems.add(f"The {output_type} '{posixpath.join(name, each.path)}' {each.reason}.")
            elif each.size > self._bytes_left:
                self.left_out.add(LeftOut(each.path, "is beyond MAX_OUTPUT_GIB"), name)
                self.problems.add(
                    f"The outputs are larger than this worker uploads; see {LEFT_OUT}. The owner of this worker has to"
                    " raise MAX_OUTPUT_GIB."
                )
            else:
                self._bytes_left -= each.size
                self.size += each.size
                base_path, file_name = posixpath.split(posixpath.join(name, each.path))
                self.uploads.append(Upload(output_type, base_path, file_name, partial(folder.open, each.place)))
        if is_empty:
            self.empty.append((output_type, name))

    def add_container_log(self, folder: str, path: Path) -> None:
        """Add the log at `path`, unless the container has printed nothing."""
        try:
            status = path.stat()
        except OSError:  # whoever opens it tells that
            pass
        else:
            if stat.S_ISREG(status.st_mode) and status.st_size == 0:
                return
        self.add_log(folder, CONTAINER_LOG, lambda: path.open("rb"))

    def logs_last(self) -> list[Upload]:
        """All uploads, those of type `log` after the others."""
        return sorted(self.uploads, key=lambda each: each.type is OutputType.LOG)

    def add_log(self, folder: str, name: str, open_file: Callable[[], AbstractContextManager[BinaryIO]]) -> Upload:
        """Add a log of the worker: as `name`, or the next (`container-1.log`) if the job has written that itself."""
        free = free_name(folder, name, {each.path for each in self.uploads if each.type is OutputType.LOG})
        self.uploads.append(Upload(OutputType.LOG, folder, free, open_file))
        return self.uploads[-1]


def free_name(folder: str, name: str, taken: Collection[str]) -> str:
    """`name`, or `name` with a number, of which `folder` has no file yet, by the paths that are `taken`."""
    stem, suffix = posixpath.splitext(name)
    numbered = (name if number == 0 else f"{stem}-{number}{suffix}" for number in count())
    return next(each for each in numbered if posixpath.join(folder, each) not in taken)
