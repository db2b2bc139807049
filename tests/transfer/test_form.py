"""The form of an upload: whole keys where S3 would change a name, and the host that a storage redirects to."""

import io
from collections.abc import Iterator

import pytest
import requests

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import InvalidAnswer, JobFailed, Unavailable
from job_fetcher.core.job import OutputType, RequestToMake
from job_fetcher.transfer.form import fields_for, redirected
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import MAX_REDIRECTS, upload
from tests.support.files import LARGE
from tests.support.platform import Platform, running_platform
from tests.support.raw_server import RawServer, answer, raw_server

pytestmark = pytest.mark.usefixtures("waits")

S3 = RequestToMake(method="post", url="https://s3/", data={"key": "jobs/1/out/${filename}", "policy": "x"})
OWN = RequestToMake(method="post", url="https://api/", data={"field": "x"})


@pytest.mark.parametrize("name", ["back\\slash", "a\\b\\c", 'quo"te', "100%20", "new\nline", "\\", "C:\\x"])
def test_a_name_that_s3_would_change_is_sent_with_its_whole_key(name: str) -> None:
    assert fields_for(S3, name) == {"key": f"jobs/1/out/{name}", "policy": "x"}


@pytest.mark.parametrize("name", ["a.tif", "sp ace", "ü", "$x", "{filename}"])
def test_any_other_name_is_left_to_s3(name: str) -> None:
    assert fields_for(S3, name) == S3.data


@pytest.mark.parametrize("name", ["a.tif", "back\\slash", "${filename}", "x" * 255, "C:x"])
def test_a_form_without_a_key_is_sent_as_it_is(name: str) -> None:
    assert fields_for(OWN, name) == OWN.data


@pytest.mark.parametrize("name", ["C:\\x", "\\\\host\\x", "a\\\\b", 'a"b.tif', '"', "a\rb", "new\nline", "end\n"])
def test_a_name_that_the_apis_own_store_would_cut_is_refused(name: str) -> None:
    with pytest.raises(JobFailed, match="the storage would change its name"):
        fields_for(OWN, name)


@pytest.mark.parametrize(
    ("folder", "name"), [("out", "${filename}"), ("out", "a-${filename}-b\\c"), ("out/${filename}/deep", "a")]
)
def test_a_path_in_which_s3_would_replace_something_is_refused(folder: str, name: str) -> None:
    form = S3.model_copy(update={"data": {"key": f"jobs/1/{folder}/${{filename}}"}})
    with pytest.raises(JobFailed, match=r"S3 would replace the '\$\{filename\}' in its path"):
        fields_for(form, name)


@pytest.mark.parametrize("name", ["x" * 14, "\\" * 14, "ü" * 7])
def test_a_key_has_1024_bytes_at_most(name: str) -> None:
    def form(length: int) -> RequestToMake:
        return S3.model_copy(update={"data": {"key": f"{'k' * (length - 15)}/${{filename}}"}})

    fields_for(form(1024), name)
    with pytest.raises(JobFailed, match="its path is too long: S3 takes keys of 1,024 bytes"):
        fields_for(form(1025), name)


def to(location: str | None, status: int = 307) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    if location is not None:
        response.headers["Location"] = location
    return response


FORM = RequestToMake(method="post", url="https://bucket.s3.example.org/", headers={"x-secret": "1"}, data={"a": "b"})


@pytest.mark.parametrize(
    ("location", "url", "headers"),
    [
        ("https://bucket.eu.example.org/", "https://bucket.eu.example.org/", {}),
        ("https://bucket.s3.example.org/x", "https://bucket.s3.example.org/x", FORM.headers),
        ("https://bucket.s3.example.org:443/x", "https://bucket.s3.example.org:443/x", FORM.headers),
        ("https://bucket.s3.example.org:444/x", "https://bucket.s3.example.org:444/x", {}),
        ("/x?y=z", "https://bucket.s3.example.org/x?y=z", FORM.headers),
        ("//other.example.org/", "https://other.example.org/", {}),
    ],
)
@pytest.mark.parametrize("status", [307, 308])
def test_a_redirected_form_takes_no_header_to_another_host(
    location: str, url: str, headers: dict[str, str], status: int
) -> None:
    assert redirected(FORM, to(location, status)) == FORM.model_copy(update={"url": url, "headers": headers})


@pytest.mark.parametrize("status", [200, 201, 204, 301, 302, 303, 304, 400])
def test_no_other_status_redirects_a_form(status: int) -> None:
    assert redirected(FORM, to("https://other.example.org/", status)) is None


@pytest.mark.parametrize("location", ["http://bucket.s3.example.org/", "http://other.example.org/"])
def test_a_form_is_never_redirected_from_https_to_http(location: str) -> None:
    with pytest.raises(JobFailed, match="which is not encrypted"):
        redirected(FORM, to(location))


