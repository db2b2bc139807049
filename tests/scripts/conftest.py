"""Fixtures for the tests of the scripts: clones, their origins, engine and registry are real; only `gh` is not."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from scripts import removal

from tests.support.clone import Clone, forget, make_clone
from tests.support.images import JobImages, add_image, shell_files

WORKER = b"""\
#!/bin/sh
case "$API_URL" in
    wrong) echo "API_URL is wrong"; exit 2 ;;
    busy) trap 'echo not yet' TERM ;;
    *) trap 'exit 0' TERM USR1 ;;
esac
echo Offering
while :; do sleep 1000 & wait; done
"""
"""Like the worker, it ends at once when it is told to, and when a setting is wrong; or it is busy."""
GH = """\
#!/bin/sh
case "$1 $2" in
    "repo view") ;;
    "release view") grep -qxF "$3" "$0.arguments" ;;
    "release create") printf "%s\\n" "$@" > "$0.arguments" ;;
esac
"""


@pytest.fixture
def clone(tmp_path: Path, registry: str, docker_client: docker.DockerClient) -> Iterator[Clone]:
    """At version 1.2.0, of which nothing is published."""
    clone = make_clone(tmp_path, registry)
    yield clone
    forget(docker_client, clone.image)


@pytest.fixture
def gh(clone: Clone, tmp_path: Path) -> Path:
    """GitHub's command: it writes down what release it was told to make, in this file."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    clone.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    return program.with_name("gh.arguments")


@pytest.fixture
def rootless(needs_engine: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where a rootless engine would listen, which a context of Docker's command names."""
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    url = "unix:///run/user/1/docker.sock"
    for arguments in (["create", "rootless", "--docker", f"host={url}"], ["use", "rootless"]):
        subprocess.run(["docker", "context", *arguments], check=True, capture_output=True)
    return url


@pytest.fixture
def stand_in(docker_client: docker.DockerClient, job_images: JobImages, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an image that is the worker's as far as the commands for Docker go.

    Its labels are this test's, so that the commands find nothing of somebody who works on the same machine.
    """
    for label in ("LABEL_BUILD", "LABEL_FOLDER", "LABEL_HELPER"):
        monkeypatch.setattr(removal, label, f"job-fetcher-test.{label.lower()}-{os.getpid()}")
    files = {**shell_files(), "worker.sh": WORKER}
    name = f"{job_images.registry}/stand-in/job-fetcher:test"
    return add_image(docker_client, name, files, f"LABEL {removal.LABEL_BUILD}=worker", 'ENTRYPOINT ["/worker.sh"]')


@pytest.fixture
def env_file(tmp_path: Path) -> Path:
    path = tmp_path / "worker.env"
    path.write_text(f"# comment\nAPI_URL=http://x\nPASSWORD=a=b #c\nPATH_HOST_BASE={tmp_path}/data\n")
    return path


@pytest.fixture
def name(docker_client: docker.DockerClient) -> Iterator[str]:
    """A name for a container, which is removed in the end."""
    name = f"job-fetcher-test-{os.getpid()}"
    yield name
    with suppress(NotFound):
        docker_client.containers.get(name).remove(force=True)
