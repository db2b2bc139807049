"""What `python -m scripts.publish` does not publish: a sentence says why, and nothing has been changed."""

import shutil
from pathlib import Path

import docker
import pytest

from tests.support.clone import Clone


def test_version_that_is_published_is_refused_and_left_as_it_is(clone: Clone) -> None:
    clone.publish()
    before = clone.published()
    clone.git("tag", "--delete", "v1.2.0")
    clone.set_version("1.2.0", "## 1.2.0\n\nAnother text.\n")
    assert f"{clone.image}:1.2.0 is published already, and is never replaced" in clone.refusal()
    assert clone.published() == before


def test_version_that_is_published_in_another_form_is_refused(clone: Clone) -> None:
    clone.publish()
    clone.set_version("1.2")
    assert f"{clone.image}:1.2.0 is published already, and is never replaced" in clone.refusal()
    assert set(clone.published()) == {"1.2.0", "latest"}


@pytest.mark.parametrize("where", ["clone", "origin"])
def test_version_whose_git_tag_names_another_commit_is_refused(clone: Clone, where: str) -> None:
    clone.git("tag", "v1.2.0")
    if where == "origin":
        clone.git("push", "--quiet", "origin", "v1.2.0")
        clone.git("tag", "--delete", "v1.2.0")
    clone.set_version("1.2.0", "## 1.2.0\n\nAnother text.\n")
    assert "The git tag v1.2.0 exists already, of another commit: raise the version." in clone.refusal()
    assert not clone.published()


@pytest.mark.parametrize(
    "changelog",
    [
        "## Unreleased\n\n- x\n",
        "## 1.2.0\n\n## 1.1.0\n\n- x\n",
        "## 1.2.0rc1\n\n- x\n",
        "## 1.2\n\n- x\n## 11.2.0\n\n- x\n",
    ],
)
def test_release_without_notes_is_refused(clone: Clone, changelog: str) -> None:
    clone.set_version("1.2.0", changelog)
    assert "CHANGELOG.md says nothing about 1.2.0: it needs a section `## 1.2.0 - <date>`." in clone.refusal()
    assert not clone.published()


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("1.2.x", "'1.2.x' in pyproject.toml is not a version"),
        ("v1.2.0-dev1", "in its normal form: 1.2.0.dev1 instead of v1.2.0-dev1"),
        ("1.2.0+local", "1.2.0+local cannot be the tag of an image"),
    ],
)
def test_version_that_is_not_one_everywhere_is_refused(clone: Clone, version: str, sentence: str) -> None:
    clone.set_version(version)
    assert sentence in clone.refusal()


def test_what_is_not_committed_is_not_published(clone: Clone) -> None:
    """New files count for who does not want to see them, too."""
    clone.git("config", "status.showUntrackedFiles", "no")
    (clone.folder / "Dockerfile").write_text("FROM scratch\n")
    (clone.folder / "new.txt").touch()
    refusal = clone.refusal()
    assert refusal.startswith("Commit or remove first what is not in the commit that would be tagged:\n")
    assert "M Dockerfile\n?? new.txt" in refusal
    assert not clone.published()


def test_failed_build_publishes_nothing(clone: Clone) -> None:
    (clone.folder / "Dockerfile").write_text("FROM scratch\nCOPY missing /\n")
    clone.set_version("1.2.1")
    assert f"{clone.image}:1.2.1 was not built: " in clone.refusal()
    assert not clone.published()
    assert not clone.git("tag", "--list")


def test_base_that_no_registry_has_is_not_published_upon(
    clone: Clone, docker_client: docker.DockerClient, job_image: str
) -> None:
    """The newest one is asked for, even if there is one of that name here."""
    local = f"{clone.image}:base"
    docker_client.images.get(job_image).tag(local)
    (clone.folder / "Dockerfile").write_text(f"FROM {local}\n")
    clone.set_version("1.2.1")
    assert f"{clone.image}:1.2.1 was not built: " in clone.refusal()


def test_login_at_github_is_asked_for_before_anything_is_done(clone: Clone, gh: Path) -> None:
    gh.with_name("gh").write_text("#!/bin/sh\necho 'run: gh auth login' >&2\nexit 4\n")
    assert clone.refusal("--release") == "gh repo failed: run: gh auth login\n"


def test_program_that_is_missing_is_named_before_anything_is_done(clone: Clone, tmp_path: Path) -> None:
    for program in ("docker", "git"):
        (tmp_path / program).symlink_to(shutil.which(program) or program)
    clone.environment["PATH"] = str(tmp_path)
    assert clone.refusal("--release") == "gh is missing: install it first.\n"


@pytest.mark.parametrize(
    ("registry", "sentence"),
    [
        ("xyz", "xyz/job-fetcher names no registry: it begins with a host, as in public.ecr.aws/<alias>."),
        ("https://127.0.0.1/x", "Repository name cannot contain a scheme (https://127.0.0.1/x/job-fetcher)"),
        ("127.0.0.1:1", "The registry cannot be asked what it has: "),
    ],
)
def test_registry_that_is_none_is_told(clone: Clone, registry: str, sentence: str) -> None:
    clone.registry = registry
    assert clone.refusal().startswith(sentence)
