"""What a job's user reads when the job has ended: what arrived, what did not, and why; no file loses another."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from job_fetcher import steps
from job_fetcher.core.job import JobStatus, Outcome
from job_fetcher.core.retry import INVALID_ANSWERS
from job_fetcher.transfer import upload
from tests.support.platform import Platform
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("waits")

ENDS: dict[str, dict[str, Any]] = {
    "301": {"status": 301, "headers": {"Location": "http://127.0.0.1:1/"}},
    "302": {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
    "303": {"status": 303},
    "307 to nowhere": {"status": 307},
    "200 without ETag": {"status": 200, "body": "<html>log in</html>"},
    "400": {"status": 400, "body": "<Error><Code>EntityTooLarge</Code><Message>Too large</Message></Error>"},
    "404": {"status": 404, "body": "no"},
    "405": {"status": 405},
    "413": {"status": 413},
}


@pytest.mark.parametrize("end", ENDS)
def test_whatever_an_upload_ends_with_is_a_problem_of_that_file_alone(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """All results of a job were deleted, and its log, since one answer was not understood for an hour."""
    monkeypatch.setattr(upload, "INVALID_FOR_S", 0)  # the hour is over
    stage = Stage(mock, tmp_path, up={"output": "output", "artifact": "model"})
    stage.write(output__a=b"1", model__b=b"2", model__c=b"3")
    mock.fault("/store/*/artifact/*", method="POST", **ENDS[end])
    problems = stage.upload()
    assert [each.split("'")[1] for each in problems] == ["model/b", "model/c"]
    assert sorted(mock.outputs(stage.id)) == ["log/log/container.log", "log/log/left-out.txt", "output/output/a"]
    final = steps.conclude(Outcome(exit_code=0, reason="It ended.", succeeded=True), problems, stage.log)
    assert final.status is JobStatus.ERROR
    assert final.details.startswith(f"It ended. {problems[0]} {problems[1]} The worker uploaded 1 output file (1 byte)")
    assert "left out 2 files or folders, listed in the log file 'log/left-out.txt'." in final.details
    assert final.details.endswith("The end of the log:\nthe log")


def test_a_file_with_an_answer_that_is_not_understood_does_not_let_each_other_wait_for_an_hour(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "INVALID_FOR_S", 0)
    stage = Stage(mock, tmp_path, up={"artifact": "model"})
    stage.write(**{f"model__{number}": b"x" for number in range(20)})
    page = mock.fault("/store/*/artifact/*", method="POST", status=302)
    assert len(stage.upload(transfers=1)) == 20
    assert page.matched == INVALID_ANSWERS + 19
    assert "log/log/container.log" in mock.outputs(stage.id)


def told(stage: Stage) -> str:
    """What the user of a job that succeeded reads of its outputs."""
    final = steps.conclude(Outcome(exit_code=0, reason="It ended.", succeeded=True), stage.upload(), stage.log)
    assert final.status is JobStatus.FINISHED
    return final.details.removeprefix("It ended. ").removesuffix("\n\nThe end of the log:\nthe log")


def test_the_details_say_how_many_files_of_which_type_arrived(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output", "artifact": "model", "log": "log"})
    stage.write(output__a=b"1", output__b__c=b"22", model__x=b"x" * 2048, log__own=b"1")
    expected = "The worker uploaded 2 output files (3 bytes), 1 artifact file (2.0 KiB) and 2 log files (9 bytes)."
    assert told(stage) == expected
    assert told(stage) == expected, "what arrived before a crash counts"


@pytest.mark.parametrize("made", [False, True])
def test_the_details_say_which_folder_stayed_empty(mock: Platform, tmp_path: Path, made: bool) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output", "artifact": "model"})
    stage.write(output__a=b"1")
    if made:
        (stage.files / "model" / "empty").mkdir(parents=True)
    assert told(stage) == (
        "The worker uploaded 1 output file (1 byte) and 1 log file (8 bytes)."
        " The job left no file in its artifact folder 'model'."
    )


LEFT_OUT: dict[str, tuple[Callable[[Path], object], str]] = {
    "link out of it": (
        lambda out: (out / "x").symlink_to("/etc/passwd"),
        "output/x: is a link that leads out of the job's files",
    ),
    "name that is not UTF-8": (
        lambda out: os.close(os.open(os.fsencode(out) + b"/\xff", os.O_CREAT)),
        "output/\\xff: its name is not UTF-8",
    ),
    "folder that is not UTF-8": (
        lambda out: os.mkdir(os.fsencode(out) + b"/\xff"),  # noqa: PTH102 - as bytes
        "output/\\xff: its name is not UTF-8",
    ),
    "FIFO": (lambda out: os.mkfifo(out / "x"), "output/x: is a FIFO"),
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_the_details_say_what_was_left_out_and_where_the_list_is(mock: Platform, tmp_path: Path, what: str) -> None:
    make, line = LEFT_OUT[what]
    stage = Stage(mock, tmp_path, up={"output": "output", "log": "logs"})
    stage.write(output__a=b"1", logs__own=b"1")
    make(stage.files / "output")
    assert told(stage).endswith(
        f" The worker left out 1 file or folder, listed in the log file 'logs/left-out.txt': {line}."
    )
    assert mock.outputs(stage.id)["log/logs/left-out.txt"].decode() == f"{line}\n"


@pytest.mark.parametrize("folder", ["results", "deep/results"])
def test_results_beside_the_output_folder_arrive_by_a_link(mock: Platform, tmp_path: Path, folder: str) -> None:
    """A finished job's results were missing: its output folder was a link, or had one to where they lay."""
    stage = Stage(mock, tmp_path, files={"data/raw": b"raw"}, up={"output": "output", "artifact": "model"})
    stage.download()
    stage.write(**{f"{folder.replace('/', '__')}__a.h5": b"1", "output__b": b"2"})
    (stage.files / "output" / "last").symlink_to(f"../{folder}")
    (stage.files / "output" / "raw").symlink_to("../data/raw")
    (stage.files / "model").symlink_to(f"/files/{folder}")
    assert "left out 1 file or folder" in told(stage)
    outputs = mock.outputs(stage.id)
    assert outputs.pop("log/log/left-out.txt") == b"output/raw: is a link to an input\n"
    assert outputs == {
        "output/output/b": b"2",
        "output/output/last/a.h5": b"1",
        "artifact/model/a.h5": b"1",
        "log/log/container.log": b"the log\n",
    }


