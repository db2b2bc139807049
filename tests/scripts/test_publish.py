"""`python -m scripts.publish`, with a real clone, engine and registry; only `gh` is a stand-in."""

import base64
import io
import json
import os
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import pytest
from scripts import registry as registry_client
from scripts.publish import AGAIN

from tests.support.clone import Clone, forget
from tests.support.token_registry import PASSWORD, USERNAME, running_token_registry


def test_release_is_pushed_as_its_version_and_latest_and_can_be_pulled(
    clone: Clone, docker_client: docker.DockerClient
) -> None:
    said = clone.publish()
    assert "becomes latest (before: none)" in said
    assert f"Published {clone.image}:1.2.0." in said
    digests = clone.published()
    assert set(digests) == {"1.2.0", "latest"}
    assert len(set(digests.values())) == 1
    assert clone.git("rev-parse", "v1.2.0") == (commit := clone.git("rev-parse", "HEAD"))
    forget(docker_client, clone.image)
    labels = docker_client.images.pull(f"{clone.image}:latest").labels
    assert labels["org.opencontainers.image.version"] == "1.2.0"
    assert labels["org.opencontainers.image.revision"] == commit


def test_release_on_github_gets_the_tag_and_the_notes_of_the_changelog(clone: Clone, gh: Path) -> None:
    clone.publish("--release")
    assert clone.git("ls-remote", "origin", "refs/tags/v1.2.0").split()[0] == clone.git("rev-parse", "HEAD")
    asked, _, notes = gh.read_text().partition("--notes\n")
    assert asked.split() == ["release", "create", "v1.2.0", "--verify-tag", "--title", "v1.2.0", "--latest=true"]
    assert notes == '### Fixed\n\n- It\'s "ok".\n'


def test_without_github_it_says_what_would_remain(clone: Clone, gh: Path) -> None:
    said = clone.publish()
    assert "For the release on GitHub (--release) there would remain:\ngit push origin refs/tags/v1.2.0\ngh rel" in said
    assert not clone.git("ls-remote", "origin")
    assert not gh.exists()


def test_dev_and_pre_versions_leave_latest_alone(clone: Clone, gh: Path) -> None:
    clone.publish()
    latest = clone.published()["latest"]
    clone.set_version("1.3.0.dev1", changelog="# Changelog\n")
    assert "latest is left alone, since this is a dev or pre-version." in clone.publish("--release")
    assert not gh.exists()
    clone.set_version("1.3.0rc1")
    clone.publish("--release")
    assert "--prerelease\n--latest=false\n" in gh.read_text()
    digests = clone.published()
    assert set(digests) == {"1.2.0", "1.3.0.dev1", "1.3.0rc1", "latest"}
    assert digests["latest"] == latest
    assert {"refs/tags/v1.3.0.dev1", "refs/tags/v1.3.0rc1"} <= set(clone.git("ls-remote", "origin").split())


def test_older_patch_leaves_latest_alone_and_a_newer_one_takes_it(clone: Clone) -> None:
    """By number, not by the alphabet; what came later in time does not count, nor do tags that are no versions."""
    clone.set_version("1.10.0")
    clone.publish()
    newest = clone.published()
    clone.set_version("1.9.1")
    assert "latest is left alone, since 1.10.0 is newer." in clone.publish()
    assert clone.published()["latest"] == newest["latest"]
    clone.set_version("1.10.1")
    assert "becomes latest (before: 1.10.0)." in clone.publish()
    assert (digests := clone.published())["latest"] == digests["1.10.1"] != newest["latest"]


def test_notes_are_those_of_the_one_version(clone: Clone, gh: Path) -> None:
    changelog = "## [1.2.0] - 2026-01-02\n\n### Added\n\n- New.\n\n## 1.1.0\n\n- Old.\n\n[1.2.0]: https://example.org\n"
    clone.set_version("1.2.0", changelog)
    clone.publish("--release")
    assert gh.read_text().endswith("--notes\n### Added\n\n- New.\n")
    clone.set_version("1.1.0", changelog)
    clone.publish("--release")
    assert gh.read_text().endswith("--notes\n- Old.\n")


def test_dry_run_says_everything_and_touches_nothing(
    clone: Clone, gh: Path, docker_client: docker.DockerClient
) -> None:
    said = clone.publish("--release", "--dry-run")
    lines = said[said.index("Would build") :].splitlines()[:6]
    assert [line.split(" --notes")[0] for line in lines] == [
        f"Would build {clone.image}:1.2.0, then run:",
        f"docker push {clone.image}:1.2.0",
        f"docker tag {clone.image}:1.2.0 {clone.image}:latest",
        f"docker push {clone.image}:latest",
        f"git tag v1.2.0 {clone.git('rev-parse', 'HEAD')}",
        "git push origin refs/tags/v1.2.0",
    ]
    assert "gh release create v1.2.0 --verify-tag --title v1.2.0 --latest=true --notes" in said
    assert not clone.published()
    assert not clone.git("tag", "--list")
    assert not clone.git("ls-remote", "origin")
    assert not docker_client.api.images(name=clone.image)
    assert not gh.exists()


