"""The environments of the field lab, by the names that `scripts/field.sh` takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

from tests.field import engines, filesystems
from tests.field.place import Place


@dataclass(frozen=True)
class Environment:
    """`open` gives the place, or raises `NotHad`."""

    name: str
    title: str
    open: Callable[[], AbstractContextManager[Place]]


ENVIRONMENTS = (
    Environment("own", "the machine's own engine", engines.own),
    Environment("docker", "a second engine", engines.second),
    Environment("live-restore", "`--live-restore`", partial(engines.second, "--live-restore")),
    Environment("userns-remap", "`--userns-remap`, the worker is root", engines.remapped),
    Environment(
        "userns-remap-user", "`--userns-remap`, the worker is a user", partial(engines.remapped, uid=engines.USER)
    ),
    Environment("no-bridge", "`--bridge=none`, `JOB_NETWORK=none`", engines.without_bridge),
    *(
        Environment(f"log-{name}", f"log driver `{name}`", partial(engines.second, f"--log-driver={name}"))
        for name in ("local", "none", "journald", "syslog", "fluentd")
    ),
    Environment(
        "log-gelf",
        "log driver `gelf`",
        partial(engines.second, "--log-driver=gelf", "--log-opt=gelf-address=udp://127.0.0.1:12201"),
    ),
    Environment(
        "log-non-blocking",
        "log option `mode=non-blocking`",
        partial(engines.second, "--log-opt=mode=non-blocking", "--log-opt=max-buffer-size=64k"),
    ),
    Environment("xfs", "an xfs of its own", partial(filesystems.on_disk, "mkfs.xfs")),
    Environment("btrfs", "a btrfs of its own", partial(filesystems.on_disk, "mkfs.btrfs")),
    Environment("btrfs-quota", "a btrfs with a quota of 64 MiB", filesystems.with_quota),
    Environment(
        "few-inodes",
        "an ext4 with few free inodes",
        partial(filesystems.on_disk, "mkfs.ext4", "-N", "1500", filler=filesystems.FILL_INODES),
    ),
    Environment(
        "small",
        "an ext4 with 64 MiB",
        partial(filesystems.on_disk, "mkfs.ext4", size_mib=64, filler=filesystems.FILL_BYTES),
    ),
    Environment("read-only", "an ext4 that became read-only", filesystems.read_only),
    Environment("tmpfs", "a tmpfs", filesystems.tmpfs),
    Environment("fuse", "FUSE, as it is", filesystems.fuse),
    *(
        Environment(f"fuse-{name}", title, partial(filesystems.fuse, *faults))
        for name, title, faults in filesystems.FUSE
    ),
    *(
        Environment(name, f"a client of {title}", partial(filesystems.kernel_client, name, title))
        for name, title in (("nfs", "NFS"), ("cifs", "SMB"), ("vfat", "vfat"), ("exfat", "exFAT"), ("9p", "9p"))
    ),
)
