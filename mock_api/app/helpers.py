"""The endpoints for people and tests: submit, look, cancel, set and break things. No token is needed."""

import base64
from dataclasses import asdict
from mimetypes import guess_type
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator
from starlette.requests import ClientDisconnect

from .accounts import TokenUse
from .config import FIXED_AT_START, Account, Environment, MockConfig
from .faults import ArmedFault, Fault
from .jobs import Job
from .ranges import ObjectResponse, Unsatisfiable, requested_part
from .state import Mock, MockOf
from .store import input_key, output_prefix
from .users_side import user_page

router = APIRouter()


class Hardware(BaseModel):
    """What a job asks for, in MiB and cores; `None` is anything."""

    model_config = ConfigDict(extra="forbid")

    cpu_cores: int | None = None
    memory: int | None = None
    gpu_model: str | None = None
    gpu_archi: str | None = None
    gpu_mem: int | None = None


class Binary(BaseModel):
    """A content that is not text."""

    base64: str

    @field_validator("base64")
    @classmethod
    def _can_be_decoded(cls, text: str) -> str:
        base64.b64decode(text, validate=True)
        return text


class Submission(BaseModel):
    """A job. `app`, `handler` and `meta` go to the worker as they are, sensible or not.

    `files`: small inputs by file id, as text or as {"base64": …}. `group`: workers that name it get this job before
    others. `environment`: the accounts that get it at all.
    """

    model_config = ConfigDict(extra="forbid")

    app: Any = None
    handler: Any = None
    hardware: Hardware = Hardware()
    meta: dict[str, Any] = {}
    group: str | None = None
    environment: Environment = "local"
    files: dict[str, str | Binary] = {}


# Jobs.


@router.post("/_jobs", status_code=201)
async def submit(mock: MockOf, submission: Submission) -> dict[str, str]:
    for file_id, content in submission.files.items():
        data = content.encode() if isinstance(content, str) else base64.b64decode(content.base64)
        mock.store.put(input_key(file_id), data)
    specs = submission.model_dump(include={"app", "handler", "meta", "hardware"})
    return {"id": mock.jobs.submit(specs, submission.group, submission.environment)}


@router.get("/_jobs")
async def list_jobs(mock: MockOf, newest: int | None = None) -> list[dict[str, Any]]:
    """All jobs, oldest first, or the newest few of them."""
    jobs = mock.jobs.all()
    return [_job(mock, job) for job in (jobs if newest is None else jobs[-newest:])]


@router.get("/_jobs/{job_id}")
async def show_job(mock: MockOf, job_id: str) -> dict[str, Any]:
    try:
        return _job(mock, mock.jobs.get(job_id))
    except KeyError as error:
        raise HTTPException(404, "No such job") from error


@router.delete("/_jobs/{job_id}", status_code=204)
async def cancel(mock: MockOf, job_id: str) -> None:
    try:
        mock.jobs.delete(job_id)
    except KeyError as error:
        raise HTTPException(404, "No such job, or cancelled before") from error


def _job(mock: Mock, job: Job) -> dict[str, Any]:
    prefix = output_prefix(job.id)
    outputs = []
    for stored in mock.store.under(prefix):
        output_type, _, path = stored.key.removeprefix(prefix).partition("/")
        outputs.append({"type": output_type, "path": path, "size": stored.size, "md5": stored.md5})
    return {
        "id": job.id,
        "status": job.status,
        "deleted": job.deleted,
        "holder": job.holder,
        "tried": sorted(job.tried),
        "retries": job.retries,
        "group": job.group,
        "environment": job.environment,
        "specs": job.specs,
        "history": [asdict(update) for update in job.history],
        "user": asdict(user_page(job.history)),
        "outputs": outputs,
    }


# Files.


@router.get("/_jobs/{job_id}/outputs/{output_type}/{path:path}")
async def output(request: Request, mock: MockOf, job_id: str, output_type: str, path: str) -> Response:
    stored = mock.store.get(output_prefix(job_id, output_type) + path)
    if stored is None:
        raise HTTPException(404, "No such output")
    # A job's output is somebody else's: the browser shows it, but runs nothing of it.
    headers = {"content-type": guess_type(path)[0] or "text/plain", "content-security-policy": "sandbox"}
    try:
        return ObjectResponse(stored, requested_part(request, stored), headers=headers)
    except Unsatisfiable:
        return Response(status_code=416, headers={"content-range": f"bytes */{stored.size}"})


@router.put("/_files/{file_id:path}", status_code=201)
async def put_input(request: Request, mock: MockOf, file_id: str, allowed: bool = True) -> dict[str, Any]:
    """Store an input from the raw body. With `?allowed=false`, workers get a 403 for it."""
    key = input_key(file_id)
    writer = mock.store.writer()
    try:
        async for chunk in request.stream():
            await writer.write(chunk)
    except ClientDisconnect as error:
        await writer.discard()
        raise HTTPException(400) from error  # for nobody
    stored = await mock.store.commit(key, writer)
    mock.store.refuse(key, not allowed)
    return {"size": stored.size, "md5": stored.md5}


# Faults and settings.


@router.post("/_faults", status_code=201)
async def add_fault(mock: MockOf, fault: Fault) -> dict[str, Any]:
    return _fault(mock.faults.add(fault))


@router.get("/_faults")
async def list_faults(mock: MockOf) -> list[dict[str, Any]]:
    return [_fault(armed) for armed in mock.faults.all()]


@router.delete("/_faults", status_code=204)
async def clear_faults(mock: MockOf) -> None:
    mock.faults.clear()


def _fault(armed: ArmedFault) -> dict[str, Any]:
    return armed.fault.model_dump(exclude_defaults=True) | {"matched": armed.matched, "in_force": armed.in_force}


class Revocation(BaseModel):
    """End tokens issued so far, of one account or of all."""

    tokens: TokenUse
    username: str | None = None


class Change(BaseModel):
    """What `POST /_config` takes besides the settings of `MockConfig`."""

    accounts: list[Account] = []
    revoke: list[Revocation] = []


@router.get("/_config")
async def show_config(mock: MockOf) -> dict[str, Any]:
    return mock.config.model_dump(mode="json", exclude={"accounts"})


@router.post("/_config")
async def change_config(mock: MockOf, changes: dict[str, Any]) -> dict[str, Any]:
    """Change settings by name, add or replace `accounts`, `revoke` tokens: all of it, or nothing (422)."""
    more = {name: changes.pop(name) for name in ("accounts", "revoke") if name in changes}
    try:
        change = Change.model_validate(more)
        if fixed := changes.keys() & FIXED_AT_START:
            raise HTTPException(422, f"Only at the start: {', '.join(fixed)}")
        checked = MockConfig.model_validate(changes)
    except ValidationError as error:
        raise HTTPException(422, str(error)) from error
    with mock.settings_lock:
        for name in changes:
            setattr(mock.config, name, getattr(checked, name))
    for account in change.accounts:
        mock.accounts.put(account)
    for revocation in change.revoke:
        mock.accounts.revoke(revocation.tokens, revocation.username)
    return await show_config(mock)


@router.get("/_requests")
async def list_requests(mock: MockOf) -> list[dict[str, Any]]:
    return [asdict(request) for request in list(mock.requests)]


@router.delete("/_requests", status_code=204)
async def forget_requests(mock: MockOf) -> None:
    mock.requests.clear()
