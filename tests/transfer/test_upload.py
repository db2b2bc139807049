"""One file up: as it is, tried until it has arrived, or refused with a reason."""

import errno
import io
from itertools import chain, repeat
from typing import Any

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, JobGone
from job_fetcher.core.job import OutputType, RequestToMake
from job_fetcher.core.retry import INVALID_ANSWERS
from job_fetcher.transfer import upload as module
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import MAX_UPLOAD
from tests.support.aws import Aws
from tests.support.files import BLOCK, LARGE, ODD_NAMES, every_size, own_and_s3, peak_memory, sparse_file
from tests.support.platform import Platform

pytestmark = pytest.mark.usefixtures("waits")


def upload(mock: Platform, job_id: str, file: Any, name: str = "a.bin", **more: Any) -> list[RequestToMake]:
    """Send `file`; returns the forms that were asked for."""
    forms = []

    def ask() -> RequestToMake:
        forms.append(mock.api().output_request(job_id, OutputType.OUTPUT, "out/deep"))
        return forms[-1]

    module.upload(PresignedRequest(ask), name, file, **{"cancelled": Cancellation()} | more)
    return forms


@own_and_s3
@every_size
def test_a_file_is_sent_as_it_is(mock: Platform, storage: str, content: bytes) -> None:
    mock.configure(storage=storage)
    job_id = mock.pulled()
    upload(mock, job_id, io.BytesIO(content))
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": content}
    assert all("authorization" not in each.headers for each in mock.requests("POST") if "files/url" not in each.path)


@own_and_s3
@pytest.mark.parametrize("name", [*ODD_NAMES, "ü" * 127, "back\\slash"])
def test_odd_names_arrive_unchanged(mock: Platform, storage: str, name: str) -> None:
    """S3 cuts a name at its last backslash: three tiles became one file."""
    mock.configure(storage=storage)
    job_id = mock.pulled()
    upload(mock, job_id, io.BytesIO(b"x"), name)
    assert mock.outputs(job_id) == {f"output/out/deep/{name}": b"x"}


@own_and_s3
def test_an_upload_is_tried_until_it_works(mock: Platform, storage: str) -> None:
    """P10: a POST was never retried, and results of 12 hours were lost by one 503."""
    mock.configure(storage=storage)
    job_id = mock.pulled()
    mock.fault("re:/(store|s3)/.*", method="POST", status=503, times=2)
    mock.fault("re:/(store|s3)/.*", method="POST", cut="before", times=2)
    upload(mock, job_id, io.BytesIO(LARGE))
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": LARGE}


PAGE = {"status": 200, "body": "<html>log in</html>"}
TO_A_PAGE = {"status": 302, "headers": {"Location": "http://login.example.org/"}}
in_place_of_both = pytest.mark.parametrize("path", ["/store/*", "/jobs/*/files/url"], ids=["storage", "API"])


@in_place_of_both
@pytest.mark.parametrize("answer", [PAGE, TO_A_PAGE], ids=["page", "redirect"])
def test_a_proxys_page_is_waited_out_and_not_taken_for_an_arrival(
    mock: Platform, path: str, answer: dict[str, Any]
) -> None:
    job_id = mock.pulled()
    page = mock.fault(path, method="POST", **answer, times=2 * INVALID_ANSWERS + 1)
    upload(mock, job_id, io.BytesIO(b"x"))
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": b"x"}
    assert page.matched == 2 * INVALID_ANSWERS + 2


