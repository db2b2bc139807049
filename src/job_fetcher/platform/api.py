"""The workers' API: one method per endpoint, each one request.

A second one is made with a new token when the API refuses the first token, and another one to confirm a 404. Callers
that want a request to be tried again use `core.retry`.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import requests
from pydantic import BaseModel, RootModel

from job_fetcher.core.errors import (
    CredentialsError,
    JobFailed,
    JobGone,
    NotThePlatform,
    SettingsError,
    Unavailable,
)
from job_fetcher.core.events import Polled, tell
from job_fetcher.core.job import Job, JobStatus, OutputType, RequestToMake
from job_fetcher.platform import answers, http, pulled
from job_fetcher.platform.auth import Token, UserPool

TIMEOUT_S = 30.0
TOO_LONG = (400, 413, 414, 431)
"""What servers, and proxies in front of them, answer to a request line that they find too long or odd."""


class _AccessInfo(BaseModel):
    cognito: UserPool


class _Status(RootModel[JobStatus]):
    pass


class StorageTest(BaseModel):
    """A form that takes a file named `probe`, and the request that gives it back."""

    upload: RequestToMake
    download: RequestToMake


class WorkerApi:
    """The workers' API at `url`. It has no state of its own, so that every thread may use it.

    Every method raises `Unavailable` when the API does not answer properly now. That is `InvalidAnswer` for an answer
    that the contract does not have. It is `NotThePlatform` if something in front of the API answers, with any status.
    Every method raises `CredentialsError` when the API itself refuses the token, and `SettingsError` when `url` cannot
    be its address. What else it raises stands at the method.
    """

    def __init__(self, url: str, token: Token) -> None:
        self._url, self._token = url, token

    @property
    def host(self) -> str:
        """The API's host name, without its port."""
        return urlsplit(self._url).hostname or ""

    def pull_job(self, offer: Mapping[str, str | int], groups: Sequence[str] = ()) -> Job | None:
        """`GET /jobs`: a job that fits `offer` (the query parameters of the contract, memory in MiB), if there is one.

        Jobs of `groups` come before all others. The job is this account's from then on. Raises `JobFailed` if the API
        refuses the offer (422, …).
        """
        response = self._request("GET", "/jobs", params={**offer, "groups": list(groups), "limit": 1})
        answers.expect_success(response)
        job = pulled.job_of(response)
        tell(Polled())
        return job

    def require_workers_api(self, *, timeout_s: float = TIMEOUT_S) -> None:
        """`GET /jobs?memory=x`: the workers' API alone answers 422 to it. It never takes a job.

        Raises `SettingsError` if another API answers, such as the users'.
        """
        response = self._request("GET", "/jobs", params={"memory": "x"}, timeout_s=timeout_s)
        if answers.is_refusal(response, 422):
            return
        if answers.is_refusal(response, 401, 403) or not answers.is_from_an_api(response):
            answers.expect_success(response)
            raise answers.page(response)
        what = "the users' API" if response.status_code < 300 else "another API, perhaps the users' API"
        raise SettingsError(
            f"API_URL ({self._url}) is the address of {what}, and not of the workers' API ({self._url}/jobs answered"
            f" {response.status_code}). Set API_URL to the address that the platform gives for workers"
        )

    def put_status(
        self, job_id: str, status: JobStatus, details: str | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> None:
        """`PUT /jobs/{id}/status`: set the status, which keeps the job alive as well.

        Raises `JobGone` on the 404 of the workers' API: for a deleted job it comes only once. `StatusSender` confirms
        it. Raises `Unavailable` with the status 404 if it is not known which API has sent it. Raises `JobFailed` if the
        API refuses the status, or the details are too long (413, 414, …).
        """
        params = {"status": status.value} | ({"runtime_details": details} if details else {})
        response = self._request("PUT", f"/jobs/{_quoted(job_id)}/status", params=params, timeout_s=timeout_s)
        if answers.is_refusal(response, 404):
            self._confirm_404(response, timeout_s)
            raise JobGone
        if details and response.status_code in TOO_LONG:
            raise JobFailed(f"{answers.answered(response)}: {http.said(response, 300)}")
        answers.expect_success(response)
        if not answers.is_empty_or_json(response):  # a log-in page, say: the status has not arrived
            raise answers.page(response)

    def get_status(self, job_id: str, *, timeout_s: float = TIMEOUT_S) -> JobStatus | None:
        """`GET /jobs/{id}/status`: the status, or `None` for a job that is deleted (404, every time).

        A job that another account has pulled has that one's status. Raises `JobFailed` if the API refuses the question
        (422, …).
        """
        response = self._confirmed("GET", f"/jobs/{_quoted(job_id)}/status", timeout_s=timeout_s)
        if answers.is_refusal(response, 404):
            return None
        answers.expect_success(response)
        return http.answer(response, _Status).root

    def input_request(self, file_id: str) -> RequestToMake:
        """`GET /files/{file id}/url`: the request that gives the file. Raises `JobFailed` if there is none to make."""
        if not {".", ".."}.isdisjoint(file_id.split("/")):  # it would be another endpoint's URL
            raise JobFailed("its id has '.' or '..' for a folder, which no URL can name")
        response = self._confirmed("GET", f"/files/{_quoted(file_id, slashes=True)}/url")
        if answers.is_refusal(response, 404):
            raise JobFailed("there is no such file")
        if answers.is_refusal(response, 403):
            raise JobFailed("the job's user may not read this file")
        self._expect_file_request(response)
        return _with_encoded_id(http.answer(response, RequestToMake).for_method("get"), self._url, file_id)

    def output_request(self, job_id: str, output_type: OutputType, base_path: str) -> RequestToMake:
        """`POST /jobs/{id}/files/url`: the form that takes the files of one folder, for 10 minutes.

        `base_path` is the folder, relative to the job folder. A job that is gone is answered with 500, so that
        `Unavailable` may mean just that: `get_status` tells. Raises `JobFailed` if the API refuses to take the files.
        """
        params = {"type": output_type.value, "base_path": base_path}
        response = self._confirmed("POST", f"/jobs/{_quoted(job_id)}/files/url", params=params)
        if answers.is_refusal(response, 403, 404):
            raise JobFailed(f"the API refuses to take it ({response.status_code})")
        self._expect_file_request(response)
        return http.answer(response, RequestToMake).for_method("post")

    def storage_test(self) -> StorageTest | None:
        """`GET /_probe`, which our mock answers and no contract has: requests for a file to try the storage with."""
        response = self._request("GET", "/_probe")
        return http.answer(response, StorageTest) if response.status_code == 200 else None

    def _request(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> requests.Response:
        """One request with a valid token. If the API itself refuses that with 401, one more with a new token."""
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
            if last or not answers.is_refusal(response, 401):
                return response
            token = self._token.renew(token)
        raise AssertionError("unreachable")

    def _confirmed(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, timeout_s: float = TIMEOUT_S
    ) -> requests.Response:
        """The answer to a request that may be repeated. Before a 403 or a 404 the workers' API was asked in between.

        So a 404 is not believed that comes from another application just before the right one is back, nor a 403 that
        is for the account, and not for the file.
        """
        response = self._request(method, path, params=params, timeout_s=timeout_s)
        if answers.is_refusal(response, 404):
            self._confirm_404(response, timeout_s)
        elif answers.is_refusal(response, 403):
            self._confirm_403(response, timeout_s)
        else:
            return response
        return self._request(method, path, params=params, timeout_s=timeout_s)

    def _expect_file_request(self, response: requests.Response) -> None:
        """`expect_success`. If there is a page, find out whether it is for this file alone: a firewall may block it."""
        try:
            answers.expect_success(response)
        except NotThePlatform as error:
            with suppress(Unavailable, CredentialsError, SettingsError):
                self.require_workers_api()
                error.alone = True
            raise

    def _confirm_404(self, response: requests.Response, timeout_s: float) -> None:
        """Ask whether this is the workers' API at all: any other application answers 404 in the same words.

        Raises `Unavailable` with the status 404 if that is not known now.
        """
        try:
            self.require_workers_api(timeout_s=timeout_s)
        except (Unavailable, CredentialsError, SettingsError) as error:
            raise NotThePlatform(
                f"{answers.answered(response)}, which is not confirmed: {error}", status=404
            ) from error

    def _confirm_403(self, response: requests.Response, timeout_s: float) -> None:
        """Ask whether the API refuses the account itself: it may not find the account's groups for a moment.

        Raises `CredentialsError` if it does, and `Unavailable` if that is not known now.
        """
        try:
            self.require_workers_api(timeout_s=timeout_s)
        except SettingsError as error:
            raise NotThePlatform(f"{answers.answered(response)}, which is not confirmed: {error}") from error


def user_pool(api_url: str) -> UserPool:
    """`GET /access_info`, which needs no token: where the platform's accounts log in.

    Raises `SettingsError` if another API answers at `api_url`, `Unavailable` if the platform does not answer now.
    """
    try:
        response = http.send("GET", f"{api_url}/access_info", timeout_s=TIMEOUT_S)
    except http.UnusableRequest as error:
        raise SettingsError(f"API_URL cannot be used: {error}") from error
    if response.status_code >= 400 and answers.is_from_an_api(response):
        raise SettingsError(
            f"API_URL ({api_url}) is not the address of the platform's API:"
            f" {api_url}/access_info answered {response.status_code}"
        )
    answers.expect_success(response)
    return http.answer(response, _AccessInfo).cognito


def _with_encoded_id(request: RequestToMake, api_url: str, file_id: str) -> RequestToMake:
    """`request`, with the file id percent-encoded where the API's own store hands out its URL without that."""
    if request.url != f"{api_url}/files/{file_id}/download":
        return request
    return request.model_copy(update={"url": f"{api_url}/files/{_quoted(file_id, slashes=True)}/download"})


def _quoted(text: str, *, slashes: bool = False) -> str:
    return quote(text, safe="/" if slashes else "")
