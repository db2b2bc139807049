"""PATH_BASE on file systems that refuse what a job's folder needs, or do it in their own way."""

import fcntl
import os
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from job_fetcher.core.errors import JobFailed, MachineFault, SettingsError
from job_fetcher.core.job import Job, Outcome
from job_fetcher.workspace import trial
from job_fetcher.workspace.disk import free_bytes, free_inodes
from job_fetcher.workspace.workspace import Workspace
from tests.field.faults import Fault, mounted

OWNER = "ada at https://api"
JOB = Job(id="7", raw={})
ENDED = Outcome(exit_code=0, reason="It exited with code 0.", succeeded=True)
LOCAL = "Use a folder on a local disk, or a named volume: -v decode-jobs:/data"
EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32) of fs/ext4/ext4.h
VOLUME = "Use a named volume: -v decode-jobs:/data"

Mount = Callable[..., Callable[..., None]]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def mount(needs_mounts: None, base: Path) -> Iterator[Mount]:
    """Mount the faulty file system at `base`; returns what sets its faults later on."""
    contexts = []

    def once(*faults: Fault) -> Callable[..., None]:
        contexts.append(context := mounted(base, *faults))
        return context.__enter__()

    yield once
    for context in contexts:
        context.__exit__(None, None, None)


def visible(base: Path) -> list[str]:
    return sorted(path.name for path in base.iterdir() if path.name != ".lock")


def assert_whole_life(base: Path) -> None:
    """A job's folder is made, recorded, found by the next worker, and gone in the end."""
    workspace = Workspace(base, OWNER)
    workspace.prepare()
    assert workspace.reason_against() is None
    with workspace.create(JOB) as folder:
        folder.check_names(["in/a.txt", "in/b.txt"], ["output"])
        (folder.files / "a").write_text("a")
        folder.record(runs=1)
    [found] = Workspace(base, OWNER).resumable()
    with found:
        assert (found.state.runs, (found.files / "a").read_text()) == (1, "a")
        found.reset()
        found.record(outcome=ENDED)
        found.remove()
    assert visible(base) == []


# What can be done without, or is done in another way.


@pytest.mark.parametrize(
    ("fault", "limit"),
    {
        Fault.CHMOD_IGNORED: "other users of this machine can read the files of jobs",
        Fault.CHMOD_REFUSED: "other users of this machine can read the files of jobs",
        Fault.FSYNC_FILE: "cannot flush a file or folder to disk",
        Fault.FSYNC_FOLDER: "cannot flush a file or folder to disk",
        Fault.STATFS: "does not tell its free space",
        Fault.ODD_NAMES: "refuses some names ('odd?.txt', 'odd*.txt', 'odd:.txt', ",
        Fault.FOLD_CASE: "takes different names for one file ('Capital.txt' and 'capital.TXT')",
        Fault.FOLD_UNICODE: "takes different names for one file ('composed-",
    }.items(),
    ids=lambda each: each.name if isinstance(each, Fault) else "",
)
def test_what_the_file_system_cannot_do_is_told_and_done_without(
    base: Path, mount: Mount, caplog: pytest.LogCaptureFixture, fault: Fault, limit: str
) -> None:
    mount(fault, *([Fault.ALWAYS_OPEN] if "CHMOD" in fault.name else []))
    assert_whole_life(base)
    [warning] = caplog.messages
    assert warning.startswith("Jobs run, but the file system of PATH_BASE ")
    assert limit in warning


@pytest.mark.parametrize(
    "faults",
    [(Fault.RENAME_OPEN,), (Fault.SILLY_RENAME,), (Fault.RENAME_OPEN, Fault.SILLY_RENAME)],
    ids=lambda faults: "+".join(faults),
)
def test_folder_in_which_the_lock_is_open_is_renamed_and_removed_all_the_same(
    base: Path, mount: Mount, caplog: pytest.LogCaptureFixture, faults: tuple[Fault, ...]
) -> None:
    """SMB renames no such folder; NFS, SMB and FUSE keep the file, and so the folder, until it is closed."""
    mount(*faults)
    assert_whole_life(base)
    assert caplog.messages == []


def test_earlier_try_of_a_job_goes_where_no_folder_with_an_open_file_can_be_renamed(base: Path, mount: Mount) -> None:
    mount(Fault.RENAME_OPEN)
    workspace = Workspace(base, OWNER)
    for _ in range(2):
        with workspace.create(JOB) as folder:
            assert list(folder.files.iterdir()) == []
            (folder.files / "stale").touch()
    assert visible(base) == ["7"]