def test_publish_that_failed_is_gone_on_with_from_another_clone_and_engine(
    clone: Clone, gh: Path, docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    """As after a failed run of the workflow, whose machine is gone with its images and its clone."""
    clone.git("push", "--quiet", "origin", "main")
    hook = tmp_path / "origin.git" / "hooks" / "pre-receive"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert "git push failed, see above. Mend it first. Publish again, from the same commit" in clone.refusal(
        "--release"
    )
    hook.unlink()
    before = clone.published()
    clone.git("clone", "--quiet", "--branch", "main", str(tmp_path / "origin.git"), str(tmp_path / "other"))
    forget(docker_client, clone.image)
    said = replace(clone, folder=tmp_path / "other").publish("--release")
    assert [line.split(" ", 3)[:3] for line in said.splitlines() if line.startswith("$")] == [
        ["$", "git", "tag"],
        ["$", "git", "push"],
        ["$", "gh", "release"],
    ]
    assert clone.published() == before
    assert "refs/tags/v1.2.0" in clone.git("ls-remote", "origin")
    assert gh.read_text().endswith('- It\'s "ok".\n')
    assert "1.2.0 is published already" in clone.refusal("--release")


def test_publish_without_latest_is_gone_on_with(clone: Clone, docker_client: docker.DockerClient) -> None:
    clone.publish()
    image = docker_client.images.get(f"{clone.image}:1.2.0")
    (clone.folder / "new").touch()
    clone.set_version("1.2.1")
    clone.publish()
    docker_client.images.get(f"{clone.image}:1.2.0").tag(clone.image, "latest")
    docker_client.images.push(clone.image, "latest")
    assert docker_client.images.get(f"{clone.image}:latest") == image
    said = clone.publish()
    assert "becomes latest (before: 1.2.0)." in said
    assert f"$ docker push {clone.image}:1.2.1" not in said
    assert (digests := clone.published())["latest"] == digests["1.2.1"]


def test_publish_that_is_interrupted_says_how_to_go_on(clone: Clone, tmp_path: Path) -> None:
    """Ctrl-C reaches the command that runs, too."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nkill -INT 0\n")
    program.chmod(0o755)
    clone.environment["PATH"] = f"{program.parent}:{os.environ['PATH']}"
    command = [sys.executable, "-m", "scripts.publish", "--registry", clone.registry]
    done = subprocess.run(
        command, cwd=clone.folder, env=os.environ | clone.environment,
        capture_output=True, text=True, check=False, start_new_session=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, f"Interrupted. {AGAIN}\n")


def test_image_is_built_from_the_commit_alone(clone: Clone, docker_client: docker.DockerClient) -> None:
    """Files that git ignores, a `.env` of whoever publishes say, do not get into it."""
    with (clone.folder / "Dockerfile").open("a") as dockerfile:
        dockerfile.write("COPY src /src\n")
    (clone.folder / "src").mkdir()
    (clone.folder / "src" / "module.py").touch()
    (clone.folder / ".gitignore").write_text("__pycache__/\n.env\n")
    clone.set_version("1.2.1")
    (clone.folder / "src" / ".env").write_text("PASSWORD=x\n")
    clone.publish()
    container = docker_client.containers.create(f"{clone.image}:1.2.1", ["/none"])
    content: Any = container.export()
    with tarfile.open(fileobj=io.BytesIO(b"".join(content))) as files:
        assert [name for name in files.getnames() if name.startswith("src")] == ["src", "src/module.py"]
    container.remove()


def test_list_of_tags_that_comes_in_pages_is_read_to_its_end(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_client, "PAGE", 1)
    assert registry_client.published_tags(clone.image) == set()
    clone.publish()
    assert registry_client.published_tags(clone.image) == {"1.2.0", "latest"}


def test_registry_that_hands_out_tokens_is_asked_with_the_credentials_of_docker_login(
    clone: Clone, tmp_path: Path
) -> None:
    """As ECR Public does: everybody may list, only who has logged in may push."""
    clone.environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    (tmp_path / "registry").mkdir()
    with running_token_registry(tmp_path / "registry") as address:
        clone.registry = address
        assert f"docker push failed, see above. Mend it first. {AGAIN}" in clone.refusal()
        assert not clone.git("tag", "--list")
        login = ["docker", "login", "--username", USERNAME, "--password-stdin", address]
        environment = os.environ | clone.environment
        subprocess.run(login, input=PASSWORD, env=environment, text=True, check=True, capture_output=True)
        assert "becomes latest" in clone.publish()
        assert "1.2.0 is published already" in clone.refusal()
        set_password(tmp_path / "docker", address, "wrong")
        assert f"{address} refuses to list its tags: log in first, with docker login {address}" in clone.refusal()


def set_password(folder: Path, address: str, password: str) -> None:
    login = base64.b64encode(f"{USERNAME}:{password}".encode()).decode()
    (folder / "config.json").write_text(json.dumps({"auths": {address: {"auth": login}}}))
