"""One file down: whole, resumed where it was cut, in bounded memory, or refused with a reason."""

import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from job_fetcher.core.background import Cancellation, Task, run_all
from job_fetcher.core.errors import JobFailed, JobGone
from job_fetcher.core.job import RequestToMake
from job_fetcher.transfer import arrived, download
from job_fetcher.transfer.download import Download
from job_fetcher.transfer.presigned import PresignedRequest
from tests.support.aws import Aws
from tests.support.files import BLOCK, LARGE, ODD_NAMES, every_size, own_and_s3, peak_memory, sparse_file
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server

pytestmark = pytest.mark.usefixtures("waits")

STORAGE = "/(files/.*/download|s3/.*)"
"""The paths of files: of those of the API's own store, and of those of S3 (a regular expression)."""


class Downloads:
    """Downloads into a folder of the test; `at` is where the last one lies, or would."""

    def __init__(self, folder: Path) -> None:
        self.at, self.part = folder / "target", folder / "part"

    def fetch(self, ask: Callable[[], RequestToMake], cancelled: Cancellation | None = None) -> None:
        begin: Task = Download("a file", PresignedRequest(ask), self.at, self.part).begin
        run_all(
            lambda task, left: task(left), [begin], threads=4, cancelled=cancelled or Cancellation(), name="download"
        )

    def run(self, ask: Callable[[], RequestToMake], cancelled: Cancellation | None = None) -> bytes:
        self.fetch(ask, cancelled)
        left = sorted(path.name for path in self.at.parent.iterdir())
        assert left == ["target"], "nothing stays beside the file"
        return self.at.read_bytes()

    def refusal(self, ask: Callable[[], RequestToMake]) -> str:
        with pytest.raises(JobFailed) as failed:
            self.run(ask)
        assert not self.at.exists()
        return str(failed.value).removeprefix("The input 'a file' cannot be fetched: ").removesuffix(".")

    def leave_part(self, content: bytes, version: bytes) -> None:
        """As a worker that was killed leaves it: the first bytes of a file that was `version` then."""
        self.part.write_bytes(content.ljust(len(version), b"\0"))
        tag = hashlib.md5(version, usedforsecurity=False).hexdigest()
        head = json.dumps({"size": len(version), "etag": f'"{tag}"', "modified": ""})
        self.part.with_name("part.arrived").write_text(f"{head}\n0 {len(content)}\n")


@pytest.fixture
def downloads(tmp_path: Path) -> Downloads:
    folder = tmp_path / "down"
    folder.mkdir()
    return Downloads(folder)


FIRST = f"bytes=0-{download.LARGE - 1}"


def of(mock: Platform, file_id: str, content: bytes) -> Callable[[], RequestToMake]:
    mock.put_file(file_id, content)
    return lambda: mock.api().input_request(file_id)


def get(url: str) -> Callable[[], RequestToMake]:
    return lambda: RequestToMake(method="get", url=url)


def ranges(mock: Platform) -> list[str | None]:
    return [each.range for each in mock.requests("GET") if re.fullmatch(STORAGE, each.path)]


@own_and_s3
@every_size
def test_a_file_arrives_as_it_is(mock: Platform, downloads: Downloads, storage: str, content: bytes) -> None:
    mock.configure(storage=storage)
    assert downloads.run(of(mock, "s3://b/a b#1.tif", content)) == content
    assert "authorization" not in mock.requests("GET", "*/download" if storage == "own" else "/s3")[0].headers


@own_and_s3
def test_a_cut_file_is_gone_on_with_where_it_was_cut(mock: Platform, downloads: Downloads, storage: str) -> None:
    mock.configure(storage=storage)
    mock.fault(f"re:{STORAGE}", cut_body_after=2 * BLOCK, times=1)
    assert downloads.run(of(mock, "a", LARGE)) == LARGE
    assert ranges(mock) == [FIRST, f"bytes={2 * BLOCK}-{len(LARGE) - 1}"]


def test_every_cut_is_survived(mock: Platform, downloads: Downloads, waits: list[float]) -> None:
    mock.fault("/files/*/download", cut_body_after=1000, times=5)
    assert downloads.run(of(mock, "a", b"x" * 4500)) == b"x" * 4500
    assert len(waits) == 3, "the first cut is followed by a request for the rest, and the last one cuts nothing off"


