"""The API that workers talk to, as the contract has it."""

from enum import StrEnum
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from . import own_store, s3
from .accounts import CLIENT_ID, REGION, USER_POOL_ID, BadToken, NotAWorker
from .config import Account
from .faults import USERS_SIDE_DOWN
from .jobs import JobGone, NoRecord, Offer, Status, UsersSideDown
from .state import BaseUrl, MockOf
from .store import input_key, output_prefix

router = APIRouter()


class OutputType(StrEnum):
    OUTPUT = "output"
    LOG = "log"
    ARTIFACT = "artifact"


def bearer_token(request: Request) -> str:
    """The token of a request; 403 if it has none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise HTTPException(403, "Not authenticated")
    return token


async def _worker(request: Request, mock: MockOf) -> Account:
    """The account that asks. 403 without a token or outside of the group `workers`, 401 for a token that is no good."""
    try:
        return mock.accounts.authenticate(bearer_token(request))
    except BadToken as error:
        raise HTTPException(401, str(error)) from error
    except NotAWorker as error:
        raise HTTPException(403, "The account is not in the group workers") from error


async def _users_side_reported(request: Request) -> bool:
    """Whether the users' side can be told of what this request changes: unless a fault has it down."""
    return USERS_SIDE_DOWN not in request.scope


Worker = Annotated[Account, Depends(_worker)]
Reported = Annotated[bool, Depends(_users_side_reported)]


async def _answer_gone(_request: Request, _error: Exception) -> Response:
    """In the words that any FastAPI application has for a path that it does not know."""
    return JSONResponse({"detail": "Not Found"}, 404)


async def _answer_failure(_request: Request, _error: Exception) -> Response:
    """As an exception that nobody has caught: the one kind of error that is no JSON."""
    return PlainTextResponse("Internal Server Error", 500)


ERROR_HANDLERS = {JobGone: _answer_gone, NoRecord: _answer_failure, UsersSideDown: _answer_failure}


@router.get("/access_info")
async def access_info() -> dict[str, Any]:
    return {"cognito": {"user_pool_id": USER_POOL_ID, "client_id": CLIENT_ID, "region": REGION}}


@router.get("/jobs")
async def pull_jobs(
    mock: MockOf,
    worker: Worker,
    reported: Reported,
    memory: int,
    cpu_cores: int = 1,
    gpu_mem: int = 0,
    gpu_model: str | None = None,
    gpu_archi: str | None = None,
    groups: Annotated[list[str], Query()] = [],  # noqa: B006  FastAPI copies it
    limit: int = 1,
    older_than: int = 0,
) -> dict[str, Any]:
    offer = Offer(memory, cpu_cores, gpu_mem, gpu_model, gpu_archi, tuple(groups), worker.environment)
    return mock.jobs.pull(worker.username, offer, limit, older_than, reported=reported)


@router.put("/jobs/{job_id}/status", status_code=204)
async def put_status(
    mock: MockOf, worker: Worker, reported: Reported, job_id: str, status: Status, runtime_details: str | None = None
) -> None:
    mock.jobs.update(job_id, worker.username, status, runtime_details, reported=reported)


@router.get("/jobs/{job_id}/status")
async def get_status(mock: MockOf, _worker: Worker, job_id: str) -> Status:
    return mock.jobs.status(job_id)


@router.get("/files/{file_id:path}/url")
async def download_url(mock: MockOf, _worker: Worker, base_url: BaseUrl, file_id: str) -> dict[str, Any]:
    key = input_key(file_id)
    if mock.store.is_refused(key):
        raise HTTPException(403, "Not allowed to read this file")
    if mock.store.get(key) is None:
        raise HTTPException(404, "No such file")
    if mock.config.storage == "s3":
        return s3.download_request(mock, base_url, key)
    return own_store.download_request(mock, base_url, file_id)


@router.post("/jobs/{job_id}/files/url", status_code=201)
async def upload_url(
    mock: MockOf,
    worker: Worker,
    base_url: BaseUrl,
    job_id: str,
    output_type: Annotated[OutputType, Query(alias="type")],
    base_path: str,
) -> dict[str, Any]:
    mock.jobs.check_upload(job_id, worker.username)
    prefix = output_prefix(job_id, output_type, base_path)
    if mock.config.storage == "s3":
        return s3.upload_request(mock, base_url, prefix)
    return own_store.upload_request(mock, base_url, prefix, job_id, worker.username)
