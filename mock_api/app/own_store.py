"""The API's own file store: URLs with a signed token that expires."""

from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from .forms import BadForm, receive_form
from .jobs import NoRecord
from .ranges import ObjectResponse, Unsatisfiable, requested_part
from .state import Mock, MockOf

router = APIRouter()

# Asked for on each request, so that a client that drops the headers of a "request to make" is noticed.
HEADER, HEADER_VALUE = "x-file-store", "own"


def download_request(mock: Mock, base_url: str, key: str) -> dict[str, Any]:
    return _request(mock, base_url, "get", key)


def upload_request(mock: Mock, base_url: str, prefix: str, job_id: str, account: str) -> dict[str, Any]:
    return _request(mock, base_url, "post", prefix, job_id=job_id, account=account)


def _request(mock: Mock, base_url: str, method: str, key: str, **more: str) -> dict[str, Any]:
    expires = str(mock.now() + mock.config.url_expires_in_s)
    query = more | {"expires": expires, "token": mock.sign(method, key, expires, *more.values())}
    url = f"{base_url}/store/{quote(key)}?{urlencode(query)}"
    return {"method": method, "url": url, "headers": {HEADER: HEADER_VALUE}, "data": {}}


def _check(mock: Mock, request: Request, method: str, key: str, *more: str) -> None:
    expires = request.query_params.get("expires", "")
    if not mock.is_signed(request.query_params.get("token", ""), method, key, expires, *more):
        raise HTTPException(403, "The token is not one for this request")
    if float(expires) <= mock.now():
        raise HTTPException(403, "The token has expired")
    if request.headers.get(HEADER) != HEADER_VALUE:
        raise HTTPException(403, f"The header {HEADER} of the request to make is missing")


@router.get("/store/{key:path}")
async def download(request: Request, mock: MockOf, key: str) -> Response:
    _check(mock, request, "get", key)
    stored = mock.store.get(key)
    if stored is None:
        raise HTTPException(404, "No such file")
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
        form = await receive_form(request, mock.store)
    except BadForm as error:
        raise HTTPException(400, str(error)) from error
    except ClientDisconnect:
        return Response(status_code=400)  # for nobody
    try:
        _check(mock, request, "post", prefix, job_id, account)
        if job_id:  # a probe file is no job's
            mock.jobs.check_upload(job_id, account)
    except (HTTPException, NoRecord):
        await form.file.discard()
        raise
    await mock.store.commit(prefix + form.filename, form.file)
    return Response(status_code=201)