def test_what_a_killed_worker_left_is_gone_on_with(mock: Platform, downloads: Downloads) -> None:
    downloads.leave_part(LARGE[:BLOCK], LARGE)
    assert downloads.run(of(mock, "a", LARGE)) == LARGE
    assert ranges(mock) == [f"bytes={BLOCK}-{len(LARGE) - 1}"]


def test_a_part_that_was_complete_and_only_not_renamed_is_taken(mock: Platform, downloads: Downloads) -> None:
    downloads.leave_part(LARGE, LARGE)
    assert downloads.run(of(mock, "a", LARGE)) == LARGE


@own_and_s3
@pytest.mark.parametrize("content", [b"new", b"new" * BLOCK, LARGE[::-1]], ids=["shorter", "longer", "as long"])
def test_a_file_that_has_changed_meanwhile_is_begun_anew(
    mock: Platform, downloads: Downloads, storage: str, content: bytes
) -> None:
    mock.configure(storage=storage)
    downloads.leave_part(LARGE[:BLOCK], LARGE)
    assert downloads.run(of(mock, "a", content)) == content


def test_a_part_of_an_unknown_version_is_begun_anew(mock: Platform, downloads: Downloads) -> None:
    downloads.part.write_bytes(b"of whatever")
    assert downloads.run(of(mock, "a", LARGE)) == LARGE
    assert ranges(mock) == [FIRST]


def test_a_server_without_ranges_sends_it_all_again(mock: Platform, downloads: Downloads) -> None:
    mock.configure(own_ranges=False)
    mock.fault("/files/*/download", cut_body_after=2 * BLOCK, times=1)
    assert downloads.run(of(mock, "a", LARGE)) == LARGE


@pytest.mark.parametrize("complete", ["bytes */3", "bytes */7", "nonsense"])
def test_an_unsatisfiable_range_never_ends_in_a_mixed_file(downloads: Downloads, complete: str) -> None:
    downloads.leave_part(b"abc", b"version1")
    refused = answer(status="416 Range Not Satisfiable", content_range=complete)
    with raw_server(refused, answer(b"new")) as server:
        assert downloads.run(get(server.url)) == b"new"


@pytest.mark.parametrize("complete", ["bytes */*", "nonsense"])
def test_a_host_that_does_not_tell_the_length_to_ranges_is_asked_for_all(downloads: Downloads, complete: str) -> None:
    refused = answer(status="416 Range Not Satisfiable", content_range=complete)
    with raw_server(refused, answer(b"content")) as server:
        assert downloads.run(get(server.url)) == b"content"


def test_another_range_than_asked_for_is_not_taken(downloads: Downloads) -> None:
    downloads.leave_part(b"abc", b"version1")
    wrong = answer(b"wrong", "206 Partial Content", content_range="bytes 0-4/8")
    right = answer(b"defgh", "206 Partial Content", content_range="bytes 3-7/8")
    with raw_server(wrong, right) as server:
        assert downloads.run(get(server.url)) == b"abcdefgh"


def part_of(body: bytes, start: int, size: int, **headers: object) -> bytes:
    return answer(body, "206 Partial Content", content_range=f"bytes {start}-{start + len(body) - 1}/{size}", **headers)


NEW = answer(b"newer\n!!", etag='"2"', last_modified="Tue, 02 Jan 2024 00:00:00 GMT")


@pytest.mark.parametrize(
    ("first", "later"),
    [
        ({"etag": '"1"'}, {"etag": '"2"'}),
        ({"etag": 'W/"1"'}, {"etag": 'W/"2"'}),
        (
            {"last_modified": "Mon, 01 Jan 2024 00:00:00 GMT"},
            {"last_modified": "Tue, 02 Jan 2024 00:00:00 GMT"},
        ),
    ],
    ids=["etag", "weak etag", "date"],
)
def test_a_host_that_ignores_if_range_never_gives_two_versions_in_one_file(
    downloads: Downloads, first: dict[str, object], later: dict[str, object]
) -> None:
    """The file was half old, half new."""
    old = part_of(b"old ", 0, 8, content_length=8, **first)
    with raw_server(old, part_of(b"r\n!!", 4, 8, **later), NEW) as server:
        assert downloads.run(get(server.url)) == b"newer\n!!"


