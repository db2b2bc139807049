"""Publish the version that pyproject.toml names: `poetry run python -m scripts.publish --help`, docs/releasing.md.

First it checks everything that speaks against it, and changes nothing. Then it runs a list of commands, which
`--dry-run` prints. Publishing a commit again does what an earlier time, that failed, has left to be done.
"""

import argparse
import io
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from dataclasses import dataclass, replace

import docker
import requests
from docker.errors import DockerException
from packaging.version import InvalidVersion, Version

from scripts.docker import ROOT, Failed, build_image, package, tag_of
from scripts.registry import published_tags

Command = list[str]
AGAIN = "Publish again, from the same commit and wherever you like: the script skips what is done already."


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
    """the newest other published release; `None` before the first"""
    done: frozenset[str] = frozenset()
    """what an earlier run has done: the image's name if it is pushed, `latest`, `git tag`, `git push`, `gh release`"""

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
    parser.add_argument("--release", action="store_true", help="push the git tag and make the release on GitHub")
    parser.add_argument("--dry-run", action="store_true", help="check everything, change nothing, print the commands")
    options = parser.parse_args()
    try:
        publish(options.registry, on_github=options.release, dry_run=options.dry_run)
    except requests.RequestException as error:
        sys.exit(f"The registry cannot be asked what it has: {error}")
    except (Failed, DockerException) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(f"Interrupted. {AGAIN}")


def publish(registry: str, *, on_github: bool, dry_run: bool) -> None:
    """Build and push the image, set `latest` and the git tag; with `on_github` push that tag and make the release.

    Raises `Failed` with what speaks against it, before anything is changed, or with what has failed.
    """
    release = check(registry, on_github=on_github)
    commands, rest = publishing(release), announcing(release)
    if on_github:
        commands, rest = commands + rest, []
    if not commands:
        raise published_already(release.image)
    print(f"{release.image}: {about_latest(release)}")
    is_built = release.image in release.done
    if dry_run:
        print(f"Would {'' if is_built else f'build {release.image}, then '}run:\n{as_lines(commands)}")
    else:
        if not is_built:
            build(release.image)
        execute(commands)
        print(f"Published {release.image}.")
    if rest:
        print(f"For the release on GitHub (--release) there would remain:\n{as_lines(rest)}")


def check(registry: str, *, on_github: bool) -> Release:
    """What to publish. Raises `Failed` with the first thing that speaks against it; publishes nothing."""
    for program in ("docker", "git", "gh") if on_github else ("docker", "git"):
        if shutil.which(program) is None:
            raise Failed(f"{program} is missing: install it first.")
    if on_github:
        output_of("gh", "repo", "view")  # fails without a login
    name, version = package()["name"], parse_version(package()["version"])
    if changed := output_of("git", "status", "--porcelain", "--untracked-files=normal"):
        raise Failed(f"Commit or remove first what is not in the commit that would be tagged:\n{changed}")
    notes = changelog_section(str(version))
    if not notes and not version.is_devrelease:
        raise Failed(f"CHANGELOG.md says nothing about {version}: it needs a section `## {version} - <date>`.")
    tags = published_tags(f"{registry}/{name}")
    others = [each for each in versions(tags) if str(each) != str(version)]
    if version in others:
        raise published_already(f"{registry}/{name}:{others[others.index(version)]}")
    newest = max((each for each in others if not each.is_prerelease), default=None)
    commit = output_of("git", "rev-parse", "HEAD")
    release = Release(version, f"{registry}/{name}", commit, notes, newest)
    return replace(release, done=frozenset(images_done(release, tags) | git_done(release, on_github=on_github)))


def images_done(release: Release, tags: set[str]) -> set[str]:
    """The published images, of the registry's `tags`. Raises `Failed` if they are of another commit."""
    if str(release.version) not in tags:
        return set()
    with closing(docker.from_env()) as client:
        image = client.images.pull(release.image)
        if image.labels.get("org.opencontainers.image.revision") != release.commit:
            raise published_already(release.image)
        is_latest = "latest" in tags and client.images.pull(f"{release.repository}:latest") == image
    return {release.image, "latest"} if is_latest else {release.image}


