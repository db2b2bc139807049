"""The API's own file store: requests with a signed token that expires."""

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from .forms import BadForm, receive_form
from .jobs import NoRecord
from .ranges import ObjectResponse, Unsatisfiable, requested_part
from .state import Mock, MockOf
from .store import input_key

router = APIRouter()

HEADER = "x-file-store"  # a header, so that a client that drops those of a "request to make" is noticed


def download_request(mock: Mock, base_url: str, file_id: str) -> dict[str, Any]:
    """The file id stands in the URL as it is, not percent-encoded: the platform's API does it so."""
    return _request(mock, "get", f"{base_url}/files/{file_id}/download", file_id)


def upload_request(mock: Mock, base_url: str, prefix: str, job_id: str, account: str) -> dict[str, Any]:
    query = urlencode({"job_id": job_id, "account": account})
    return _request(mock, "post", f"{base_url}/store/{quote(prefix)}?{query}", prefix, job_id, account)


def _request(mock: Mock, method: str, url: str, *signed: str) -> dict[str, Any]:
    expires = str(mock.now() + mock.config.url_expires_in_s)
    token = f"{expires} {mock.sign(method, expires, *signed)}"
    return {"method": method, "url": url, "headers": {HEADER: token}, "data": {}}


def _check(mock: Mock, request: Request, *signed: str) -> None:
    expires, _, signature = request.headers.get(HEADER, "").partition(" ")
    if not mock.is_signed(signature, request.method.lower(), expires, *signed):
        raise HTTPException(403, f"The header {HEADER} is not one for this request")
    if float(expires) <= mock.now():
        raise HTTPException(403, f"The header {HEADER} has expired")


@router.get("/files/{file_id:path}/download")
async def download(request: Request, mock: MockOf, file_id: str) -> Response:
    stored = mock.store.get(input_key(file_id))
    if stored is None:
        raise HTTPException(404, "No such file")
    _check(mock, request, file_id)
    if not mock.config.own_ranges:
        return ObjectResponse(stored)
    try:
        return ObjectResponse(stored, requested_part(request, stored), headers={"accept-ranges": "bytes"})
    except Unsatisfiable:
        return Response(status_code=416, headers={"content-range": f"bytes */{stored.size}"})


@router.post("/store/{prefix:path}")
async def upload(request: Request, mock: MockOf, prefix: str, job_id: str = "", account: str = "") -> Response:
    """Take a file. 201, or 500 when the job is gone: this store, unlike S3, knows the job."""
    try:
        form = await receive_form(request, mock.store, as_fastapi=True)
    except BadForm as error:
        raise HTTPException(400, str(error)) from error
    except ClientDisconnect:
        return Response(status_code=400)  # for nobody
    try:
        _check(mock, request, prefix, job_id, account)
        if job_id:  # a probe file is no job's
            mock.jobs.check_upload(job_id, account)
    except (HTTPException, NoRecord):
        await form.file.discard()
        raise
    await mock.store.commit(prefix + form.filename, form.file)
    return Response(status_code=201)
