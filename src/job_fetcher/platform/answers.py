"""Whose an answer is, the API's or that of something in front of it, and what a status means that is no success.

The API's own errors are JSON: `{"detail": …}`, a string or a list. Only its 500 is plain text (shared contract of the
platform, "Authentication"). A page, an empty body or other JSON comes from a load balancer, a firewall or a proxy.
"""

import json
from typing import Any

import requests
from pydantic import BaseModel, ValidationError

from job_fetcher.core.errors import CredentialsError, JobFailed, NotThePlatform
from job_fetcher.core.logs import without_secrets
from job_fetcher.platform import http


class _OwnError(BaseModel):
    detail: str | list[Any]


def is_refusal(response: requests.Response, *statuses: int) -> bool:
    """Whether the API itself has answered with one of `statuses`."""
    return response.status_code in statuses and _is_own_error(response)


def is_from_an_api(response: requests.Response) -> bool:
    """Whether this is JSON of an API, the workers' or another one: an error like the platform's, or any success."""
    return _is_own_error(response) if response.status_code >= 300 else _is_json(response)


def is_empty_or_json(response: requests.Response) -> bool:
    """Whether the API itself can have sent this success, which is to have no content."""
    return not response.content or _is_json(response)


def expect_success(response: requests.Response) -> None:
    """Raise what an answer means unless its status is a success.

    Raises `NotThePlatform` unless the API itself has answered; then `CredentialsError` for 401 and 403, and `JobFailed`
    for any other status.
    """
    status = response.status_code
    if status < 300:
        return
    if status < 400:
        to = http.without_query(response.headers.get("Location", ""))
        raise NotThePlatform(f"{answered(response)}, a redirect to {to}")
    if not _is_own_error(response) or status == 405:  # the workers' API knows every method that is used
        raise page(response)
    if status == 401:
        raise CredentialsError("The API refuses the token (401), even a new one")
    if status == 403:
        raise CredentialsError(
            "The API lets this account do nothing (403): it is not approved as a worker yet. Ask the platform to add it"
            " to the group 'workers'"
        )
    raise JobFailed(f"{answered(response)}: {_detail(response)}")


def page(response: requests.Response) -> NotThePlatform:
    """The error for an answer that the platform's API has not sent."""
    return NotThePlatform(f"{answered(response)}, with a page that is not the platform's")


def answered(response: requests.Response) -> str:
    """`GET https://api.example.org/jobs answered 404`: the beginning of a sentence about an answer."""
    return f"{response.request.method} {http.without_query(str(response.url))} answered {response.status_code}"


def _detail(response: requests.Response) -> str:
    """The words of an error of the API itself, in one line."""
    detail = _OwnError.model_validate_json(response.content).detail
    words = detail if isinstance(detail, str) else json.dumps(detail)
    return without_secrets(" ".join(words.split())[:300])


def _is_own_error(response: requests.Response) -> bool:
    try:
        _OwnError.model_validate_json(response.content)
    except ValidationError:
        return False
    return True


def _is_json(response: requests.Response) -> bool:
    try:
        json.loads(response.content)
    except (ValueError, RecursionError):
        return False
    return True
