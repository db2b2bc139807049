"""The steps before a job's command: inputs fetched, folders made, nothing twice."""

from collections import Counter
from pathlib import Path

import pytest

from job_fetcher import steps
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, JobGone
from tests.support.files import LARGE, ODD_NAMES
from tests.support.platform import Platform
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("waits")


def test_inputs_arrive_where_they_belong_with_any_name(mock: Platform, tmp_path: Path) -> None:
    """P18."""
    files = {name: name.encode() for name in ODD_NAMES} | {"deep/er/large": LARGE, "deep/empty": b""}
    assert Stage(mock, tmp_path, files=files).download() == files
    assert (tmp_path / "files" / "deep" / "er").stat().st_mode & 0o777 == 0o777, "the container's user is another"


def test_a_single_file_for_a_folder_is_found_there_under_its_own_name(mock: Platform, tmp_path: Path) -> None:
    """The website lets a user pick a file where the application expects a folder."""
    mock.put_file("s3://bucket/user/config/param 1.yaml", b"p")
    mock.put_file("user/calibration.mat", b"m")
    files = {"config/.": "s3://bucket/user/config/param 1.yaml", "data/.": "user/calibration.mat", "data/a.tif": b"t"}
    assert Stage(mock, tmp_path, files=files).download() == {
        "config/param 1.yaml": b"p",
        "data/calibration.mat": b"m",
        "data/a.tif": b"t",
    }


def test_no_inputs_are_no_work(mock: Platform, tmp_path: Path) -> None:
    """P16."""
    assert Stage(mock, tmp_path).download() == {}


def test_inputs_that_are_there_are_not_fetched_again(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, files={"a": b"1", "b": b"2"})
    stage.download()
    (stage.files / "b").unlink()
    stage.download()
    assert Counter(each.path.split("/")[-2] for each in mock.requests("GET", "*/download")) == {"a": 1, "b": 2}


def test_inputs_that_were_cut_are_gone_on_with_by_the_next_call(mock: Platform, tmp_path: Path) -> None:
    content = LARGE * 4
    stage = Stage(mock, tmp_path, files={"a": content})
    mock.fault("/files/*/download", cut_body_after=2**20, times=1)
    mock.fault("/files/*/download", status=404)
    with pytest.raises(JobFailed):
        stage.download()
    mock.heal()
    assert stage.download() == {"a": content}
    assert mock.requests("GET", "*/download")[-1].range == f"bytes={2**20}-{len(content) - 1}"


@pytest.mark.parametrize(
    ("file_id", "told"),
    [
        ("s3://missing", "there is no such file"),
        ("s3://secret", "the job's user may not read this file"),
        ("../jobs", "its id has '.' or '..' for a folder, which no URL can name"),
    ],
)
def test_a_missing_input_fails_the_job_and_is_named(mock: Platform, tmp_path: Path, file_id: str, told: str) -> None:
    """P2: it was taken for a deleted job, and hung in `preprocessing` without an error."""
    mock.put_file("s3://secret", b"", allowed=False)
    stage = Stage(mock, tmp_path, files={"good": b"1", "config/a.yaml": file_id})
    with pytest.raises(JobFailed) as failed:
        stage.download()
    assert str(failed.value) == f"The input 'config/a.yaml' cannot be fetched: {told}."


def test_downloads_that_are_left_make_no_folder_any_more(mock: Platform, tmp_path: Path) -> None:
    """The job's folder may be gone by now: one that appeared again without a record kept the job away."""
    stage, left = Stage(mock, tmp_path, files={"a/b": b"", "c/d": b""}), Cancellation()
    left.set(JobGone())
    with pytest.raises(JobGone):
        stage.download(cancelled=left)
    assert list(stage.files.iterdir()) == []


def test_downloads_end_when_the_job_is_gone(mock: Platform, tmp_path: Path) -> None:
    """P7."""
    cancelled = Cancellation()
    cancelled.set(JobGone("deleted"))
    with pytest.raises(JobGone):
        Stage(mock, tmp_path, files={"a": b"1"}).download(cancelled=cancelled)


@pytest.mark.parametrize(
    ("command", "made"),
    [
        ("/docker/entrypoint.sh --train --calib_path=$(find /files/data -name '*.mat' | head -n 1)", True),
        ("mkdir /files/output && /docker/entrypoint.sh --fit --emitter_path=/files/output/emitter.h5", False),
        ("mkdir -p /files/log && python -m x --output_path=/files/output > /files/log/log.log", True),
        ("echo x > /files/output/y", True),
        ("", True),
        ("mkdir -m 777 /files/output", False),
        ("mkdir /files/a /files/output;true", False),
        ("cd /files && mkdir output", False),
        ("mkdir ./output/ && true", False),
        ("mkdir '/files/output'", False),
        ('mkdir -- "/files//output/"', False),
        ("(mkdir /files/output)&&true", False),
        ("x=`mkdir /files/output` true", False),
        ("/bin/mkdir\t/files/output 2>/dev/null", False),
        ("mkdir /files/output>/dev/null", False),
        ("test -d /files/output || mkdir /files/output", False),
        ("mkdir /files/a && mkdir /files/output", False),
        ("mkdir /files/output2", True),
        ("mkdir /files/a && cp x /files/output", True),
        ("mkdir /files/output/sub", True),
        ("mkdir /tmp/output", True),
        ("amkdir /files/output", True),
    ],
)
def test_an_output_folder_is_made_unless_the_command_makes_it(
    mock: Platform, tmp_path: Path, command: str, made: bool
) -> None:
    """P28: the folders were made before the run, and `mkdir /files/output && …` failed."""
    stage = Stage(mock, tmp_path, *command.split(" "), up={"output": "output"})
    for _ in range(2):
        steps.make_output_folders(stage.specs, stage.files)
        assert (stage.files / "output").exists() is made


def test_a_folder_below_one_that_the_command_makes_is_left_to_it(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, "mkdir /files/a && run", up={"output": "a/b", "log": "c/d"})
    steps.make_output_folders(stage.specs, stage.files)
    assert [path.name for path in stage.files.iterdir()] == ["c"]
    assert (stage.files / "c" / "d").stat().st_mode & 0o777 == (stage.files / "c").stat().st_mode & 0o777 == 0o777
