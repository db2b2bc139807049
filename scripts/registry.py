"""What a registry has, asked through its HTTP API with the credentials of `docker login`, as Docker itself asks it."""

import re
from typing import Any
from urllib.parse import urljoin, urlsplit
from urllib.request import parse_http_list, parse_keqv_list

import requests
from docker.auth import load_config, resolve_repository_name
from requests import PreparedRequest, Response, Session
from requests.auth import HTTPBasicAuth

from scripts.docker import Failed

TIMEOUT_S = 60
PAGE = 1000
"""Tags of one answer, the most that ECR Public allows."""


class BearerAuth(requests.auth.AuthBase):
    """A token, as the header `Authorization: Bearer <token>`."""

    def __init__(self, token: str) -> None:
        self._token = token

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


def published_tags(repository: str) -> set[str]:
    """All tags of `<registry>/<name>`; none if the registry does not know the name.

    Raises `Failed` if the repository names no registry, or the registry refuses; `requests.RequestException` if it
    does not answer as a registry does.
    """
    host, name = resolve_repository_name(repository)
    if host == "docker.io":
        raise Failed(f"{repository} names no registry: it begins with a host, as in public.ecr.aws/<alias>.")
    scheme = "http" if re.fullmatch(r"(localhost|127\.[\d.]+)(:\d+)?", host) else "https"  # as Docker has it
    url, tags = f"{scheme}://{host}/v2/{name}/tags/list?n={PAGE}", set[str]()
    with Session() as session:
        while True:
            answer = _get(session, url, host)
            if answer.status_code == requests.codes.not_found and "NAME_UNKNOWN" in answer.text:
                return tags
            answer.raise_for_status()
            tags.update(answer.json().get("tags") or [])
            if "next" not in answer.links:
                return tags
            # Of the link only path and query count, as for Docker: the token is for this host.
            url = urljoin(url, urlsplit(answer.links["next"]["url"])._replace(scheme="", netloc="").geturl())


def _get(session: Session, url: str, host: str) -> Response:
    """The answer; the first one that wants credentials makes the session use them."""
    answer = session.get(url, timeout=TIMEOUT_S)
    if answer.status_code == requests.codes.unauthorized and session.auth is None:
        session.auth = _authorization(answer.headers.get("WWW-Authenticate", ""), host)
        answer = session.get(url, timeout=TIMEOUT_S)
    if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
        raise _refusal(host)
    return answer


def _authorization(challenge: str, host: str) -> BearerAuth | HTTPBasicAuth | None:
    """What the challenge asks for, e.g. `Bearer realm="https://host/token",service="host",scope="repository:x:pull"`.

    Without a `docker login` the token is anybody's: enough to read what is public. Raises `Failed` if it is refused.
    """
    known: dict[str, Any] = load_config().resolve_authconfig(host) or {}
    credentials = HTTPBasicAuth(known["username"], known["password"]) if known.get("username") else None
    kind, _, rest = challenge.partition(" ")
    if kind.lower() != "bearer":
        return credentials
    parameters = parse_keqv_list(parse_http_list(rest))
    answer = requests.get(parameters.pop("realm", ""), params=parameters, auth=credentials, timeout=TIMEOUT_S)
    if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
        raise _refusal(host)
    answer.raise_for_status()
    token = answer.json()
    return BearerAuth(token.get("token") or token.get("access_token", ""))


def _refusal(host: str) -> Failed:
    return Failed(f"{host} refuses to list its tags: log in first, with docker login {host}")
