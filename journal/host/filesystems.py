"""Name the kind of file system that holds a folder, and list the kinds on which locks or leases can be trusted.

`journal.write.tail` decides whether a tail on a file system is mapped. Nothing is cached here, because a mount can be
replaced by another one with the same device number.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

# Only this kernel keeps their locks, so every process that opens the same file sees a lock on it.
LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "ramfs", "jfs", "bcachefs"}
)

# Several hosts use them at once, and each file has the same inode number on all hosts. So a file with the number that
# its writer recorded is no copy. FUSE file systems are listed only if they are known to keep inode numbers.
SHARED = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "gpfs", "beegfs", "ocfs2", "gfs2", "orangefs", "afs", "9p",
        "virtiofs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.juicefs",
    }
)  # fmt: skip

_MOUNT = re.compile(r"^\S+ \S+ (\S+) \S+ (\S+) .*? - (\S+)", re.MULTILINE | re.ASCII)
_ESCAPED = re.compile(r"\\([0-7]{3})")


def file_system_of(path: Path | str) -> str:
    """Return the kernel's name of the file system that holds an existing path; empty if it cannot be told."""
    try:
        device = os.stat(path).st_dev
        table = Path("/proc/self/mountinfo").read_bytes().decode("utf-8", "surrogateescape")
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    for mount in _MOUNT.finditer(table):
        if mount[1] == number:
            return mount[3]
    return _longest_prefix(os.path.realpath(path), table)


def _longest_prefix(path: str, table: str) -> str:
    """Find the kind by the longest mount point. On btrfs the device numbers of stat and of the mount table differ."""
    holding = []
    for place, mount in enumerate(_MOUNT.finditer(table)):
        point = _ESCAPED.sub(lambda found: chr(int(found[1], 8)), mount[2])
        if os.path.commonpath([point, path]) == point:
            holding.append((len(point), place, mount[3]))
    return max(holding, default=(0, 0, ""))[2]
