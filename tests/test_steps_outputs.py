"""The step after a job's command: all that it left arrives, once, and what does not is told."""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.errors import JobGone, Unavailable
from job_fetcher.transfer import outbox
from job_fetcher.transfer.outputs import LeftOut, Output, OutputFolder
from tests.support.platform import Platform
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("waits")


def test_all_outputs_and_the_log_arrive_each_in_its_folder(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output", "artifact": "model", "log": "log"})
    stage.write(output__a=b"1", model__ckpt__b=b"2", log__own=b"3", elsewhere=b"4")
    assert stage.upload() == []
    assert mock.outputs(stage.id) == {
        "output/output/a": b"1",
        "artifact/model/ckpt/b": b"2",
        "log/log/own": b"3",
        "log/log/container.log": b"the log\n",
    }
    queries = [each.query for each in mock.requests("POST", "*/files/url")]
    assert all(set(query) == {"type", "base_path"} for query in queries)


@pytest.mark.parametrize("up", [None, {"log": "logs"}])
def test_the_log_arrives_without_any_output(mock: Platform, tmp_path: Path, up: dict[str, str] | None) -> None:
    stage = Stage(mock, tmp_path, up=up)
    assert stage.upload() == []
    assert mock.outputs(stage.id) == {f"log/{'logs' if up else 'log'}/container.log": b"the log\n"}


def test_a_log_of_the_jobs_own_is_not_overwritten(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"log": "log"})
    stage.write(**{"log__container.log": b"own", "log__container-1.log": b"own 1", "log__left-out.txt": b"own list"})
    os.mkfifo(stage.files / "log" / "fifo")
    assert stage.upload() == []
    outputs = mock.outputs(stage.id)
    assert outputs["log/log/container.log"] == b"own"
    assert outputs["log/log/container-2.log"] == b"the log\n"
    assert (outputs["log/log/left-out.txt"], outputs["log/log/left-out-1.txt"]) == (
        b"own list",
        b"log/fifo: is a FIFO\n",
    )


def test_what_is_left_out_is_listed_among_the_logs(mock: Platform, tmp_path: Path) -> None:
    """P4."""
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"1")
    (stage.files / "output" / "stolen").symlink_to("/proc/self/environ")
    assert stage.upload() == []
    assert mock.outputs(stage.id)["log/log/left-out.txt"] == (
        b"output/stolen: is a link that leads out of the job's files\n"
    )
    assert "output/output/stolen" not in mock.outputs(stage.id)


def test_what_is_more_than_allowed_is_left_out_and_told(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"1" * 10, output__b=b"2" * 10, output__c=b"3" * 5)
    assert stage.upload(max_bytes=15) == [
        "The outputs are larger than this worker uploads; see left-out.txt. The owner of this worker has to raise"
        " MAX_OUTPUT_GIB."
    ]
    assert sorted(mock.outputs(stage.id)) == [
        "log/log/container.log", "log/log/left-out.txt", "output/output/a", "output/output/c",
    ]  # fmt: skip


def test_one_form_serves_all_files_of_a_folder(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(**{f"output__{n}": b"x" for n in range(20)}, **{f"output__deep__{n}": b"x" for n in range(20)})
    stage.upload()
    asked = Counter(each.query["base_path"][0] for each in mock.requests("POST", "*/files/url"))
    assert asked == {"output": 1, "output/deep": 1, "log": 1}


def test_a_form_that_has_expired_is_asked_for_once_more(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"x")
    refused = mock.fault("/store/*/output/*", status=403, times=1)
    assert stage.upload() == []
    assert refused.matched == 2
    assert len([each for each in mock.requests("POST", "*/files/url") if each.query["base_path"] == ["output"]]) == 2


def test_a_second_call_sends_nothing_that_has_arrived(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"1", output__b=b"2")
    os.mkfifo(stage.files / "output" / "fifo")
    stage.upload()
    assert stage.sent() == 4
    stage.upload()
    assert stage.sent() == 4
    stage.write(output__a=b"new")
    stage.upload()
    assert stage.sent() == 5
    assert mock.outputs(stage.id)["output/output/a"] == b"new"


def test_uploads_that_were_cut_off_go_on_with_what_is_missing(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(**{f"output__{n:02}": b"x" for n in range(20)})
    mock.fault("/store/*", method="POST", status=503, skip=9)

    def give_up(failure: Unavailable) -> None:
        raise JobGone(str(failure))

    with pytest.raises(JobGone):
        stage.upload(transfers=1, when_failed=give_up)
    arrived = set(mock.outputs(stage.id))
    assert len(arrived) == 9
    with (tmp_path / "ledger").open("a") as torn:
        torn.write('["output", "output/0')
    mock.heal()
    mock.state.requests.clear()
    assert stage.upload() == []
    assert stage.sent() == 21 - 9
    assert len(mock.outputs(stage.id)) == 21


def test_a_file_that_is_refused_keeps_no_other_from_arriving(mock: Platform, tmp_path: Path) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output", "artifact": "model"})
    stage.write(output__a=b"1", model__b=b"2")
    mock.fault("/jobs/*", query="*artifact*", status=403, detail="no")
    assert stage.upload() == ["The artifact 'model/b' cannot be uploaded: the API refuses to take it (403)."]
    assert sorted(mock.outputs(stage.id)) == ["log/log/container.log", "log/log/left-out.txt", "output/output/a"]
    assert mock.outputs(stage.id)["log/log/left-out.txt"] == (
        b"model/b: cannot be uploaded: the API refuses to take it (403)\n"
    )


def test_a_file_that_vanishes_is_told_and_keeps_no_other_from_arriving(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"1", output__b=b"2")
    look = outbox.Outbox.look_into

    def look_and_lose(*arguments: Any) -> None:
        look(*arguments)
        (stage.files / "output" / "a").unlink()

    monkeypatch.setattr(outbox.Outbox, "look_into", look_and_lose)
    assert stage.upload() == ["The output 'output/a' cannot be read: No such file or directory."]
    assert "output/output/b" in mock.outputs(stage.id)


def test_a_folder_that_cannot_be_opened_is_told_and_keeps_no_file_from_arriving(
    mock: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was told that it had finished, and the results that lay in the folder were removed."""
    stage = Stage(mock, tmp_path, up={"output": "output"})
    stage.write(output__a=b"1", output__result__b=b"2")
    walk = OutputFolder.walk

    def walk_and_lose(folder: OutputFolder) -> Iterator[Output | LeftOut]:
        for each in walk(folder):
            yield each
            shutil.rmtree(stage.files / "output" / "result", ignore_errors=True)

    monkeypatch.setattr(OutputFolder, "walk", walk_and_lose)
    assert stage.upload() == ["The output 'output/result' cannot be opened (No such file or directory)."]
    assert "output/output/a" in mock.outputs(stage.id)


def test_uploads_of_a_job_that_is_gone_end_without_a_keep_alive(mock: Platform, tmp_path: Path) -> None:
    """P8: a cancellation during upload gave 500, which ended the worker."""
    stage = Stage(mock, tmp_path, up={"output": "output"})
    mock.cancel(stage.id, heard=True)
    with pytest.raises(JobGone):
        stage.upload()
