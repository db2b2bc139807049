"""Forms: the stand-in for the API's own store reads a file's name as the real one does, which is FastAPI."""

import asyncio
import io
from collections.abc import AsyncGenerator

import pytest
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartParser
from urllib3.filepost import encode_multipart_formdata

from app.forms import as_fastapi_reads
from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed
from job_fetcher.core.job import OutputType
from job_fetcher.transfer.presigned import PresignedRequest
from job_fetcher.transfer.upload import upload
from tests.support.platform import Platform

NAMES = [
    "a b", "ü 漢 🔬", "Å…\u2028", "50%", "%20", "%22", "a;b=c", "x; filename=y", "x; filename*=utf-8''y", "'", "''",
    "a\\b", "a\\", "\\", "a\\\\b", "\\\\host\\x", "C:\\x", "C:", "Ü:\\x", 'quo"te', '"', '\\"', "a\nb", "a\rb", "\r\n",
    "\x0b", "\x1c", "\x7f", "\x85", "\xa0", "=", "*", ".hidden", "tab\there", " a ", "x" * 250,
]  # fmt: skip


def as_fastapi(body: bytes, content_type: str) -> str:
    """The name of the field `file` as FastAPI gives it to the platform's API."""

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    async def name() -> str:
        form = await MultiPartParser(Headers({"content-type": content_type}), stream()).parse()
        file = form["file"]
        assert isinstance(file, UploadFile)
        await form.close()
        return file.filename or ""

    return asyncio.run(name())


@pytest.mark.parametrize("name", NAMES)
def test_name_is_read_as_fastapi_reads_it(name: str) -> None:
    body, content_type = encode_multipart_formdata({"file": (name, b"")})
    disposition = body.split(b"Content-Disposition: ")[1].split(b"\r\n")[0]
    assert as_fastapi_reads(disposition, "filename") == as_fastapi(body, content_type)


@pytest.mark.parametrize("name", NAMES)
def test_output_arrives_at_the_own_store_under_its_name_or_is_named_as_left_out(mock: Platform, name: str) -> None:
    job_id = mock.pulled()
    form = PresignedRequest(lambda: mock.api().output_request(job_id, OutputType.OUTPUT, "out"))
    try:
        upload(form, name, io.BytesIO(b"x"), cancelled=Cancellation())
    except JobFailed as error:
        assert str(error) == "the storage would change its name"  # noqa: PT017 - one of two right ends
        body, content_type = encode_multipart_formdata({"file": (name, b"")})
        assert as_fastapi(body, content_type) != name
        assert mock.outputs(job_id) == {}
    else:
        assert mock.outputs(job_id) == {f"output/out/{name}": b"x"}
