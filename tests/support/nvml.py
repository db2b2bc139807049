"""A stub of NVIDIA's management library, for workers under test: any cards, any failure, on a machine without one."""

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml_stub.c")
LIBRARY = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class Gpu:
    """A card as NVML describes it; `architecture` is one of NVML's numbers.

    `reserved_mib` is what its driver keeps for itself, `used_mib` what others use, whether NVML lists them or not.
    `processes` (that compute) and `graphics` are pairs of pid and MiB; -1 where the driver does not tell.
    """

    uuid: str = "GPU-11111111-1111-1111-1111-111111111111"
    name: str = "NVIDIA RTX A4000"
    memory_mib: int = 16376
    used_mib: int = 0
    architecture: int = 7  # NVML_DEVICE_ARCH_AMPERE
    processes: Sequence[tuple[int, int]] = ()
    graphics: Sequence[tuple[int, int]] = ()
    reserved_mib: int = 0
    mig: bool = False

    def lines(self) -> list[str]:
        memory = f"{self.memory_mib} {self.reserved_mib} {self.used_mib}"
        gpu = f"gpu {self.uuid} {self.architecture} {int(self.mig)} {memory} {self.name}"
        kinds = {"compute": self.processes, "graphics": self.graphics}
        return [gpu, *(f"{kind} {self.uuid} {pid} {mib}" for kind, each in kinds.items() for pid, mib in each)]


def compile_stub(folder: Path) -> Path:
    """The stub as a shared library in `folder`."""
    library = folder / LIBRARY
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY}"]
    subprocess.run([*command, "-o", str(library), str(SOURCE)], check=True)
    return library


class NvmlStub:
    """What a worker under test sees of the machine's cards: none, until `show` says otherwise, at any time."""

    def __init__(self, library: Path, description: Path) -> None:
        self.shared_object = library
        self.description = description
        self.show()

    def show(self, *gpus: Gpu, failures: dict[str, int] | None = None) -> None:
        """From now on the machine has `gpus`; `failures` are NVML functions (without `_v2`, `_v3`) and their codes."""
        lines = [line for gpu in gpus for line in gpu.lines()]
        lines += [f"fail {function} {code}" for function, code in (failures or {}).items()]
        # Renamed into place, since a worker may be reading it.
        partial = self.description.with_suffix(".part")
        partial.write_text("\n".join([*lines, ""]))
        partial.replace(self.description)

    @property
    def environment(self) -> dict[str, str]:
        """Variables with which another process, or a container that mounts both folders, finds the stub."""
        return {"LD_LIBRARY_PATH": str(self.shared_object.parent), "NVML_STUB": str(self.description)}

    def preload(self) -> None:
        """Make this very process use the stub: the loader takes a library of that name that is loaded already."""
        ctypes.CDLL(str(self.shared_object))
