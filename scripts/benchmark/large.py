"""Large files in and out, against `curl`, as fast as this machine can, or over wires of a given bandwidth."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark import floors
from scripts.benchmark.stage import GO_ON, MIB, TOKEN, Stage, Values, let_go, make_even

GIB = 2**30


@dataclass(frozen=True)
class _Took:
    """What both ways took, in seconds and in CPU seconds."""

    down_s: float
    down_cpu_s: float
    up_s: float
    up_cpu_s: float
    hashed_up_s: float = 0.0
    peak_mib: float = 0.0


class LargeFiles:
    """So many files of `size` bytes, which a job takes in and gives out. `bandwidth`: bytes/s of each connection."""

    def __init__(self, stage: Stage, name: str, count: int, size: int, bandwidth: float | None = None) -> None:
        self._stage, self._name, self._size, self._bandwidth = stage, name, size, bandwidth
        self._inputs = {f"data/{n}": f"s3://bucket/{name}/{n}" for n in range(count)}

    def run(self) -> Values:
        if self._stage.run == 0:
            self._stage.mock.put_random(self._inputs.values(), self._size)
        self._stage.mock.configure(bandwidth=self._bandwidth)
        try:
            ours, floor = self._stage.both(self._job, self._curl)
        finally:
            self._stage.mock.configure(bandwidth=None)
        name, mib = self._name, len(self._inputs) * self._size / MIB
        gib = mib / 1024
        return {
            f"{name}-in": (mib / ours.down_s, mib / floor.down_s),
            f"{name}-out": (mib / ours.up_s, mib / floor.up_s),
            f"{name}-out-hashed": (mib / ours.up_s, mib / floor.hashed_up_s),
            f"{name}-in-cpu": (ours.down_cpu_s / gib, floor.down_cpu_s / gib),
            f"{name}-out-cpu": (ours.up_cpu_s / gib, floor.up_cpu_s / gib),
            f"{name}-peak": (ours.peak_mib, None),
        }

    def _job(self) -> _Took:
        """Fetched by the report's `download_s`; sent from `postprocessing` to `finished`.

        The container is made later than the files are here: the engine brings them to the disk first (moby#47630).
        """
        with self._stage.mock.forgetting_uploads(), self._stage.worker() as worker:
            line = f"mv /files/data/* /files/output/; {GO_ON}"
            self._make_even()
            cpu_before = worker.cpu_s()
            job = self._stage.mock.submit(line, self._stage.image, self._inputs, "output")
            self._stage.event(job, "start")
            self._make_even()
            let_go(worker.base / job / "files")
            times = self._stage.mock.ended(job)
            cpu_end = worker.cpu_s()
            _, cpu_arrived = self._stage.event(job, "create")
            _, cpu_exit = self._stage.event(job, "die")
            return _Took(
                down_s=float(self._stage.mock.report(job)["download_s"]),
                down_cpu_s=cpu_arrived - cpu_before,
                up_s=times["finished"] - times["postprocessing"],
                up_cpu_s=cpu_end - cpu_exit,
                peak_mib=worker.memory_mib("VmHWM"),
            )

    def _curl(self) -> _Took:
        mock = self._stage.mock
        with mock.forgetting_uploads(), _temporary(self._stage.folder / "curl") as folder:
            job = mock.submit("true", self._stage.image)
            mock.ask("GET", "/jobs?memory=1000000&cpu_cores=1000", headers={"Authorization": f"Bearer {TOKEN}"})
            self._make_even()
            down = floors.curl_down(self._stage, self._inputs.values(), folder)
            files = sorted(folder.iterdir())
            self._make_even()
            up = floors.curl_up(self._stage, job, "output", files)
            self._make_even()
            hashed_up_s, _ = floors.curl_up(self._stage, job, "output", files, hashed=True)
            mock.ask("DELETE", f"/_jobs/{job}")
            return _Took(*down, *up, hashed_up_s)

    def _make_even(self) -> None:
        make_even(self._stage.folder, len(self._inputs) * self._size)


@contextmanager
def _temporary(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        yield folder
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
