"""The images of jobs: pulled before each run, so that a tag means what its registry says now."""

import logging
import posixpath
import time
from collections.abc import Iterable
from typing import Any

import tenacity

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import JobFailed, MachineFault
from job_fetcher.core.retry import EngineErrors, call_engine, retrying
from job_fetcher.engine import image_names, pull_failures
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.image_cleanup import ImageCleanup
from job_fetcher.engine.image_names import ImageName
from job_fetcher.engine.pull import Pull, PullFailed
from job_fetcher.engine.pull_failures import Blame, PullFailure
from job_fetcher.workspace.workspace import Workspace

PATIENCE_S = 300.0
"""A registry that gives no new layer for so long is left alone: the worker requeues the job, and others can run."""
BROKEN_TRIES = 3
"""Content that does not match its digest may have been cut by a proxy: so many tries before the registry is blamed."""
REFUSED_S = 120.0
"""An image that failed for good is not pulled again for so long: whoever submits one submits fifty."""
MAX_REFUSED = 1000

log = logging.getLogger(__name__)


class Images:
    """The images of jobs on one engine. `allowed`: patterns of names; `hosts`: names that resolve where DNS works.

    See `ImageCleanup` for `min_free` and `may_remove`. `pull_failures` tells failures apart: the job's are raised as
    `JobFailed`, this machine's as `MachineFault`, and what passes is waited out for `PATIENCE_S` before that.
    """

    def __init__(
        self,
        client: Client,
        workspace: Workspace,
        min_free: int,
        allowed: Iterable[str] = ("*",),
        *,
        hosts: Iterable[str] = (),
        may_remove: bool = True,
    ) -> None:
        self._client, self._allowed, self._hosts = client, tuple(allowed), tuple(hosts)
        self._cleanup = ImageCleanup(client, workspace, min_free, may_remove=may_remove)
        self._refused: dict[str, tuple[float, str]] = {}
        self._away: set[str] = set()
        """Registries that have used up the patience: no other job waits for them until they give something again."""

    def pull(self, image: str, *, cancelled: Cancellation) -> None:
        """Pull `image`. If its registry cannot be asked but the image is here, it is used, with a warning.

        Raises `JobFailed` for an image that is not allowed, that its registry refuses, or that hides the job's folder.
        Raises `MachineFault` if this machine cannot pull it now, or if the registry does not answer for `PATIENCE_S`.
        """
        name = image_names.parse(image)
        if not image_names.is_allowed(name, self._allowed):
            raise JobFailed(
                f"The image '{image}' is not among those that this worker allows. The owner of this worker has to add"
                " it to ALLOWED_IMAGES."
            )
        self._raise_if_refused(name)
        self._cleanup.make_room()
        before = call_engine(cancelled)(self._cleanup.ids)
        found = self._pulled(image, name, cancelled)
        self._cleanup.note_use(found["Id"], before)
        for volume in found.get("Config", {}).get("Volumes") or {}:
            if posixpath.normpath(f"/{volume.lstrip('/')}").startswith("/files/"):
                raise JobFailed(f"The image '{image}' has a VOLUME that would hide the job's own folder: {volume}.")

    def make_room(self) -> bool:
        """Remove images that jobs have brought until enough is free. Returns whether it is now."""
        return self._cleanup.make_room()

    def _pulled(self, image: str, name: ImageName, cancelled: Cancellation) -> dict[str, Any]:
        """What the engine knows of the image, once it is here."""
        pull = Pull(self._client, image, name, self._hosts, cancelled)
        errors = EngineErrors()

        def once() -> dict[str, Any]:
            try:
                pull.run()
                found = self._inspect(image)
                if not found:
                    raise PullFailed(PullFailure.PRUNED, image, "it was removed as soon as it was here")
            except PullFailed as error:
                pull.note_failure(error.failure)
                if pull.progressed or error.failure.is_about_image:
                    self._away.discard(name.registry)
                found = {} if error.failure.is_about_image else self._inspect(image)
                if not image_names.is_called(name, found):
                    raise
                log.warning("%s; the image is here and is used as it is", error)
            else:
                self._away.discard(name.registry)
            return found

        try:
            return retrying(
                cancelled, give_up=lambda state: _is_final(pull, errors, state, is_away=name.registry in self._away)
            )(once)
        except PullFailed as error:
            if error.failure.blame is Blame.PASSING and error.failure is not PullFailure.PRUNED:
                self._away.add(name.registry)
            raise self._verdict(error, image, name) from error

    def _verdict(self, error: PullFailed, image: str, name: ImageName) -> JobFailed:
        """What a failed pull means for the job, told to the owner of this machine, too, where he can do something."""
        failure = error.failure
        for_owner = pull_failures.for_owner(failure, image, name.registry)
        if for_owner is not None:
            log.warning("%s", for_owner)
        sentence = (
            f"{pull_failures.for_user(failure, image, name.registry)} (the engine says: {error.words.strip()[:300]})"
        )
        if failure.blame is not Blame.JOB:
            return MachineFault(sentence)
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused[name.full] = (time.monotonic(), sentence)
        return JobFailed(sentence)

    def _raise_if_refused(self, name: ImageName) -> None:
        """Raise what the registry said a moment ago: it says the same to the next job."""
        refused_at, sentence = self._refused.get(name.full, (float("-inf"), ""))
        left_s = REFUSED_S - (time.monotonic() - refused_at)
        if left_s > 0:
            raise JobFailed(f"{sentence} The worker asks the registry again in {left_s:.0f} s.")

    def _inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows of the image; nothing, if it is not here."""
        try:
            with translate_errors(f"look for the image '{image}'"):
                found: dict[str, Any] = self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        except Missing:
            return {}
        return found


def _is_final(pull: Pull, errors: EngineErrors, state: tenacity.RetryCallState, *, is_away: bool) -> bool:
    """Whether the worker gives up a pull: at once, if the registry `is_away`.

    It waits for an engine that does not answer until it is cancelled.
    """
    error = state.outcome.exception() if state.outcome else None
    engine_fails = errors.are_final(error)
    if not isinstance(error, PullFailed):
        return engine_fails
    if error.failure is PullFailure.BROKEN_CONTENT:
        return pull.failures.count(error.failure) >= BROKEN_TRIES
    if error.failure.blame is not Blame.PASSING:
        return True
    return is_away or pull.failing_for_s + (error.retry_after_s or 0) > PATIENCE_S
