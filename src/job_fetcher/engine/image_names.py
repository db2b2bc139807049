"""Names of images, as Docker reads them (distribution's grammar of references), and which of them are allowed."""

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from job_fetcher.core.errors import JobFailed

_PART = r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"((?:(?:\[[0-9a-f:]+\]|[a-zA-Z0-9.-]+)(?::\d+)?/)?{_PART}(?:/{_PART})*)"
    r"(?::(\w[\w.-]{0,127}))?(?:@([A-Za-z0-9+._-]+:[0-9a-fA-F]{32,}))?",
    re.ASCII,
)


@dataclass(frozen=True)
class ImageName:
    """The full name of a repository (`docker.io/library/x` of `x`), and the version: a digest, else a tag."""

    repository: str
    tag: str
    digest: str | None

    @property
    def full(self) -> str:
        """With the version that is really used: Docker ignores a tag that stands before a digest."""
        return f"{self.repository}@{self.digest}" if self.digest else f"{self.repository}:{self.tag}"

    @property
    def registry(self) -> str:
        """The registry's host, with its port: `docker.io` for Docker Hub."""
        return self.repository.partition("/")[0]


def parse(image: str) -> ImageName:
    """The name in `image`; raises `JobFailed` if it is none."""
    match = _REFERENCE.fullmatch(image)
    if match is None:
        raise JobFailed(f"'{image[:300]}' is not the name of an image (invalid reference format).")
    return ImageName(_full_name(match[1]), match[2] or "latest", match[3])


def is_allowed(image: ImageName, patterns: Iterable[str]) -> bool:
    """Whether one of the glob `patterns` fits; one without a version fits all versions."""
    full_patterns = ["*" if pattern == "*" else _full_name(pattern) for pattern in patterns]
    return any(
        fnmatch.fnmatchcase(each, pattern) for each in (image.repository, image.full) for pattern in full_patterns
    )


def registry_of(pattern: str) -> str | None:
    """The registry that a glob `pattern` names in full; `None` if it leaves that open."""
    registry = _full_name(pattern).partition("/")[0]
    return None if pattern == "*" or re.search(r"[*?\[]", registry) else registry


def is_called(image: ImageName, found: Mapping[str, Any]) -> bool:
    """Whether that is a name of an image that the engine has `found`, rather than the beginning of its id."""
    names = [*(found.get("RepoTags") or []), *(found.get("RepoDigests") or [])]
    return image.full in map(_full_name, names)


def _full_name(image: str) -> str:
    """`x` → `docker.io/library/x`: an image's name with the registry and the folder that Docker leaves out."""
    first, slash, rest = image.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        first, rest = "docker.io", image
    if first in ("docker.io", "index.docker.io"):
        return f"docker.io/{rest}" if "/" in rest else f"docker.io/library/{rest}"
    return f"{first}/{rest}"
