"""A clone of this project that is small enough to be published in a second."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import docker
import requests
from scripts.docker import ROOT

DOCKERFILE = """\
FROM scratch
ARG VERSION
ARG REVISION
LABEL org.opencontainers.image.version=$VERSION org.opencontainers.image.revision=$REVISION
COPY pyproject.toml /
"""
MANIFESTS = "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"
"""what an engine pushes, by the store that it keeps its images in"""


@dataclass
class Clone:
    """A clone with the scripts of this one, a tiny Dockerfile, and an origin that is a folder."""

    folder: Path
    registry: str
    """with a path of this test's own"""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def image(self) -> str:
        return f"{self.registry}/job-fetcher"

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        command = ["git", *identity, *arguments]
        return subprocess.run(command, cwd=self.folder, check=True, capture_output=True, text=True).stdout.strip()

    def set_version(self, version: str, changelog: str | None = None) -> None:
        """Commit this version, with a changelog of its own."""
        if changelog is None:
            changelog = f'# Changelog\n\n## Unreleased\n\n## {version} - 2026-01-02\n\n### Fixed\n\n- It\'s "ok".\n'
        (self.folder / "CHANGELOG.md").write_text(changelog)
        (self.folder / "pyproject.toml").write_text(f'[project]\nname = "job-fetcher"\nversion = "{version}"\n')
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", version)

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "scripts.publish", "--registry", self.registry, *arguments]
        environment = os.environ | self.environment
        return subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)

    def publish(self, *arguments: str) -> str:
        """What it prints; it has to succeed."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def refusal(self, *arguments: str) -> str:
        """The sentence that it ends with; it has to fail."""
        result = self.run(*arguments)
        assert result.returncode == 1, result.stdout + result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr

    def published(self) -> dict[str, str]:
        """The digest of each tag that the registry has."""
        url = f"http://{self.registry.replace('/', '/v2/', 1)}/job-fetcher"
        listed = requests.get(f"{url}/tags/list", timeout=10).json().get("tags") or []
        headers = {"Accept": MANIFESTS}
        manifests = {tag: requests.get(f"{url}/manifests/{tag}", headers=headers, timeout=10) for tag in listed}
        return {tag: manifest.headers["Docker-Content-Digest"] for tag, manifest in manifests.items()}


def make_clone(folder: Path, registry: str) -> Clone:
    """A clone in `folder/clone`, at version 1.2.0, of which nothing is published."""
    clone = Clone(folder / "clone", f"{registry}/{re.sub('[^a-z0-9]+', '-', folder.name.lower()).strip('-')}")
    (clone.folder / "scripts").mkdir(parents=True)
    for script in (ROOT / "scripts").glob("*.py"):
        shutil.copy(script, clone.folder / "scripts")
    (clone.folder / "Dockerfile").write_text(DOCKERFILE)
    (clone.folder / ".gitignore").write_text("__pycache__/\n")
    clone.git("init", "--quiet", "--initial-branch", "main")
    clone.git("init", "--quiet", "--bare", str(folder / "origin.git"))
    clone.git("remote", "add", "origin", str(folder / "origin.git"))
    clone.set_version("1.2.0")
    return clone


def forget(client: docker.DockerClient, repository: str) -> None:
    """Remove the repository's images from the engine; of others' images it looks at none, since they come and go."""
    for summary in client.api.images(name=repository):
        for tag in summary["RepoTags"] or []:
            if tag.startswith(f"{repository}:"):
                client.api.remove_image(tag, force=True)
