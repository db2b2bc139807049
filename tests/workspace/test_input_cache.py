"""The cache of inputs: what leaves it and when, who may see it, and that a crash leaves nothing wrong in it."""

import os
from pathlib import Path

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.workspace import input_cache
from job_fetcher.workspace.input_cache import DAY_S, InputCache, Version

OWNER = "ada at http://api"


def cache_of(base: Path, owner: str = OWNER, size: int = 10, **more: float) -> InputCache:
    return InputCache(base, owner, size, **more)  # type: ignore[arg-type]


def keep(cache: InputCache, base: Path, name: str, content: bytes, etag: str = '"1"') -> None:
    source = base / "source"
    source.write_bytes(content)
    cache.keep(name, source, Version(etag=etag, size=len(content)), Cancellation())


def names(cache: InputCache, *candidates: str) -> str:
    return "".join(name for name in candidates if cache.find(name))


def read(cache: InputCache, base: Path, name: str) -> bytes | None:
    entry = cache.find(name)
    if entry is None or not entry.copy_to(base / "copy", Cancellation()):
        return None
    return (base / "copy").read_bytes()


def test_what_is_kept_is_found_by_the_next_process(tmp_path: Path) -> None:
    keep(cache_of(tmp_path), tmp_path, "a", b"1234")
    assert read(cache_of(tmp_path), tmp_path, "a") == b"1234"


@pytest.mark.parametrize("owner", ["bob at http://api", "ada at http://other"])
def test_another_account_or_api_finds_nothing(tmp_path: Path, owner: str) -> None:
    keep(cache_of(tmp_path), tmp_path, "a", b"1234")
    assert cache_of(tmp_path, owner).find("a") is None


def test_least_recently_used_goes_first(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    for number, name in enumerate("ab"):
        keep(cache, tmp_path, name, b"1234")
        entry = cache.find(name)
        assert entry is not None
        os.utime(entry.folder, (number, number))
    assert read(cache, tmp_path, "a") == b"1234"  # which makes it the last one used
    keep(cache, tmp_path, "c", b"1234")
    assert names(cache, "a", "b", "c") == "ac"


def test_file_that_is_larger_than_the_cache_drives_nothing_out(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234")
    keep(cache, tmp_path, "b", b"12345678901")
    assert names(cache, "a", "b") == "a"


@pytest.mark.parametrize("age_s", [7.1 * DAY_S, -DAY_S])
def test_entry_goes_when_it_is_too_old_or_the_clock_was_set_back(tmp_path: Path, age_s: float) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234")
    entry = cache.find("a")
    assert entry is not None
    then = entry.fetched_at - age_s
    os.utime(entry.folder / "content", (then, then))
    cache.make_room()
    assert names(cache, "a") == ""


def test_room_on_the_disk_comes_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = cache_of(tmp_path, min_free=1_000)
    keep(cache, tmp_path, "a", b"1234")
    monkeypatch.setattr(input_cache, "free_bytes", lambda _: 999)
    cache.make_room()
    assert names(cache, "a") == ""
    keep(cache, tmp_path, "b", b"1234")
    assert names(cache, "b") == ""


def test_file_for_which_all_others_make_no_room_drives_none_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = cache_of(tmp_path, size=100, min_free=1_000)
    keep(cache, tmp_path, "a", b"1234")
    keep(cache, tmp_path, "b", b"1234")
    monkeypatch.setattr(input_cache, "free_bytes", lambda _: 1_005)
    keep(cache, tmp_path, "c", bytes(20))
    assert names(cache, "a", "b", "c") == "ab"


@pytest.mark.parametrize("damage", ["content", "version.json", "nothing of it"])
def test_half_an_entry_is_none(tmp_path: Path, damage: str) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234")
    entry = cache.find("a")
    assert entry is not None
    for each in list(entry.folder.iterdir()):
        if each.name == damage:
            each.write_bytes(each.read_bytes()[:-1])
        elif damage == "nothing of it":
            each.unlink()
    assert read(cache, tmp_path, "a") is None
    assert not entry.folder.exists(), "it would take room for ever"


def test_input_that_changed_under_its_copy_is_not_kept(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    (tmp_path / "source").write_bytes(b"123")
    cache.keep("a", tmp_path / "source", Version(etag='"1"', size=4), Cancellation())
    assert [*cache.entries(), *(tmp_path / ".cache").iterdir()] == []


def test_newer_version_takes_the_place_of_the_older_one(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234", '"1"')
    keep(cache, tmp_path, "a", b"56", '"2"')
    assert [entry.version for entry in cache.entries()] == [Version(etag='"2"', size=2)]


def test_remains_of_a_worker_that_was_killed_go(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234")
    for name, age_s in ((".old-1", 0), (".new-1", 0), (".new-2", 2 * input_cache.STALE_S)):
        folder = tmp_path / ".cache" / name
        folder.mkdir()
        (folder / "content").touch()
        for path in (folder / "content", folder):
            os.utime(path, (path.stat().st_mtime - age_s,) * 2)
    cache.make_room()
    assert sorted(path.name for path in (tmp_path / ".cache").glob(".*")) == [".new-1"]


def test_only_the_worker_can_look_into_it_and_clear_empties_it(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    keep(cache, tmp_path, "a", b"1234")
    assert (tmp_path / ".cache").stat().st_mode & 0o777 == 0o700
    cache.clear()
    assert not (tmp_path / ".cache").exists()


@pytest.mark.parametrize("content", [b"1234", bytes(3 << 20) + b"end"])
def test_file_system_that_cannot_copy_by_itself_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "copy_file_range", refuse)
    cache = cache_of(tmp_path, size=1 << 30)
    keep(cache, tmp_path, "a", content)
    assert read(cache, tmp_path, "a") == content


@pytest.mark.parametrize("problem", ["a file in its place", "no folder"])
def test_cache_that_cannot_be_written_costs_no_job(tmp_path: Path, problem: str) -> None:
    base = tmp_path / "base"
    if problem == "a file in its place":
        base.mkdir()
        (base / ".cache").touch()
    cache = cache_of(base)
    keep(cache, tmp_path, "a", b"1234")
    assert cache.find("a") is None
