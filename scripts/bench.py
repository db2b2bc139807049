"""How fast the worker is. Each figure stands beside its floor: the same work, by the plainest means, in the same run.

    python -m scripts.bench                      # all of it, five runs: about 45 minutes
    python -m scripts.bench --only exit --runs 9 # one scenario (several: name each)
    python -m scripts.bench --quick              # a try, at a scale that says nothing
    python -m scripts.bench --only start --against REVISION   # the start before and after a change
    python -m scripts.bench --plot docs/performance.svg

The worker is the real one, a process of its own; so is the platform's mock; the engine is this machine's. What a
figure is compared with stands in `benchmark.rows`, what is done for it in `benchmark.scenarios`.
"""

import argparse
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

from scripts.benchmark import picture, report
from scripts.benchmark.rows import ROWS, Result
from scripts.benchmark.scenarios import QUICK, Scale, Scenarios
from scripts.benchmark.stage import MIB, ROOT, open_stage

ONCE = ("image", "share", "reflink")
"""What stays the same in each run, or takes minutes."""
NAMES = (
    *("empty", "large", "one", "wire", "small", "far", "gap", "share", "cached", "reflink"),
    *("exit", "start", "idle", "image"),
)


def main() -> None:
    options = _options()
    scale = replace(
        QUICK if options.quick else Scale(),
        latency_s=options.latency / 1000,
        bandwidth=options.bandwidth * MIB,
    )
    with tempfile.TemporaryDirectory(prefix="job-fetcher-bench-") as folder, open_stage(Path(folder)) as stage:
        machine, load = report.machine(stage.client), report.load()
        before = source_of(options.against, Path(folder)) if options.against else None
        results = measure(Scenarios(stage, scale, before), options.only or list(NAMES), options.runs)
    print(f"{machine}; {load}, {options.runs} runs: median (least to most)\n")
    print(report.table(results))
    if options.plot:
        options.plot.write_text(picture.svg(results, machine), encoding="utf-8")


def measure(scenarios: Scenarios, names: list[str], runs: int) -> dict[str, Result]:
    """The results by row. It runs all scenarios once, then all again, so that a noisy minute hits all alike.

    Ctrl-C ends it early, with the complete runs.
    """
    results = {key: Result(row) for key, row in ROWS.items()}
    todo = [(run, name) for run in range(runs) for name in names if run == 0 or name not in ONCE]
    try:
        for run, name in todo:
            print(f"run {run + 1} of {runs}: {name}, {report.load()}", file=sys.stderr, flush=True)
            for key, (value, floor) in scenarios.run(name, run).items():
                results[key].add(value, floor)
    except KeyboardInterrupt:
        print("interrupted: these are the runs so far", file=sys.stderr)
    return results


def source_of(revision: str, folder: Path) -> Path:
    """The folder `src` of a revision, below `folder`. Raises `CalledProcessError` if there is no such revision."""
    command = ["git", "archive", revision, "src"]
    packed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout  # noqa: S603
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder / "before", filter="data")
    return folder / "before" / "src"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the worker, each figure beside its floor.")
    parser.add_argument("--only", action="append", choices=NAMES, help="only this scenario (repeat it for several)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each scenario (default: %(default)s)")
    parser.add_argument("--quick", action="store_true", help="few and tiny files: a try, not a measurement")
    parser.add_argument(
        "--latency", type=float, default=50, metavar="MS", help="latency of a mock far away (default: %(default)s)"
    )
    parser.add_argument(
        "--bandwidth", type=float, default=30, metavar="MIB", help="MiB/s of a slow connection (default: %(default)s)"
    )
    parser.add_argument("--against", metavar="REVISION", help="compare the start with that of this revision")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw the figures into this file (SVG)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