def test_a_file_in_the_place_of_the_output_folder_arrives(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output=b"1")
    assert told(stage).startswith("The worker uploaded 1 output file (1 byte)")
    assert mock.outputs(stage.id)["output/output/output"] == b"1"


def test_names_that_s3_would_cut_arrive_whole(mock: Platform, tmp_path: Path) -> None:
    """Three tiles became one file."""
    mock.configure(storage="s3")
    stage = Stage(mock, tmp_path, up={"output": "output"})
    tiles = {f"output__tile{number}\\x.tif": b"x" for number in range(3)} | {"output__a\\b__c.tif": b"x"}
    stage.write(**tiles)
    assert told(stage).startswith("The worker uploaded 4 output files")
    assert {f"output/{name.replace('__', '/')}" for name in tiles} <= set(mock.outputs(stage.id))


@pytest.mark.parametrize("name", ["${filename}", "a${filename}b", "deep/${filename}/x"])
def test_a_name_that_s3_would_replace_is_told_and_keeps_no_other_from_arriving(
    mock: Platform, tmp_path: Path, name: str
) -> None:
    mock.configure(storage="s3")
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(**{f"output__{name.replace('/', '__')}": b"x", "output__y": b"y"})
    why = "cannot be uploaded: S3 would replace the '${filename}' in its path"
    assert stage.upload() == [f"The output 'output/{name}' {why}."]
    assert mock.outputs(stage.id)["output/output/y"] == b"y"
    assert mock.outputs(stage.id)["log/log/left-out.txt"].decode() == f"output/{name}: {why}\n"


def test_a_list_that_does_not_arrive_is_a_problem_and_nobody_is_sent_to_it(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output", "log": "logs"})
    stage.write(output__a=b"1", logs__own=b"1")
    os.mkfifo(stage.files / "output" / "fifo")
    stage.log = stage.folder / "nothing"
    mock.fault("/store/*/logs/*", method="POST", status=405)
    report = stage.upload()
    assert [each.split("'")[1] for each in report] == ["logs/container.log", "logs/left-out.txt", "logs/own"]
    details = steps.conclude(Outcome(exit_code=0, reason="It ended.", succeeded=True), report, stage.log).details
    assert details.endswith("The worker left out 3 files or folders: output/fifo: is a FIFO; ….")