def test_a_newer_version_is_noticed_when_a_later_process_goes_on(downloads: Downloads) -> None:
    downloads.leave_part(b"old ", b"old file")
    with raw_server(part_of(b"r\n!!", 4, 8, etag='"2"'), NEW) as server:
        assert downloads.run(get(server.url)) == b"newer\n!!"


def test_a_file_that_is_another_one_at_each_request_is_given_up(downloads: Downloads) -> None:
    pairs = [
        (part_of(b"a", 0, 2, content_length=2, etag=f'"{number}"'), part_of(b"b", 1, 2, etag=f'"{number}b"'))
        for number in range(download.MAX_VERSIONS)
    ]
    with raw_server(*chain.from_iterable(pairs)) as server:
        assert downloads.refusal(get(server.url)) == "it is another file at each request (10 in a row)"


def test_more_bytes_than_were_asked_for_are_not_taken_for_others(downloads: Downloads) -> None:
    downloads.part.with_name("part.arrived").write_text(
        json.dumps({"size": 8, "etag": '"1"', "modified": ""}) + "\n0 2\n4 6\n"
    )
    downloads.part.write_bytes(b"ab\0\0ef\0\0")
    with raw_server(part_of(b"cdXXXX", 2, 8, etag='"1"'), part_of(b"gh", 6, 8, etag='"1"')) as server:
        assert downloads.run(get(server.url)) == b"abcdefgh"


def test_a_host_that_only_sends_other_ranges_fails_the_job(downloads: Downloads) -> None:
    downloads.leave_part(b"abc", b"version1")
    with raw_server(part_of(b"wrong", 0, 8)) as server:
        assert downloads.refusal(get(server.url)) == "the storage sent another range than it was asked for"


def test_an_input_is_writable_for_the_containers_user(mock: Platform, downloads: Downloads) -> None:
    """Its user may be another than the worker's, whose umask is the owner's."""
    before = os.umask(0o077)
    try:
        downloads.run(of(mock, "a", b"content"))
    finally:
        os.umask(before)
    assert downloads.at.stat().st_mode & 0o777 == 0o666


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",  # cut in the midst of the header
        b"HTTP/1.1 200 OK\r\n\r\nperhaps all",
        answer(b"perhaps all", content_length="seven"),
        b"nonsense\r\n\r\n",
        answer(b"short", content_length=500),
        answer(b"5\r\nshort\r\n", content_length=None, transfer_encoding="chunked"),
        answer(b"zz\r\nshort\r\n", content_length=None, transfer_encoding="chunked"),
        answer(status="503 Service Unavailable", retry_after=3),
    ],
    ids=range(9),
)
def test_a_broken_answer_is_asked_for_again(downloads: Downloads, broken: bytes) -> None:
    with raw_server(broken, broken, answer(b"whole")) as server:
        assert downloads.run(get(server.url)) == b"whole"


@pytest.mark.parametrize("length", ["7, 7", "7,7", "007"])
def test_a_length_that_is_written_oddly_is_understood(downloads: Downloads, length: str) -> None:
    with raw_server(answer(b"content", content_length=length)) as server:
        assert downloads.run(get(server.url)) == b"content"


@own_and_s3
def test_an_expired_request_is_replaced_by_a_new_one(mock: Platform, downloads: Downloads, storage: str) -> None:
    mock.configure(storage=storage)
    ask = of(mock, "a", b"content")
    old = ask()
    mock.pass_time(601)
    answers = chain([old], iter(ask, None))
    assert downloads.run(lambda: next(answers)) == b"content"
    assert [each.status for each in mock.requests("GET") if re.fullmatch(STORAGE, each.path)] == [403, 206]


