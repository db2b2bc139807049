"""One pull of an image: with the owner's login as it stands now, and with the failure told apart (`pull_failures`)."""

import logging
import re
import socket
import time
from collections.abc import Iterable, Mapping
from typing import Any

from docker.errors import APIError, InvalidRepository

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import Unavailable
from job_fetcher.core.events import Moved, Planned, Transfer, tell
from job_fetcher.engine import logins, pull_failures
from job_fetcher.engine.client import Client, said, translate_errors
from job_fetcher.engine.image_names import ImageName
from job_fetcher.engine.pull_failures import PullFailure
from job_fetcher.engine.registry_check import REFUSALS, login_refusal

WELL_KNOWN = ("registry-1.docker.io", "ghcr.io", "quay.io", "public.ecr.aws")
"""Registries whose names resolve wherever a machine's DNS reaches the internet."""
_EXISTING = {
    "docker.io",
    "registry.gitlab.com",
    "mcr.microsoft.com",
    "nvcr.io",
    "gcr.io",
    "registry.k8s.io",
    *WELL_KNOWN,
}
_NEVER = (".invalid", ".example")
"""Top-level domains that never exist (RFC 6761, RFC 2606)."""

log = logging.getLogger(__name__)


class PullFailed(Unavailable):
    """The image could not be pulled; the message is a sentence for the log, with the engine's words."""

    def __init__(self, failure: PullFailure, image: str, words: str) -> None:
        super().__init__(
            f"The worker cannot pull `{image}`: {words.strip()[:500]}",
            retry_after_s=pull_failures.retry_after_s(words),
            status=500,
        )
        self.failure, self.words = failure, words


class Pull:
    """Tries to pull one image. `hosts`: names that resolve where DNS works at all, besides well-known registries."""

    def __init__(
        self, client: Client, image: str, name: ImageName, hosts: Iterable[str], cancelled: Cancellation
    ) -> None:
        self._client, self._image, self._name, self._cancelled = client, image, name, cancelled
        self._hosts = (*hosts, *WELL_KNOWN)
        self._layers: set[str] = set()
        self._sizes: dict[str, tuple[int, int]] = {}
        self.progressed = False
        self._failing_since: float | None = None
        self.failures: list[PullFailure] = []

    def run(self) -> None:
        """Pull it now, with the owner's login, if there is one. Raises `PullFailed`, and what `translate_errors` does.

        Without the login, if the registry refuses it: the image may be public.
        """
        self.progressed = False
        registry = self._name.registry
        login = logins.find(registry)
        if login.problem:
            log.warning("The worker asks %s without a login: %s", registry, login.problem)
        try:
            self._stream(login.auth)
        except PullFailed as refused:
            if refused.failure not in REFUSALS:
                raise
            if login.problem:
                raise PullFailed(PullFailure.LOGIN, self._image, refused.words) from refused
            if not login.auth:
                raise
            self._without_login(refused, login)

    def note_failure(self, failure: PullFailure) -> None:
        """Count a failure; `failing_for_s` begins anew where a new layer has come before it."""
        if self.progressed or self._failing_since is None:
            self._failing_since = time.monotonic()
        self.failures.append(failure)

    @property
    def failing_for_s(self) -> float:
        """How long no try has brought a new layer; 0 before the first failure."""
        return time.monotonic() - self._failing_since if self._failing_since is not None else 0.0

    def _without_login(self, refused: PullFailed, login: logins.Login) -> None:
        """Pull without the `login` with which the pull was `refused`. Raises `PullFailed`."""
        registry = self._name.registry
        try:
            self._stream({})
        except PullFailed:
            refusal = login_refusal(self._client, registry, login)
            if refusal is None and refused.failure is PullFailure.NO_ACCESS:
                raise refused from None  # the registry accepts the login, and keeps this image from it
            failure = PullFailure.LOGIN if refusal is None else pull_failures.classify(refusal)
            failure = PullFailure.LOGIN if failure in REFUSALS else failure
            raise PullFailed(failure, self._image, refusal or refused.words) from refused
        log.warning("%s refuses this machine's login. Log in again with `docker login %s`", registry, registry)

    def _stream(self, auth: Mapping[str, str]) -> None:
        """One request to the engine, which streams what it does. Raises `PullFailed`."""
        pulling = False
        with translate_errors(f"pull the image '{self._image}'"):
            try:
                for line in self._client.pull(self._image, stream=True, decode=True, auth_config=dict(auth)):
                    self._cancelled.check()
                    if "error" in line:
                        raise self._refused(line["error"], pulling=pulling)
                    pulling = pulling or "fs layer" in line.get("status", "")
                    self._note_layer(line)
                    self._tell_progress(line)
            except InvalidRepository as error:  # docker-py's own judgement of a name: nobody was asked
                raise PullFailed(PullFailure.BAD_NAME, self._image, str(error)) from error
            except APIError as error:
                raise self._refused(said(error), pulling=False) from error

    def _note_layer(self, line: Mapping[str, str]) -> None:
        layer = line.get("id")
        if line.get("status") in ("Download complete", "Pull complete") and layer and layer not in self._layers:
            self._layers.add(layer)
            self.progressed = True

    def _tell_progress(self, line: Mapping[str, Any]) -> None:
        """Tell how many bytes of a layer have come since the last line (`progressDetail` of the engine's stream)."""
        detail = line.get("progressDetail") or {}
        total, layer = detail.get("total"), line.get("id")
        if line.get("status") != "Downloading" or not total or not layer:
            return
        planned, moved = self._sizes.get(layer, (0, 0))
        here = max(moved, detail.get("current") or 0)
        self._sizes[layer] = (total, here)
        if total != planned:
            tell(Planned(Transfer.PULL, total - planned))
        if here != moved:
            tell(Moved(Transfer.PULL, here - moved))

    def _refused(self, words: str, *, pulling: bool) -> PullFailed:
        """What the engine's `words` mean. `pulling`: the registry has described the image before."""
        failure = pull_failures.classify(words)
        if pulling and failure in (PullFailure.NO_ACCESS, PullFailure.LOGIN, PullFailure.NO_IMAGE):
            failure = PullFailure.EXPIRED if failure is not PullFailure.NO_IMAGE else PullFailure.PRUNED
        is_own_name = _looked_up(words) <= {self._name.registry.rsplit(":", 1)[0].lower()}
        if failure is PullFailure.NO_HOST and (
            pulling or not is_own_name or not _exists_nowhere(self._name.registry, self._hosts)
        ):
            failure = PullFailure.DNS
        return PullFailed(failure, self._image, words)


def _exists_nowhere(registry: str, hosts: Iterable[str]) -> bool:
    """Whether `registry` is no host's name, rather than this machine's DNS being broken: another name resolves."""
    name = registry.rsplit(":", 1)[0].lower()
    if name in _EXISTING:
        return False
    return name.endswith(_NEVER) or any(_resolves(host) for host in hosts if host.lower() != name)


def _looked_up(words: str) -> set[str]:
    """The host names that the engine's `words` say it has looked up."""
    return {name.rstrip(".").lower() for name in re.findall(r"lookup ([^\s:]+)", words)}


def _resolves(host: str) -> bool:
    """Whether a DNS server knows `host`; an address and `localhost` need none."""
    if host == "localhost" or re.fullmatch(r"[\d.]+|\[?[\da-f:]+\]?", host):
        return False
    try:
        socket.getaddrinfo(host, None)
    except OSError:
        return False
    return True
