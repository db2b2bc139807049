"""A storage's error in the words that matter: S3's code and message."""

from pathlib import Path

import pytest

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed
from job_fetcher.core.job import RequestToMake
from job_fetcher.platform import http
from job_fetcher.transfer.download import Download
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.storage_errors import code, explain
from tests.support.platform import Platform
from tests.support.raw_server import answer, raw_server

pytestmark = pytest.mark.usefixtures("waits")
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'
REDIRECT = f"{HEAD}<Error><Code>PermanentRedirect</Code><Message>Use the &quot;right&quot; endpoint</Message></Error>"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (f"{HEAD}<Error><Code>AccessDenied</Code><Message>Request has expired</Message><X-Amz-Expires>600"
         "</X-Amz-Expires><RequestId>A</RequestId></Error>", "AccessDenied: Request has expired"),
        (REDIRECT, 'PermanentRedirect: Use the "right" endpoint'),
        (f"{HEAD}<Error>{'<Detail>x</Detail>' * 50}<Code>KeyTooLongError</Code></Error>", "KeyTooLongError"),
        ('{"detail": "no"}', '{"detail": "no"}'),
        ("<html>a page</html>", "<html>a page</html>"),
        ("x" * 1000, "x" * 200),
        (f"<Code>A</Code><Message>{'x' * 1000}</Message>", f"A: {'x' * 197}"),
        ("", ""),
    ],
)  # fmt: skip
def test_an_error_of_s3_is_told_by_code_and_message(body: str, told: str) -> None:
    """The user read the beginning of an XML file."""
    with raw_server(answer(body.encode(), "403 Forbidden")) as server:
        response = http.send("GET", server.url)
    assert explain(response) == told
    assert code(response) == (told.partition(":")[0] if "<Code>" in body else "")


def test_a_refusal_of_s3_is_told_so_to_the_jobs_user(mock: Platform, tmp_path: Path) -> None:
    mock.configure(storage="s3")
    mock.put_file("a", b"content")
    request = mock.api().input_request("a")
    forged = RequestToMake(method="get", url=f"{request.url}0")
    with pytest.raises(JobFailed) as failed:
        Download("a", PresignedRequest(lambda: forged), tmp_path / "a", tmp_path / "part").begin(Cancellation())
    assert str(failed.value) == (
        "The input 'a' cannot be fetched: the storage refuses it (403): SignatureDoesNotMatch:"
        " The request signature we calculated does not match the signature you provided."
    )
