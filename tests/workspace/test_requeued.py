"""Notes of requeued jobs: by account and API, whole after a crash, and no obstacle when they are broken."""

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from job_fetcher.core.background import in_background
from job_fetcher.core.errors import CredentialsError, MachineFault, StopRequested
from job_fetcher.core.job import Job
from job_fetcher.workspace.requeued import Note, RequeuedJobs, Requeues
from job_fetcher.workspace.workspace import Workspace

OWNER = "ada at https://api"
JOB = Job(id="7", raw={"app": {}, "handler": {"image_url": "x"}, "odd": ["ü", None, 1.5, {"a": []}]})
ONCE = Requeues(stops=1, last_was_stop=True)
LONG_S = 60


@pytest.fixture
def notes(tmp_path: Path) -> RequeuedJobs:
    return Workspace(tmp_path, OWNER).requeued


def the_file(base: Path) -> Path:
    [file] = base.glob(".requeued-*.json")
    return file


def test_a_note_outlives_its_process_and_ends_when_it_is_removed(notes: RequeuedJobs, tmp_path: Path) -> None:
    notes.write(JOB, ONCE, confirmed=True)
    [note] = RequeuedJobs(tmp_path, OWNER).notes()
    assert (note.job, note.requeues, note.confirmed) == (JOB, ONCE, True)
    notes.remove(JOB)
    notes.remove(JOB)
    assert notes.notes() == []
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_reads_what_a_job_was_given(notes: RequeuedJobs, tmp_path: Path) -> None:
    """Its environment may hold its user's secrets."""
    for confirmed in (False, True):
        notes.write(JOB, ONCE, confirmed=confirmed)
        assert the_file(tmp_path).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("other", ["ada at https://other", "bob at https://api", ""])
def test_a_note_is_only_for_its_account_at_its_api(notes: RequeuedJobs, tmp_path: Path, other: str) -> None:
    others = RequeuedJobs(tmp_path, other)
    notes.write(JOB, ONCE, confirmed=True)
    assert others.notes() == []
    others.write(JOB, Requeues(), confirmed=False)
    assert [note.owner for note in notes.notes()] == [OWNER]
    others.remove(JOB)
    assert len(notes.notes()) == 1


def test_notes_come_oldest_first_and_one_job_has_one(notes: RequeuedJobs) -> None:
    for number in ("9", "10", "8", "9"):
        notes.write(Job(id=number, raw={}), ONCE, confirmed=True)
    assert [note.job.id for note in notes.notes()] == ["10", "8", "9"]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\x00", b"[]", b'{"version": 1}', b'{"version":1,"owner":7}'])
def test_a_broken_note_is_renamed_and_told_once_and_the_others_count(
    notes: RequeuedJobs, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    notes.write(JOB, ONCE, confirmed=True)
    broken = the_file(tmp_path)
    broken.write_bytes(content)
    notes.write(Job(id="8", raw={}), ONCE, confirmed=True)
    for _ in range(2):
        assert [note.job.id for note in notes.notes()] == ["8"]
    assert caplog.text.count("The worker does not understand the note") == 1
    assert broken.with_suffix(".unreadable").read_bytes() == content


@pytest.mark.parametrize("change", [("version", 2), ("owner", "bob"), ("job", {"id": "8", "raw": {}})], ids=str)
def test_a_note_that_is_not_ours_is_left_alone(notes: RequeuedJobs, tmp_path: Path, change: tuple[str, object]) -> None:
    notes.write(JOB, ONCE, confirmed=True)
    file = the_file(tmp_path)
    changed = Note.model_validate_json(file.read_bytes()).model_dump() | dict([change])
    file.write_text(Note(**changed).model_dump_json())
    assert notes.notes() == []
    assert file.exists()


def test_a_job_that_has_a_folder_is_in_somebodys_hands(notes: RequeuedJobs, tmp_path: Path) -> None:
    notes.write(JOB, ONCE, confirmed=True)
    with Workspace(tmp_path, OWNER).create(JOB) as folder:
        assert notes.notes() == []
        folder.remove()
    assert len(notes.notes()) == 1


@pytest.mark.parametrize("job_id", ["../x", "a/b", ".hidden", "x" * 200])
def test_a_job_that_no_file_can_be_named_after_has_no_note(notes: RequeuedJobs, tmp_path: Path, job_id: str) -> None:
    notes.write(Job(id=job_id, raw={}), ONCE, confirmed=True)
    notes.remove(Job(id=job_id, raw={}))
    assert list(tmp_path.iterdir()) == []


def test_a_note_that_the_disk_does_not_take_is_told_and_kept_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    notes = RequeuedJobs(tmp_path / "gone", OWNER)
    notes.write(JOB, ONCE, confirmed=True)
    assert "job 7: note of the requeue failed: No such file" in caplog.text
    assert [note.job for note in notes.notes()] == [JOB]
    notes.remove(JOB)
    assert notes.notes() == []


def test_a_note_waits_for_its_time_but_not_for_a_worker_that_has_started_since(notes: RequeuedJobs) -> None:
    before = time.time() - 1
    notes.write(JOB, Requeues(faults=1), confirmed=True, wait_s=LONG_S)
    [note] = notes.notes()
    assert not note.is_due(started_at=before)
    assert note.is_due(started_at=time.time() + 1), "its owner may have mended the machine"
    assert note.model_copy(update={"wait_s": 0}).is_due(started_at=before)
    early, late = note.written_at - 2 * LONG_S, note.written_at + 2 * LONG_S
    assert note.model_copy(update={"written_at": early}).is_due(started_at=0)
    assert note.model_copy(update={"written_at": late}).is_due(started_at=0), "the clock was set back"


def test_stops_and_faults_are_counted_apart() -> None:
    stop, fault, refused = StopRequested("x"), MachineFault("x"), CredentialsError("x")
    first = Requeues().plus(stop)
    assert (first.sent_before(stop), first.sent_before(fault), first.last_was_stop) == (True, False, True)
    second = first.plus(fault).plus(refused)
    assert (second.stops, second.faults, second.last_was_stop) == (1, 2, False)
    assert second.sent_before(stop)


def test_one_worker_looks_at_the_notes_at_a_time(notes: RequeuedJobs, tmp_path: Path) -> None:
    other, entered = RequeuedJobs(tmp_path, OWNER), threading.Event()

    def look() -> None:
        with other.locked():
            entered.set()

    with notes.locked():
        looking = in_background(look, "other")
        assert os.path.lexists(tmp_path / ".requeued.lock")
        assert not looking.done()
    looking.result(LONG_S)
    assert entered.is_set()


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_a_note_that_cannot_be_read_now_stays_and_counts_again_when_it_can(
    notes: RequeuedJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def read_bytes(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    notes.write(JOB, ONCE, confirmed=True)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "read_bytes", read_bytes)
        assert notes.notes() == []
    assert f"now: {os.strerror(number)}" in caplog.text
    assert [note.job for note in notes.notes()] == [JOB]
