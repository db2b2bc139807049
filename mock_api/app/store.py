"""Objects on disk under keys of any kind: written in blocks, hashed on the way, visible when complete."""

import asyncio
import bisect
import hashlib
import itertools
import shutil
import tempfile
import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

BLOCK = 1024 * 1024


@dataclass(frozen=True)
class StoredObject:
    """A complete object. `md5` is hexadecimal, `modified` in seconds since the epoch."""

    key: str
    path: Path
    size: int
    md5: str
    modified: float


class Writer:
    """Writes one object, a block at a time in a thread, while the next block is on its way."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._file = path.open("wb")
        self._waiting: list[bytes] = []
        self._waiting_size = 0
        self._writing: asyncio.Future[tuple[None, None]] | None = None

    async def write(self, data: bytes) -> None:
        """Take some bytes; waits only when a whole block is full and the one before is not yet on disk."""
        self._waiting.append(data)
        self._waiting_size += len(data)
        self.size += len(data)
        if self._waiting_size >= BLOCK:
            await self._flush()

    async def finish(self) -> str:
        """Write what is left, close the file and return its MD5."""
        await self._flush()
        await self._settle()
        self._file.close()
        return self._md5.hexdigest()

    async def discard(self) -> None:
        """Forget it all."""
        await self._settle()
        self._file.close()
        self.path.unlink(missing_ok=True)

    async def _flush(self) -> None:
        await self._settle()
        blocks, self._waiting, self._waiting_size = self._waiting, [], 0
        self._writing = asyncio.gather(asyncio.to_thread(self._hash, blocks), asyncio.to_thread(self._append, blocks))

    async def _settle(self) -> None:
        if self._writing is not None:
            await self._writing

    def _hash(self, blocks: list[bytes]) -> None:
        for block in blocks:
            self._md5.update(block)

    def _append(self, blocks: list[bytes]) -> None:
        self._file.writelines(blocks)


class ObjectStore:
    """The store of one mock. Its folder is made when first needed; a temporary one goes with the store."""

    def __init__(self, folder: Path | None, now: Callable[[], float]) -> None:
        self._folder = folder
        self._remove_folder: Callable[[], object] = lambda: None
        self._now = now
        self._objects: dict[str, StoredObject] = {}
        self._keys: list[str] = []  # sorted, so that listing a job's outputs does not go through all of them
        self._refused: set[str] = set()
        self._lock = threading.RLock()

    def writer(self) -> Writer:
        """Open a new object, to be handed to `commit` or discarded."""
        return Writer(self._existing_folder() / uuid.uuid4().hex)

    async def commit(self, key: str, writer: Writer) -> StoredObject:
        """Make a written object visible under its key, in place of an older one."""
        md5 = await writer.finish()
        new = StoredObject(key, writer.path, writer.size, md5, self._now())
        old = self._set(new)
        if old is not None:
            await asyncio.to_thread(old.path.unlink, missing_ok=True)  # takes a while for gigabytes
        return new

    def put(self, key: str, data: bytes) -> None:
        """Store a small object at once."""
        path = self._existing_folder() / uuid.uuid4().hex
        path.write_bytes(data)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self._set(StoredObject(key, path, len(data), md5, self._now()))

    def _set(self, new: StoredObject) -> StoredObject | None:
        with self._lock:
            old = self._objects.get(new.key)
            if old is None:
                bisect.insort(self._keys, new.key)
            self._objects[new.key] = new
            return old

    def get(self, key: str) -> StoredObject | None:
        with self._lock:
            return self._objects.get(key)

    def read(self, key: str) -> bytes:
        """The content of a small object. Raises `KeyError`."""
        with self._lock:
            return self._objects[key].path.read_bytes()

    def under(self, prefix: str) -> list[StoredObject]:
        """All objects whose keys begin so, by key."""
        with self._lock:
            following = itertools.islice(self._keys, bisect.bisect_left(self._keys, prefix), None)
            keys = itertools.takewhile(lambda key: key.startswith(prefix), following)
            return [self._objects[key] for key in keys]

    def remove(self, key: str) -> None:
        """Forget an object, if it is there."""
        with self._lock:
            old = self._objects.pop(key, None)
            if old is not None:
                self._keys.remove(key)
                old.path.unlink(missing_ok=True)

    def refuse(self, key: str, refused: bool) -> None:
        """Make a key one that workers are not allowed to read, or allow it again."""
        with self._lock:
            (self._refused.add if refused else self._refused.discard)(key)

    def is_refused(self, key: str) -> bool:
        with self._lock:
            return key in self._refused

    def close(self) -> None:
        """Remove the folder if it is a temporary one."""
        self._remove_folder()

    def _existing_folder(self) -> Path:
        with self._lock:
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="mock_api-"))
                self._remove_folder = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            return self._folder


def keep_freed_memory() -> None:
    """Have the C library reuse the memory of large buffers instead of giving it back to the kernel each time.

    glibc learns from the first large allocation that is freed (mallopt(3), M_MMAP_THRESHOLD). Without this, uploads
    spend half of the server's time on page faults.
    """
    bytes(16 * BLOCK)


def input_key(file_id: str) -> str:
    return f"inputs/{file_id}"


def output_prefix(job_id: str, output_type: str = "", base_path: str = "") -> str:
    """The key, up to the file's name, of what a job uploads: always ends in a slash."""
    parts = ["jobs", job_id, output_type, base_path.strip("/")]
    return "".join(f"{part}/" for part in parts if part)
