"""Files and their names, as users have them, and the two kinds of storage that keep them."""

import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pytest

BLOCK = 1 << 20
LARGE = bytes(range(256)) * (3 * BLOCK // 256) + b"the end"
ODD_NAMES = [
    "sp ace.tif",
    "ü日本.csv",
    "a#1?.txt",
    "100%20.bin",
    "a'b.txt",
    "x;y=z&w.txt",
    "a+b.txt",
    "-rf",
    "[x]{y}~",
]

every_size = pytest.mark.parametrize("content", [b"", b"x", LARGE], ids=["empty", "small", "large"])
own_and_s3 = pytest.mark.parametrize("storage", ["own", "s3"])


@contextmanager
def sparse_file(size: int) -> Iterator[tuple[Path, BinaryIO]]:
    """A file of `size` zeros that takes no room, and the same, open."""
    with tempfile.NamedTemporaryFile(buffering=0) as file:
        file.truncate(size)
        yield Path(file.name), file  # type: ignore[misc] # the wrapper of a file is one


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Measures how many bytes this process has in use at most within the block; the call tells."""
    peaks: list[int] = []
    tracemalloc.start()
    try:
        yield lambda: peaks[0]
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