def test_a_page_in_place_of_the_storage_that_never_goes_away_ends_an_upload_after_an_hour(
    mock: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert module.INVALID_FOR_S == 3600
    monkeypatch.setattr(module, "INVALID_FOR_S", 0)  # the hour is over
    page = mock.fault("/store/*", method="POST", **PAGE)
    with pytest.raises(InvalidAnswer):
        upload(mock, mock.pulled(), io.BytesIO(b"x"))
    assert page.matched == INVALID_ANSWERS


def test_an_answer_that_was_wrong_for_another_file_for_an_hour_is_not_waited_out_again(mock: Platform) -> None:
    """A thousand files would take a thousand hours."""
    page = mock.fault("/store/*", method="POST", **PAGE)
    with pytest.raises(InvalidAnswer):
        upload(mock, mock.pulled(), io.BytesIO(b"x"), gives_up=lambda: True)
    assert page.matched == 1


def test_a_page_in_the_place_of_the_api_is_waited_out_all_the_same(mock: Platform) -> None:
    job_id = mock.pulled()
    page = mock.fault("/jobs/*/files/url", method="POST", **PAGE, times=2 * INVALID_ANSWERS)
    upload(mock, job_id, io.BytesIO(b"x"), gives_up=lambda: True)
    assert page.matched == 2 * INVALID_ANSWERS + 1
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": b"x"}


@pytest.mark.parametrize("status", [301, 302, 303, 307])
def test_s3s_own_word_that_the_bucket_is_elsewhere_is_believed(mock: Platform, status: int) -> None:
    body = "<Error><Code>PermanentRedirect</Code><Message>Use the right endpoint.</Message></Error>"
    fault = mock.fault("/store/*", method="POST", status=status, body=body)
    told = (
        "without an address to go to" if status == 307 else f"refuses it .{status}.: PermanentRedirect: Use the right"
    )
    with pytest.raises((JobFailed, InvalidAnswer), match=told):
        upload(mock, mock.pulled(), io.BytesIO(b"x"), gives_up=lambda: True)
    assert fault.matched == (1 if status == 307 else 3)


@own_and_s3
def test_an_expired_form_is_replaced_by_a_new_one(mock: Platform, storage: str) -> None:
    mock.configure(storage=storage, url_expires_in_s=0)
    job_id = mock.pulled()
    expired = mock.api().output_request(job_id, OutputType.OUTPUT, "out")
    mock.configure(url_expires_in_s=600)
    forms = chain([expired], repeat(mock.api().output_request(job_id, OutputType.OUTPUT, "out")))
    module.upload(PresignedRequest(lambda: next(forms)), "a", io.BytesIO(b"x"), cancelled=Cancellation())
    assert mock.outputs(job_id) == {"output/out/a": b"x"}


@pytest.mark.parametrize(
    ("status", "tries", "told"),
    [(403, 3, "refuses it .403"), (401, 3, "refuses it .401"), (400, 1, "answered 400: no")],
)
def test_an_upload_that_is_refused_for_good_fails_with_the_reason(
    mock: Platform, status: int, tries: int, told: str
) -> None:
    fault = mock.fault("/store/*", method="POST", status=status, body="no")
    with pytest.raises(JobFailed, match=f"the storage {told}"):
        upload(mock, mock.pulled(), io.BytesIO(b"x"))
    assert fault.matched == tries


def test_a_line_that_is_too_slow_for_s3_is_no_refusal(mock: Platform) -> None:
    job_id = mock.pulled()
    mock.fault("/store/*", method="POST", status=400, body="<Error><Code>RequestTimeout</Code></Error>", times=4)
    upload(mock, job_id, io.BytesIO(b"x"))
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": b"x"}


def test_a_file_over_the_storages_limit_is_refused_before_it_is_sent(mock: Platform) -> None:
    with (
        sparse_file(MAX_UPLOAD + 1) as (_, file),
        pytest.raises(JobFailed, match=r"is 5\.00 GiB large, and the storage takes 5 GiB"),
    ):
        upload(mock, "1", file)
    assert mock.requests() == []


class Unreadable(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


def test_a_file_that_cannot_be_read_is_told_and_not_tried_for_ever(mock: Platform) -> None:
    with pytest.raises(JobFailed, match="it cannot be read: Input/output error"):
        upload(mock, mock.pulled(), Unreadable(b"x" * 10))


def test_a_file_that_shrinks_while_it_is_sent_keeps_its_announced_length(mock: Platform) -> None:
    class Shrinking(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            self.truncate(BLOCK + 5)
            return super().read(size)

    job_id = mock.pulled()
    upload(mock, job_id, Shrinking(LARGE))
    assert mock.outputs(job_id) == {"output/out/deep/a.bin": LARGE[: BLOCK + 5] + bytes(len(LARGE) - BLOCK - 5)}


def test_an_upload_ends_when_the_job_is_gone(mock: Platform) -> None:
    cancelled = Cancellation()
    mock.fault("/store/*", cut="before")
    with pytest.raises(JobGone):
        upload(
            mock, mock.pulled(), io.BytesIO(LARGE),
            cancelled=cancelled, when_failed=lambda _: cancelled.set(JobGone("deleted")),
        )  # fmt: skip


def test_memory_stays_flat_however_large_the_file(mock: Platform) -> None:
    """P11: 2.2 GB were held for 1 GiB, twice on the way up."""
    job_id = mock.pulled()
    with sparse_file(64 * BLOCK) as (_, file), peak_memory() as peak:
        upload(mock, job_id, file)
    [stored] = mock.state.store.under(f"jobs/{job_id}/")
    assert stored.size == 64 * BLOCK
    assert peak() < 16 * BLOCK, "of the worker and the mock together"


@pytest.mark.parametrize(("times", "sent"), [(1, 2), (None, 3)], ids=["once", "always"])
def test_what_arrives_differently_is_sent_again(mock: Platform, times: int | None, sent: int) -> None:
    """An ETag that is never the MD5 of what was sent is no MD5: KMS encrypts without saying so."""
    mock.configure(storage="s3")
    job_id = mock.pulled()
    mock.fault("/s3*", method="POST", headers={"ETag": f'"{"0" * 32}"'}, times=times)
    upload(mock, job_id, io.BytesIO(b"content"))
    assert len(mock.requests("POST", "/s3")) == sent


def test_an_etag_that_is_no_md5_is_none(mock: Platform) -> None:
    mock.configure(storage="s3", s3_kms=True)
    job_id = mock.pulled()
    mock.fault("/s3*", method="POST", headers={"x-amz-server-side-encryption": "aws:kms"})
    upload(mock, job_id, io.BytesIO(b"content"))
    assert len(mock.requests("POST", "/s3")) == 1


def test_s3_of_others_takes_the_same_bytes(aws: Aws) -> None:
    form = aws.upload_request("jobs/1/out put")
    odd = [*ODD_NAMES, "back\\slash", "C:\\x", 'a"b%22c']
    for name, content in {name: name.encode() for name in odd}.items() | {"large": LARGE, "empty": b""}.items():
        module.upload(PresignedRequest(lambda: form), name, io.BytesIO(content), cancelled=Cancellation())
        assert aws.get(f"jobs/1/out put/{name}") == content
