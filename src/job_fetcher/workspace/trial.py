"""A trial of `PATH_BASE`: does its file system do all that the folder of a job needs?

`try_out` does what the worker and a job's container do there. The worker calls it when it starts, before it asks for
a job while it is in doubt, and in `check`.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from job_fetcher.core.errors import SettingsError
from job_fetcher.workspace.disk import (
    is_broken,
    is_full,
    open_to_all,
    remove_tree,
    sync,
    write_durably,
)
from job_fetcher.workspace.locks import lock

BALLAST = 65_536
"""Bytes that a job's folder needs at least."""
_PAIRS = (
    ("Capital.txt", "capital.TXT"),
    ("composed-\u00e9", "composed-e\u0301"),
    ("trailing-dot.", "trailing-dot"),
    ("trailing-blank ", "trailing-blank"),
)
_NAMES = (
    *(f"odd{each}.txt" for each in '?*:"<>|\\\t'),
    *("aux.txt", "\u9577\u3044.txt", "\U0001f52c.txt", "x" * 255),
)
"""Names that Linux allows, and file systems of Windows or in front of a cloud may not."""


class Unusable(SettingsError):
    """The worker cannot make folders of jobs in `PATH_BASE`. `is_full`: the reason is a full disk or a quota."""

    def __init__(self, message: str, *, is_full: bool = False) -> None:
        super().__init__(message)
        self.is_full = is_full


@dataclass(frozen=True)
class FileSystem:
    """What the file system of `PATH_BASE` does, besides all that a job needs.

    `kind` is its type in /proc/self/mountinfo (`ext4`, `fuse.sshfs`), "" if unknown. `syncs`: it knows fsync(2), of
    folders, too. `hides`: it keeps other users of the machine out (chmod(2)). `tells_space`: it knows statfs(2).
    `same_names` are pairs of names that are one file there. `refused_names` are those that it does not allow.
    """

    kind: str = ""
    syncs: bool = True
    hides: bool = True
    tells_space: bool = True
    same_names: tuple[tuple[str, str], ...] = ()
    refused_names: tuple[str, ...] = ()

    @property
    def limits(self) -> list[str]:
        """A sentence for each thing that it does not do."""
        found = []
        if not self.syncs:
            found.append("cannot flush a file or folder to disk: after a power cut, jobs may start again")
        if not self.hides:
            found.append("cannot hide files: other users of this machine can read the files of jobs")
        if not self.tells_space:
            found.append("does not tell its free space: the worker cannot keep MIN_FREE_GIB free")
        if self.same_names:
            pairs = ", ".join(f"{one!r} and {other!r}" for one, other in self.same_names)
            found.append(f"takes different names for one file ({pairs}): jobs with two such inputs fail")
        if self.refused_names:
            found.append(f"refuses some names ({', '.join(map(repr, self.refused_names))}): jobs with them fail")
        return [f"the file system of PATH_BASE {each}" for each in found]


def try_out(base: Path) -> FileSystem:
    """Do all that a job's folder needs in a new folder below `base`, which is made if it does not exist.

    Leaves nothing behind. Raises `Unusable` with the sentence that mends it.
    """
    with _writing(base):
        base.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".trial-", dir=base))
    try:
        return _Trial(base, folder).run()
    finally:
        remove_tree(folder)


def try_to_write(base: Path) -> None:
    """Write a file to `base` as `try_out` does, and remove it. Raises `Unusable`."""
    with _writing(base), tempfile.NamedTemporaryFile(prefix=".trial-", dir=base) as file:
        file.write(bytes(BALLAST))
        file.flush()
        sync(file.fileno())


