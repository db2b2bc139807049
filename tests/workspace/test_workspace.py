"""A job's folder: its own, empty at first, remembered after a crash, and gone in the end."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from job_fetcher.core.background import in_background
from job_fetcher.core.errors import JobFailed, SettingsError
from job_fetcher.core.job import Final, Job, JobStatus, Outcome
from job_fetcher.workspace.ledger import Ledger
from job_fetcher.workspace.workspace import Workspace

OWNER = "ada at https://api"
JOB = Job(id="7", raw={"app": {}, "handler": {"image_url": "x"}, "odd": ["ü", None, 1.5, {"a": []}]})


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace(tmp_path / "data", OWNER)
    made.prepare()
    return made


def visible(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in workspace.base.iterdir() if path.name != ".lock")


def test_a_job_has_an_empty_folder_that_any_user_of_a_container_may_write_to(workspace: Workspace) -> None:
    with workspace.create(JOB) as folder:
        assert list(folder.files.iterdir()) == []
        assert folder.files.stat().st_mode & 0o777 == 0o777
        assert folder.path.stat().st_mode & 0o077 == 0, "but nobody else on this machine gets there"


def test_a_job_without_files_leaves_nothing_behind(workspace: Workspace) -> None:
    """P16: a job without files made the clean-up fail, and the worker ended."""
    with workspace.create(JOB) as folder:
        folder.remove()
    assert visible(workspace) == []


def test_what_is_left_of_an_earlier_try_is_gone_before_the_next(workspace: Workspace) -> None:
    """P27: stale outputs of an earlier try were uploaded."""
    with workspace.create(JOB) as folder:
        (folder.files / "stale").write_text("x")
        folder.log.write_text("x")
        Ledger(folder.uploads).add("stale")
        folder.record(runs=1)
    with workspace.create(JOB) as folder:
        assert list(folder.files.iterdir()) == []
        assert not folder.log.exists()
        assert "stale" not in Ledger(folder.uploads)
        assert (folder.state.runs, folder.state.final) == (0, None)
    assert visible(workspace) == ["7"]


def test_a_run_that_begins_anew_finds_clean_files_and_parts(workspace: Workspace) -> None:
    """P27."""
    with workspace.create(JOB) as folder:
        for path in (folder.files / "deep" / "a", folder.parts / "0"):
            path.parent.mkdir(exist_ok=True)
            path.write_text("x")
        folder.reset()
        assert [*folder.files.iterdir(), *folder.parts.iterdir()] == []


def test_whatever_a_job_has_made_can_be_removed(workspace: Workspace) -> None:
    with workspace.create(JOB) as folder:
        deep = folder.files
        for _ in range(300):
            deep = deep / "deeper"
            deep.mkdir()
        (folder.files / "read-only").mkdir(mode=0o000)
        os.mkfifo(folder.files / "fifo")
        (folder.files / "link").symlink_to("/")
        (folder.files / "-rf").touch()
        os.close(os.open(os.fsencode(folder.files) + b"/\xff\n", os.O_CREAT))
        folder.remove()
    assert visible(workspace) == []


def test_a_folder_is_remembered_by_the_next_worker_of_the_same_account(workspace: Workspace) -> None:
    outcome = Outcome(exit_code=7, reason="It exited with code 7.", succeeded=False)
    final = Final(status=JobStatus.ERROR, details="ü")
    with workspace.create(JOB) as folder:
        folder.record(runs=2, outcome=outcome)
        folder.record(final=final)
        remembered = folder.state
    assert list(Workspace(workspace.base, "eve at https://api").resumable()) == []
    [again] = workspace.resumable()
    with again:
        assert again.state == remembered
        assert (again.state.job, again.state.outcome, again.state.final) == (JOB, outcome, final)


def test_a_folder_in_use_is_left_alone(workspace: Workspace) -> None:
    other = Workspace(workspace.base, OWNER)
    with workspace.create(JOB):
        assert list(other.resumable()) == []
        with pytest.raises(JobFailed, match="uses a folder"):
            other.create(JOB)
    assert len(list(other.resumable())) == 1


def test_of_workers_that_look_at_the_same_time_one_gets_the_folder(workspace: Workspace) -> None:
    with workspace.create(JOB):
        pass
    together = threading.Barrier(4)

    def look() -> int:
        together.wait(60)
        return len(list(Workspace(workspace.base, OWNER).resumable()))

    assert sum(each.result(60) for each in [in_background(look, f"worker-{n}") for n in range(4)]) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b'{"version": 99}', None])
def test_a_folder_that_is_not_understood_is_put_aside_and_blocks_nothing(
    workspace: Workspace, content: bytes | None
) -> None:
    with workspace.create(JOB) as folder:
        state = folder.path / "job.json"
    state.unlink() if content is None else state.write_bytes(content)
    with workspace.create(Job(id="8", raw=None)):
        pass
    assert [each.job_id for each in workspace.resumable()] == ["8"]
    [aside, left] = visible(workspace)
    assert aside.startswith(".unreadable-7-")
    assert left == "8"


@pytest.mark.parametrize("job_id", ["../x", "..", "a/b", ".lock", "-rf", "x" * 300])
def test_an_id_that_is_no_folders_name_fails_the_job(workspace: Workspace, job_id: str) -> None:
    with pytest.raises(JobFailed, match="id cannot be the name of a folder"):
        workspace.create(Job(id=job_id, raw=None))
    assert visible(workspace) == []


def test_a_base_that_cannot_be_written_to_is_told_as_a_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"PATH_BASE .* cannot be written to: Not a directory"):
        Workspace(tmp_path / "file" / "data", OWNER).prepare()


def test_the_ledger_knows_what_earlier_processes_added(tmp_path: Path) -> None:
    entry = ["log", 'a\nb"ü\udcff', 5, 7]
    Ledger(tmp_path / "ledger").add(entry)
    later = Ledger(tmp_path / "ledger")
    assert entry in later
    assert [*entry[:3], 8] not in later


@given(entries=st.lists(st.tuples(st.text(), st.integers()), min_size=1, max_size=5), cut=st.integers(1, 40))
def test_the_ledger_survives_a_power_cut_at_any_byte(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Any], cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "torn-ledger"
    path.unlink(missing_ok=True)
    for entry in entries:
        Ledger(path).add(list(entry))
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    survivors = path.read_bytes().count(b"\n")
    Ledger(path).add("new")
    again = Ledger(path)
    assert "new" in again
    assert all(list(entry) in again for entry in entries[:survivors])


LOCKS: dict[str, Callable[[Path], None]] = {
    "file": Path.touch,
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to("/"),
}


@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)
def test_folder_of_a_person_with_a_lock_of_its_own_is_left_alone(
    workspace: Workspace, make: Callable[[Path], None]
) -> None:
    (workspace.base / "my-data").mkdir()
    make(workspace.base / "my-data" / "lock")
    with workspace.create(JOB):
        pass
    assert [folder.job_id for folder in workspace.resumable()] == [JOB.id]
    assert visible(workspace) == ["7", "my-data"]


def test_folder_that_a_killed_worker_tried_with_goes_and_one_in_use_stays(workspace: Workspace) -> None:
    for name, age_s in {".probe-old": 601, ".probe-new": 0}.items():
        (workspace.base / name).mkdir()
        os.utime(workspace.base / name, (time.time() - age_s,) * 2)
    assert list(workspace.resumable()) == []
    assert visible(workspace) == [".probe-new"]


def test_jobs_left_behind_do_not_wait_for_the_removal_of_one_that_is_over(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a folder with a million files, say: they have no keep-alive before somebody has them."""
    with workspace.create(JOB):
        pass
    over = workspace.base / ".removing-7-1"
    over.mkdir()
    go_on, gone = threading.Event(), threading.Event()

    def remove_slowly(path: Path) -> None:
        assert go_on.wait(60)
        path.rmdir()
        gone.set()

    monkeypatch.setattr("job_fetcher.workspace.workspace.remove_tree", remove_slowly)
    [found] = workspace.resumable()
    found.__exit__(None, None, None)
    assert over.exists()
    go_on.set()
    assert gone.wait(60)
    assert not over.exists()


@pytest.mark.parametrize("call", ["pathlib.Path.read_bytes", "job_fetcher.workspace.workspace.lock"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.EACCES])
def test_a_job_that_cannot_be_read_now_stays_as_it_is_and_is_resumed_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int, call: str
) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(number, os.strerror(number), str(path))

    workspace = Workspace(tmp_path, "me")
    with workspace.create(Job(id="7", raw={})):
        pass
    with monkeypatch.context() as broken:
        broken.setattr(call, fail)
        assert list(workspace.resumable()) == []
    assert f"now: {os.strerror(number)}" in caplog.text
    [folder] = workspace.resumable()
    with folder:
        assert (folder.job_id, folder.path) == ("7", tmp_path / "7")
