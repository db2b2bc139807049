"""Which tests `--quick` runs, and how processes that run side by side share the tests.

Both follow from the fixtures that a test uses. A test that needs no engine runs in any process. The tests of one file
that need an engine stay in one process, since they share a worker, an engine or an image.
"""

import shutil
import subprocess

import pytest

NO_ENGINE = "unix:///no-engine-in-quick-tests.sock"
NOT_QUICK = {"needs_browser", "needs_engine", "needs_mounts", "needs_time"} | (
    set() if shutil.which("gcc") else {"needs_compiler"}
)
"""Fixtures whose tests `--quick` leaves out on this machine."""
TOGETHER = {
    "tests/scripts/test_demo.py": "demo",
    "tests/scripts/test_readme.py": "demo",
}
"""Files that use the same folder: its pictures are those of one demo at a time."""
LONGEST = ("campaign", "tests/test_swarm.py", "demo", "tests/preflight/test_image.py", "tests/scripts/test_bench.py")
"""Groups that take minutes, whatever the number of their tests: they begin first."""


def quick_ones(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those that need nothing in `NOT_QUICK`. Of a test that starts a worker each time, the first set of parameters."""
    seen: set[str] = set()
    chosen = []
    for item in items:
        fixtures, name = _fixtures(item), item.nodeid.split("[")[0]
        is_another_set = "starts_worker" in fixtures and name in seen
        seen.add(name)
        if not NOT_QUICK & fixtures and not is_another_set:
            chosen.append(item)
    return chosen


def possible_ones(items: list[pytest.Item]) -> list[pytest.Item]:
    """Those for which this machine has what they need: some containers have no loop devices (losetup(8))."""
    if any("needs_loop_devices" in _fixtures(item) for item in items) and not _has_loop_devices():
        return [item for item in items if "needs_loop_devices" not in _fixtures(item)]
    return items


def group(item: pytest.Item) -> str | None:
    """Tests with the same group run in one process; `None`: in any."""
    fixtures, file = _fixtures(item), item.nodeid.split("::")[0]
    if "needs_engine" not in fixtures:
        return None
    return "campaign" if "campaign" in fixtures else TOGETHER.get(file, file)


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The longest groups, then the other groups from the largest to the smallest, then the tests without a group."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group(item) or "", []).append(item)
    alone = groups.pop("", [])
    places = {name: number for number, name in enumerate(LONGEST)}
    names = sorted(groups, key=lambda name: (places.get(name, len(places)), -len(groups[name])))
    return [item for name in names for item in groups[name]] + alone


def _has_loop_devices() -> bool:
    try:
        return subprocess.run(["losetup", "--find"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def _fixtures(item: pytest.Item) -> set[str]:
    return set(getattr(item, "fixturenames", ()))
