"""Which files a job has left in an output folder, read without being tricked (`job_files`).

A link is an output if it leads to a file or a folder of the job's own files, in the output folder or not. It is none
if it leads to an input. The job's user has that already, and a link to all of the raw data would fill the upload.
"""

import os
import posixpath
import stat
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from job_fetcher.transfer.job_files import MAX_DEPTH, JobFiles, NameBudget, NotFollowed, Place, open_directory

MAX_LISTED_PATH = 500
"""Characters of a path in the list of what is left out."""

_NAME_OVERHEAD = 1_000
_KINDS = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


@dataclass(frozen=True)
class Output:
    """A file to upload: its path relative to the output folder, as the job named it, and its size in bytes.

    `place` is its path in the job's files, without a link.
    """

    path: str
    size: int
    place: str = field(default="", compare=False)


@dataclass(frozen=True)
class LeftOut:
    """A file, or a whole folder, that is not uploaded, and why. `is_lost`: only because it cannot be read."""

    path: str
    reason: str
    is_lost: bool = False

    def line(self, folder: str, max_path: int = MAX_LISTED_PATH) -> str:
        """A line for a list, with the odd characters of the path escaped, and the path cut after `max_path`."""
        beginning = f"{folder}/{self.path}"[: max_path + 1]  # to escape all of a long one takes its time
        path = os.fsencode(beginning).decode(errors="backslashreplace")
        shown = "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in path)
        return f"{shown if len(shown) <= max_path else f'{shown[:max_path]}…'}: {self.reason}\n"


@dataclass(frozen=True)
class _Visit:
    """A folder that is walked: its path as the job named it, ending in a slash, and its place without links.

    `around` are the places of the links by which it was reached.
    """

    prefix: str
    place: str
    depth: int = 1
    around: tuple[str, ...] = ()

    def below(self, name: str) -> "_Visit":
        return replace(
            self, prefix=f"{self.prefix}{name}/", place=posixpath.join(self.place, name), depth=self.depth + 1
        )


class OutputFolder:
    """One output folder of a job: `name` relative to the job's `files`. Missing counts as empty.

    `budget` is for all folders of a job together, `inputs` are the paths of the job's inputs. The folder may be a link
    within the job's files. If the job has made a file in its place, that is its only file, by the folder's last name.
    """

    def __init__(self, files: Path, name: str, budget: NameBudget | None = None, inputs: Collection[str] = ()) -> None:
        self._budget = budget or NameBudget()
        self._files = JobFiles(files, self._budget, MAX_DEPTH + len(name.split("/")))
        self._name, self._inputs = name, inputs

    def walk(self) -> Iterator[Output | LeftOut]:
        """Every file below the folder, sorted by name within each folder, folders after files, links to them last."""
        try:
            place = self._files.resolve(self._name)
        except FileNotFoundError:
            return
        except NotFollowed as error:
            yield LeftOut("", str(error))
            return
        except OSError as error:
            yield LeftOut("", f"cannot be opened ({error.strerror})", is_lost=True)
            return
        around = () if place.path == self._name else (posixpath.dirname(self._name),)
        if not stat.S_ISDIR(place.status.st_mode):
            yield self._file(posixpath.basename(self._name), place, is_linked=bool(around))
            return
        linked = deque([_Visit("", place.path, around=around)])
        while linked:
            visit = linked.popleft()
            try:
                descriptor = self._files.open_folder(visit.place)
            except OSError as error:
                yield LeftOut(visit.prefix, f"cannot be opened ({error.strerror})", is_lost=True)
            else:
                yield from self._walk(descriptor, visit, linked)

    def open(self, place: str) -> AbstractContextManager[BinaryIO]:
        """The file that `walk` gave with `place`; raises `OSError` if it is not there as a regular file any more."""
        return self._files.open(place)

    def _walk(self, descriptor: int, visit: _Visit, linked: deque[_Visit]) -> Iterator[Output | LeftOut]:
        """Walk the open folder and those below it; what links lead to is added to `linked`."""
        folders = []
        try:
            listed, all_of_them = self._list(descriptor, visit)
            for name, status in listed:
                if not _is_utf8(name):
                    yield LeftOut(visit.prefix + name, "its name is not UTF-8")
                elif stat.S_ISDIR(status.st_mode):
                    folders.append(name)
                elif stat.S_ISLNK(status.st_mode):
                    yield from self._link(name, visit, linked)
                else:
                    place = Place(posixpath.join(visit.place, name), status)
                    yield self._file(visit.prefix + name, place, is_linked=bool(visit.around))
            if not all_of_them:
                yield LeftOut(visit.prefix, "has more files than a worker looks at")
            for name in folders:
                yield from self._walk_into(descriptor, name, visit, linked)
        except OSError as error:
            yield LeftOut(visit.prefix, f"cannot be listed ({error.strerror})", is_lost=True)
        finally:
            os.close(descriptor)

    def _list(self, descriptor: int, visit: _Visit) -> tuple[list[tuple[str, os.stat_result]], bool]:
        """What lies in a folder, by name, as far as the budget goes; and whether that is all of it."""
        listed: list[tuple[str, os.stat_result]] = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                if not self._budget.take(len(visit.prefix) + len(visit.place) + 2 * len(entry.name) + _NAME_OVERHEAD):
                    return sorted(listed), False
                with suppress(FileNotFoundError):
                    listed.append((entry.name, entry.stat(follow_symlinks=False)))
        return sorted(listed), True

    def _walk_into(self, above: int, name: str, visit: _Visit, linked: deque[_Visit]) -> Iterator[Output | LeftOut]:
        path = visit.prefix + name
        if visit.depth >= MAX_DEPTH:
            yield LeftOut(path, f"is deeper than {MAX_DEPTH} folders")
            return
        try:
            descriptor = open_directory(name, above)
        except OSError as error:
            yield LeftOut(path, f"cannot be opened ({error.strerror})", is_lost=True)
            return
        yield from self._walk(descriptor, visit.below(name), linked)

    def _link(self, name: str, visit: _Visit, linked: deque[_Visit]) -> Iterator[Output | LeftOut]:
        """Follow a link: a file is an output, a folder is walked later."""
        path = visit.prefix + name
        try:
            place = self._files.resolve(posixpath.join(visit.place, name))
        except NotFollowed as error:
            yield LeftOut(path, str(error))
        except OSError as error:
            yield LeftOut(path, f"is a link that cannot be followed ({error.strerror})")
        else:
            around = (*visit.around, visit.place)
            if not stat.S_ISDIR(place.status.st_mode):
                yield self._file(path, place, is_linked=True)
            elif any(place.contains(each) for each in around):
                yield LeftOut(path, "is a link to a folder that it lies in")
            elif visit.depth >= MAX_DEPTH:
                yield LeftOut(path, f"is deeper than {MAX_DEPTH} folders")
            else:
                linked.append(_Visit(f"{path}/", place.path, visit.depth + 1, around))

    def _file(self, path: str, place: Place, *, is_linked: bool) -> Output | LeftOut:
        if not stat.S_ISREG(place.status.st_mode):
            return LeftOut(path, f"is {_KINDS.get(stat.S_IFMT(place.status.st_mode), 'no regular file')}")
        if is_linked and place.path in self._inputs:
            return LeftOut(path, "is a link to an input")
        return Output(path, place.status.st_size, place.path)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
