"""An input that an earlier job brought: it is copied if the storage has the same version, and gives it to this job."""

import errno
import hashlib
import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation, in_background
from job_fetcher.core.errors import JobFailed, StopRequested
from job_fetcher.core.job import RequestToMake
from job_fetcher.transfer import download
from job_fetcher.transfer.download import LARGE, Download
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.workspace import input_cache
from job_fetcher.workspace.disk import free_bytes
from job_fetcher.workspace.input_cache import InputCache
from tests.support.files import own_and_s3
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server
from tests.support.stage import Stage

pytestmark = pytest.mark.usefixtures("waits")

FILE = "s3://bucket/frames.tif"


@pytest.fixture
def cache(tmp_path: Path) -> InputCache:
    return InputCache(tmp_path, "ada at http://api", 1 << 30)


@pytest.fixture
def fetch(mock: Platform, cache: InputCache, tmp_path: Path) -> Callable[..., bytes]:
    """Fetches the input into the folder of a new job; returns what the job sees."""

    numbers = count()

    def run(file_id: str = FILE) -> bytes:
        folder = tmp_path / f"job-{next(numbers)}"
        folder.mkdir()
        stage = Stage(mock, folder, files={"frames.tif": file_id})
        mock.state.requests.clear()
        return stage.download(cache=cache)["frames.tif"]

    return run


def fetched(mock: Platform) -> int:
    """Bytes that the storage has sent to the last job."""
    return sum(each.sent for each in mock.requests("GET") if each.path.startswith(("/s3", "/files")) and each.range)


