"""Starts an engine beside the machine's own: in namespaces of its own, if need be in another Debian's root folder."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError, DockerException

from tests.field.place import IMAGE, PROBE_IMAGE, NotHad
from tests.support.images import add_image, shell_files
from tests.support.worker import wait_until

PATIENCE_S = 60.0
_MOUNTS = """\
mount --make-rprivate /
awk -v own={folder}/ '$2 ~ "/field-[^/]+/jobs$" && index($2, own) != 1 {{print $2}}' /proc/self/mounts |
    xargs --no-run-if-empty umount --lazy
mount -t tmpfs tmpfs /run
"""
"""The disks of other environments would stay mounted here after their end."""
_OTHER_ROOT = """\
mount --bind {root} {root}
for each in proc sys dev; do mount --rbind /$each {root}/$each; done
for each in run tmp; do mount -t tmpfs -o mode=1777 tmpfs {root}/$each; done
mkdir -p {root}{folder}; mount --rbind {folder} {root}{folder}
cd {root}; pivot_root . mnt; umount --lazy /mnt
"""


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder of its own, with a short path, since it holds Unix sockets. Mounts below it are removed, too."""
    folder = Path(tempfile.mkdtemp(prefix="field-"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        points = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for point in reversed([point for point in points if point.startswith(f"{folder}/")]):
            subprocess.run(["umount", "--lazy", point], check=False)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(
    command: Sequence[str], folder: Path, *, root: Path | None = None, setup: str = "", net: bool = True
) -> Iterator[docker.DockerClient]:
    """Run an engine that listens at `folder/docker.sock`, and give its client, with both images there.

    `root`: the folder of another Debian; `folder` has the same path there. `setup`: a shell script that is run first,
    as root. Raises `NotHad` with the engine's last words if it ends instead.
    """
    script = ["set -e", _MOUNTS.format(folder=shlex.quote(str(folder)))]
    if root is not None:
        script.append(_OTHER_ROOT.format(root=shlex.quote(str(root)), folder=shlex.quote(str(folder))))
    script += [setup, f"exec {shlex.join(command)}"]
    namespaces = ["unshare", "--mount", *(["--net"] if net else [])]
    log_file, url = folder / "engine.log", f"unix://{folder / 'docker.sock'}"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [*namespaces, "sh", "-c", "\n".join(script)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_until(lambda: _answers(folder / "docker.sock") or process.poll() is not None, "the engine", PATIENCE_S)
        if process.poll() is not None:
            raise NotHad(f"The engine ends: {_last_line(log_file)}")
        client = docker.DockerClient(url)
        try:
            prepare(client)
            yield client
            _empty(client)
        finally:
            client.close()
    finally:
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_S)
        process.kill()
        process.wait()


def prepare(client: docker.DockerClient) -> None:
    """Give an engine both images."""
    add_image(client, IMAGE, shell_files())
    add_image(client, PROBE_IMAGE, shell_files(), "LABEL job-fetcher.build=worker")


def _empty(client: docker.DockerClient) -> None:
    with suppress(DockerException):
        for container in client.containers.list(all=True, ignore_removed=True):
            with suppress(APIError):  # somebody is removing it
                container.remove(force=True, v=True)


def _answers(path: Path) -> bool:
    """Asked without docker-py, which leaves its socket open when it fails."""
    with socket.socket(socket.AF_UNIX) as connection, suppress(OSError):
        connection.settimeout(10)
        connection.connect(str(path))
        connection.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
        return b" 200 " in connection.recv(100)
    return False


def _last_line(file: Path) -> str:
    lines = file.read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "it says nothing")


def root_of_debian() -> Path:
    """The folder with Debian 13 that `scripts/field.sh` has made. Raises `NotHad` if there is none."""
    root = os.environ.get("FIELD_ROOT", "")
    if not root:
        raise NotHad("scripts/field.sh could not make a folder with Debian 13: the packages are not in reach.")
    return Path(root)
