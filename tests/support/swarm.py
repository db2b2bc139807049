"""A swarm of one machine, on an engine of the tests' own, and the commands that docs/gpus-and-fleets.md shows."""

import ctypes
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import pytest
from docker.errors import APIError
from docker.models.containers import Container
from scripts.docker import ROOT

from job_fetcher.engine.isolation import LABEL_FOLDER
from tests.support.leaks import Evidence
from tests.support.own_engine import OwnEngine, own_engine
from tests.support.platform import PASSWORD, USERNAME
from tests.support.worker import TRIED, wait_until

COMPOSE_FILE = ROOT / "compose.yaml"
PAGE = ROOT / "docs" / "gpus-and-fleets.md"
OLD, NEW, BROKEN = (f"registry.example.org/job-fetcher:{version}" for version in ("1.0", "1.1", "1.2"))
"""Images of the worker: `NEW` is `OLD` with another label, `BROKEN` ends at once."""
ENV_FILE = """\
API_URL=http://host.docker.internal:{port}
USERNAME={username}
PASSWORD={password}
AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER=http://host.docker.internal:{port}/cognito/
PATH_BASE=/data
PATH_HOST_BASE={base}
TIMEOUT_JOB=0.2
TIMEOUT_STATUS=1
"""
COMMAND_S = 120


class Fleet:
    """A folder with compose.yaml and .env, as somebody has it who lends machines; workers of `engine` come from it."""

    def __init__(self, engine: OwnEngine, folder: Path, port: int) -> None:
        """`port`: where the platform's mock listens in the engine's network."""
        self.engine, self._folder, self.base = engine, folder, folder / "srv-jobs"
        self.base.mkdir()
        self._compose_file = folder / "compose.yaml"
        shutil.copy(COMPOSE_FILE, self._compose_file)
        settings = ENV_FILE.format(port=port, username=USERNAME, password=PASSWORD, base=self.base)
        (folder / ".env").write_text(settings, encoding="utf-8")
        self._environment = os.environ | {
            "DOCKER_HOST": engine.url,
            "DOCKER_SOCKET": str(engine.socket),
            "PATH_HOST_BASE": str(self.base),
            "MACHINE": engine.client.info()["Name"],
            "COMPOSE_PROJECT_NAME": "fleet",
        }

    def add(self, service: list[str]) -> None:
        """Add lines of the page to the file's services."""
        self.edit("\nnetworks:", "\n".join(["", *service, "", "networks:"]))

    def edit(self, before: str, after: str) -> None:
        """Change the file."""
        text = self._compose_file.read_text(encoding="utf-8")
        assert before in text
        self._compose_file.write_text(text.replace(before, after), encoding="utf-8")

    def set(self, name: str, value: str) -> None:
        """Change a setting in .env."""
        with (self._folder / ".env").open("a", encoding="utf-8") as file:
            file.write(f"{name}={value}\n")

    def keep_secret(self) -> None:
        """Have the password in a file beside it, and no more in .env."""
        settings = (self._folder / ".env").read_text(encoding="utf-8")
        kept = settings.replace(f"PASSWORD={PASSWORD}", "PASSWORD_FILE=/run/secrets/password")
        (self._folder / ".env").write_text(kept, encoding="utf-8")
        (self._folder / "password").write_text(f"{PASSWORD}\n", encoding="utf-8")

    def run(self, *lines: str, image: str = OLD) -> str:
        """Run lines that the page shows, in one shell; what they print. `image` is that of the workers."""
        assert set(lines) <= set(shown("sh")), "docs/gpus-and-fleets.md shows nothing like that"
        script = "\n".join(["set -eu -o pipefail", *lines])
        if not has_compose_plugin():
            script = script.replace("docker compose ", "docker-compose ")
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=self._folder, env=self._environment | {"IMAGE": image},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=COMMAND_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    def docker(self, *arguments: str) -> str:
        """What a docker command prints."""
        command = ["docker", *arguments]
        return subprocess.run(command, env=self._environment, check=True, capture_output=True, text=True).stdout

    def workers(self) -> dict[str, Container]:
        """The containers of the workers that run, by service."""
        return {_service(each): each for each in self._containers("job-fetcher.build=worker")}

    def health(self, service: str) -> str:
        """What its worker's health check has told so far."""
        health: str = self.workers()[service].attrs["State"]["Health"]["Status"]
        return health

    def jobs(self) -> dict[str, tuple[str | None, str]]:
        """The jobs' containers, in whatever state: by `service/job id` their ids and states."""
        found = self._containers(LABEL_FOLDER, all=True)
        return {str(Path(each.labels[LABEL_FOLDER]).relative_to(self.base)): (each.id, each.status) for each in found}

    def folders(self) -> list[str]:
        """The jobs' folders, `service/job id` each. Swarm may be starting a worker, which tries its own."""
        found = [path for path in self.base.glob("*/*") if path.is_dir() and not path.name.startswith(TRIED)]
        return sorted(str(path.relative_to(self.base)) for path in found)

    def end(self, evidence: Evidence) -> None:
        """Remove the services and all containers; the workers' logs are kept."""
        for service in self.docker("service", "ls", "--quiet").split():
            self.docker("service", "rm", service)
        for worker in self._containers("job-fetcher.build=worker", all=True):
            with suppress(APIError):  # Swarm is removing it
                log = worker.logs()
                evidence.file("fleet").write_bytes(log)
                print(f"{worker.name}:\n{log.decode(errors='replace')}")  # noqa: T201 - shown if the test has failed
        wait_until(self._nothing_is_left, "all containers to be removed")

    def _nothing_is_left(self) -> bool:
        """Swarm is removing its containers at the same time."""
        left = self.engine.client.containers.list(all=True, ignore_removed=True)
        for each in left:
            with suppress(APIError):
                each.remove(force=True, v=True)
        return not left

    def _containers(self, label: str, **state: Any) -> list[Container]:
        found: list[Container] = self.engine.client.containers.list(
            filters={"label": label}, ignore_removed=True, **state
        )
        return found


