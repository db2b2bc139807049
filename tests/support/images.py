"""Images for jobs in tests, a megabyte each: Debian's static busybox, brought in by `docker import`."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import APIError, ImageNotFound

# Says what it was given and goes on with it, as the entrypoints of scientific images do.
ENTRYPOINT = """\
#!/bin/sh
echo "entrypoint: $*"
exec "$@"
"""

# Stands in for a platform's application, with its ways: inputs must be there, a folder is made when it is missing,
# a file is written only into a folder that is there.
APPLICATION = """\
#!/bin/sh
set -e
echo "arguments: $*"
for argument; do
    path=${argument#*=}
    case $argument in
        *=/files/data/*) test -f "$path" ;;
        --*_path=/files/*.*) echo "$*" > "$path" ;;
        --*_path=/files/*) mkdir -p "$path" && echo "$*" > "$path/result.txt" ;;
        --*_path=*) echo "no such path: $argument" >&2; exit 2 ;;
    esac
done
"""


@dataclass(frozen=True)
class JobImages:
    """Names of images that the engine has and that can be pulled; all of them begin with `registry`."""

    registry: str
    job: str
    """busybox with all its applets; its own command prints `own command`"""
    entrypoint: str
    """the same with an ENTRYPOINT that prints `entrypoint: <its arguments>` and then runs them"""
    no_shell: str
    """holds nothing but `/echo`, and runs it"""
    application: str
    """busybox with stand-ins for the platform's applications: `/docker/entrypoint.sh` and `python`"""

    @property
    def missing(self) -> str:
        """A name that the registry answers `not found` for."""
        return f"{self.registry}/nothing:latest"


def make_job_images(client: docker.DockerClient, registry: str) -> JobImages:
    """Make the images and push them to the registry at this address."""
    shell = shell_files()
    images = JobImages(
        registry,
        job=add_image(client, f"{registry}/job:latest", shell, 'CMD ["/bin/echo", "own command"]'),
        entrypoint=add_image(
            client,
            f"{registry}/entrypoint:latest",
            {**shell, "entrypoint.sh": ENTRYPOINT.encode()},
            'ENTRYPOINT ["/entrypoint.sh"]',
            'CMD ["/bin/echo", "own command"]',
        ),
        no_shell=add_image(
            client, f"{registry}/no-shell:latest", {"echo": busybox().read_bytes()}, 'CMD ["/echo", "no shell"]'
        ),
        application=add_image(
            client,
            f"{registry}/application:1.0",
            {**shell, "docker/entrypoint.sh": APPLICATION.encode(), "bin/python": Path("/docker/entrypoint.sh")},
        ),
    )
    for name in (images.job, images.entrypoint, images.no_shell, images.application):
        push(client, name)
    return images


def busybox() -> Path:
    path = shutil.which("busybox")
    if path is None:
        raise RuntimeError("busybox is missing: ./scripts/setup.sh tests installs it.")
    return Path(path)


def shell_files() -> dict[str, bytes | Path]:
    """What an image with a shell consists of: the binary and a link for each of its applets."""
    command = [str(busybox()), "--list"]
    applets = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    files: dict[str, bytes | Path] = {f"bin/{applet}": Path("busybox") for applet in applets}
    return {**files, "bin/busybox": busybox().read_bytes(), "etc/passwd": b"root:x:0:0:root:/:/bin/sh\n"}


def add_image(client: docker.DockerClient, name: str, files: Mapping[str, bytes | Path], *changes: str) -> str:
    """Import `files` (contents, all executable, or targets of links) as an image; `changes` are Dockerfile lines.

    An image that had this name before is removed, at once or, if a container uses it, by `remove_images`.
    """
    repository, tag = name.rsplit(":", 1)
    replaced = {image["Id"]: image["RepoTags"] for image in client.api.images(name=name)}
    client.api.import_image_from_data(archive_of(files), repository=repository, tag=tag, changes=list(changes))
    for image_id, tags in replaced.items():
        if tags == [name]:
            _replaced.add(image_id)
    _remove_replaced(client)
    return name


_replaced: set[str] = set()
"""The ids of images that have lost their names to others, and are here still."""


def _remove_replaced(client: docker.DockerClient) -> None:
    for image_id in list(_replaced):
        with suppress(APIError):  # a container uses it
            with suppress(ImageNotFound):
                client.api.remove_image(image_id)
            _replaced.discard(image_id)


def archive_of(files: Mapping[str, bytes | Path]) -> bytes:
    """A tar archive of `files` (contents, all executable, or targets of links) and a /tmp for everybody."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        temporary = tarfile.TarInfo("tmp")
        temporary.type, temporary.mode = tarfile.DIRTYPE, 0o1777
        archive.addfile(temporary)
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            if isinstance(content, Path):
                entry.type, entry.linkname = tarfile.SYMTYPE, str(content)
                archive.addfile(entry)
            else:
                entry.mode, entry.size = 0o755, len(content)
                archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def push(client: docker.DockerClient, name: str) -> None:
    """Push to a registry that wants no login; docker-py tells of a failure only in what it streams."""
    for event in client.api.push(name, stream=True, decode=True):
        if "error" in event:
            raise RuntimeError(f"pushing {name}: {event['error']}")


def remove_images(client: docker.DockerClient, prefix: str) -> None:
    """Remove every image whose name begins so, also one that has lost its tag."""
    _remove_replaced(client)
    for image in client.api.images():  # docker-py's own list looks at each, of which another session may remove one
        for name in [*(image["RepoTags"] or []), *(image["RepoDigests"] or [])]:
            if name.startswith(prefix) and not name.endswith(":<none>"):
                with suppress(ImageNotFound):  # it was removed with its last tag
                    client.images.remove(name, force=True)