@own_and_s3
@pytest.mark.parametrize("size", [1, 100_000, LARGE + 5])
def test_second_job_on_the_same_input_fetches_at_most_one_byte_of_it(
    mock: Platform, fetch: Callable[..., bytes], storage: str, size: int
) -> None:
    mock.configure(storage=storage)
    content = bytes(range(251)) * (size // 251) + bytes(size % 251)
    mock.put_file(FILE, content)
    assert fetch() == content
    assert fetched(mock) == size
    assert fetch() == content
    assert fetched(mock) <= (0 if storage == "s3" else 1)


@own_and_s3
@pytest.mark.parametrize("changed", [b"new!", b"longer than before", b""])
def test_input_that_was_changed_on_the_storage_is_fetched_anew(
    mock: Platform, fetch: Callable[..., bytes], storage: str, changed: bytes
) -> None:
    mock.configure(storage=storage)
    mock.put_file(FILE, b"old!")
    assert fetch() == b"old!"
    mock.put_file(FILE, changed)
    assert fetch() == changed
    assert fetch() == changed


def test_job_that_overwrites_its_input_does_not_change_that_of_the_next_one(
    mock: Platform, fetch: Callable[..., bytes], tmp_path: Path
) -> None:
    mock.put_file(FILE, b"frames")
    for _ in range(3):
        assert fetch() == b"frames"
        for path in tmp_path.glob("job-*/files/frames.tif"):
            path.write_bytes(b"mine!!")


@own_and_s3
def test_file_that_the_storage_no_longer_gives_leaves_the_cache(
    mock: Platform, fetch: Callable[..., bytes], cache: InputCache, storage: str
) -> None:
    mock.configure(storage=storage)
    mock.put_file(FILE, b"frames")
    fetch()
    mock.fault("re:/(files/.*/download|s3/.*)", method="GET", status=404)
    with pytest.raises(JobFailed, match="no such file"):
        fetch()
    assert cache.entries() == []


def test_file_that_this_account_may_not_read_any_more_leaves_the_cache(
    mock: Platform, fetch: Callable[..., bytes], cache: InputCache
) -> None:
    mock.put_file(FILE, b"frames")
    fetch()
    mock.put_file(FILE, b"frames", allowed=False)
    with pytest.raises(JobFailed):
        fetch()
    assert cache.entries() == []


def test_another_files_copy_is_given_to_nobody(mock: Platform, fetch: Callable[..., bytes]) -> None:
    mock.put_file(FILE, b"frames")
    mock.put_file("s3://bucket/others.tif", b"others")
    assert [fetch(), fetch("s3://bucket/others.tif"), fetch()] == [b"frames", b"others", b"frames"]


def test_file_without_a_strong_etag_is_not_kept(mock: Platform, fetch: Callable[..., bytes], cache: InputCache) -> None:
    mock.put_file(FILE, b"frames")
    mock.fault("re:/(files/.*/download|s3/.*)", method="GET", headers={"etag": 'W/"weak"'})
    fetch()
    assert cache.entries() == []


@pytest.mark.parametrize("tag", ['W/"{}"', '"other"', 'W/"other"'])
def test_304_that_tells_another_etag_uses_no_copy(mock: Platform, fetch: Callable[..., bytes], tag: str) -> None:
    """`If-None-Match` compares weakly: a file that is only equivalent by now is answered so, too."""
    mock.configure(storage="s3")
    mock.put_file(FILE, b"old!")
    fetch()
    mock.put_file(FILE, b"new!")
    etag = hashlib.md5(b"old!", usedforsecurity=False).hexdigest()
    mock.fault("/s3/*", method="GET", status=304, times=1, headers={"etag": tag.format(etag)})
    assert fetch() == b"new!"


def test_etag_that_only_a_later_range_told_names_no_copy(tmp_path: Path, cache: InputCache) -> None:
    """The first range may be of an older version, which no answer tells."""
    first = answer(b"old ", "206 Partial Content", content_range="bytes 0-3/8", content_length=8)
    second = answer(b"file", "206 Partial Content", content_range="bytes 4-7/8", etag='"2"')
    with raw_server(first, second) as server:
        request = PresignedRequest(lambda: RequestToMake(method="get", url=server.url))
        begin = Download("a", request, tmp_path / "target", tmp_path / "part", FILE, cache).begin
        assert begin(Cancellation()) == []
    assert (tmp_path / "target").read_bytes() == b"old file"
    assert cache.entries() == []


@pytest.mark.parametrize("problem", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("copied", [b"", b"fra", b"frame"])
def test_input_without_room_beside_its_copy_takes_that_of_the_cache(
    mock: Platform, fetch: Callable[..., bytes], cache: InputCache, monkeypatch: pytest.MonkeyPatch,
    problem: int, copied: bytes,
) -> None:  # fmt: skip
    """The job failed for a full disk, which the cache filled."""
    mock.put_file(FILE, b"frames")
    fetch()

    def fill(_: int, target: int, __: object) -> int:
        os.write(target, copied)
        raise OSError(problem, "No room")

    def free(_: Path) -> int:
        return 5 if cache.entries() else 11

    monkeypatch.setattr(input_cache, "copy", fill)
    for room in (download, input_cache):
        monkeypatch.setattr(room, "free_bytes", free)
    assert fetch() == b"frames"
    assert cache.entries() == []


def test_owner_may_empty_the_cache_while_an_input_needs_its_room(
    mock: Platform, fetch: Callable[..., bytes], cache: InputCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    mock.put_file(FILE, b"frames")
    mock.put_file("s3://bucket/others.tif", b"others")
    fetch("s3://bucket/others.tif")

    def empty_first(path: Path) -> int:
        cache.clear()
        return free_bytes(path)

    monkeypatch.setattr(download, "free_bytes", lambda _: 5 if cache.entries() else 6)
    monkeypatch.setattr(input_cache, "free_bytes", empty_first)
    assert fetch() == b"frames"


@pytest.mark.parametrize("transfers", [1, 8])
def test_copy_is_kept_only_when_all_inputs_are_there(
    mock: Platform, cache: InputCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transfers: int
) -> None:
    """A copy that was being made took the room of the next input, and the job failed."""
    inputs: dict[str, bytes | str] = {f"{number}.tif": b"frames" for number in range(3)}
    stage, seen, keep = Stage(mock, tmp_path, files=inputs), list[list[str]](), cache.keep

    def look(*arguments: Any) -> None:
        seen.append(sorted(path.name for path in stage.files.iterdir()))
        keep(*arguments)

    monkeypatch.setattr(cache, "keep", look)
    stage.download(cache=cache, transfers=transfers)
    assert seen == [sorted(inputs)] * 3
    assert len(cache.entries()) == 3


@pytest.mark.parametrize("problem", [errno.EIO, errno.EUCLEAN, errno.EACCES])
def test_entry_that_cannot_be_read_is_fetched_anew(
    mock: Platform, fetch: Callable[..., bytes], monkeypatch: pytest.MonkeyPatch, problem: int
) -> None:
    """Each next job with that input was requeued for a bad sector."""
    mock.put_file(FILE, b"frames")
    fetch()

    def fail(*_: object) -> int:
        raise OSError(problem, "Bad sector")

    with monkeypatch.context() as patch:
        patch.setattr(input_cache, "copy", fail)
        assert fetch() == b"frames"
    assert fetch() == b"frames"
    assert fetched(mock) == len(b"frames"), "the entry is gone"


@pytest.mark.parametrize("known", ["nothing", "a copy", "no ranges"])
def test_download_that_was_left_touches_no_part_when_its_answer_comes_at_last(
    mock: Platform, fetch: Callable[..., bytes], cache: InputCache, tmp_path: Path, known: str
) -> None:
    """Another download of the file may be at it by now: of the job that was taken back. It got zeros for bytes."""
    mock.configure(storage="s3")
    mock.put_file(FILE, b"frames")
    if known == "a copy":
        fetch()
    if known == "no ranges":
        mock.fault("/s3/*", method="GET", times=1, status=206, body="f", headers={"content-range": "bytes 0-0/*"})
    asked = mock.fault("/s3/*", method="GET", hang=True)
    part, left = tmp_path / "part", Cancellation()
    request = PresignedRequest(partial(mock.api().input_request, FILE))
    old = in_background(partial(Download("a", request, tmp_path / "target", part, FILE, cache).begin, left), "old")
    mock.wait_until(lambda: asked.matched > 0, "the request")
    left.set(StopRequested("left"))
    part.write_bytes(b"another")
    mock.heal()
    with pytest.raises(StopRequested):
        old.result(60)
    assert part.read_bytes() == b"another"


@pytest.mark.parametrize(("status", "times"), [(400, 3), (405, 1), (412, 1), (501, 1)])
def test_storage_that_refuses_the_question_is_asked_for_the_file(
    mock: Platform, fetch: Callable[..., bytes], status: int, times: int
) -> None:
    mock.configure(storage="s3")
    mock.put_file(FILE, b"frames")
    fetch()
    mock.fault("/s3/*", method="GET", status=status, times=times)
    assert fetch() == b"frames"
    assert fetched(mock) == len(b"frames")
