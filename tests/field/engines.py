"""The engines of the field lab. Each function opens the place that a campaign runs in."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from docker.errors import APIError

from tests.field.daemon import prepare, root_of_debian, running, scratch
from tests.field.desktop import HOST, desktop
from tests.field.place import IMAGE, PROBE_IMAGE, NotHad, Place, Spoiled
from tests.field.replaced import replaced
from tests.support.engine import connect

HOME = "/run/engine"
"""What an engine without root has for a home and for its sockets."""
_FOR_USERS = """
mkdir -m 700 {home}; chown {uid} {home}
mknod -m 666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun
"""
_WITHOUT_V1 = """
umount --lazy /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup
if grep -qw memory /sys/fs/cgroup/cgroup.controllers; then echo "its cgroup v2 has the controllers." >&2; exit 1; fi
"""
_ROOTLESSKIT = (
    f"rootlesskit --state-dir={HOME}/rootlesskit --net=slirp4netns --mtu=65520 --disable-host-loopback"
    " --port-driver=builtin --copy-up=/etc --copy-up=/run --propagation=rslave"
).split()
Command = Callable[[Path], Sequence[str]]
"""The command of an engine that keeps everything in a folder."""
Disk = Callable[[Path], AbstractContextManager[Spoiled | None]]
"""Mounts something at a folder, and gives the place's `spoiled` if it can fail."""
SOCKET = "unix:///var/run/docker.sock"
USER = 1000
"""The user of a worker that is not root. scripts/field_root.sh makes it for the engines without root."""


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
            yield Place(os.environ.get("DOCKER_HOST", SOCKET), client, jobs(folder), folder)
    finally:
        for name in (IMAGE, PROBE_IMAGE):
            with suppress(APIError):
                client.images.remove(name, force=True)
        client.close()


def dockerd(folder: Path, *options: str) -> list[str]:
    """The command of an engine that keeps everything in `folder`."""
    places = {
        "data-root": folder / "data",
        "exec-root": folder / "exec",
        "pidfile": folder / "docker.pid",
        "host": f"unix://{folder / 'docker.sock'}",
    }
    return ["dockerd", *(f"--{name}={place}" for name, place in places.items()), *options]


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


@contextmanager
def debian_13(command: Command, *, setup: str = "", uid: int = 0) -> Iterator[Place]:
    """An engine of Debian 13, in a root folder of its own. It and the worker are processes of the user `uid`."""
    root, python = root_of_debian(), python_for(uid)
    with scratch() as folder:
        os.chown(folder, uid, uid)
        if uid:
            setup += _FOR_USERS.format(home=HOME, uid=uid)
        with running([*_as_user(uid), *command(folder)], folder, root=root, setup=setup, net=not uid) as client:
            yield Place(f"unix://{folder / 'docker.sock'}", client, jobs(folder), folder, uid, python=python)


def docker_26(*, containerd: bool = False) -> AbstractContextManager[Place]:
    """`containerd`: with its image store, which became the default of later versions."""
    if not containerd:
        return debian_13(dockerd)
    config = """echo '{"features": {"containerd-snapshotter": true}}' > /run/daemon.json"""
    return debian_13(lambda folder: [*dockerd(folder), "--config-file", "/run/daemon.json"], setup=config)


def without_controllers() -> AbstractContextManager[Place]:
    """Only cgroup v2 is mounted, of which the hierarchies of v1 have taken the controllers."""
    return debian_13(dockerd, setup=_WITHOUT_V1)


def rootless_docker() -> AbstractContextManager[Place]:
    """As `dockerd-rootless.sh` of Docker starts it."""
    return debian_13(lambda folder: [*_ROOTLESSKIT, *dockerd(folder)], uid=USER)


def podman(*, uid: int = 0) -> AbstractContextManager[Place]:
    """Its runtime, crun, knows cgroup v1 and v2, but not both at once."""
    return debian_13(_podman, setup="umount --lazy /sys/fs/cgroup/unified 2>&1 || true", uid=uid)


def _podman(folder: Path) -> list[str]:
    places = [f"--root={folder / 'storage'}", f"--runroot={folder / 'run'}", "--cgroup-manager=cgroupfs"]
    return ["podman", *places, "system", "service", "--time=0", f"unix://{folder / 'docker.sock'}"]


def _as_user(uid: int) -> list[str]:
    if not uid:
        return []
    variables = [f"HOME={HOME}", f"XDG_RUNTIME_DIR={HOME}", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"]
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--init-groups", "env", *variables]


@contextmanager
def docker_desktop() -> Iterator[Place]:
    """A second engine behind a proxy that translates paths as Docker Desktop does."""
    with second() as place:
        listening = place.scratch / "desktop.sock"
        with desktop(place.scratch / "docker.sock", listening, place.folder):
            yield replace(place, url=f"unix://{listening}", host_folder=HOST)


@contextmanager
def docker_replaced() -> Iterator[Place]:
    """A second engine behind a proxy that speaks another API after each start of a container."""
    with second() as place:
        listening = place.scratch / "replaced.sock"
        with replaced(place.scratch / "docker.sock", listening, str(place.client.version()["ApiVersion"])):
            yield replace(place, url=f"unix://{listening}")
