"""The engines of the field lab. Each function opens the place that a campaign runs in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path

from docker.errors import APIError

from tests.field.daemon import prepare, running, scratch
from tests.field.place import IMAGE, PROBE_IMAGE, NotHad, Place, Spoiled
from tests.support.engine import connect

Disk = Callable[[Path], AbstractContextManager[Spoiled | None]]
"""Mounts something at a folder, and gives the place's `spoiled` if it can fail."""
SOCKET = "unix:///var/run/docker.sock"
USER = 1000
"""The user of a worker that is not root. It needs no name."""


@contextmanager
def _no_disk(folder: Path) -> Iterator[None]:
    yield


def jobs(folder: Path) -> Path:
    """The folder for the jobs' folders."""
    (made := folder / "jobs").mkdir()
    return made


@contextmanager
def own() -> Iterator[Place]:
    """The machine's own engine, at the usual socket."""
    client = connect()
    try:
        prepare(client)
        with scratch() as folder:
            yield Place(
                str(client.api.base_url).replace("http+docker://localhost", SOCKET), client, jobs(folder), folder
            )
    finally:
        for name in (IMAGE, PROBE_IMAGE):
            with suppress(APIError):
                client.images.remove(name, force=True)
        client.close()


def dockerd(folder: Path, *options: str) -> list[str | Path]:
    """The command of an engine that keeps everything in `folder`."""
    return [
        "dockerd",
        "--data-root", folder / "data",
        "--exec-root", folder / "exec",
        "--pidfile", folder / "docker.pid",
        "--host", f"unix://{folder / 'docker.sock'}",
        *options,
    ]  # fmt: skip


@contextmanager
def second(
    *options: str,
    setup: str = "",
    uid: int = 0,
    settings: Mapping[str, str] | None = None,
    disk: Disk = _no_disk,
    filler: str = "",
) -> Iterator[Place]:
    """Another engine of the machine's own version, with these options.

    `settings`: of the worker, the user `uid`. `disk` mounts the disk at the folder for the jobs' folders.
    """
    if shutil.which("dockerd") is None:
        raise NotHad("This machine has no dockerd.")
    with (
        scratch() as folder,
        disk(jobs(folder)) as spoiled,
        running(dockerd(folder, *options), folder, setup=setup) as client,
    ):
        os.chown(folder / "docker.sock", uid, uid)
        yield Place(
            f"unix://{folder / 'docker.sock'}",
            client,
            folder / "jobs",
            folder,
            uid,
            python=python_for(uid),
            settings=settings or {},
            spoiled=spoiled or nullcontext,
            filler=filler,
        )


def remapped(uid: int = 0) -> AbstractContextManager[Place]:
    """Root in a container is another user of the host. The engine's user is root, which takes no new user."""
    ids = "echo root:300000:65536 > /run/ids; for each in subuid subgid; do mount --bind /run/ids /etc/$each; done"
    return second("--userns-remap=root", setup=ids, uid=uid)


def without_bridge() -> AbstractContextManager[Place]:
    return second("--bridge=none", "--iptables=false", settings={"JOB_NETWORK": "none"})


def python_for(uid: int) -> str:
    """An interpreter that this user may run: this one, or else the system's of the same version."""
    for candidate in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = ["setpriv", "--reuid", str(uid), "--clear-groups", candidate, "-c", ""]
        with suppress(OSError):
            if subprocess.run(command, check=False, capture_output=True).returncode == 0:
                return candidate
    raise NotHad("A user of this machine cannot run this Python: no environment with a worker that is not root.")
