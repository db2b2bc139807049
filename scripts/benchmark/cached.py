"""The second job on the same input, which the worker has kept (`CACHE_GIB`), on file systems that differ in that."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.benchmark import floors
from scripts.benchmark.stage import MIB, Stage, Values, make_even

MKFS = {"xfs": ["mkfs.xfs", "-q"], "btrfs": ["mkfs.btrfs", "-q"]}
SPARE = 1 << 30
"""Bytes of a mounted disk beside five times the input: the store's, the cache's, the jobs' and the floor's copies."""


@dataclass(frozen=True)
class CachedInput:
    """Two jobs on the same input of `size` bytes. `mkfs`: on a file system of its own, which takes root."""

    stage: Stage
    name: str
    size: int
    mkfs: str | None = None

    def run(self) -> Values:
        file_id = f"s3://bucket/{self.name}"
        if self.stage.run == 0:
            self.stage.mock.put_random([file_id], self.size)
        with self._folder() as folder:
            (here_s, made_s, fetched), (copied_s, floor_s, _) = self.stage.both(
                lambda: self._second_job(folder, file_id), lambda: (*self._copy(folder), 0)
            )
        return {
            f"{self.name}-here": (here_s, copied_s),
            f"{self.name}-made": (made_s, floor_s),
            f"{self.name}-fetched": (fetched / MIB, None),
        }

    def _second_job(self, folder: Path, file_id: str) -> tuple[float, float, int]:
        """Seconds of the download, and from being pulled until the container is made; bytes that the storage sent."""
        mock, inputs = self.stage.mock, {"data/in": file_id}
        settings = {"CACHE_GIB": str(1 + 2 * self.size // 2**30), "MIN_FREE_GIB": "0"}
        with self.stage.worker_of(mock, folder, **settings) as worker:
            mock.ended(mock.submit("true", self.stage.image, inputs))
            make_even(folder, self.size)
            mock.forget_requests()
            job = mock.submit("true", self.stage.image, inputs)
            made_s = self.stage.event(job, "create", worker)[0] - mock.ended(job)["pulled"]
        return float(mock.report(job)["download_s"]), made_s, mock.sent_bytes("/s3")

    def _copy(self, folder: Path) -> tuple[float, float]:
        source = folder / "source"
        with source.open("wb") as file:
            for _ in range(0, self.size, MIB):
                file.write(bytes(MIB))
        make_even(folder, self.size)
        copied_s, made_s = floors.copy_and_create(self.stage, source, folder / "copy", "--reflink=never")
        source.unlink()
        return copied_s, made_s

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = self.stage.folder / self.name
        folder.mkdir(exist_ok=True)
        if self.mkfs is None:
            yield folder
            return
        disk = folder.with_suffix(".disk")
        with disk.open("wb") as file:
            file.truncate(5 * self.size + SPARE)
        try:
            _run(*MKFS[self.mkfs], str(disk))
            _run("mount", "-o", "loop", str(disk), str(folder))
            try:
                yield folder
            finally:
                _run("umount", str(folder))
        finally:
            disk.unlink()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603