@contextmanager
def _writing(base: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cure = "let this user write there, or set another"
        if is_full(error):
            cure = "make room on that disk, or raise this user's quota"
        elif is_broken(error):
            cure = "mount it without :ro; if it was writable before, check that disk and its connection"
        raise Unusable(
            f"PATH_BASE ({base}) cannot be written to: {error.strerror} - {cure}", is_full=is_full(error)
        ) from error


class _Trial:
    """What is done in `folder`, a new one below `base`."""

    def __init__(self, base: Path, folder: Path) -> None:
        self._base, self._folder = base, folder
        self._kind = _kind(base)

    def run(self) -> FileSystem:
        making, job = self._folder / "making", self._folder / "job"
        with self._doing("write a file"):
            making.mkdir(mode=0o700)
            hides = making.stat().st_mode & 0o077 == 0
            (making / "lock").touch()
            (making / "ballast").write_bytes(bytes(BALLAST))
        with self._doing("replace a file"):
            for text in "{}", "{ }":
                write_durably(making / "job.json", text)
        try:
            (making / "ballast").read_bytes()
        except OSError as error:
            raise self._cannot("read a file", error) from error
        self._open_to_all(making)
        with self._doing("rename a folder"):
            making.rename(job)
        self._lock(job / "lock")
        with self._doing("flush a file to disk"):
            syncs = _syncs(job / "ballast") and _syncs(job)
        with self._doing("hold files with odd names"):
            same_names, refused_names = self._try_names()
        with self._doing("tell its free space"):
            tells_space = _tells_space(job)
        self._remove(job)
        return FileSystem(self._kind, syncs, hides, tells_space, same_names, refused_names)

    @contextmanager
    def _doing(self, what: str) -> Iterator[None]:
        try:
            with _passing_on_full_and_broken(self._base):
                yield
        except OSError as error:
            raise self._cannot(what, error) from error

    def _cannot(self, what: str, error: OSError) -> Unusable:
        return Unusable(
            f"The file system of PATH_BASE ({self._where}) cannot {what}: {error.strerror}. Use a folder on a local"
            " disk, or a named volume: -v decode-jobs:/data"
        )

    @property
    def _where(self) -> str:
        return f"{self._base}, {self._kind}" if self._kind else str(self._base)

    def _open_to_all(self, making: Path) -> None:
        try:
            with _passing_on_full_and_broken(self._base):
                open_to_all(making, 0o777)
                open_to_all(making / "ballast", 0o666)
        except OSError as error:
            raise Unusable(
                f"The file system of PATH_BASE ({self._where}) keeps the users of containers out: {error.strerror}."
                " Mount it with dir_mode=0777,file_mode=0777 (SMB) or umask=000 (vfat, exfat, NTFS)"
            ) from error

    def _lock(self, file: Path) -> None:
        """Take a lock, and fail to take it a second time, as another worker would."""
        with self._doing("lock a file"):
            first = lock(file)
        assert first is not None  # nobody else knows this file
        try:
            with self._doing("lock a file"):
                second = lock(file)
        finally:
            os.close(first)
        if second is not None:
            os.close(second)
            raise Unusable(
                f"The file system of PATH_BASE ({self._where}) gives one lock to two workers, so both could run one"
                " job. Use a named volume: -v decode-jobs:/data"
            )

    def _try_names(self) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
        """The pairs of names that are one file, and the names that are refused."""
        folder = self._folder / "names"
        folder.mkdir()
        refused = [name for name in (*_NAMES, *(first for first, _ in _PAIRS)) if not _is_taken(folder / name)]
        same = [pair for pair in _PAIRS if pair[0] not in refused and os.path.lexists(folder / pair[1])]
        return tuple(same), tuple(name if len(name) < 100 else "a name of 255 characters" for name in refused)

    def _remove(self, job: Path) -> None:
        with self._doing("remove a folder"):
            for file in job.iterdir():
                file.unlink()
            job.rmdir()


@contextmanager
def _passing_on_full_and_broken(base: Path) -> Iterator[None]:
    """A disk that is full or broken says nothing about what its file system can do."""
    try:
        yield
    except OSError as error:
        if not (is_full(error) or is_broken(error)):
            raise
        with _writing(base):
            raise


def _syncs(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        return False
    try:
        return sync(descriptor)
    finally:
        os.close(descriptor)


def _is_taken(file: Path) -> bool:
    """Whether the file system takes a file of that name."""
    try:
        file.touch(exist_ok=False)
    except OSError as error:
        if is_full(error) or is_broken(error):
            raise
        return False
    return True


def _tells_space(folder: Path) -> bool:
    with suppress(OSError):
        return os.statvfs(folder).f_blocks > 0
    return False


def _kind(folder: Path) -> str:
    """The type of the file system, by /proc/self/mountinfo (proc(5)): the mounts by device number."""
    with suppress(OSError):
        device = folder.stat().st_dev
        wanted = f"{os.major(device)}:{os.minor(device)}"
        for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            mount, _, source = line.partition(" - ")
            if mount.split()[2] == wanted:
                return source.split()[0]
    return ""
