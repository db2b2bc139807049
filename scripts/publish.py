"""Publish the version that pyproject.toml names: `poetry run python -m scripts.publish --help`, docs/releasing.md.

All that speaks against it is looked for before anything is changed. What is changed is a list of commands, which
`--dry-run` prints; should one of them fail, those that are left are printed, for a person to go on with.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass

import docker
import requests
from docker.errors import DockerException
from packaging.version import InvalidVersion, Version

from scripts.docker import ROOT, SOCKET, Failed, build_image, package, tag_of
from scripts.registry import published_tags

Command = list[str]


@dataclass(frozen=True)
class Release:
    """A version that can be published, and what speaks for or against making it `latest`."""

    version: Version
    repository: str
    """`<registry>/<package>`, the image's name without its tag"""
    commit: str
    notes: str
    """of the changelog, in Markdown; empty for a dev version that has no section there"""
    newest: Version | None
    """the newest release that is published; `None` before the first"""

    @property
    def image(self) -> str:
        return f"{self.repository}:{self.version}"

    @property
    def tag(self) -> str:
        """git's"""
        return f"v{self.version}"

    @property
    def is_latest(self) -> bool:
        return not self.version.is_prerelease and (self.newest is None or self.version > self.newest)


def main() -> None:
    """The command line; ends with a sentence, and exit code 1, when the version cannot be published."""
    parser = argparse.ArgumentParser(prog="publish", description="Publish the version that pyproject.toml names.")
    parser.add_argument("--registry", required=True, help="where the image goes: public.ecr.aws/xyz, 127.0.0.1:5000")
    parser.add_argument("--release", action="store_true", help="push the git tag, and make the release on GitHub")
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing, print the commands")
    options = parser.parse_args()
    # The engine that builds must be the one that pushes: docker's command would look at its contexts, too.
    os.environ.setdefault("DOCKER_HOST", f"unix://{SOCKET}")
    try:
        publish(options.registry, on_github=options.release, dry_run=options.dry_run)
    except requests.RequestException as error:
        sys.exit(f"The registry cannot be asked what it has: {error}")
    except (Failed, DockerException) as error:
        sys.exit(str(error))


def publish(registry: str, *, on_github: bool, dry_run: bool) -> None:
    """Build and push the image, set `latest` and the git tag; with `on_github` push that tag and make the release.

    Raises `Failed` with what speaks against it, before anything is changed, or with the commands that are left.
    """
    release = check(registry, ["docker", "git", "gh"] if on_github else ["docker", "git"])
    commands, rest = publishing(release), announcing(release)
    if on_github:
        commands, rest = commands + rest, []
    print(f"{release.image}: {about_latest(release)}")
    if dry_run:
        print(f"Would build {release.image}, then run:\n{as_lines(commands)}")
    else:
        build(release.image)
        execute(commands)
        print(f"Published {release.image}.")
    if rest:
        print(f"For the release on GitHub (--release) there would remain:\n{as_lines(rest)}")


def check(registry: str, programs: list[str]) -> Release:
    """What is to be published. Raises `Failed` with the first thing that speaks against it; changes nothing."""
    for program in programs:
        if shutil.which(program) is None:
            raise Failed(f"{program} is missing: install it first.")
    name, version = package()["name"], parse_version(package()["version"])
    if changed := git("status", "--porcelain"):
        raise Failed(f"Commit or remove first what is not in the commit that would be tagged:\n{changed}")
    notes = changelog_section(str(version))
    if not notes and not version.is_devrelease:
        raise Failed(f"CHANGELOG.md says nothing about {version}: it needs a section `## {version} - <date>`.")
    published = published_tags(f"{registry}/{name}")
    release = Release(version, f"{registry}/{name}", git("rev-parse", "HEAD"), notes, newest_release(published))
    if str(version) in published:
        raise Failed(f"{release.image} is published already, and is never replaced: raise the version.")
    if git("tag", "--list", release.tag) or git("ls-remote", "origin", f"refs/tags/{release.tag}"):
        raise Failed(f"The git tag {release.tag} exists already: raise the version.")
    return release


def parse_version(text: str) -> Version:
    """A version in the one form that Python, Docker and git all take as it is, or `Failed`."""
    try:
        version = Version(text)
    except InvalidVersion:
        raise Failed(f"{text!r} in pyproject.toml is not a version: 1.2.3, 1.2.3rc1 or 1.2.3.dev1 are.") from None
    if str(version) != text:
        raise Failed(f"Write the version in pyproject.toml in its normal form: {version} instead of {text}.")
    if tag_of(text) != text:
        raise Failed(f"{text} cannot be the tag of an image: leave out what is before `!` and after `+`.")
    return version


def newest_release(tags: set[str]) -> Version | None:
    """The newest version among the tags that is neither a dev nor a pre-version; tags like `main` are passed over."""
    releases = []
    for tag in tags:
        try:
            version = parse_version(tag)
        except Failed:
            continue
        if not version.is_prerelease:
            releases.append(version)
    return max(releases, default=None)


def changelog_section(version: str) -> str:
    """What CHANGELOG.md has below `## 1.2.3 …` or `## [1.2.3] …`, without definitions of links; empty if nothing."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## (?:{re.escape(version)}|\[{re.escape(version)}\])(?:[ \t][^\n]*)?\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\[[^\]]+\]: .*\n?", "", section[1], flags=re.MULTILINE).strip() if section else ""


def publishing(release: Release) -> list[Command]:
    """The commands that publish the image, once it is built: what can fail for lack of rights comes first."""
    commands = [["docker", "push", release.image]]
    if release.is_latest:
        latest = f"{release.repository}:latest"
        commands += [["docker", "tag", release.image, latest], ["docker", "push", latest]]
    return [*commands, ["git", "tag", release.tag, release.commit]]


def announcing(release: Release) -> list[Command]:
    """The commands that others hear of: the tag is pushed; a release on GitHub is made unless it is a dev version."""
    commands = [["git", "push", "origin", f"refs/tags/{release.tag}"]]
    if release.version.is_devrelease:
        return commands
    kind = ["--prerelease"] if release.version.is_prerelease else []
    kind.append(f"--latest={str(release.is_latest).lower()}")
    create = ["gh", "release", "create", release.tag, "--verify-tag", "--title", release.tag, *kind]
    return [*commands, [*create, "--notes", release.notes]]


def about_latest(release: Release) -> str:
    if release.is_latest:
        return f"becomes latest (before: {release.newest or 'none'})."
    if release.version.is_prerelease:
        return "latest is left alone, since this is a dev or pre-version."
    return f"latest is left alone, since {release.newest} is newer."


def build(image: str) -> None:
    """Raises `Failed` with the build's error."""
    client = docker.from_env()
    try:
        build_image(client, image)
    finally:
        client.close()


def execute(commands: list[Command]) -> None:
    """Run the commands in the clone, each told before. Raises `Failed` with those that are left when one fails."""
    for number, command in enumerate(commands):
        print(f"$ {shlex.join(command)}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603
            left = as_lines(commands[number:])
            raise Failed(f"{shlex.join(command[:2])} failed, see above. Once it is mended, go on with:\n{left}")


def as_lines(commands: list[Command]) -> str:
    """As one would type them."""
    return "\n".join(shlex.join(command) for command in commands)


def git(*arguments: str) -> str:
    """What git prints. Raises `Failed` with its error."""
    command = ["git", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        raise Failed(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout.rstrip()


if __name__ == "__main__":
    main()
