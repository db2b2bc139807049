"""`python -m job_fetcher check` as a person runs it, and what it has printed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.support import preloaded
from tests.support.images import add_image, remove_images, shell_files
from tests.support.leaks import Evidence
from tests.support.platform import PASSWORD, USERNAME, Platform
from tests.support.worker import PASSED_ON

PATIENCE_S = 300.0
"""A check starts several containers, one after the other."""
IMAGE, LABEL = "job-fetcher:check", "LABEL job-fetcher.build=worker"
"""Of the image that a check tries containers with."""


@dataclass(frozen=True)
class Report:
    """What a check has found: its exit code, and a dictionary for each line of it."""

    code: int
    findings: list[dict[str, Any]]

    @classmethod
    def of(cls, done: "subprocess.CompletedProcess[str]") -> "Report":
        """From what `check --json` has printed, which is nothing else."""
        assert "Traceback" not in done.stdout + done.stderr
        assert done.stderr == ""
        return cls(done.returncode, json.loads(done.stdout))

    @property
    def ticks(self) -> dict[str, str]:
        return {each["name"]: each["text"] for each in self.findings if each["ok"] and not each["limit"]}

    @property
    def limits(self) -> list[tuple[str, str]]:
        """What does not hold here, though jobs run."""
        return [(each["name"], each["text"]) for each in self.findings if each["limit"]]

    @property
    def crosses(self) -> list[tuple[str, str]]:
        return [(each["name"], each["text"]) for each in self.findings if not each["ok"]]

    def sentence(self, name: str) -> str:
        """The one thing that is wrong, told by the check `name` in one line; all else that it looked at is well."""
        assert [told_by for told_by, _ in self.crosses] == [name], self.crosses
        assert self.code == 1
        text = self.crosses[0][1]
        assert "\n" not in text
        return text


Check = Callable[..., Report]


@pytest.fixture(scope="session")
def probe_image(docker_client: docker.DockerClient) -> Iterator[str]:
    """What a check finds in the place of the worker's own image, which takes long to build: the newest of that name."""
    yield add_image(docker_client, f"{IMAGE}-{os.getpid()}", shell_files(), LABEL)
    remove_images(docker_client, f"{IMAGE}-{os.getpid()}")


@pytest.fixture
def check(mock: Platform, probe_image: str, evidence: Evidence, tmp_path: Path) -> Check:
    """Runs a check of a worker of `mock`, with settings besides the usual ones (`None` leaves one out)."""

    def run(*arguments: str, run_by: tuple[str, ...] = (), **settings: str | None) -> Report:
        done = run_check(*arguments, "--json", environment=environment | settings, run_by=run_by, cwd=tmp_path)
        evidence.file("check").write_text(done.stdout + done.stderr)  # which has none of the mock's secrets in the end
        for secret in (settings.get("PASSWORD"), settings.get("ACCESS_TOKEN")):
            assert secret is None or secret not in done.stdout
        return Report.of(done)

    environment = settings_of(mock, tmp_path / "data")
    return run


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """PATH_BASE on a file system of 1 MiB, for 100 files, and with what each worker leaves there."""
    folder = tmp_path / "data"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,nr_inodes=100", "none", str(folder)], check=True)
    (folder / ".lock").touch()
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a worker may be looking at it


def settings_of(mock: Platform, base: Path) -> dict[str, str]:
    """A worker's environment, with all that it needs."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
        "API_URL": mock.url,
        "USERNAME": USERNAME,
        "PASSWORD": PASSWORD,
        "AWS_ENDPOINT_URL_COGNITO_IDENTITY_PROVIDER": mock.cognito_url,
        "PATH_BASE": str(base),
        "MIN_FREE_GIB": "0",
    }


def run_check(
    *arguments: str, environment: Mapping[str, str | None], cwd: Path, run_by: tuple[str, ...] = ()
) -> "subprocess.CompletedProcess[str]":
    command, env = ("check", *arguments), {name: value for name, value in environment.items() if value is not None}
    if not run_by and preloaded.can_fork(env):
        return preloaded.run(command, env, cwd, PATIENCE_S)
    line = [*run_by, sys.executable, "-m", "job_fetcher", *command]
    return subprocess.run(line, check=False, capture_output=True, text=True, cwd=cwd, env=env, timeout=PATIENCE_S)
