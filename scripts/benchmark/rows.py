"""The rows of the table: each figure with its unit, its floor and its target."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass, field

Limit = Callable[[float], float]
"""The value that is still good enough, given the floor's in the same run."""


@dataclass(frozen=True)
class Row:
    """One figure. More is better for throughputs (`more`), less for all others."""

    name: str
    unit: str
    floor: str = ""
    target: str = ""
    limit: Limit | None = None
    more: bool = False


@dataclass
class Result:
    """A row with its values, one of each run; `floors` is empty for a row without a floor."""

    row: Row
    values: list[float] = field(default_factory=list)
    floors: list[float] = field(default_factory=list)

    def add(self, value: float, floor: float | None = None) -> None:
        self.values.append(value)
        if floor is not None:
            self.floors.append(floor)

    @property
    def ratios(self) -> list[float]:
        """Each value divided by the floor of the same run."""
        return [value / floor for value, floor in zip(self.values, self.floors, strict=True)] if self.floors else []

    @property
    def used(self) -> list[float]:
        """Which share of its target each run used: up to 1 is good."""
        if self.row.limit is None:
            return []
        limits = [self.row.limit(floor) for floor in self.floors or [0.0] * len(self.values)]
        pairs = zip(self.values, limits, strict=True)
        return [limit / value if self.row.more else value / limit for value, limit in pairs]

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached, by the median; `None` without one."""
        return statistics.median(self.used) <= 1 if self.used else None


def at_most(limit: float) -> Limit:
    return lambda _: limit


def peak(what: str) -> Row:
    return Row(f"peak memory, {what}", "MiB", target="≤ 120 MiB", limit=at_most(120))


def gap(what: str) -> Row:
    return Row(
        f"end of a command → next start, {what}", "ms", "wait, remove, create, start", "≤ 1 x + 1500 ms",
        lambda f: f + 1500,
    )  # fmt: skip


def here(where: str, share: float) -> Row:
    return Row(
        f"2 GiB again, {where}: input here", "s", "`cp --reflink=never`", f"≤ {share:.2g} x",
        lambda f: share * f,
    )  # fmt: skip


def made(where: str) -> Row:
    return Row(f"2 GiB again, {where}: container made", "s", "`cp --reflink=never`, then create")


def fetched(where: str) -> Row:
    return Row(f"2 GiB again, {where}: fetched", "MiB", target="0", limit=at_most(0.001))


ROWS = {
    "empty": Row("an empty job", "ms", "create, start, wait, remove", "≤ 1.15 x", lambda f: 1.15 * f),
    "empty-isolated": Row(
        "the same", "ms", "the same of a container with a job's limits", "≤ 1.15 x", lambda f: 1.15 * f
    ),
    "empty-peak": peak("empty jobs"),
    "large-in": Row("large files in", "MiB/s", "curl, in parallel", "≥ 0.9 x", lambda f: 0.9 * f, more=True),
    "large-out": Row("large files out", "MiB/s", "curl, in parallel", "≥ 0.9 x", lambda f: 0.9 * f, more=True),
    "large-out-hashed": Row("large files out, both verified", "MiB/s", "curl and `md5sum`", more=True),
    "one-out": Row("one large file out", "MiB/s", "curl", more=True),
    "one-out-hashed": Row(
        "one large file out, both verified", "MiB/s", "curl and `md5sum`", "≥ 0.9 x", lambda f: 0.9 * f, more=True
    ),
    "wire-in": Row(
        "large files in, slow connections", "MiB/s", "curl, in parallel", "≥ 0.9 x", lambda f: 0.9 * f, True
    ),
    "wire-out": Row(
        "large files out, slow connections", "MiB/s", "curl, in parallel", "≥ 0.9 x", lambda f: 0.9 * f, True
    ),
    "large-in-cpu": Row("CPU for them, in", "s/GiB", "curl", "≤ 2 s/GiB", at_most(2)),
    "large-out-cpu": Row("CPU for them, out", "s/GiB", "curl", "≤ 2 s/GiB", at_most(2)),
    "large-peak": peak("large files"),
    "small-in": Row("small files in", "files/s", "TRANSFERS=1", more=True),
    "small-out": Row("small files out", "files/s", "TRANSFERS=1", more=True),
    "small-peak": peak("small files"),
    "far-in": Row("small files in, far away", "files/s", "TRANSFERS=1", "≥ 7 x", lambda f: 7 * f, more=True),
    "far-out": Row("small files out, far away", "files/s", "TRANSFERS=1", "≥ 7 x", lambda f: 7 * f, more=True),
    "far-peak": peak("small files, far away"),
    "gap-few": gap("1 MiB out"),
    "gap-many": gap("1 GiB out"),
    "gap-few-line": gap("1 MiB out at 30 MiB/s"),
    "gap-many-line": gap("1 GiB out at 30 MiB/s"),
    "share": Row(
        "the GPU is in use, 10 jobs of 60 s", "%", "`FINISH_BEHIND=0`, no cache", "≥ 90 %", lambda _: 90, more=True
    ),
    "cached-here": here("the bench's disk", 1.2),
    "cached-made": made("the bench's disk"),
    "cached-fetched": fetched("the bench's disk"),
    "xfs-here": here("xfs", 1 / 3),
    "xfs-made": made("xfs"),
    "xfs-fetched": fetched("xfs"),
    "btrfs-here": here("btrfs", 1 / 3),
    "btrfs-made": made("btrfs"),
    "btrfs-fetched": fetched("btrfs"),
    "exit": Row("end of the command → `postprocessing`", "ms", "the engine tells it", "≤ 50 ms", at_most(50)),
    "stop": Row("SIGTERM → exit, with a job", "ms", "stop and remove"),
    "start": Row("start of the process → first poll", "ms", "`python -c pass`", "≤ 700 ms", at_most(700)),
    "start-page": Row("the same with STATUS_PORT", "ms", "without", "≤ x + 100 ms", lambda f: f + 100),
    "start-before": Row(
        "the same, before and after", "ms", "the source of `--against`", "≤ x + 100 ms", lambda f: f + 100
    ),
    "stop-idle": Row("SIGTERM → exit, without a job", "ms"),
    "idle-memory": Row("idle: memory", "MiB", target="≤ 60 MiB", limit=at_most(60)),
    "idle-cpu": Row("idle: CPU", "%", target="≤ 0.1 %", limit=at_most(0.1)),
    "idle-requests": Row("idle: requests to the API", "per hour"),
    "image": Row("the image, beyond its base", "MiB", target="≤ 35 MiB", limit=at_most(35)),
}
