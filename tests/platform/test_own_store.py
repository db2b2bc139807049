"""The API's own store hands out URLs whose file id is not percent-encoded: the one request that is made differently."""

import json

import pytest

from job_fetcher.platform import http
from tests.support.platform import Platform

ODD_IDS = {
    "s3://bucket/a b#1.tif": "s3%3A//bucket/a%20b%231.tif",
    "why?.tif": "why%3F.tif",
    "100%20.tif": "100%2520.tif",
    "ü/日本.csv": "%C3%BC/%E6%97%A5%E6%9C%AC.csv",
    "a?b#c%d/e.txt": "a%3Fb%23c%25d/e.txt",
}


@pytest.mark.parametrize("file_id", ODD_IDS)
def test_a_raw_url_of_the_api_is_encoded(mock: Platform, file_id: str) -> None:
    """Names with `#`, `?` or `%` could not be fetched: requests took a part of the name for something else."""
    mock.put_file(file_id, b"content")
    request = mock.api().input_request(file_id)
    assert request.url == f"{mock.url}/files/{ODD_IDS[file_id]}/download"
    assert http.send("GET", request.url, headers=request.headers).content == b"content"


@pytest.mark.parametrize(
    "url",
    [
        "{api}/files/a%20b/download",
        "{api}/files/a%2520b/download?token=x",
        "http://storage.example.org/files/a%20b#1/download",
        "{api}/store/a%20b#1/download",
        "{api}/files/a%20b#1/download?token=x",
    ],
)
def test_any_other_url_is_requested_as_it_is(mock: Platform, url: str) -> None:
    handed_out = url.format(api=mock.url)
    mock.fault("/files/*", status=200, body=json.dumps({"method": "get", "url": handed_out}))
    assert mock.api().input_request("a%20b#1").url == handed_out


@pytest.mark.parametrize("file_id", ["plain.txt", "a/b.c-d_e~f"])
def test_an_id_that_needs_no_encoding_stays_as_it_is(mock: Platform, file_id: str) -> None:
    mock.put_file(file_id, b"content")
    assert mock.api().input_request(file_id).url == f"{mock.url}/files/{file_id}/download"