def test_nobody_takes_a_folder_up_while_it_is_removed(base: Path, mount: Mount) -> None:
    """Its lock is closed for a moment, under the lock of the whole folder."""
    set_faults = mount(Fault.RENAME_OPEN)
    workspace, other = Workspace(base, OWNER), Workspace(base, OWNER)
    with workspace.create(JOB) as folder:
        set_faults(Fault.RENAME_OPEN, Fault.RENAME_FOLDER)
        folder.remove()
        assert list(other.resumable()) == [], "the folder that could not be renamed is locked again"


def test_local_disks_and_the_engines_own_have_no_limits(base: Path) -> None:
    found = trial.try_out(base)
    assert found.limits == []
    assert visible(base) == []


# What a job's folder cannot be without.


@pytest.mark.parametrize(
    ("faults", "sentence"),
    {
        (Fault.FLOCK_REFUSED,): f"cannot lock a file: No locks available. {LOCAL}",
        (Fault.FLOCK_SHARED,): f"gives one lock to two workers, so both could run one job. {VOLUME}",
        (Fault.EIO_READ,): f"cannot read a file: Input/output error. {LOCAL}",
        (Fault.RENAME_FOLDER,): f"cannot rename a folder: Operation not permitted. {LOCAL}",
        (Fault.RENAME_FILE,): f"cannot replace a file: Operation not permitted. {LOCAL}",
        (Fault.CHMOD_REFUSED,): "keeps the users of containers out: Operation not permitted. Mount it with dir_mode=",
        (Fault.CHMOD_IGNORED,): "keeps the users of containers out: The mode stays as it is. Mount it with dir_mode=",
    }.items(),
    ids=lambda each: each[0].name if isinstance(each, tuple) else "",
)
def test_folder_that_no_job_could_have_is_refused_with_a_sentence(
    base: Path, mount: Mount, faults: tuple[Fault, ...], sentence: str
) -> None:
    mount(*faults)
    with pytest.raises(SettingsError) as refused:
        Workspace(base, OWNER).prepare()
    assert str(refused.value).startswith(f"The file system of PATH_BASE ({base}, fuse.faulty) {sentence}")
    assert visible(base) == []


@pytest.mark.parametrize("fault", [Fault.FLOCK_SHARED, Fault.FLOCK_REFUSED, Fault.RENAME_FOLDER])
def test_folder_that_no_job_could_have_is_refused_whoever_looks(base: Path, mount: Mount, fault: Fault) -> None:
    """The same by a running worker in doubt, by a start, and by a check."""
    mount(fault)
    workspace = Workspace(base, OWNER)
    workspace.doubt()
    reason = workspace.reason_against()
    assert str(reason).startswith(f"The file system of PATH_BASE ({base}, fuse.faulty) ")
    for look in (workspace.prepare, workspace.try_out):
        with pytest.raises(SettingsError) as refused:
            look()
        assert str(refused.value) == reason


# A disk that is full or breaks.

READ_ONLY = "mount it without :ro; if it was writable before, check that disk and its connection"
ROOM = "make room on that disk, or raise this user's quota"
BREAKS = {
    Fault.EIO: f"Input/output error - {READ_ONLY}",
    Fault.EROFS: f"Read-only file system - {READ_ONLY}",
    Fault.ESTALE: f"Stale file handle - {READ_ONLY}",
    Fault.EDQUOT: f"Disk quota exceeded - {ROOM}",
    Fault.ENOSPC: f"No space left on device - {ROOM}",
}


@pytest.mark.parametrize("fault", BREAKS)
def test_no_job_is_asked_for_until_a_trial_write_succeeds(base: Path, mount: Mount, fault: Fault) -> None:
    set_faults = mount()
    workspace = Workspace(base, OWNER)
    workspace.prepare()
    set_faults(fault)
    reason = f"PATH_BASE ({base}) cannot be written to: {BREAKS[fault]}"
    assert workspace.reason_against() == reason
    with pytest.raises(MachineFault, match=r"The worker cannot make the job's folder: "):
        workspace.create(JOB)
    assert workspace.reason_against() == reason
    set_faults()
    assert workspace.reason_against() is None
    assert_whole_life(base)


