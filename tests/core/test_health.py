"""Whether the worker is well, as its image's HEALTHCHECK asks."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from job_fetcher.core import health
from job_fetcher.core.background import Cancellation


@pytest.fixture(autouse=True)
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The time stamp, of this test alone, and nothing that gets on yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(health, "_until_s", {})
    monkeypatch.setattr(health, "_earliest_s", 0.0)
    return tmp_path / "job-fetcher.alive"


def asked(folder: Path) -> int:
    """The exit code of the image's HEALTHCHECK, where `folder` is the folder of temporary files."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.run([sys.executable, "-m", "job_fetcher.core.health"], env=environment, check=False).returncode


def test_worker_that_has_told_nothing_is_not_well(tmp_path: Path) -> None:
    assert not health.is_well()
    assert not health.file_is_well()
    assert asked(tmp_path) == 1


def test_worker_is_well_until_the_time_that_it_has_told(file: Path, tmp_path: Path) -> None:
    health.beat(1000)
    assert health.is_well()
    assert asked(tmp_path) == 0
    health.beat(-1000)
    assert not health.is_well()
    assert asked(tmp_path) == 1


def test_file_of_a_worker_that_was_killed_grows_old(file: Path) -> None:
    health.beat()
    assert health.file_is_well()
    os.utime(file, (1, 1))
    assert not health.file_is_well()


def test_wait_tells_that_all_is_well(file: Path) -> None:
    Cancellation().wait(0)
    assert health.is_well()


@pytest.mark.parametrize("what", ["link", "fifo", "folder", "nowhere"])
def test_time_stamp_is_no_way_to_other_files(file: Path, what: str) -> None:
    """Others may write to /tmp, too."""
    victim = file.with_name("victim")
    victim.write_text("as it was")
    os.utime(victim, (1, 1))
    match what:
        case "link":
            file.symlink_to(victim)
        case "fifo":
            os.mkfifo(file)
        case "folder":
            file.mkdir()
        case _:
            file.parent.joinpath("gone").symlink_to(file.parent / "nothing" / "here")
    health.beat()
    assert (victim.read_text(), victim.stat().st_mtime) == ("as it was", 1)
    assert not (file.parent / "nothing").exists()


def test_nothing_of_this_package_needs_a_folder_for_temporary_files() -> None:
    """A full disk, or `docker run --read-only`, has none: the check is to tell that, and functions are to work."""
    folders = ("/tmp", "/var/tmp")
    read_only = " && ".join(f"mount --bind {each} {each} && mount -o remount,bind,ro {each}" for each in folders)
    line = f"{read_only} && cd /proc && exec {sys.executable} -m job_fetcher check"
    told = subprocess.run(["unshare", "--mount", "sh", "-c", line], check=False, capture_output=True, text=True)
    assert (told.returncode, told.stderr) == (1, "")
    assert "settings" in told.stdout
