"""What containers leave behind on the host: files of root, and containers whose job's folder is gone."""

import logging
import os
import time
from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Any

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.engine import probe
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.isolation import LABEL_BUILD, LABEL_FOLDER, LABEL_HELPER, Resources, host_config, labelled

CHOWN_S, CHOWN_MEMORY_MIB = 120, 512
"""What an image's `chown` gets to give a job's files to a worker that is not root."""
STALE_S = 600.0
"""A probe of this age (`probe.PROBE_S` is its time) has been left by a worker that was killed."""

log = logging.getLogger(__name__)


def give_files_to_worker(client: Client, container: str, folder: PurePosixPath) -> None:
    """Let a worker that is not root read and remove what the job has made as root, which only root can arrange.

    A container with no more rights than the job had does that: of the worker's own image, where there is one here.
    """
    with translate_errors("give the job's files to the worker"):
        try:
            image = probe.image(client)
        except probe.ProbeFailed:
            image = client.inspect_container(container)["Image"]
        helper = client.create_container(
            image=image,
            entrypoint=["chown", "-R", "-h", f"{os.geteuid()}:{os.getegid()}", "/files"],
            command=[],
            user="0",
            **labelled({LABEL_HELPER: str(folder)}),
            host_config=host_config(client, folder, Resources(CHOWN_MEMORY_MIB, None, "none")),
        )["Id"]
        try:
            with translate_errors("run the image's chown"):
                client.start(helper)
                client.wait(helper, timeout=CHOWN_S)
        except (EngineUnavailable, JobFailed, Missing) as error:
            log.warning("The image has no chown that works, so that files of root cannot be removed: %s", error)
        finally:
            client.remove_container(helper, v=True, force=True)


def remove_orphans(client: Client, host_base: PurePosixPath, is_there: Callable[[str], bool]) -> None:
    """Remove the containers of jobs below `host_base` whose folders are not there any more, by their names.

    A folder that was put aside or removed by a person has left one. Of any other, the folder outlives the container.
    Probes that a worker has left which was killed go, too.
    """
    with translate_errors("list containers"):
        probes: list[dict[str, Any]] = client.containers(all=True, filters={"label": f"{LABEL_BUILD}=probe"})
    for each in probes:
        if each["Created"] < time.time() - STALE_S:
            _remove(client, each["Id"])
    for label in (LABEL_FOLDER, LABEL_HELPER):
        with translate_errors("list containers"):
            listed: list[dict[str, Any]] = client.containers(all=True, filters={"label": label})
        for each in listed:
            folder = PurePosixPath(each["Labels"][label] or "/")
            if folder.parent == host_base and not is_there(folder.name):
                log.warning("Removing the container %s: its job's folder is gone", each["Names"][0].strip("/"))
                _remove(client, each["Id"])


def _remove(client: Client, container: str) -> None:
    try:
        with translate_errors("remove a container"):
            client.remove_container(container, v=True, force=True)
    except (EngineUnavailable, JobFailed, Missing) as error:  # the next start tries again
        log.info("%s", error)
