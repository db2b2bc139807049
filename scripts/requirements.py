"""Print the locked packages as pip requirements with hashes: `requirements.py [GROUP ...]` (default: main).

The image and `scripts/setup.sh` install with `pip install --require-hashes -r` from this, so that neither
needs Poetry's installer and both get exactly what `poetry.lock` (format 2.1) names.
"""

import sys
import tomllib
from pathlib import Path
from typing import Any

LOCK = Path(__file__).resolve().parent.parent / "poetry.lock"


def requirement(package: dict[str, Any], groups: set[str]) -> str:
    """One requirement line: `name==version ; marker --hash=… …`; the marker is that of the wanted groups."""
    markers = package.get("markers", "")
    if isinstance(markers, dict):  # one marker per group; a group that is not listed has none
        wanted = [markers.get(group, "") for group in groups & set(package["groups"])]
        markers = "" if "" in wanted else " or ".join(f"({marker})" for marker in wanted)
    hashes = " ".join(f"--hash={file['hash']}" for file in package["files"])
    return f"{package['name']}=={package['version']}{f' ; {markers}' if markers else ''} {hashes}"


def requirements(groups: set[str], lock: Path = LOCK) -> list[str]:
    """The requirement lines of every locked package that belongs to one of `groups`."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return [requirement(package, groups) for package in packages if groups & set(package["groups"])]


if __name__ == "__main__":
    sys.stdout.write("\n".join(requirements(set(sys.argv[1:]) or {"main"})) + "\n")