@pytest.mark.parametrize("fault", BREAKS)
def test_job_ends_as_it_should_on_a_disk_that_breaks_in_the_middle(
    base: Path, mount: Mount, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    """Its state and its log are kept in memory, and its folder goes when the disk works again."""
    set_faults = mount()
    workspace = Workspace(base, OWNER)
    workspace.prepare()
    with workspace.create(JOB) as folder:
        (folder.files / "result").write_text("kept")
        set_faults(fault)
        folder.keep_log_in_memory().write_text("the end of the log")
        folder.keep(outcome=ENDED)
        assert folder.state.outcome == ENDED
        assert (folder.files / "result").read_text() == "kept"
        assert folder.log.read_text() == "the end of the log"
        folder.remove()
    assert f"job 7: recording failed: {BREAKS[fault].split(' - ')[0]}" in caplog.messages
    set_faults()
    assert workspace.reason_against() is None
    assert visible(base) == []
    assert list(Workspace(base, OWNER).resumable()) == [], "nothing is left that a worker would run again"


def test_disk_that_is_damaged_in_the_middle_of_a_job_is_told_and_works_again_later(
    needs_mounts: None, base: Path, tmp_path: Path
) -> None:
    """A real ext4, shut down as after an error: from then on the kernel refuses everything."""
    image = tmp_path / "disk"
    image.touch()
    os.truncate(image, 16 << 20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    base.mkdir()
    mount, umount = ["mount", "-o", "loop", str(image), str(base)], ["umount", str(base)]
    subprocess.run(mount, check=True)
    try:
        workspace = Workspace(base, OWNER)
        workspace.prepare()
        with workspace.create(JOB) as folder:
            descriptor = os.open(base, os.O_RDONLY)
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("<I", 1))
            os.close(descriptor)
            folder.keep(outcome=ENDED)
            assert folder.is_there
            folder.remove()
        assert workspace.reason_against() == f"PATH_BASE ({base}) cannot be written to: {BREAKS[Fault.EIO]}"
        with pytest.raises(SettingsError, match="Input/output error"):
            Workspace(base, OWNER).prepare()
        subprocess.run(umount, check=True)
        subprocess.run(mount, check=True)
        assert workspace.reason_against() is None
        assert visible(base) == ["lost+found"]
    finally:
        subprocess.run(umount, check=True)


def test_start_on_a_full_disk_waits_for_room(needs_mounts: None, base: Path) -> None:
    base.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=4", "none", str(base)], check=True)
    try:
        workspace = Workspace(base, OWNER)
        workspace.prepare()
        assert workspace.reason_against() == f"PATH_BASE ({base}) cannot be written to: {BREAKS[Fault.ENOSPC]}"
        assert free_inodes(base) < 4
    finally:
        subprocess.run(["umount", str(base)], check=True)


def test_room_of_a_file_system_that_does_not_tell_is_without_end(base: Path, mount: Mount) -> None:
    set_faults = mount(Fault.STATFS)
    assert free_bytes(base) == free_inodes(base) == 2**63 - 1
    set_faults()
    assert free_bytes(base) < 2**63 - 1


# Names.


@pytest.mark.parametrize(
    ("fault", "files", "folders", "pair"),
    [
        (Fault.FOLD_CASE, ["A.txt", "a.txt"], [], ("A.txt", "a.txt")),
        (Fault.FOLD_CASE, ["Data/x", "data/y"], [], ("Data", "data")),
        (Fault.FOLD_CASE, ["Output/x"], ["output"], ("Output", "output")),
        (Fault.FOLD_UNICODE, ["caf\u00e9", "cafe\u0301"], [], ("cafe\u0301", "caf\u00e9")),
    ],
    ids=["files", "folders", "input and output", "Unicode forms"],
)
def test_two_names_that_are_one_file_there_fail_the_job_with_both(
    base: Path, mount: Mount, fault: Fault, files: list[str], folders: list[str], pair: tuple[str, str]
) -> None:
    mount(fault)
    one, other = pair
    sentence = f"The worker's disk takes '{one}' and '{other}' for one file: give one of them another name."
    with Workspace(base, OWNER).create(JOB) as folder:
        with pytest.raises(JobFailed) as refused:
            folder.check_names(files, folders)
        assert (str(refused.value), isinstance(refused.value, MachineFault)) == (sentence, False)
        folder.check_names(files[:1], [])
        assert list(folder.files.iterdir()) == []


@pytest.mark.parametrize("name", ["que?.txt", "a:b/c", "in/trailing.", 'x"y"'])
def test_name_that_the_file_system_does_not_allow_fails_the_job_with_it(base: Path, mount: Mount, name: str) -> None:
    mount(Fault.ODD_NAMES)
    with Workspace(base, OWNER).create(JOB) as folder:
        with pytest.raises(JobFailed) as refused:
            folder.check_names(["fine.txt", name], ["output"])
        shown = name if name != "a:b/c" else "a:b"
        assert str(refused.value) == (
            f"The worker's disk cannot hold a file with the name '{shown}' (Invalid argument): give it another name."
        )


def test_names_that_differ_are_all_taken_by_a_local_disk(base: Path) -> None:
    with Workspace(base, OWNER).create(JOB) as folder:
        folder.check_names(["A.txt", "a.txt", "que?.txt", "a./b", "a/b", "deep/er/x"], ["output", "Output", "deep"])


def test_name_is_no_reason_to_fail_a_job_while_the_disk_is_broken(base: Path, mount: Mount) -> None:
    set_faults = mount()
    with Workspace(base, OWNER).create(JOB) as folder:
        set_faults(Fault.EIO)
        with pytest.raises(OSError, match="Input/output error"):
            folder.check_names(["a.txt"], [])
