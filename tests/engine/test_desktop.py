"""Paths of Docker Desktop, in the words of Windows and macOS, and what does not hold there."""

from pathlib import PurePosixPath

import pytest

from job_fetcher.engine import desktop

C = PurePosixPath("/run/desktop/mnt/host/c/Users/ada/jobs")
MACOS = PurePosixPath("/host_mnt/Users/ada/jobs")
WSL = PurePosixPath("/run/desktop/mnt/host/wsl/docker-desktop-bind-mounts/Ubuntu/3f2a")
VOLUME = PurePosixPath("/var/lib/docker/volumes/decode-jobs/_data")


@pytest.mark.parametrize(
    ("on_host", "words"),
    [
        (C, rf"C:\Users\ada\jobs ({C})"),
        (PurePosixPath("/run/desktop/mnt/host/d"), "D:\\ (/run/desktop/mnt/host/d)"),
        (MACOS, f"/Users/ada/jobs ({MACOS})"),
        (WSL, f"a folder of WSL ({WSL})"),
        (VOLUME, str(VOLUME)),
        (PurePosixPath("/srv/jobs"), "/srv/jobs"),
    ],
)
def test_a_folder_is_told_as_its_owner_knows_it(on_host: PurePosixPath, words: str) -> None:
    assert desktop.in_words(on_host) == words


@pytest.mark.parametrize(("path", "foreign"), [
    ("/c", True), ("/c/jobs", True), ("/D/jobs", True), ("/mnt/c/Users/ada", True),
    ("/srv/jobs", False), ("/mnt/cache/jobs", False), ("/data", False),
])  # fmt: skip
def test_paths_as_git_bash_and_wsl_write_them_are_known(path: str, foreign: bool) -> None:
    assert desktop.looks_foreign(PurePosixPath(path)) is foreign


@pytest.mark.parametrize(
    ("on_host", "hours_without_zone", "gpus", "told"),
    [
        (VOLUME, False, 1, []),
        (WSL, False, 0, []),
        (C, False, 1, [desktop.SHARED]),
        (MACOS, False, 0, [desktop.SHARED]),
        (VOLUME, True, 1, [desktop.UTC]),
        (VOLUME, False, 2, [desktop.ALL_GPUS]),
        (C, True, 2, [desktop.SHARED, desktop.UTC, desktop.ALL_GPUS]),
    ],
)
def test_what_does_not_hold_in_docker_desktop_is_told(
    on_host: PurePosixPath, hours_without_zone: bool, gpus: int, told: list[str]
) -> None:
    assert desktop.limits(on_host, hours_without_zone=hours_without_zone, gpus=gpus) == told
