"""The worker-facing API: one method per endpoint, each one request (and a second one when the token has expired).

Who wants patience calls through `http.retrying`.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, Field, RootModel

from job_fetcher.core.errors import CredentialsError, InvalidAnswer, JobFailed, JobGone, SettingsError
from job_fetcher.core.job import Job, JobStatus, OutputType, RequestToMake
from job_fetcher.platform import http
from job_fetcher.platform.auth import Token, UserPool

TIMEOUT_S = 30.0


class _AccessInfo(BaseModel):
    cognito: UserPool


class _Jobs(RootModel[dict[Annotated[str, Field(min_length=1)], Any]]):
    pass


class _Status(RootModel[JobStatus]):
    pass


class ProbeRequests(BaseModel):
    """A form that takes a file named `probe`, and the request that gives it back."""

    upload: RequestToMake
    download: RequestToMake


class WorkerApi:
    """The API at `url`. Without a state of its own, so that every thread may use it.

    Every method raises `Unavailable` when the API does not answer properly now (`InvalidAnswer`: it is not understood),
    `CredentialsError` when it refuses the token, and `SettingsError` when `url` cannot be one; what else it raises
    stands at the method.
    """

    def __init__(self, url: str, token: Token) -> None:
        self._url, self._token = url, token

    @property
    def host(self) -> str:
        """The API's host name, without its port."""
        return urlsplit(self._url).hostname or ""

    def pull_job(self, offer: Mapping[str, str | int]) -> Job | None:
        """`GET /jobs`: a job that fits `offer` (the query parameters of the contract, memory in MiB), if there is one.

        A job that comes is ours from then on. Raises `JobFailed` if the API refuses the offer (422, …).
        """
        response = self._request("GET", "/jobs", params={**offer, "limit": 1})
        self._expect_success(response)
        try:
            jobs = http.answer(response, _Jobs).root
        except InvalidAnswer:
            jobs = dict.fromkeys(_job_ids(response.content))
            if not jobs:
                raise
        for job_id, raw in jobs.items():
            return Job(id=job_id, raw=raw)
        return None

    def put_status(
        self, job_id: str, status: JobStatus, details: str | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`PUT /jobs/{id}/status`: set the status, which keeps the job alive as well.

        Raises `JobGone` on 404, which the API answers only once; `JobFailed` if it refuses the details (413, 414, …).
        """
        params = {"status": status.value} | ({"runtime_details": details} if details else {})
        response = self._request("PUT", f"/jobs/{_quoted(job_id)}/status", params=params, timeout_s=timeout_s)
        if response.status_code == 404:
            raise JobGone
        self._expect_success(response)
        if response.status_code != 204:  # a proxy's page, say: the status has not arrived
            raise InvalidAnswer(f"PUT {http.without_query(str(response.url))} answered {response.status_code}, not 204")

    def get_status(self, job_id: str, *, timeout_s: float = TIMEOUT_S) -> JobStatus | None:
        """`GET /jobs/{id}/status`: the status, or `None` for a job that is gone (404, every time).

        Raises `JobFailed` if the API refuses the question (422, …).
        """
        response = self._request("GET", f"/jobs/{_quoted(job_id)}/status", timeout_s=timeout_s)
        if response.status_code == 404:
            return None
        self._expect_success(response)
        return http.answer(response, _Status).root

    def input_request(self, file_id: str) -> RequestToMake:
        """`GET /files/{file id}/url`: the request that gives the file. Raises `JobFailed` if there is none to make."""
        if not {".", ".."}.isdisjoint(file_id.split("/")):  # it would be another endpoint's URL
            raise JobFailed("its id has '.' or '..' for a folder, which no URL can name")
        response = self._request("GET", f"/files/{_quoted(file_id, slashes=True)}/url")
        if response.status_code == 404:
            raise JobFailed("there is no such file")
        if response.status_code == 403:
            raise JobFailed("the job's user may not read this file")
        self._expect_success(response)
        return _with_encoded_id(http.answer(response, RequestToMake).for_method("get"), self._url, file_id)

    def output_request(self, job_id: str, output_type: OutputType, base_path: str) -> RequestToMake:
        """`POST /jobs/{id}/files/url`: the form that takes the files of one folder, for 10 minutes.

        `base_path` is the folder, relative to the job folder. A job that is gone is answered with 500, so that
        `Unavailable` may mean just that: `get_status` tells. Raises `JobFailed` if the API refuses to take the files.
        """
        params = {"type": output_type.value, "base_path": base_path}
        response = self._request("POST", f"/jobs/{_quoted(job_id)}/files/url", params=params)
        if response.status_code in (403, 404):
            raise JobFailed(f"the API refuses to take it ({response.status_code})")
        self._expect_success(response)
        return http.answer(response, RequestToMake).for_method("post")

    def probe_requests(self) -> ProbeRequests | None:
        """`GET /_probe`, which our mock answers and no contract has: requests for a file to try the storage with."""
        response = self._request("GET", "/_probe")
        return http.answer(response, ProbeRequests) if response.status_code == 200 else None

    def _request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> requests.Response:
        """One request with a valid token: a 401 is answered by another token, once."""
        token = self._token.bearer()
        for last in (False, True):
            try:
                response = http.send(
                    method,
                    self._url + path,
                    params=params,
                    headers={"Authorization": f"Bearer {token}"},
                    timeout_s=timeout_s,
                )
            except http.UnusableRequest as error:
                raise SettingsError(f"API_URL cannot be used: {error}") from error
            if response.status_code != 401 or last:
                return response
            token = self._token.renew(token)
        raise AssertionError("unreachable")

    @staticmethod
    def _expect_success(response: requests.Response) -> None:
        """Raise what an answer means that no method has a special meaning for."""
        status, method = response.status_code, response.request.method
        if status < 300:
            return
        if status == 401:
            raise CredentialsError("The API refuses the token (401), even a new one")
        if status == 403:
            raise CredentialsError(
                "The API lets this account do nothing (403): it is not approved as a worker yet:"
                " ask the platform to add it to the group 'workers'"
            )
        where = f"{method} {http.without_query(str(response.url))} answered {status}"
        if status < 400:
            to = http.without_query(response.headers.get("Location", ""))
            raise InvalidAnswer(f"{where}, a redirect to {to}: if that stays so, set API_URL to the new address")
        raise JobFailed(f"{where}: {http.said(response, 300)}")


def user_pool(api_url: str) -> UserPool:
    """`GET /access_info`, which needs no token: where the platform's accounts log in.

    Raises `SettingsError` if `api_url` is not the API's address, `Unavailable` if it does not answer properly now.
    """
    try:
        response = http.send("GET", f"{api_url}/access_info", timeout_s=TIMEOUT_S)
    except http.UnusableRequest as error:
        raise SettingsError(f"API_URL cannot be used: {error}") from error
    if response.status_code >= 300:
        raise SettingsError(
            f"API_URL ({api_url}) is not the address of the platform's API:"
            f" {api_url}/access_info answered {response.status_code}"
        )
    return http.answer(response, _AccessInfo).cognito


def _job_ids(body: bytes) -> list[str]:
    """The ids of jobs whose descriptions Python's reader of JSON takes and pydantic's does not (lone surrogates, …).

    They are ours, too: who can be told by name that something is wrong is told.
    """
    try:
        answer = json.loads(body, parse_int=float)  # which knows no number that is too long
    except (ValueError, RecursionError):
        return []
    return [name for name in answer if name and name.isprintable()] if isinstance(answer, dict) else []


def _with_encoded_id(request: RequestToMake, api_url: str, file_id: str) -> RequestToMake:
    """`request`, with the file id percent-encoded where the API's own store hands out its URL without that."""
    if request.url != f"{api_url}/files/{file_id}/download":
        return request
    return request.model_copy(update={"url": f"{api_url}/files/{_quoted(file_id, slashes=True)}/download"})


def _quoted(text: str, *, slashes: bool = False) -> str:
    return quote(text, safe="/" if slashes else "")
