"""How this package speaks HTTP: one session a thread, time-outs on everything, errors of ours."""

import email.utils
import re
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import urllib3
from pydantic import BaseModel, ValidationError

from job_fetcher.core.errors import InvalidAnswer, NotThePlatform, Unavailable
from job_fetcher.core.logs import without_secrets

CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 60.0
MAX_RETRY_AFTER_S = 86_400.0
"""Longest `Retry-After` that is believed. An idle worker waits it out; `core.retry` shortens it for a job in hand."""
MAX_ANSWER = 32 << 20
"""Bytes of the longest answer that is read whole: a job with a hundred thousand inputs is shorter."""

M = TypeVar("M", bound=BaseModel)


_UNUSABLE = (ValueError, requests.exceptions.TooManyRedirects)
"""What requests and the libraries below it raise for addresses and headers that cannot be: nearly all are of these."""


class UnusableRequest(Exception):
    """The request itself is wrong (address, header), so that it could never be answered."""


class _NoAuth(requests.auth.AuthBase):
    """Keeps requests from adding an `Authorization` of its own, out of `~/.netrc`."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


_HARMLESS = ("Range", "If-Range", "Accept-Encoding")
"""What a redirect to another host takes along: without `If-Range`, parts of two versions of a file would be mixed."""


class _Session(requests.Session):
    """A session that sends nothing along to another host than the one that it was meant for."""

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        old, new = urlsplit(str(response.request.url)), urlsplit(str(prepared_request.url))
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            kept = {name: prepared_request.headers[name] for name in _HARMLESS if name in prepared_request.headers}
            prepared_request.headers.clear()
            prepared_request.headers.update(kept)


_threads = threading.local()


def session() -> requests.Session:
    """The session of this thread: connections are kept alive between its requests, and shared with no other."""
    current: requests.Session | None = getattr(_threads, "session", None)
    if current is None:
        current = _threads.session = _Session()
        current.auth = _NoAuth()
    return current


def send(
    method: str,
    url: str,
    *,
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    body: Iterable[bytes] | bytes | None = None,
    json: object = None,
    stream: bool = False,
    redirects: bool = False,
    timeout_s: float = READ_TIMEOUT_S,
) -> requests.Response:
    """Send one request and return its answer, whatever its status below 500.

    Raises `Unavailable` when there is no answer, or one that says "later" (408, 429, 5xx, a proxy's 407). Raises
    `UnusableRequest` for a request that cannot be made. Neither tells the query of the URL, which may be a signature.
    """
    try:
        response = session().request(
            method,
            url,
            params=params,
            headers=dict(headers or {}),
            data=body,
            json=json,
            stream=True,
            allow_redirects=redirects,
            timeout=(CONNECT_TIMEOUT_S, timeout_s),
        )
        if not stream:
            _read(response)
    except _UNUSABLE as error:
        raise UnusableRequest(f"{method.upper()} {without_query(url)}: {reason(error)}") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
        raise Unavailable(f"{method.upper()} {without_query(url)}: {reason(error)}") from None
    if response.status_code in (407, 408, 429) or response.status_code >= 500:
        response.close()
        raise Unavailable(
            f"{method.upper()} {without_query(url)} answered {response.status_code}",
            retry_after_s=_retry_after_s(response),
            status=response.status_code,
        )
    return response


def _read(response: requests.Response) -> None:
    """Read the whole body, as requests would; but no answer, however large, fills the memory."""
    body = bytearray()
    for block in response.iter_content(1 << 16):
        body += block
        if len(body) > MAX_ANSWER:
            response.close()
            raise InvalidAnswer(f"{without_query(str(response.url))} answered with more than {MAX_ANSWER >> 20} MiB")
    response._content = bytes(body)


def said(response: requests.Response, length: int = 200) -> str:
    """The beginning of an error's body, in one line, whatever it is; it is where servers put the reason."""
    try:
        beginning = next(response.iter_content(length), b"")
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
        return ""
    return without_secrets(" ".join(beginning[:length].decode(errors="replace").split()))


def answer(response: requests.Response, shape: type[M]) -> M:
    """The JSON body of an answer as `shape`; raises `NotThePlatform` for no JSON, `InvalidAnswer` for other JSON."""
    try:
        return shape.model_validate_json(response.content)
    except ValidationError as error:
        is_json = error.errors()[0]["type"] != "json_invalid"
        what = f"{response.request.method} {without_query(str(response.url))}"
        kind = InvalidAnswer if is_json else NotThePlatform
        raise kind(f"{what} answered {response.status_code} with something that is not understood") from None


def without_query(url: str) -> str:
    """Scheme, host and path: what a log may say of a URL, whose query may be a signature, and whose user a secret."""
    return re.sub(r"//[^/]*@", "//", url.split("?", 1)[0].split("#", 1)[0])


def reason(error: BaseException) -> str:
    """The innermost cause of a failed request, in words, without any URL's query (urllib3's texts have it)."""
    if isinstance(error, requests.exceptions.ProxyError):
        return f"through the proxy: {_innermost(error)}"
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return f"no connection within {CONNECT_TIMEOUT_S:g} s"
    if isinstance(error, requests.exceptions.ReadTimeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.InvalidHeader):  # whose text has the header's value
        return "one of its headers has a character that HTTP does not allow"
    return _innermost(error)


def _innermost(error: BaseException) -> str:
    innermost: Any = error
    while True:
        inner = getattr(innermost, "reason", None) or next(
            (arg for arg in reversed(innermost.args) if isinstance(arg, BaseException)), None
        )
        if not isinstance(inner, BaseException):
            break
        innermost = inner
    text = re.sub(r"\?\S*", "?…", str(innermost)) or type(innermost).__name__
    return text.split(": ", 1)[-1] if isinstance(innermost, urllib3.exceptions.HTTPError) else text


def _retry_after_s(response: requests.Response) -> float | None:
    """`Retry-After` in seconds; it comes as a number or as a date (RFC 9110, 10.2.3)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdecimal():
        return min(float(value), MAX_RETRY_AFTER_S)
    try:
        then = email.utils.parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(max(then - time.time(), 0.0), MAX_RETRY_AFTER_S)
