"""How far transfers are: counted from events, told in words, drawn on a terminal."""

from pathlib import Path

import pytest

from job_fetcher.core.events import Event, JobBegan, Moved, Planned, StageBegan, Transfer
from job_fetcher.core.job import Job, JobStatus
from job_fetcher.monitoring import words
from job_fetcher.monitoring.progress_bars import lines
from job_fetcher.monitoring.recorder import Recorder
from job_fetcher.monitoring.snapshot import Progress


@pytest.fixture
def recorder() -> Recorder:
    recorder = Recorder()
    recorder(JobBegan(Job(id="17", raw=None), Path("log")))
    recorder(StageBegan("17", JobStatus.PREPROCESSING))
    return recorder


def test_line_of_a_transfer_begins_with_its_job_and_a_verb(recorder: Recorder) -> None:
    recorder(Planned(Transfer.DOWNLOAD, 3 << 30, "17"))
    recorder(Moved(Transfer.DOWNLOAD, 1 << 30, "17"))
    [line] = lines(recorder.jobs())
    assert line.split(",")[0] == "job 17: downloading: the inputs: 1.0 GiB of 3.0 GiB"  # the speed follows after 1 s


@pytest.mark.parametrize("behind", list(Transfer))
@pytest.mark.parametrize("ahead", list(Transfer))
def test_each_of_two_jobs_has_its_own_bytes(recorder: Recorder, behind: Transfer, ahead: Transfer) -> None:
    recorder(JobBegan(Job(id="18", raw=None), Path("log")))
    recorder(StageBegan("18", JobStatus.PREPROCESSING))
    for event in (
        Planned(behind, 4096, "17"),
        Planned(ahead, 64, "18"),
        Moved(behind, 1024, "17"),
        Moved(ahead, 8, "18"),
    ):
        recorder(event)
    recorder(Planned(behind, 7, "19"))
    recorder(Moved(behind, 7, None))
    status = recorder.status()
    assert status.finishing is not None
    assert status.job is not None
    told = [
        (each.job_id, progress.transfer, progress.done_bytes, progress.total_bytes)
        for each in (status.finishing, status.job)
        for progress in each.progress
    ]
    assert told == [("17", behind, 1024, 4096), ("18", ahead, 8, 64)]
    assert [each.partition(": ")[0] for each in lines(recorder.jobs())] == ["job 17", "job 18"]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Planned(Transfer.UPLOAD, 5, "17"), Moved(Transfer.UPLOAD, 5, "17")],
        [Planned(Transfer.UPLOAD, 5, "17"), Moved(Transfer.UPLOAD, 9, "17")],
        [Planned(Transfer.UPLOAD, 5, "17"), Planned(Transfer.UPLOAD, -5, "17")],
        [Moved(Transfer.UPLOAD, 5, "17")],
        [Planned(Transfer.UPLOAD, 5, "17"), StageBegan("17", JobStatus.RUNNING)],
    ],
)
def test_what_is_complete_or_of_an_earlier_stage_is_not_shown(recorder: Recorder, events: list[Event]) -> None:
    for event in events:
        recorder(event)
    assert [each.progress for each in recorder.jobs()] == [()]


def test_speed_and_time_left_are_told_where_they_are_known() -> None:
    known = Progress(transfer=Transfer.PULL, done_bytes=512, total_bytes=3 << 20, bytes_per_s=2048.0, left_s=63)
    assert words.progress(known) == "the image: 512 bytes of 3.0 MiB, 2.0 KiB/s, 1 min 3 s left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_duration_is_told_as_a_person_says_it(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said
