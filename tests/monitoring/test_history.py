"""The history: the last 1,000 jobs, over restarts; whatever is wrong with its file costs history and nothing else."""

import logging
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from job_fetcher.core.events import JobEnd
from job_fetcher.core.job_report import JobReport
from job_fetcher.monitoring import history
from job_fetcher.monitoring.history import KEPT, MAX_LINE, History
from job_fetcher.monitoring.snapshot import PastJob

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def job(number: int, report: JobReport | None = None) -> PastJob:
    return PastJob(job_id=str(number), began_at=NOW, ended_at=NOW, end=JobEnd.FINISHED, sentence="Done.", report=report)


def ids(kept: History) -> list[str]:
    return [each.job_id for each in kept.last()]


def test_jobs_survive_a_restart_the_latest_first(tmp_path: Path) -> None:
    kept = History(tmp_path / "history")
    report = JobReport(job_id="2", worker_version="1", gpu_busy_s=1.5)
    kept.add(job(1))
    kept.add(job(2, report))
    again = History(tmp_path / "history")
    assert again.last() == [job(2, report), job(1)]
    assert again.last(1) == [job(2, report)]
    assert (tmp_path / "history").stat().st_mode & 0o777 == 0o600


def test_file_has_at_most_twice_the_jobs_that_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEPT", 10)
    kept = History(tmp_path / "history")
    for number in range(100):
        kept.add(job(number))
        assert (tmp_path / "history").read_bytes().count(b"\n") <= 20
    assert ids(History(tmp_path / "history"))[:10] == [str(number) for number in range(99, 89, -1)]
    assert KEPT == 1000


@pytest.mark.parametrize(
    "content",
    [b"\0\xff{not json\n" * 1000, b'{"cut', b"x" * (3 * MAX_LINE), b"[]\n{}\n1\n", b"\n\n\n", b'{"job_id": "\xff"}\n'],
)
def test_lines_that_are_none_are_passed_over(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "history").write_bytes(content)
    kept = History(tmp_path / "history")
    kept.add(job(1))
    kept.add(job(2))
    assert ids(History(tmp_path / "history")) == ["2", "1"]


def _full(path: Path) -> None:
    path.symlink_to("/dev/full")


@pytest.mark.parametrize(
    "spoil",
    [Path.mkdir, lambda path: path.symlink_to("/etc/passwd"), _full, os.mkfifo],
    ids=["folder", "link", "full", "fifo"],
)
def test_file_that_cannot_be_used_is_told_once_and_jobs_are_kept_in_memory(
    tmp_path: Path, spoil: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    spoil(tmp_path / "history")
    kept = History(tmp_path / "history")
    for number in range(3):
        kept.add(job(number))
    assert ids(kept) == ["2", "1", "0"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_full_disk_costs_history_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = History(tmp_path / "history")
    kept.add(job(1))
    really_open = os.open
    monkeypatch.setattr(os, "open", lambda *_, **__: really_open("/dev/full", os.O_RDWR))
    kept.add(job(2))
    kept.add(job(3))
    monkeypatch.setattr(os, "open", really_open)
    kept.add(job(4))
    assert ids(kept) == ["4", "3", "2", "1"]
    assert ids(History(tmp_path / "history")) == ["4", "1"]
    assert len(caplog.records) == 1


def test_report_that_is_too_long_is_left_out(tmp_path: Path) -> None:
    kept = History(tmp_path / "history")
    kept.add(job(1, JobReport(job_id="1", worker_version="1", reason="x" * MAX_LINE)))
    assert History(tmp_path / "history").last() == [job(1)]
