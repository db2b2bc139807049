"""Whether a file system takes the names of a job's files, and keeps them apart."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from job_fetcher.core.errors import JobFailed
from job_fetcher.workspace.disk import is_broken, is_full, remove_tree

MAX_SHOWN = 300
"""Characters of a path in a sentence for the job's user."""


def check_names(scratch: Path, files: Iterable[str], folders: Iterable[str]) -> None:
    """Make `files` and `folders` (normalised relative paths) empty in the new folder `scratch`, and remove them.

    Raises `JobFailed`, naming the paths, for two that are one file there, and for one that is not allowed. Such two are
    `A.txt` and `a.txt` on vfat, SMB and NTFS, or Unicode forms on macOS. Raises `OSError` if the disk fails or is full.
    """
    nodes = list(_nodes(files, folders))
    if not nodes:
        return
    remove_tree(scratch)
    scratch.mkdir()
    try:
        made: list[str] = []
        for path, is_folder in nodes:
            _make(scratch, path, made, is_folder=is_folder)
            made.append(path)
    finally:
        remove_tree(scratch)


def _nodes(files: Iterable[str], folders: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Each file, and each folder on the way, once, above before below; and whether it is a folder."""
    files = set(files)
    paths = {
        "/".join(parts[: n + 1])
        for each in (*files, *folders)
        for parts in [each.split("/")]
        for n in range(len(parts))
    }
    return ((path, path not in files) for path in sorted(paths, key=lambda path: (path.count("/"), path)))


def _make(scratch: Path, path: str, made: Iterable[str], *, is_folder: bool) -> None:
    new = scratch / path
    try:
        new.mkdir() if is_folder else new.touch(exist_ok=False)
    except FileExistsError:
        status = new.lstat()
        other = next((each for each in made if os.path.samestat(status, (scratch / each).lstat())), path)
        raise JobFailed(
            f"The worker's disk takes '{other}' and '{path}' for one file: give one of them another name."
        ) from None
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        raise JobFailed(
            f"The worker's disk cannot hold a file with the name '{_short(path)}' ({error.strerror}):"
            " give it another name."
        ) from error


def _short(path: str) -> str:
    """`path`, so short that the reason behind it still fits into the details."""
    return path if len(path) <= MAX_SHOWN else f"{path[:MAX_SHOWN]}…"
