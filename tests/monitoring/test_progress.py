"""How far transfers are: counted from events, told in words, drawn on a terminal."""

from pathlib import Path

import pytest

from job_fetcher.core.events import JobBegan, Moved, Planned, StageBegan, Transfer
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
    recorder(Planned(Transfer.DOWNLOAD, 3 << 30))
    recorder(Moved(Transfer.DOWNLOAD, 1 << 30))
    job = recorder.job()
    assert job is not None
    assert lines(job) == ["job 17: downloading: the inputs: 1.0 GiB of 3.0 GiB"]


@pytest.mark.parametrize(
    "events",
    [
        [],
        [Planned(Transfer.UPLOAD, 5), Moved(Transfer.UPLOAD, 5)],
        [Planned(Transfer.UPLOAD, 5), Moved(Transfer.UPLOAD, 9)],
        [Planned(Transfer.UPLOAD, 5), Planned(Transfer.UPLOAD, -5)],
        [Moved(Transfer.UPLOAD, 5)],
        [Planned(Transfer.UPLOAD, 5), StageBegan("17", JobStatus.RUNNING)],
    ],
)
def test_what_is_complete_or_of_an_earlier_stage_is_not_shown(recorder: Recorder, events: list[Planned]) -> None:
    for event in events:
        recorder(event)
    job = recorder.job()
    assert job is not None
    assert job.progress == ()


def test_speed_and_time_left_are_told_where_they_are_known() -> None:
    known = Progress(transfer=Transfer.PULL, done_bytes=512, total_bytes=3 << 20, bytes_per_s=2048.0, left_s=63)
    assert words.progress(known) == "the image: 512 bytes of 3.0 MiB, 2.0 KiB/s, 1 min 3 s left"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (273_600, "3 d 4 h")],
)
def test_duration_is_told_as_a_person_says_it(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said
