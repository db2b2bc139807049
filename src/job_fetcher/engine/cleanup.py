"""What containers leave behind on the host: files of root, and containers whose job's folder is gone."""

import logging
import os
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Any

from docker.errors import APIError

from job_fetcher.core.errors import EngineUnavailable, JobFailed
from job_fetcher.engine import probe
from job_fetcher.engine.client import Client, Missing, translate_errors
from job_fetcher.engine.engine_info import ContainerRoot, describe
from job_fetcher.engine.isolation import (
    LABEL_BUILD,
    LABEL_FOLDER,
    LABEL_HELPER,
    Resources,
    host_config,
)

CHOWN_S, CHOWN_MEMORY_MIB = 120, 512
"""What an image's `chown` gets to give a job's files to a worker that is not root."""
STALE_S = 600.0
"""A probe of this age (`probe.PROBE_S` is its time) has been left by a worker that was killed."""

log = logging.getLogger(__name__)


def remove(client: Client, container: str) -> None:
    """Remove a container and its anonymous volumes, by force. One that is gone already is no error.

    Raises `EngineUnavailable` if the engine cannot do that now, or somebody else is removing it: it is going.
    """
    try:
        with translate_errors("remove the container"):
            try:
                client.remove_container(container, v=True, force=True)
            except APIError as error:
                if error.status_code != HTTPStatus.CONFLICT:
                    raise
                text = f"{client.product.at_start} is still removing the container: {error.explanation}"
                raise EngineUnavailable(text) from error
    except Missing:
        return


def give_files_to_worker(client: Client, container: str, folder: PurePosixPath) -> None:
    """Let a worker that is not root read and remove what the job has made as root.

    Only root can change the owner of a file. A container does so that has no more rights than the job had. Its image is
    the worker's own, or else that of the job's `container`. The users of a container may be others on the host:

    | the engine | the helper gives the files to | and runs as |
    |---|---|---|
    | as root | the worker's user | root of the host |
    | rootless | root of the container, which is the engine's user, and so the worker's | that user |
    | `userns-remap` | the worker's user | root of the host (`--userns=host`), and never the job's image |
    """
    with translate_errors("give the job's files to the worker"):
        root = describe(client).root
        try:
            image = probe.image(client)
        except probe.ProbeFailed as error:
            if root is ContainerRoot.REMAPPED:
                log.warning("job %s: files of root not taken over: %s", folder.name, error)
                return
            image = client.inspect_container(container)["Image"]
        helper = _create_helper(client, image, folder, root)
        try:
            with translate_errors("run the image's chown"):
                client.start(helper)
                client.wait(helper, timeout=CHOWN_S)
        except (EngineUnavailable, JobFailed, Missing) as error:
            log.warning("job %s: files of root not taken over: no working chown in the image: %s", folder.name, error)
        finally:
            _try_to_remove(client, helper)


def _create_helper(client: Client, image: str, folder: PurePosixPath, root: ContainerRoot) -> str:
    """The id of the container that gives the files of `folder` to the worker's user."""
    config = host_config(client, folder, Resources(CHOWN_MEMORY_MIB, None, "none"))
    owner = f"{os.geteuid()}:{os.getegid()}"
    if root is ContainerRoot.ENGINE_USER:
        owner = "0:0"
    if root is ContainerRoot.REMAPPED:
        config["UsernsMode"] = "host"
    made = probe.create(
        client, image, {LABEL_HELPER: str(folder)},
        entrypoint=["chown", "-R", "-h", owner, "/files"], command=[], user="0", host_config=config,
    )  # fmt: skip
    return str(made["Id"])


def remove_orphans(client: Client, host_base: PurePosixPath, is_there: Callable[[str], bool]) -> list[str]:
    """Remove the containers of jobs below `host_base` whose folders are gone, and return the names of those that stay.

    `is_there` tells whether there is a folder of that name. A person has removed or renamed the others; a worker
    removes no folder before its container. Probes that a killed worker left go, too.
    """
    for each in list_containers(client, f"{LABEL_BUILD}=probe"):
        if each["Created"] < time.time() - STALE_S:
            _try_to_remove(client, each["Id"])
    stay = []
    for label in (LABEL_FOLDER, LABEL_HELPER):
        for each in list_containers(client, label):
            folder, name = PurePosixPath(each["Labels"][label] or "/"), each["Names"][0].strip("/")
            if folder.parent == host_base and not is_there(folder.name):
                log.warning("job %s: removing the container %s: the job's folder is gone", folder.name, name)
                if not _try_to_remove(client, each["Id"]):
                    stay.append(name)
    return stay


def list_containers(client: Client, label: str) -> list[dict[str, Any]]:
    """The containers with a label, in whatever state. Raises `EngineUnavailable`: no refusal is about a job."""
    try:
        with translate_errors("list containers"):
            listed: list[dict[str, Any]] = client.containers(all=True, filters={"label": label})
    except (JobFailed, Missing) as error:
        raise EngineUnavailable(str(error), status=HTTPStatus.BAD_REQUEST) from error
    return listed


def _try_to_remove(client: Client, container: str) -> bool:
    try:
        remove(client, container)
    except (EngineUnavailable, JobFailed) as error:
        log.info("%s", error)
        return False
    return True
