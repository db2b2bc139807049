"""What a job's user asks next when a command has failed is answered in the details."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from job_fetcher import steps
from job_fetcher.core.job import MAX_DETAILS, JobSpecs, Outcome, encoded_length
from job_fetcher.transfer.failure_hints import inputs_there, newest_log

FAILED = Outcome(exit_code=1, reason="The command ended with exit code 1.", succeeded=False)
FINE = Outcome(exit_code=0, reason="The command ended with exit code 0.", succeeded=True)
NO_FILE = "FileNotFoundError: [Errno 2] No such file or directory: '/files/data/b.tif'\n"


def _specs(up: dict[str, str] | None = None, down: dict[str, str] | None = None) -> JobSpecs:
    return JobSpecs.parse({"app": {}, "handler": {"image_url": "x", "files_up": up, "files_down": down}})


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "files" / "log").mkdir(parents=True)
    (tmp_path / "container.log").touch()
    return tmp_path / "files"


def _told(files: Path, outcome: Outcome = FAILED, **specs: dict[str, str]) -> str:
    log = files.parent / "container.log"
    return steps.conclude(outcome, [], log, specs=_specs(**specs), files=files).details


def test_where_the_container_printed_nothing_the_newest_file_of_the_log_folder_speaks(files: Path) -> None:
    """Comet sends its output to /files/log/log.log."""
    for changed_s, (name, text) in enumerate({"old.log": "old\n", "log.log": "why\n", "x.bin": "\0"}.items()):
        (files / "log" / name).write_text(text)
        os.utime(files / "log" / name, (changed_s, changed_s))
    expected = f"{FAILED.reason}\n\nThe end of the log file 'log/log.log':\nwhy"
    assert _told(files, up={"log": "log"}) == expected
    assert _told(files, up={"output": "log"}) == FAILED.reason, "that is no log folder"
    assert _told(files, FINE, up={"log": "log"}) == FINE.reason
    (files.parent / "container.log").write_text("printed\n")
    assert _told(files, up={"log": "log"}) == f"{FAILED.reason}\n\nThe end of the log:\nprinted"


def test_callers_without_the_jobs_files_read_what_they_read_before(files: Path) -> None:
    (files / "log" / "log.log").write_text("why")
    assert steps.conclude(FAILED, [], files.parent / "container.log").details == FAILED.reason


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a FIFO": lambda at: os.mkfifo(at),
    "a link to a secret": lambda at: at.symlink_to("/proc/self/environ"),
    "a device": lambda at: at.symlink_to("/dev/zero"),
    "an empty file": lambda at: at.touch(),
    "a file of blanks": lambda at: at.write_text(" \n\n"),
    "a name that is not UTF-8": lambda at: (at.parent / os.fsdecode(b"\xff" * 255)).write_text("x"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_log_says_nothing(files: Path, what: str) -> None:
    HOSTILE[what](files / "log" / "odd.log")
    assert newest_log(_specs(up={"log": "log"}), files) == ("", "")
    (files / "log" / "log.log").write_text("why")
    assert newest_log(_specs(up={"log": "log"}), files) == ("log/log.log", "why")


@pytest.mark.parametrize(
    "content", [b"\x1b[31mred\x1b[0m\n", b"\xff\xfe\n", b"x" * (1 << 20), b"<script>\n", b"a\rb\n", b"%" * 100_000]
)
def test_a_hostile_log_file_fits_into_the_details(files: Path, content: bytes) -> None:
    (files / "log" / "log.log").write_bytes(content)
    told = _told(files, up={"log": "log"})
    assert encoded_length(told) <= MAX_DETAILS
    assert all(each.isprintable() or each in "\n\ufffd" for each in told)


@pytest.mark.parametrize(
    "said",
    [
        NO_FILE,
        "cat: can't open '/files/data/b.tif': No such file or directory\n",
        "OSError: Unable to open file /files/data/b.tif\n",
        "imread: cannot open /files/data/b.tif\n",
        "PermissionError: [Errno 13] Permission denied: '/files/data/a.tif'\n",
    ],
)
def test_a_missing_input_brings_the_list_of_those_that_were_there(files: Path, said: str) -> None:
    (files.parent / "container.log").write_text(said)
    told = _told(files, down={"data/a.tif": "1", "config/c d.yaml": "2"})
    inputs = "These inputs were there: '/files/config/c d.yaml', '/files/data/a.tif'."
    assert told == f"{FAILED.reason} {inputs}\n\nThe end of the log:\n{said.rstrip()}"
    assert "inputs" not in _told(files, FINE, down={"data/a.tif": "1"})


def test_a_missing_file_of_a_job_without_inputs_says_that_there_are_none() -> None:
    assert inputs_there(NO_FILE, []) == "The job has no inputs."


@pytest.mark.parametrize("said", ["", "Segmentation fault\n", "CUDA out of memory\n"])
def test_another_failure_lists_no_inputs(said: str) -> None:
    assert inputs_there(said, ["a"]) == ""


@pytest.mark.parametrize("name", ["n" * 255, "ü" * 100, "\x1b[31m", "a\nb", "%" * 255])
def test_many_inputs_of_any_names_are_listed_in_part(files: Path, name: str) -> None:
    inputs = {f"{name[:-4]}{number:04}": "1" for number in range(1000)}
    sentence = inputs_there(NO_FILE, inputs)
    assert sentence.endswith(" and 990 more.")
    assert sentence.isprintable()
    (files.parent / "container.log").write_text(NO_FILE)
    told = steps.conclude(FAILED, [], files.parent / "container.log", specs=_specs(down=inputs), files=files).details
    assert encoded_length(told) <= MAX_DETAILS
    assert told.endswith(NO_FILE.rstrip())
