"""The log folder of a running job: its text files are found, and nothing else is touched."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from job_fetcher.transfer.log_folder import MAX_LOOKED_AT, LogFolder, is_text

SECRET = "secret"


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A job's files, beside a file that is none of them."""
    (tmp_path / "lab.txt").write_text(SECRET)
    (tmp_path / "files" / "log").mkdir(parents=True)
    return tmp_path / "files"


def _paths(files: Path, **more: object) -> list[str]:
    return [each.path for each in LogFolder(files, "log", **more).look()]  # type: ignore[arg-type]


def _write(path: Path, changed_s: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("x")
    os.utime(path, (changed_s, changed_s))


def test_the_newest_files_come_first_whatever_folder_they_lie_in(files: Path) -> None:
    for changed_s, name in enumerate(["a.log", "deep/b.log", "c d.log"]):
        _write(files / "log" / name, changed_s)
    (files / "log" / "empty.log").touch()
    assert _paths(files) == ["log/c d.log", "log/deep/b.log", "log/a.log"]
    assert _paths(files, inputs=["log/a.log"]) == ["log/c d.log", "log/deep/b.log"]


def test_what_grows_has_another_version(files: Path) -> None:
    log = files / "log" / "a.log"
    log.write_text("1")
    [before] = LogFolder(files, "log").look()
    log.write_text("12")
    [after] = LogFolder(files, "log").look()
    assert (before.size, after.size, before.version == after.version) == (1, 2, False)


def _socket(at: Path) -> None:
    here = os.open(at.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{here}/{at.name}")
    os.close(here)


NO_LOGS: dict[str, Callable[[Path], object]] = {
    "a FIFO": lambda at: os.mkfifo(at),
    "a socket": _socket,
    "a link out of the job's files": lambda at: at.symlink_to("../../lab.txt"),
    "a link to another log": lambda at: at.symlink_to("/proc/self/environ"),
    "a link to a folder": lambda at: at.symlink_to("/etc"),
    "a name that is not UTF-8": lambda at: (at.parent / os.fsdecode(b"\xff.log")).write_text("x"),
    "a name with a line break": lambda at: (at.parent / "a\nb.log").write_text("x"),
    "a name that steers a terminal": lambda at: (at.parent / "\x1b[31m.log").write_text("x"),
}


@pytest.mark.parametrize("what", NO_LOGS)
def test_what_is_no_log_is_not_looked_at(files: Path, what: str) -> None:
    NO_LOGS[what](files / "log" / "odd.log")
    (files / "log" / ("n" * 255)).write_text("x")
    assert _paths(files) == ["log/" + "n" * 255]


FOLDERS: dict[str, Callable[[Path], object]] = {
    "none": lambda at: None,
    "a link": lambda at: at.symlink_to("/etc"),
    "a file": lambda at: at.write_text("x"),
    "a FIFO": lambda at: os.mkfifo(at),
}


@pytest.mark.parametrize("what", FOLDERS)
def test_a_log_folder_that_is_none_has_no_logs(files: Path, what: str) -> None:
    (files / "log").rmdir()
    FOLDERS[what](files / "log")
    assert _paths(files) == []


REPLACED: dict[str, Callable[[Path], object]] = {
    "nothing": lambda at: None,
    "a FIFO": lambda at: os.mkfifo(at),
    "a link": lambda at: at.symlink_to("../../lab.txt"),
    "a folder": lambda at: at.mkdir(),
    "a device": lambda at: at.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("what", REPLACED)
def test_a_log_that_was_replaced_since_is_not_opened(files: Path, what: str) -> None:
    log = files / "log" / "a.log"
    log.write_text("x")
    folder = LogFolder(files, "log")
    [found] = folder.look()
    log.unlink()
    REPLACED[what](log)
    with pytest.raises(OSError), folder.open(found.path):  # noqa: PT011 - whatever the system says
        pass


def test_a_folder_with_very_many_files_is_looked_at_in_part(files: Path) -> None:
    for number in range(MAX_LOOKED_AT + 10):
        (files / "log" / str(number)).write_text("x")
    assert len(_paths(files)) == MAX_LOOKED_AT


def test_very_deep_folders_are_left_alone(files: Path) -> None:
    deep = files / "log" / "/".join("d" * 300)
    deep.mkdir(parents=True)
    (deep / "a.log").write_text("x")
    (files / "log" / "a.log").write_text("x")
    assert _paths(files) == ["log/a.log"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"text\n", True), ("größe".encode("latin-1"), True), (b"\x1b[31mred", True), (b"\x18\0\0\0event", False)],
)
def test_a_text_is_told_from_other_files(tmp_path: Path, content: bytes, expected: bool) -> None:
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file:
        assert is_text(file) is expected