@pytest.mark.parametrize("location", [None, "", "ftp://x/", "https://", "http://[", "https://x:y/", "javascript:x"])
def test_a_redirect_without_an_address_is_not_understood(location: str | None) -> None:
    with pytest.raises(InvalidAnswer, match="without an address to go to"):
        redirected(FORM, to(location))


@pytest.fixture
def s3(mock: Platform) -> Platform:
    """A platform whose bucket is to be reached by another address, as a new one in another region."""
    mock.configure(storage="s3", s3_redirect=mock.url.replace("127.0.0.1", "localhost"))
    return mock


def send(form: PresignedRequest, content: bytes = b"content", name: str = "a") -> None:
    upload(form, name, io.BytesIO(content), cancelled=Cancellation())


def posts(platform: Platform) -> list[int | None]:
    return [each.status for each in platform.requests("POST", "/s3")]


@pytest.mark.parametrize("content", [b"", b"content", LARGE], ids=["empty", "small", "large"])
def test_an_upload_arrives_where_s3_redirects_it_to(s3: Platform, content: bytes) -> None:
    """All results were deleted after an hour of tries."""
    job_id = s3.pulled()
    form = PresignedRequest(lambda: s3.api().output_request(job_id, OutputType.OUTPUT, "out"))
    for name in ("a", "b", "back\\slash"):
        send(form, content, name)
    assert s3.outputs(job_id) == {f"output/out/{name}": content for name in ("a", "b", "back\\slash")}
    assert posts(s3) == [307, 204, 204, 204], "the other files of the folder go there at once"


@pytest.fixture
def elsewhere() -> Iterator[Platform]:
    """The host that a storage redirects to."""
    with running_platform(storage="s3") as platform:
        yield platform


def form_of(server: RawServer, platform: Platform, job_id: str) -> PresignedRequest:
    """The form of `platform`, as if it were for `server`, with a header for that."""
    form = platform.api().output_request(job_id, OutputType.OUTPUT, "out")
    return PresignedRequest(lambda: form.model_copy(update={"url": server.url, "headers": {"x-ours": "secret"}}))


@pytest.mark.parametrize("status", ["307 Temporary Redirect", "308 Permanent Redirect"])
def test_the_headers_of_a_form_stay_at_its_host(elsewhere: Platform, status: str) -> None:
    job_id = elsewhere.pulled()
    location = f"{elsewhere.url}/s3/mock-bucket/"
    with raw_server(answer(status=status, location=location)) as server:
        send(form_of(server, elsewhere, job_id), LARGE)
        assert b"x-ours: secret" in server.received[0]
    assert elsewhere.outputs(job_id) == {"output/out/a": LARGE}
    [arrived] = elsewhere.requests("POST", "/s3")
    assert "x-ours" not in arrived.headers


def test_a_host_that_is_redirected_to_and_away_is_asked_for_a_new_form_later(elsewhere: Platform) -> None:
    """What is known of a redirect is forgotten with the form that it was for."""
    job_id = elsewhere.pulled()
    with raw_server(answer(status="307 Temporary Redirect", location=f"{elsewhere.url}/s3/mock-bucket/")) as server:
        form = form_of(server, elsewhere, job_id)
        send(form)
        elsewhere.fault("/s3*", method="POST", status=403, times=1)
        send(form, name="b")
        assert len(server.received) == 2
    assert set(elsewhere.outputs(job_id)) == {"output/out/a", "output/out/b"}


def test_a_ring_of_redirects_ends() -> None:
    with raw_server(answer(status="307 Temporary Redirect", location="/a"), *_ring()) as server:
        form = RequestToMake(method="post", url=server.url, data={})
        with pytest.raises(JobFailed, match=f"redirects it more than {MAX_REDIRECTS} times"):
            send(PresignedRequest(lambda: form))
        assert len(server.received) == MAX_REDIRECTS + 1


def _ring() -> list[bytes]:
    return [answer(status="307 Temporary Redirect", location=f"/{number}") for number in range(MAX_REDIRECTS)]


def test_a_redirect_to_a_host_that_does_not_answer_is_tried_again(s3: Platform) -> None:
    failures: list[Unavailable] = []
    job_id = s3.pulled()
    form = PresignedRequest(lambda: s3.api().output_request(job_id, OutputType.OUTPUT, "out"))
    s3.configure(s3_redirect="http://127.0.0.1:1")

    def heal(failure: Unavailable) -> None:
        failures.append(failure)
        s3.configure(s3_redirect=None)

    upload(form, "a", io.BytesIO(b"x"), cancelled=Cancellation(), when_failed=heal)
    assert len(failures) == 1
    assert s3.outputs(job_id) == {"output/out/a": b"x"}
