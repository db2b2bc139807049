"""The bench and the fleet run, at a scale that says nothing about speed."""

import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

import pytest
from scripts.bench import NAMES
from scripts.benchmark.picture import svg
from scripts.benchmark.report import spread, table
from scripts.benchmark.rows import ROWS, Result
from scripts.docker import ROOT


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def run(script: str, *arguments: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=900
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.usefixtures("needs_engine")
def test_bench_fills_every_row_of_its_table(tmp_path: Path) -> None:
    picture = tmp_path / "bench.svg"
    scenarios = [word for name in NAMES if name not in ("image", "reflink") for word in ("--only", name)]
    options = ("--quick", "--runs", "1", "--against", "HEAD", "--plot", str(picture))
    lines = run("scripts.bench", *options, *scenarios).splitlines()
    rows = [cells(line) for line in lines if line.startswith("|")][2:]
    left_out = ("image", "xfs", "btrfs")  # one has a test of its own, the others are `cached` on disks that take root
    assert [row[0] for row in rows] == [row.name for key, row in ROWS.items() if not key.startswith(left_out)]
    assert all(row[1] for row in rows)
    assert xml.parse(picture).getroot().tag.endswith("svg")


@pytest.mark.usefixtures("needs_engine")
def test_bench_measures_the_image() -> None:
    assert f"| {ROWS['image'].name} |" in run("scripts.bench", "--only", "image", "--runs", "1")


@pytest.mark.parametrize(
    ("key", "value", "floor", "reached"),
    [
        ("empty", 114.0, 100.0, "yes"),
        ("empty", 116.0, 100.0, "**no**"),
        ("large-in", 90.0, 100.0, "yes"),
        ("large-in", 89.0, 100.0, "**no**"),
        ("start", 701.0, 20.0, "**no**"),
        ("stop-idle", 701.0, None, ""),
    ],
)
def test_a_target_is_reached_or_not(key: str, value: float, floor: float | None, reached: str) -> None:
    result = Result(ROWS[key])
    result.add(value, floor)
    assert cells(table({key: result}).splitlines()[-1])[-1] == reached
    assert ("bad" in svg({key: result}, "machine").split("</style>")[1]) == (reached == "**no**")


def test_runs_are_told_by_median_least_and_most() -> None:
    assert spread([3.0, 1.0, 200.4]) == "3 (1 to 200)"


@pytest.mark.usefixtures("needs_engine")
def test_fleet_shows_the_load_over_time() -> None:
    lines = run("scripts.fleet", "--workers", "12", "--speed", "60").splitlines()
    rows = [cells(line) for line in lines if line.startswith("|")][2:]
    assert [row[1] for row in rows[:-3]] == ["steady"] * 12 + ["outage"] * 24 + ["after"] * 12
    assert [row[1] for row in rows[-3:]] == ["**steady**", "**outage**", "**after**"]
    assert lines[-1].startswith("Peak after the outage: ")
