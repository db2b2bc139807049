"""`scripts/requirements.py` says the same as the lock, to pip."""

import tomllib
from pathlib import Path

import pytest
from scripts.requirements import LOCK, requirements

PACKAGES = tomllib.loads(LOCK.read_text(encoding="utf-8"))["package"]

LOCK_WITH_MARKERS = """
[[package]]
name = "everywhere"
version = "1.0"
groups = ["main", "dev"]
files = [{file = "everywhere.whl", hash = "sha256:1"}, {file = "everywhere.tar.gz", hash = "sha256:2"}]

[[package]]
name = "one-marker"
version = "2.0"
groups = ["main"]
markers = "sys_platform == 'win32'"
files = [{file = "one.whl", hash = "sha256:3"}]

[[package]]
name = "marker-by-group"
version = "3.0"
groups = ["main", "dev", "mock"]
markers = {main = "sys_platform == 'win32'", dev = "os_name == 'nt'"}
files = [{file = "by-group.whl", hash = "sha256:4"}]
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "poetry.lock"
    path.write_text(LOCK_WITH_MARKERS)
    return path


@pytest.mark.parametrize("group", ["main", "dev", "mock", "aws"])
def test_each_package_of_a_group_is_required_in_its_version_with_all_its_hashes(group: str) -> None:
    lines = {line.split("==")[0]: line for line in requirements({group})}
    locked = {package["name"]: package for package in PACKAGES if group in package["groups"]}
    assert lines.keys() == locked.keys()
    for name, line in lines.items():
        assert line.startswith(f"{name}=={locked[name]['version']} ")
        assert line.count("--hash=sha256:") == len(locked[name]["files"])


def test_markers_are_those_of_the_wanted_groups(lock: Path) -> None:
    windows, nt = "(sys_platform == 'win32')", "(os_name == 'nt')"
    everywhere, one, by_group = requirements({"main"}, lock)
    assert everywhere == "everywhere==1.0 --hash=sha256:1 --hash=sha256:2"
    assert one == "one-marker==2.0 ; sys_platform == 'win32' --hash=sha256:3"
    assert by_group == f"marker-by-group==3.0 ; {windows} --hash=sha256:4"
    both = requirements({"main", "dev"}, lock)[2]
    assert both in {
        f"marker-by-group==3.0 ; {windows} or {nt} --hash=sha256:4",
        f"marker-by-group==3.0 ; {nt} or {windows} --hash=sha256:4",
    }


def test_a_group_that_wants_it_everywhere_beats_the_markers_of_others(lock: Path) -> None:
    assert requirements({"main", "mock"}, lock)[2] == "marker-by-group==3.0 --hash=sha256:4"
