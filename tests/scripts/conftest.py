"""Fixtures for the tests of `scripts.publish`: a clone, its origin and the registry are real; only `gh` is not."""

import os
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.support.clone import Clone, forget, make_clone

GH = '#!/bin/sh\nprintf "%s\\n" "$@" > "$0.arguments"\n'


@pytest.fixture
def clone(tmp_path: Path, registry: str, docker_client: docker.DockerClient) -> Iterator[Clone]:
    """At version 1.2.0, of which nothing is published."""
    clone = make_clone(tmp_path, registry)
    yield clone
    forget(docker_client, clone.image)


@pytest.fixture
def gh(clone: Clone, tmp_path: Path) -> Path:
    """GitHub's command: it writes down how it was called, in this file."""
    program = tmp_path / "bin" / "gh"
    program.parent.mkdir()
    program.write_text(GH)
    program.chmod(0o755)
    clone.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    return program.with_name("gh.arguments")
