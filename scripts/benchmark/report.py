"""The figures as a table in Markdown, with the machine that they come from."""

import os
import platform
import re
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path

import docker

from scripts.benchmark.rows import Result


def machine(client: docker.DockerClient) -> str:
    """The machine and its engine, in a line."""
    return f"{machine_alone()}, Docker {client.version()['Version']}"


def machine_alone() -> str:
    cpus = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"^model name\s*: (.*)$", cpus, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} x {model[1] if model else platform.machine()}, {memory:.0f} GiB of memory,"
        f" Linux {platform.release()}, Python {platform.python_version()}"
    )


def load() -> str:
    """How busy the machine is with other things."""
    return f"load average {os.getloadavg()[0]:.1f}"


def table(results: Mapping[str, Result]) -> str:
    """One line for each figure: the median of the runs, and in brackets the least and the most."""
    lines = [
        "| figure | worker | floor | | ratio | target | reached |",
        "|---|---|---|---|---|---|---|",
    ]
    for result in results.values():
        if not result.values:
            continue
        row = result.row
        reached = {True: "yes", False: "**no**", None: ""}[result.reached]
        cells = [
            row.name,
            f"{spread(result.values)} {row.unit}",
            f"{spread(result.floors)} {row.unit}" if result.floors else "",
            row.floor,
            spread(result.ratios),
            row.target,
            reached,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def spread(values: Iterable[float]) -> str:
    """`median (least to most)`, with three significant digits; empty without values."""
    ordered = sorted(values)
    if not ordered:
        return ""
    median = shown(statistics.median(ordered))
    return median if len(ordered) == 1 else f"{median} ({shown(ordered[0])} to {shown(ordered[-1])})"


def shown(value: float) -> str:
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
