"""The images of jobs: pulled before each run, so that a tag means what its registry says now; removed to make room."""

import json
import logging
import os
import posixpath
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from job_fetcher.core.background import Cancellation
from job_fetcher.core.errors import EngineUnavailable, JobFailed, Unavailable
from job_fetcher.core.retry import call_engine, retrying
from job_fetcher.engine import image_names
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.workspace.disk import free_bytes, write_durably
from job_fetcher.workspace.workspace import Workspace

PATIENCE_S = 1800.0
"""A registry that does not answer for so long may be one that does not exist: the job fails, and says so."""

_FULL = "no space left on device"
_FOR_GOOD = (
    "not found",
    "manifest unknown",
    "no matching manifest",
    "does not exist",
    "denied",
    "unauthorized",
    "invalid reference format",
    _FULL,
)
"""Words of the engine and of registries for what waiting does not change; they come with statuses 200 to 500."""

log = logging.getLogger(__name__)


class Images:
    """The engine's images, and which of them jobs have brought: that is kept in the workspace, for all its workers.

    While less than `min_free` bytes are free on the engine's disk, images that jobs have brought are removed, those
    first that were not used for longest; never one that a container uses, nor one that was here before.
    """

    def __init__(self, client: Client, workspace: Workspace, min_free: int, allowed: Iterable[str] = ("*",)) -> None:
        self._client, self._workspace, self._min_free, self._allowed = client, workspace, min_free, tuple(allowed)
        self._record = workspace.base / ".images.json"  # a name that no job's folder can have
        self._disk = disk(client)

    def pull(self, image: str, *, cancelled: Cancellation) -> None:
        """Pull `image`. If its registry cannot be reached but the image is here, it is used, with a warning.

        Raises `JobFailed` for an image that is not allowed, does not exist, may not be pulled or hides the job's
        folder, and for a registry that does not answer for half an hour.
        """
        name = image_names.parse(image)
        if not image_names.is_allowed(name, self._allowed):
            raise JobFailed(f"The image '{image}' is not among those that this worker allows (ALLOWED_IMAGES).")
        self.make_room()
        before = call_engine(cancelled)(self._ids)

        def once() -> None:
            try:
                self._pull(image, cancelled)
            except Unavailable as error:
                if not image_names.is_called(name, self._inspect(image)):
                    raise
                log.warning("%s; the image is here and is used as it is", error)

        patience = retrying(cancelled, give_up=lambda state: (state.seconds_since_start or 0) > PATIENCE_S)
        try:
            patience(once)
        except Unavailable as error:
            raise JobFailed(f"{error}, for {PATIENCE_S / 60:.0f} minutes.") from error
        found = call_engine(cancelled)(self._inspect, image)
        self._note_use(found.get("Id"), before)
        for volume in found.get("Config", {}).get("Volumes") or {}:
            if posixpath.normpath(f"/{volume.lstrip('/')}").startswith("/files/"):
                raise JobFailed(f"The image '{image}' has a VOLUME that would hide the job's own folder: {volume}.")

    def make_room(self) -> bool:
        """Remove images until `min_free` is free; whether it is now."""
        if self._free() >= self._min_free:
            return True
        with self._workspace.locked():
            brought = self._brought()
            for image_id in sorted(brought, key=lambda each: brought[each]):
                if self._remove(image_id):
                    del brought[image_id]
                    write_durably(self._record, json.dumps(brought))
                if self._free() >= self._min_free:
                    break
        return self._free() >= self._min_free

    def _pull(self, image: str, cancelled: Cancellation) -> None:
        doing = f"pull the image '{image}'"
        try:
            with translate_errors(doing):
                for line in self._client.pull(image, stream=True, decode=True):
                    cancelled.check()
                    if "error" in line:
                        raise Unavailable(f"The Docker engine cannot {doing}: {line['error']}", status=500)
        except Missing as error:
            raise JobFailed(f"{error}.") from error
        except Unavailable as error:
            if any(word in str(error).lower() for word in _FOR_GOOD):
                raise JobFailed(f"{error}.") from error
            raise

    def _note_use(self, image_id: str | None, before: set[str]) -> None:
        """Write down that a job uses the image now, if a job has brought it: it was not here `before`."""
        with self._workspace.locked():
            brought = self._brought()
            if image_id is not None and (image_id in brought or image_id not in before):
                write_durably(self._record, json.dumps(brought | {image_id: time.time()}))

    def _brought(self) -> dict[str, float]:
        """The ids of images that jobs have brought, and when each was used last, in seconds since the epoch."""
        try:
            return {str(image_id): float(used) for image_id, used in json.loads(self._record.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            log.warning("%s is not understood: the images that are here now are kept", self._record)
            return {}

    def _remove(self, image_id: str) -> bool:
        """Remove an image, if nobody uses it. True when it is gone."""
        try:
            with translate_errors(f"remove the image {image_id}"):
                self._client.remove_image(image_id)
        except Missing:
            return True
        except (JobFailed, EngineUnavailable) as refusal:  # a container uses it, or somebody has given it another name
            log.info("%s", refusal)
            return False
        log.info("Removed the image %s to make room", image_id)
        return True

    def _ids(self) -> set[str]:
        with translate_errors("list the images"):
            return {each["Id"] for each in self._client.images()}

    def _inspect(self, image: str) -> dict[str, Any]:
        """What the engine knows of the image; nothing, if it is not here."""
        try:
            with translate_errors(f"look for the image '{image}'"):
                found: dict[str, Any] = self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        except Missing:
            return {}
        return found

    def _free(self) -> int:
        return free_bytes(self._disk)


def disk(client: Client) -> Path:
    """A folder on the disk where the engine keeps its images: below a container's root lies that, too."""
    with translate_errors("describe the host"):
        folder = Path(client.info()["DockerRootDir"])
    return folder if os.access(folder, os.F_OK) else Path("/")  # not for everybody to look into, either
