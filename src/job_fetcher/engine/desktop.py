"""Docker Desktop: how it names folders of Windows and macOS, and what does not hold in its virtual machine.

Its Linux machine mounts the drives of Windows below /run/desktop/mnt/host, and the folders of macOS below /host_mnt.
"""

import re
from pathlib import PurePosixPath

_WINDOWS = re.compile(r"/run/desktop/mnt/host/([a-z])(/.*)?")
_MACOS = re.compile(r"/host_mnt(/.*)")
_IN_WSL = re.compile(r"/run/desktop/mnt/host/wsl/")
_OF_WINDOWS = re.compile(r"/[a-zA-Z](/.*)?|/mnt/[a-z](/.*)?")
"""How Git Bash and WSL write a path of Windows."""

SHARED = (
    "Docker Desktop shares PATH_BASE with Windows or macOS, where two workers may get one lock. Use a named volume:"
    " -v decode-jobs:/data"
)
UTC = "the clock of Docker Desktop's machine is UTC, and so are QUIET_HOURS. Set QUIET_HOURS_TZ, such as Europe/Berlin"
ALL_GPUS = "a container of Docker Desktop sees all GPUs of the machine. Run one worker, not one for each GPU"


def desktop_path(on_host: PurePosixPath) -> str | None:
    """The path of Windows or macOS that Docker Desktop mounts as `on_host`; `None` for a folder of its own machine."""
    if found := _WINDOWS.fullmatch(str(on_host)):
        return f"{found[1].upper()}:" + (found[2] or "/").replace("/", "\\")
    if found := _MACOS.fullmatch(str(on_host)):
        return found[1]
    return None


def is_shared(on_host: PurePosixPath) -> bool:
    """Whether Docker Desktop gets the folder from Windows or macOS, rather than from a volume or from WSL."""
    return desktop_path(on_host) is not None


def in_words(on_host: PurePosixPath) -> str:
    """A folder of the host as its owner knows it: `C:\\Users\\ada\\jobs`, and how Docker Desktop names that."""
    if _IN_WSL.match(str(on_host)):
        return f"a folder of WSL ({on_host})"
    known = desktop_path(on_host)
    return f"{known} ({on_host})" if known else str(on_host)


def looks_foreign(path: PurePosixPath) -> bool:
    """Whether `path` is how Git Bash or WSL writes a folder of Windows. It may be one of Linux all the same."""
    return _OF_WINDOWS.fullmatch(str(path)) is not None


def limits(on_host: PurePosixPath, *, hours_without_zone: bool, gpus: int) -> list[str]:
    """A sentence for each thing that does not hold in Docker Desktop's machine, with the cure.

    `on_host` is PATH_BASE there. Two locks of one file: docker/for-mac#7004. GPUs under WSL2:
    nvidia-container-runtime#167.
    """
    found = []
    if is_shared(on_host):
        found.append(SHARED)
    if hours_without_zone:
        found.append(UTC)
    if gpus > 1:
        found.append(ALL_GPUS)
    return found
