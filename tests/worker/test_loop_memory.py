"""What the worker keeps in memory does not grow with the files."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from app.store import StoredObject, input_key, output_prefix
from tests.support.platform import Platform
from tests.support.worker import WorkerProcess

GIB = 2**30
BLOCK = 2**20
MAX_MEMORY_MIB = 150


def _sparse_file(path: Path, size: int) -> str:
    """Make a file of nothing but holes and a block each of noise at its beginning, middle and end; returns its MD5."""
    noise = random.Random(size).randbytes(BLOCK)
    with path.open("wb") as file:
        for position in (0, size // 2, size - BLOCK):
            file.seek(position)
            file.write(noise)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


@pytest.mark.parametrize(("storage", "count"), [("own", 1), ("s3", 4)])
def test_two_gib_in_and_out_need_less_than_150_mib(
    mock: Platform, start_worker: Callable[..., WorkerProcess], job_image: str, tmp_path: Path, storage: str, count: int
) -> None:
    """P11: as one file, and as several at the same time."""
    worker = start_worker(constants=None)
    mock.configure(storage=storage)
    size = 2 * GIB // count
    md5 = _sparse_file(tmp_path / "big", size)
    for index in range(count):
        key = input_key(f"s3://bucket/big{index}")
        mock.state.store._objects[key] = StoredObject(key, tmp_path / "big", size, md5, 0)
    files = {f"data/{index}.tif": f"s3://bucket/big{index}" for index in range(count)}
    job = mock.submit("mv /files/data/* /files/output/", image=job_image, files=files, up={"output": "output"})
    mock.wait_for_status(job, timeout_s=300)
    files_up = "1 output file" if count == 1 else f"{count} output files"
    assert mock.details(job).startswith(f"The command ended with exit code 0. The worker uploaded {files_up} (2.0 GiB)")
    arrived = [(each.size, each.md5) for each in mock.state.store.under(output_prefix(job, "output"))]
    assert arrived == [(size, md5)] * count
    assert worker.peak_memory_mib < MAX_MEMORY_MIB
