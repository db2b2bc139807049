"""Which images jobs have brought to this engine, and their removal while its disk has too little room."""

import json
import logging
import os
import time
from pathlib import Path

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.workspace.disk import MIN_FREE_INODES, free_bytes, free_inodes, write_durably
from job_fetcher.workspace.workspace import Workspace

log = logging.getLogger(__name__)


class ImageCleanup:
    """Removes images that jobs have brought while less than `min_free` bytes are free on the engine's disk.

    Those that were not used for longest go first; never one that a container uses, nor one that was here before. The
    record is kept in the workspace, for all its workers. Without `may_remove` it only looks, as `check` does.
    """

    def __init__(self, client: Client, workspace: Workspace, min_free: int, *, may_remove: bool = True) -> None:
        self._client, self._workspace, self._min_free, self._may_remove = client, workspace, min_free, may_remove
        self._record = workspace.base / ".images.json"  # a name that no job's folder can have
        self._disk = disk(client)

    def make_room(self) -> bool:
        """Remove images until `min_free` is free. Returns whether it is now."""
        if not self._may_remove or self._free() >= self._min_free:
            return self._free() >= self._min_free
        with self._workspace.locked():
            brought = self._brought()
            for image_id in sorted(brought, key=lambda each: brought[each]):
                if self._remove(image_id):
                    del brought[image_id]
                    write_durably(self._record, json.dumps(brought))
                if self._free() >= self._min_free:
                    break
        return self._free() >= self._min_free

    def note_use(self, image_id: str, here_before: set[str]) -> None:
        """Record that a job uses the image now, if a job has brought it: it was not `here_before`."""
        with self._workspace.locked():
            brought = self._brought()
            if image_id in brought or image_id not in here_before:
                write_durably(self._record, json.dumps(brought | {image_id: time.time()}))

    def ids(self) -> set[str]:
        """The ids of all images that the engine has."""
        with translate_errors("list the images"):
            return {each["Id"] for each in self._client.images()}

    def _brought(self) -> dict[str, float]:
        """The ids of images that jobs have brought, and when each was used last, in seconds since the epoch."""
        try:
            return {str(image_id): float(used) for image_id, used in json.loads(self._record.read_bytes()).items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):
            log.warning("The worker cannot read %s: it keeps the images that are here now", self._record)
            return {}

    def _remove(self, image_id: str) -> bool:
        """Remove an image, if nobody uses it. Returns whether it is gone."""
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

    def _free(self) -> int:
        return free_bytes(self._disk) if free_inodes(self._disk) >= MIN_FREE_INODES else 0


def disk(client: Client) -> Path:
    """A folder on the disk where the engine keeps its images: below a container's root lies that, too."""
    if client.root_dir is None:
        with translate_errors("describe the host"):
            client.root_dir = Path(client.info()["DockerRootDir"])
    folder = client.root_dir
    return folder if os.access(folder, os.F_OK) else Path("/")  # not for everybody to look into, either
