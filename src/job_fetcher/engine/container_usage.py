"""What a container has used so far: memory and processor time, by its cgroup or by the engine's statistics.

A worker on the host reads two small files (cgroup v1 and v2: the kernel's "Memory Controller" and "CPU Accounting"). A
worker in a container of its own does not see the cgroups of others, and asks the engine, which costs more.
"""

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from job_fetcher.engine.client import Client, translate_errors

CGROUPS = Path("/sys/fs/cgroup")
ASK_EVERY = 10
"""Only each tenth look asks the engine: that takes some milliseconds of it and of the worker."""


@dataclass(frozen=True)
class Usage:
    """The most memory so far in MiB, page cache included, and the processor time so far in seconds."""

    peak_memory_mib: float | None = None
    cpu_s: float | None = None


class ContainerUsage:
    """The usage of one container that runs, and its image. Raises what `translate_errors` does if it asks in vain."""

    def __init__(self, client: Client, container: str) -> None:
        self._client, self._container = client, container
        self._inspected: dict[str, Any] | None = None
        self._files: tuple[Path, Path] | None = None
        self._looks = 0
        self._peak_mib = 0.0

    def look(self) -> Usage | None:
        """The usage now; `None` if it is not asked for this time, or the container has ended."""
        pid = self._inspect()["State"].get("Pid")
        if pid == 0:  # it had ended
            return None
        if self._looks == 0:
            self._files = _files(pid or 0, self._container)
        self._looks += 1
        if self._files is not None:
            memory, cpu = self._files
            with suppress(OSError, ValueError):
                return Usage(int(memory.read_text(encoding="ascii")) / 2**20, _cpu_s(cpu.read_text(encoding="ascii")))
            return None
        return self._ask() if self._looks % ASK_EVERY == 1 else None

    def image_digest(self) -> str | None:
        """The digest that its image has in its registry, `sha256:…`; `None` if it comes from none."""
        with translate_errors("inspect the job's image"):
            found = self._client.inspect_image(self._inspect()["Image"])  # type: ignore[no-untyped-call]
        digests = found.get("RepoDigests") or []
        return str(digests[0]).partition("@")[2] or None if digests else None

    def _inspect(self) -> dict[str, Any]:
        """What the engine knew of the container at the first look."""
        if self._inspected is None:
            with translate_errors("inspect the job's container"):
                self._inspected = self._client.inspect_container(self._container)
        return self._inspected

    def _ask(self) -> Usage | None:
        with translate_errors("measure the job's container"):
            told = self._client.stats(self._container, stream=False, one_shot=True)
        memory = told.get("memory_stats") or {}
        cpu_ns = ((told.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
        if not memory.get("usage") or not cpu_ns:  # it has ended
            return None
        self._peak_mib = max(self._peak_mib, memory.get("max_usage", memory["usage"]) / 2**20)
        return Usage(self._peak_mib, cpu_ns / 1e9)


def _files(pid: int, container: str) -> tuple[Path, Path] | None:
    """The files of the container's peak memory and of its processor time, if this process sees them."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    memory, cpu = _path(text, "memory"), _path(text, "cpuacct")
    files = [CGROUPS / "memory" / memory / "memory.max_usage_in_bytes", CGROUPS / "cpuacct" / cpu / "cpuacct.usage"]
    if not memory:
        unified = _path(text, "")
        files = [CGROUPS / unified / "memory.peak", CGROUPS / unified / "cpu.stat"]
        cpu = memory = unified
    if container not in memory or container not in cpu or not all(map(Path.is_file, files)):
        return None  # another process has that pid here
    return files[0], files[1]


def _path(cgroups: str, controller: str) -> str:
    """The path of a controller in a text of cgroups(7), relative to its mount; "" if it is not there."""
    found = re.search(rf"^\d+:(?:[^:\n]*,)?{controller}(?:,[^:\n]*)?:/(.*)$", cgroups, re.MULTILINE)
    return found[1] if found else ""


def _cpu_s(text: str) -> float:
    """Seconds in `cpu.stat` of cgroup v2, or in `cpuacct.usage` of v1, which has nanoseconds alone."""
    found = re.search(r"^usage_usec (\d+)$", text, re.MULTILINE)
    return int(found[1]) / 1e6 if found else int(text) / 1e9
