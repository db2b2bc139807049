"""The job in an answer to `GET /jobs`, told from the JSON of something else, and from a job that nobody understands."""

import json
from typing import Annotated, Any

import requests
from pydantic import Field, RootModel

from job_fetcher.core.errors import InvalidAnswer
from job_fetcher.core.job import Job
from job_fetcher.platform import answers, http

MAX_JOB_ID = 1000
"""Characters of a job's id: no server takes much longer request lines, so that nobody could report such a job."""
MIN_PARTS = 2
"""What has so many parts of a `JobSpecs` is a job, if an odd one. Other JSON may have a word in common with it."""
_PARTS = frozenset({"app", "handler", "meta", "hardware"})
"""Of a `JobSpecs` (shared contract of the platform, "Pull a job")."""


class _Jobs(RootModel[dict[Annotated[str, Field(min_length=1)], Any]]):
    pass


def job_of(response: requests.Response) -> Job | None:
    """The first job in the answer; `None` if there is none. Raises `InvalidAnswer` if it is other JSON, or a page."""
    try:
        answer = http.answer(response, _Jobs).root
        jobs = [Job(id=job_id, raw=raw) for job_id, raw in answer.items() if _is_job(job_id, raw)]
    except InvalidAnswer:
        answer = {}
        jobs = [Job(id=job_id, raw=None) for job_id in _job_ids(response.content)]
        if not jobs:
            raise
    if answer and not jobs:
        raise InvalidAnswer(f"{answers.answered(response)} with JSON that is no job")
    return jobs[0] if jobs else None


def _is_job(job_id: str, raw: object) -> bool:
    """Whether this is a job, understood or not: its id is a number, as the API's are, or it has parts of a `JobSpecs`.

    A gateway's `{"error": {"code": 503}}` is none, nor is what no URL can name. A job that is broken ends as `error`.
    """
    looks_like_one = isinstance(raw, dict) and len(_PARTS & raw.keys()) >= MIN_PARTS
    return len(job_id) <= MAX_JOB_ID and (looks_like_one or (job_id.isascii() and job_id.isdecimal()))


def _job_ids(body: bytes) -> list[str]:
    """The ids of jobs whose descriptions Python's reader of JSON takes and pydantic's does not (lone surrogates, …).

    They are ours, too: who can be told by name that something is wrong is told.
    """
    try:
        answer = json.loads(body, parse_int=float)  # which knows no number that is too long
    except (ValueError, RecursionError):
        return []
    if not isinstance(answer, dict):
        return []
    return [name for name, raw in answer.items() if name and name.isprintable() and _is_job(name, raw)]
