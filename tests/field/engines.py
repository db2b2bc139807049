"""The engines of the field lab. Each function opens the place that a campaign runs in."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from docker.errors import APIError

from tests.field.daemon import prepare, running, scratch
from tests.field.place import IMAGE, PROBE_IMAGE, NotHad, Place
from tests.support.engine import connect


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


SOCKET = "unix:///var/run/docker.sock"


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
def second(*options: str, setup: str = "", uid: int = 0) -> Iterator[Place]:
    """Another engine of the machine's own version, with these options."""
    if shutil.which("dockerd") is None:
        raise NotHad("This machine has no dockerd.")
    with scratch() as folder, running(dockerd(folder, *options), folder, setup=setup) as client:
        yield Place(f"unix://{folder / 'docker.sock'}", client, jobs(folder), folder, uid=uid)