def git_done(release: Release, *, on_github: bool) -> set[str]:
    """Whether the tag and the release exist. Raises `Failed` if the tag is of another commit."""
    done = set()
    for step, found in (
        ("git tag", output_of("git", "tag", "--list", "--format=%(objectname)", release.tag)),
        ("git push", output_of("git", "ls-remote", "origin", f"refs/tags/{release.tag}")),
    ):
        if found and not found.startswith(release.commit):
            raise Failed(f"The git tag {release.tag} exists already, of another commit: raise the version.")
        if found:
            done.add(step)
    view = ["gh", "release", "view", release.tag]
    if on_github and subprocess.run(view, cwd=ROOT, capture_output=True, check=False).returncode == 0:  # noqa: S603
        done.add("gh release")
    return done


def published_already(image: str) -> Failed:
    return Failed(f"{image} is published already, and is never replaced: raise the version.")


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


def versions(tags: set[str]) -> list[Version]:
    """The versions among the tags, without tags like `main`."""
    found = []
    for tag in tags:
        with suppress(Failed):
            found.append(parse_version(tag))
    return found


def changelog_section(version: str) -> str:
    """What CHANGELOG.md has below `## 1.2.3 …` or `## [1.2.3] …`, without definitions of links; empty if nothing."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    heading = rf"^## (?:{re.escape(version)}|\[{re.escape(version)}\])(?:[ \t][^\n]*)?\n"
    section = re.search(rf"{heading}(.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^\[[^\]]+\]: .*\n?", "", section[1], flags=re.MULTILINE).strip() if section else ""


def publishing(release: Release) -> list[Command]:
    """The commands that publish the built image: what can fail for lack of rights comes first."""
    commands = []
    if release.image not in release.done:
        commands.append(["docker", "push", release.image])
    if release.is_latest and "latest" not in release.done:
        latest = f"{release.repository}:latest"
        commands += [["docker", "tag", release.image, latest], ["docker", "push", latest]]
    if "git tag" not in release.done:
        commands.append(["git", "tag", release.tag, release.commit])
    return commands


def announcing(release: Release) -> list[Command]:
    """The commands that others notice: they push the tag, and make a release on GitHub unless it is a dev version."""
    commands = []
    if "git push" not in release.done:
        commands.append(["git", "push", "origin", f"refs/tags/{release.tag}"])
    if "gh release" in release.done or release.version.is_devrelease:
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
    """Build it from the commit, since the folder may hold ignored files, and the newest base. Raises `Failed`."""
    archive = ["git", "-c", "tar.umask=0022", "archive", "HEAD"]
    files = subprocess.run(archive, cwd=ROOT, capture_output=True, check=True).stdout  # noqa: S603
    with closing(docker.from_env()) as client:
        build_image(client, image, io.BytesIO(files), pull=True)


def execute(commands: list[Command]) -> None:
    """Print and run each command in the clone. Raises `Failed` at the first one that fails."""
    for command in commands:
        print(f"$ {shlex.join(command)}", flush=True)
        if subprocess.run(command, cwd=ROOT, check=False).returncode:  # noqa: S603
            raise Failed(f"{shlex.join(command[:2])} failed, see above. Mend it first. {AGAIN}")


def as_lines(commands: list[Command]) -> str:
    """As a person would type them."""
    return "\n".join(shlex.join(command) for command in commands)


def output_of(*command: str) -> str:
    """What a command of git or gh prints. Raises `Failed` with its error."""
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        raise Failed(f"{shlex.join(command[:2])} failed: {result.stderr.strip()}")
    return result.stdout.rstrip()


if __name__ == "__main__":
    main()