@own_and_s3
@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_file_that_is_refused_for_good_fails_the_job(
    mock: Platform, downloads: Downloads, storage: str, status: int
) -> None:
    mock.configure(storage=storage)
    refused = mock.fault(f"re:{STORAGE}", status=status, body="<Code>AccessDenied</Code>")
    assert downloads.refusal(of(mock, "a", b"x")) == f"the storage refuses it ({status}): AccessDenied"
    assert refused.matched == 3


@pytest.mark.parametrize(
    ("status", "told"), [(404, "the storage has no such file"), (410, "the storage answered 410: gone")]
)
def test_a_file_that_the_storage_does_not_have_fails_the_job(
    mock: Platform, downloads: Downloads, status: int, told: str
) -> None:
    mock.fault("/files/*/download", status=status, body="gone")
    assert downloads.refusal(of(mock, "a", b"x")) == told


@pytest.mark.parametrize("url", ["http://[", "http://host:99999/x?signature=hush", "http://..x/"])
def test_an_address_that_cannot_be_used_fails_the_job(downloads: Downloads, url: str) -> None:
    told = downloads.refusal(get(url))
    assert told.startswith("the API handed out an address that cannot be used")
    assert "hush" not in told


def test_a_file_that_does_not_fit_is_refused_before_the_disk_is_full(downloads: Downloads) -> None:
    with raw_server(answer(content_length=2**50)) as server:
        assert downloads.refusal(get(server.url)).startswith("it needs 1048576.00 GiB, and the worker's disk has ")
    assert downloads.part.stat().st_size == 0


def test_a_transfer_ends_when_the_job_is_gone(
    mock: Platform, downloads: Downloads, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled = Cancellation()
    ask = of(mock, "a", LARGE)
    mock.fault("/files/*/download", cut="before")

    def gone_meanwhile() -> RequestToMake:
        cancelled.set(JobGone("deleted"))
        return ask()

    with pytest.raises(JobGone):
        downloads.run(gone_meanwhile, cancelled)


@own_and_s3
def test_a_large_file_comes_in_parallel_ranges_and_is_gone_on_with(
    mock: Platform, downloads: Downloads, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut while four ranges are on their way; what is noted as arrived is not asked for again."""
    monkeypatch.setattr(download, "LARGE", BLOCK)
    monkeypatch.setattr(download, "NOTED", BLOCK // 4)
    monkeypatch.setattr(arrived, "MIN_NOTED", BLOCK // 4)
    mock.configure(storage=storage)
    ask = of(mock, "a", LARGE)
    refused = mock.fault(f"re:{STORAGE}", skip=2, status=404)
    assert downloads.refusal(ask) == "the storage has no such file"
    assert refused.matched > 0
    mock.heal()
    assert downloads.run(ask) == LARGE
    for fetched in (f"bytes=0-{BLOCK - 1}", f"bytes={BLOCK}-{2 * BLOCK - 1}"):
        assert ranges(mock).count(fetched) == 1
    assert f"bytes={3 * BLOCK}-{len(LARGE) - 1}" in ranges(mock)


def test_memory_stays_flat_however_large_the_file(mock: Platform, downloads: Downloads) -> None:
    """P11: 2.7 GB were held for four files of 512 MiB."""
    with sparse_file(64 * BLOCK) as (path, _):
        ask = of(mock, "a", b"")
        mock.state.store._objects["inputs/a"] = replace(
            mock.state.store._objects["inputs/a"], path=path, size=64 * BLOCK
        )
        with peak_memory() as peak:
            downloads.fetch(ask)
    assert downloads.at.stat().st_size == 64 * BLOCK
    assert peak() < 16 * BLOCK, "of the worker and the mock together"


def test_s3_of_others_gives_the_same_bytes(aws: Aws, downloads: Downloads) -> None:
    for name, content in {name: name.encode() for name in ODD_NAMES}.items() | {"large": LARGE, "empty": b""}.items():
        aws.put(f"a b/{name}", content)
        assert downloads.run(partial(aws.download_request, f"a b/{name}")) == content
    downloads.leave_part(LARGE[:BLOCK], LARGE)
    assert downloads.run(partial(aws.download_request, "a b/large")) == LARGE
    downloads.at.unlink()
    assert downloads.refusal(partial(aws.download_request, "missing")) == "the storage has no such file"
