"""What is to be uploaded of a job: the files of its output folders, its logs, and what is left out of them."""

import posixpath
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import BinaryIO

from job_fetcher.core.background import Cancellation
from job_fetcher.core.job import OutputType
from job_fetcher.transfer.outputs import LeftOut, NameBudget, OutputFolder

CONTAINER_LOG = "container.log"
LEFT_OUT = "left-out.txt"
MAX_LISTED = 10_000
"""Lines of the list of what is left out."""


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


class Outbox:
    """What is to be uploaded, of at most `max_bytes` bytes, and what is left out."""

    def __init__(self, files: Path, max_bytes: int, cancelled: Cancellation) -> None:
        self._files, self._bytes_left, self._cancelled = files, max_bytes, cancelled
        self._names = NameBudget()
        self.uploads: list[Upload] = []
        self.left_out: list[str] = []
        self.problems: set[str] = set()

    def look_into(self, output_type: OutputType, name: str) -> None:
        """Add the files of the job's folder `name`."""
        folder = OutputFolder(self._files, name, self._names)
        for each in folder.walk():
            self._cancelled.check()
            if isinstance(each, LeftOut):
                self._leave_out(each, name)
                if each.is_lost:
                    self.problems.add(f"The {output_type} '{posixpath.join(name, each.path)}' {each.reason}.")
            elif each.size > self._bytes_left:
                self._leave_out(LeftOut(each.path, "is beyond MAX_OUTPUT_GIB"), name)
                self.problems.add(f"The outputs are larger than this worker uploads (MAX_OUTPUT_GIB); see {LEFT_OUT}.")
            else:
                self._bytes_left -= each.size
                base_path, file_name = posixpath.split(posixpath.join(name, each.path))
                self.uploads.append(Upload(output_type, base_path, file_name, partial(folder.open, each.path)))

    def _leave_out(self, what: LeftOut, folder: str) -> None:
        if len(self.left_out) < MAX_LISTED:
            self.left_out.append(what.line(folder))
        elif len(self.left_out) == MAX_LISTED:
            self.left_out.append("… and more\n")

    def add_log(self, folder: str, name: str, open_file: Callable[[], AbstractContextManager[BinaryIO]]) -> None:
        """Add a log of our own: as `name`, or the next (`container-1.log`) if the job has written that itself."""
        taken = {each.path for each in self.uploads if each.type is OutputType.LOG}
        stem, suffix = posixpath.splitext(name)
        numbered = (name if number == 0 else f"{stem}-{number}{suffix}" for number in count())
        free = next(each for each in numbered if posixpath.join(folder, each) not in taken)
        self.uploads.append(Upload(OutputType.LOG, folder, free, open_file))
