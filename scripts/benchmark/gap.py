"""How long the GPU waits between two jobs, and for which share of the time it is in use: a container stands for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from scripts.benchmark import floors
from scripts.benchmark.stage import GO_ON, MIB, Mock, Stage, Values, Worker, let_go, wait_for


@dataclass(frozen=True)
class Gap:
    """From the end of a command with so many MiB of outputs to the start of the next job's, which waits in the queue.

    `line`: bytes/s of all connections together; `None`: as fast as this machine can. `settle_s`: how long a command
    goes on when it has written its outputs.
    """

    stage: Stage
    name: str
    mib: int
    line: float | None
    settle_s: float

    def run(self, worker: Worker) -> Values:
        ours, floor = self.stage.both(
            lambda: self._between_jobs(worker),
            lambda: floors.engine_turnaround(self.stage, self._line, self.settle_s),
        )
        return {self.name: (ours * 1000, floor * 1000)}

    @property
    def _line(self) -> str:
        return f"{fill(self.mib)}; {GO_ON}"

    def _between_jobs(self, worker: Worker) -> float:
        """In seconds. The jobs are deleted before the outputs are up: how long that takes plays no part.

        The worker hears of that by its next keep-alive.
        """
        mock = self.stage.mock
        with mock.forgetting_uploads(), on_a_line(mock, self.line):
            first = mock.submit(self._line, self.stage.image, output="output")
            second = mock.submit("sleep 1000", self.stage.image)
            ended = let_go(worker.base / first / "files", self.settle_s)
            started, _ = self.stage.event(second, "start")
            for job in (first, second):
                mock.ask("DELETE", f"/_jobs/{job}")
            wait_for(lambda: not any((worker.base / job).exists() for job in (first, second)), "the jobs to go")
        return started - ended


@dataclass(frozen=True)
class GpuShare:
    """The share of the time in which a command runs, from the first pull to the end of the last command, in percent.

    All `jobs` run for `seconds`, take in the same `mib` MiB, and give out as many, over a line of `line` bytes/s. The
    worker that goes without overlap and cache has half as many of these jobs. Not at the same time: each creation of a
    container would wait until the other worker's files are on the disk, too.
    """

    stage: Stage
    jobs: int
    seconds: float
    mib: int
    line: float

    def run(self) -> Values:
        without = {"FINISH_BEHIND": "0"}
        ours, floor = self.stage.both(
            lambda: self._share("with", self.jobs, {"CACHE_GIB": str(2 + self.mib // 1024)}),
            lambda: self._share("without", max(2, self.jobs // 2), without),
        )
        return {"share": (ours, floor)}

    def _share(self, name: str, jobs: int, settings: dict[str, str]) -> float:
        folder = self.stage.folder / f"{name}-{self.stage.run}"
        folder.mkdir()
        mock = Mock(folder / "store")
        try:
            file_id = "s3://bucket/share"
            mock.put_random([file_id], self.mib * MIB)
            mock.configure(line=self.line)
            with self.stage.worker_of(mock, folder, **settings) as worker:
                line = f"{fill(self.mib)}; sleep {self.seconds:g}"
                inputs = {"data/in": file_id}
                ids = [mock.submit(line, self.stage.image, inputs, "output") for _ in range(jobs)]
                spans = [[self.stage.event(job, what, worker)[0] for what in ("start", "die")] for job in ids]
                pulled = mock.times(ids[0])["pulled"]
                return 100 * sum(end - start for start, end in spans) / (spans[-1][1] - pulled)
        finally:
            mock.close()


def fill(mib: int) -> str:
    """A shell line that writes so many MiB of outputs."""
    return f"mkdir -p /files/output; dd if=/dev/zero of=/files/output/large bs=1M count={mib} 2> /dev/null"


@contextmanager
def on_a_line(mock: Mock, bandwidth: float | None) -> Iterator[None]:
    """All connections to the mock share so many bytes/s."""
    mock.configure(line=bandwidth)
    try:
        yield
    finally:
        mock.configure(line=None)