def _service(worker: Container) -> str:
    """The name that compose.yaml gives it."""
    labels: Mapping[str, str] = worker.labels
    return labels.get("com.docker.compose.service") or labels["com.docker.swarm.service.name"].removeprefix("decode_")


def blocks(language: str, first: str = "") -> list[list[str]]:
    """The page's code blocks in `language`, of those all, or those with that first line; without comments."""
    found = re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    comment = r"  +# .*" if language == "sh" else "$"
    lines = [[re.sub(comment, "", line) for line in block.splitlines()] for block in found]
    return [block for block in lines if first in ("", block[0])]


def shown(language: str) -> list[str]:
    """The lines of all blocks."""
    return [line for block in blocks(language) for line in block]


def has_compose_plugin() -> bool:
    """Whether it is `docker compose` here; `docker-compose`, which Debian 12 has, takes the same arguments."""
    found = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not found and shutil.which("docker-compose") is None:
        raise RuntimeError("Docker Compose is missing: ./scripts/setup.sh tests installs it.")
    return found


@contextmanager
def swarm(worker_image: str, folder: Path) -> Iterator[OwnEngine]:
    """An engine that is a swarm's only machine, starts containers with GPUs, and has `OLD`, `NEW` and `BROKEN`."""
    with pytest.MonkeyPatch.context() as environment, own_engine_with_hook(environment, folder) as engine:
        with network_of(engine):
            subprocess.run(["busybox", "ifconfig", "lo", "up"], check=True)
        engine.client.swarm.init(advertise_addr="127.0.0.1", listen_addr="127.0.0.1:2377")
        copy = f"docker save {worker_image} | DOCKER_HOST={engine.url} docker load"
        subprocess.run(["bash", "-c", f"set -eu -o pipefail; {copy}"], check=True, stdout=subprocess.DEVNULL)
        engine.client.images.get(worker_image).tag(OLD)
        for name, line in ((NEW, "LABEL new=yes"), (BROKEN, 'ENTRYPOINT ["python", "-c", "raise SystemExit(1)"]')):
            engine.client.images.build(fileobj=io.BytesIO(f"FROM {OLD}\n{line}\n".encode()), tag=name, rm=True)
        try:
            yield engine
        finally:
            engine.client.swarm.leave(force=True)


@contextmanager
def own_engine_with_hook(environment: pytest.MonkeyPatch, folder: Path) -> Iterator[OwnEngine]:
    """It has found NVIDIA's hook on its PATH as it started, or one that does nothing (see scripts/setup.sh)."""
    hook = folder / "nvidia-container-runtime-hook"
    hook.write_text("#!/bin/sh\ncat >/dev/null\n")
    hook.chmod(0o755)
    environment.setenv("PATH", str(folder), prepend=os.pathsep)
    with own_engine() as engine:
        yield engine


@contextmanager
def network_of(engine: OwnEngine) -> Iterator[None]:
    """This thread in the engine's network: a socket that it opens meanwhile stays there, within reach of containers."""
    pid = int((engine.folder / "docker.pid").read_text())
    with Path("/proc/thread-self/ns/net").open() as ours, Path(f"/proc/{pid}/ns/net").open() as theirs:
        _enter(theirs)
        try:
            yield
        finally:
            _enter(ours)


def _enter(network: TextIO) -> None:
    """setns(2), which Python has from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(network.fileno(), 0) != 0:
        raise OSError(ctypes.get_errno(), "setns")
