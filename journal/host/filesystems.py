"""On what kind of file system a folder lies: it decides how far a lock is trusted and how a tail is written."""

from __future__ import annotations

import functools
import os
from pathlib import Path

# Their locks are kept by this kernel alone, so what one process holds every other process of the host sees.
# Network and shared file systems (nfs, cifs, fuse.*, 9p, virtiofs, lustre, ...) are left out on purpose.
LOCAL = frozenset(
    {"ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "tmpfs", "overlay", "ramfs", "jfs", "bcachefs"}
)

# Blocks that are reserved here stay reserved and are overwritten in place, so a store into a mapping cannot run
# out of space. Copy-on-write file systems allocate anew, and a full disk would end the process by SIGBUS.
OVERWRITES_IN_PLACE = frozenset({"ext4", "xfs", "tmpfs"})


def file_system_of(path: Path | str) -> str:
    """The type of the file system that holds an existing path, as the kernel names it; "" if it can't be told."""
    try:
        info = os.stat(path)
    except OSError:
        return ""
    device = f"{os.major(info.st_dev)}:{os.minor(info.st_dev)}"
    return _by_device(device) or _by_prefix(os.path.realpath(path))


def is_local(path: Path | str) -> bool:
    """Does a free lock on this path prove that nobody on this host holds it?"""
    return file_system_of(path) in LOCAL


@functools.lru_cache(maxsize=64)
def _by_device(device: str) -> str:
    return next((kind for dev, _, kind in _mounts() if dev == device), "")


def _by_prefix(path: str) -> str:
    """btrfs shows another device to stat than to the mount table: there the longest mount point decides."""
    holding = [(len(point), kind) for _, point, kind in _mounts() if os.path.commonpath([point, path]) == point]
    return max(holding, default=(0, ""))[1]


def _mounts() -> list[tuple[str, str, str]]:
    try:
        lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        mounts.append((fields[2], fields[4].replace("\\040", " "), right.split()[0]))
    return mounts
