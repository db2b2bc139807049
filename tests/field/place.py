"""Where a campaign runs: an engine, a folder for the jobs, and the user that the worker is."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import docker

IMAGE = "127.0.0.1:1/job:latest"
"""The engine has it, and nobody else: no registry is there to be asked."""
PROBE_IMAGE = "job-fetcher:field"
"""Stands in for the worker's own image, which containers are tried with."""

Spoiled = Callable[[], AbstractContextManager[None]]


class NotHad(Exception):
    """This machine cannot have such an environment. The message says why."""


@dataclass(frozen=True)
class Place:
    """The engine at `url` has `IMAGE`. The jobs' folders are made in `folder`, the logs of workers in `scratch`."""

    url: str
    client: docker.DockerClient
    folder: Path
    scratch: Path
    uid: int = 0
    groups: tuple[int, ...] = ()
    python: str = sys.executable
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings of the worker."""
    host_folder: str = ""
    """What the engine's host calls `folder`, if that is another name: PATH_HOST_BASE is a folder in it."""
    spoiled: Spoiled = nullcontext
    """Lets the disk fail from the moment on where a worker has its folder."""
    filler: str = ""
    """The shell line of a job that fills this disk, if it is so small: it ends with 1, since the disk is full."""

    @property
    def run_by(self) -> tuple[str, ...]:
        """The command that makes the worker a process of this user."""
        if not self.uid:
            return ()
        groups = ("--groups", ",".join(map(str, self.groups))) if self.groups else ("--clear-groups",)
        return ("setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), *groups)

    def give(self, folder: Path) -> None:
        """Let the worker own its folder."""
        os.chown(folder, self.uid, self.uid)
        folder.chmod(0o755)
