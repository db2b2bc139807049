"""Words, names and paths without a measure: none of them takes a worker's time or its memory."""

import logging
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from job_fetcher import steps
from job_fetcher.core import logs
from job_fetcher.core.job import JobSpecs
from job_fetcher.transfer import job_files
from job_fetcher.transfer.outputs import MAX_LISTED_PATH, LeftOut, Output, OutputFolder
from job_fetcher.workspace.ledger import Ledger
from tests.support.files import peak_memory
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

pytestmark = pytest.mark.usefixtures("needs_time")

DEEP = "a/" * 1500 + "x"
DESCRIPTIONS: dict[str, dict[str, Any]] = {
    "an image of slashes": {"image": "/" * 2_000_000},
    "an image below a registry of slashes": {"image": "x/" + "/" * 2_000_000},
    "a file id of slashes": {"files": {"a": "s3://bucket/" + "/" * 400_000}},
    "an input with an endless name": {"files": {"x" * 2_000_000: b""}},
    "an input of slashes": {"files": {"/" * 2_000_000 + "x": b""}},
    "an input below 1,500 folders": {"files": {DEEP: b""}},
    "an output below 1,500 folders": {"up": {"output": DEEP}},
    "an output with an endless name": {"up": {"output": "a/" * 1_000_000}},
}


def test_description_without_measure_is_an_error_at_once_and_the_worker_ends_when_it_is_told_to(
    mock: Platform, worker: WorkerProcess, job_image: str
) -> None:
    jobs = {
        what: mock.submit("true", **({"image": job_image} | description)) for what, description in DESCRIPTIONS.items()
    }
    for what, job in jobs.items():
        mock.wait_for_status(job)
        assert mock.statuses(job) == ["preprocessing", "error"], what
        assert mock.details(job).startswith("The job's description is not valid: "), what
    assert len(worker.log) < 100_000
    mock.submit("true", **({"image": job_image} | DESCRIPTIONS["an image of slashes"]))
    assert worker.stop() == 0


def formatted(text: str) -> str:
    record = logging.LogRecord("job_fetcher", logging.WARNING, "here", 1, "%s", (text,), None)
    return logs.RedactingFormatter(["secret"]).format(record)


def seconds(call: Callable[[str], object], text: str) -> float:
    """Of the processor, which no neighbour takes part in; the least of some tries."""

    def once() -> float:
        started = time.thread_time()
        call(text)
        return time.thread_time() - started

    return min(once() for _ in range(5))


@pytest.mark.parametrize("call", [logs.without_secrets, formatted])
@pytest.mark.parametrize("word", ["/", "?", "x-amz-", "bearer ", "://", "x-amz-a=?", "signature=bearer "])
def test_redaction_takes_eight_times_as_long_for_eight_times_the_text(call: Callable[[str], object], word: str) -> None:
    """Where it looks back for each character, it takes 64 times as long."""
    size, text = 2_000, word * 16_000
    assert seconds(call, text[: 8 * size]) / seconds(call, text[:size]) < 40


def test_line_of_a_list_takes_no_longer_for_a_path_without_measure() -> None:
    def told(path: str) -> str:
        return LeftOut(path, "is a FIFO").line("output")

    assert seconds(told, "\x01" * 4_000_000) / seconds(told, "\x01" * 40_000) < 40


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A job's files with an output folder below which 3,000 FIFOs lie, at paths of 50 KB."""
    descriptor = os.open(tmp_path, os.O_DIRECTORY)
    for name in ("files", "output", *["\x01" * 255] * 198):
        os.mkdir(name, dir_fd=descriptor)
        below = os.open(name, os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    for number in range(3_000):
        os.mkfifo(f"{number}", dir_fd=descriptor)
    os.close(descriptor)
    (tmp_path / "log").write_bytes(b"")
    yield tmp_path / "files"
    subprocess.run(["rm", "-rf", str(tmp_path / "files")], check=True)


def specs(*types: str) -> JobSpecs:
    return JobSpecs.parse({"app": {}, "handler": {"image_url": "x", "files_up": dict.fromkeys(types, "output")}})


@pytest.mark.usefixtures("needs_time")
def test_list_of_what_is_left_out_stays_small_however_long_the_paths_are(mock: Platform, deep: Path) -> None:
    job = mock.pulled("true")
    arguments = (mock.api(), job, specs("output"), deep, deep.parent / "log", Ledger(deep.parent / "ledger"))
    with peak_memory() as peak:
        steps.upload_outputs(*arguments)
    lines = mock.outputs(job)["log/log/left-out.txt"].splitlines()
    assert 1_000 < len(lines) <= 3_001
    assert max(map(len, lines)) < MAX_LISTED_PATH + 100
    assert peak() < 64 << 20, "all of their paths have 150 MB"


def test_room_for_names_is_one_for_all_output_folders_of_a_job(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := tmp_path / "files" / "output").mkdir(parents=True)
    for number in range(100):
        (folder / f"{number}").touch()
    (tmp_path / "log").write_bytes(b"the log")
    monkeypatch.setattr(job_files, "MAX_NAME_BYTES", 150_000)
    job = mock.pulled("true")
    arguments = (mock.api(), job, specs("output", "artifact", "log"), tmp_path / "files", tmp_path / "log")
    steps.upload_outputs(*arguments, Ledger(tmp_path / "ledger"))
    kinds = [path.split("/")[0] for path in mock.outputs(job)]
    assert kinds.count("output") == 100
    assert 30 < kinds.count("artifact") < 60
    assert kinds.count("log") == 2, "the container's, and the list"


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[Path]:
    """Files of a job: 3,000 links, each by nine others that lie 190 folders deep, and a ring at its end."""
    (bottom := tmp_path / "files" / "output" / Path(*["a"] * 190)).mkdir(parents=True)
    for number in range(9):
        (bottom / f"{number}").symlink_to(f"/files/output/{'a/' * 190}{number + 1}")
    (bottom / "9").symlink_to("0")
    for number in range(3_000):
        (tmp_path / "files" / "output" / f"x{number}").symlink_to(f"{'a/' * 190}0")
    yield tmp_path / "files"
    subprocess.run(["rm", "-rf", str(tmp_path / "files")], check=True)


def test_links_by_long_ways_are_left_out_as_soon_as_there_is_no_room_for_them(
    linked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each level of each hop is a system call: it is they that are counted, since their time is the machine's."""
    opened = 0
    really = os.open

    def counting(*arguments: object, **more: object) -> int:
        nonlocal opened
        opened += 1
        return really(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", counting)
    monkeypatch.setattr(job_files, "MAX_NAME_BYTES", 10_000_000)
    left_out = list(OutputFolder(linked, "output").walk())
    assert len([each for each in left_out if isinstance(each, LeftOut)]) >= 3_000
    assert opened < 700 * 200 + 10_000, "10,000 bytes for each hop leave room for 700 of them"


def test_link_to_a_file_deeper_than_is_looked_is_left_out(tmp_path: Path) -> None:
    output = tmp_path / "files" / "output"
    for depth, name in ((190, "near"), (210, "far")):
        (folder := output / Path(*["a"] * depth)).mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
        (output / f"{name}-link").symlink_to(f"{'a/' * depth}{name}")
    walked = {each.path: type(each) for each in OutputFolder(tmp_path / "files", "output").walk()}
    assert (walked["near-link"], walked["far-link"]) == (Output, LeftOut)
