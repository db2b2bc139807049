"""What a file system can do wrong, and a mount of one that does it on demand (`faulty_fs`)."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path


class Fault(StrEnum):
    """What the file system does wrong."""

    FLOCK_REFUSED = "flock-refused"
    FLOCK_SHARED = "flock-shared"
    """Every lock is granted to everybody. Both faults of flock must be there when the file system is mounted."""
    CHMOD_REFUSED = "chmod-refused"
    CHMOD_IGNORED = "chmod-ignored"
    ALWAYS_OPEN = "always-open"
    """Every file and folder shows the mode 0777: vfat with umask=000, SMB with dir_mode=0777, WSL2."""
    FSYNC_FILE = "fsync-file"
    FSYNC_FOLDER = "fsync-folder"
    RENAME_FILE = "rename-file"
    RENAME_FOLDER = "rename-folder"
    RENAME_OPEN = "rename-open"
    """A folder in which a file is open cannot be renamed: SMB."""
    STATFS = "statfs"
    ODD_NAMES = "odd-names"
    FOLD_CASE = "fold-case"
    FOLD_UNICODE = "fold-unicode"
    SILLY_RENAME = "silly-rename"
    """An open file that is removed stays under another name until it is closed: NFS, libfuse."""
    EIO = "eio"
    EROFS = "erofs"
    EDQUOT = "edquot"
    ENOSPC = "enospc"
    ESTALE = "estale"
    """The last five: whatever changes the disk is refused so."""
    EIO_READ = "eio-read"
    """Nothing can be read from a file."""


def set_faults(file: Path, faults: Iterable[Fault]) -> None:
    """Let these faults, and no others, hold from the next request on."""
    new = file.with_name(file.name + ".new")
    new.write_text("\n".join(faults))
    new.rename(file)


@contextmanager
def mounted(folder: Path, *faults: Fault) -> Iterator[Callable[..., None]]:
    """Mount the file system at `folder`. Gives a function that sets the faults from then on."""
    backing = Path(tempfile.mkdtemp(dir="/dev/shm"))  # in memory, where fsync(2) takes no time
    backing.chmod(0o755)
    file = folder.with_name(f"{folder.name}.faults")
    folder.mkdir(exist_ok=True)
    set_faults(file, faults)
    line = [sys.executable, "-m", "tests.field.faulty_fs", str(backing), str(folder), str(file)]
    server = subprocess.Popen(line, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE)
    output = server.stdout
    assert output is not None
    try:
        assert output.readline() == b"mounted\n"
        yield lambda *new: set_faults(file, new)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
        server.terminate()  # by itself it ends only once nobody has a file open there, which a test that fails may have
        server.wait(60)
        output.close()
        shutil.rmtree(backing)
