"""Write the tail, the file with the steps since the last seal. It remains if the writer is killed.

On file systems that overwrite reserved blocks in place, the tail is reserved and mapped. Then a step is a copy into the page
cache without a system call, and survives SIGKILL like a write. On other file systems, and if each step must reach the disk,
a step is one `write`. ADR 2 has the reasons and the limits.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import errno
import functools
import mmap
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journal.format.schema import SPARE_SUFFIX
from journal.host.files import take_name

# Blocks that are reserved here stay reserved and are overwritten in place, so a store into a mapping cannot run out of
# space. Where a store may need a new block (btrfs; xfs, for pages that a reflinked copy shares), a full disk is SIGBUS.
_EXT4, _TMPFS = 0xEF53, 0x01021994
_MOST_SPARES = 64

_spares: list[Tail] = []  # all spares have one folder and capacity; several threads use it, each call is atomic


def open_tail(path: str, capacity: int, *, sync_each_step: bool) -> Tail:
    """Return a blank tail of this name. The tail of an earlier episode is reused, because renaming is cheaper.

    Args:
        path: The tail's name.
        capacity: Bytes that a mapped tail reserves.
        sync_each_step: Whether each step must reach the disk; such a tail is never mapped.

    Raises:
        FileExistsError: A file of this name exists.
        OSError: The tail cannot be created.
    """
    while not sync_each_step and (spare := _spare_for(path, capacity)) is not None:
        try:
            spare.rename(path)
        except FileNotFoundError:  # another program removed it
            spare.discard()
        except OSError:
            spare.discard()
            raise
        else:
            return spare
    return Tail(path, capacity, sync_each_step=sync_each_step)


def _spare_for(path: str, capacity: int) -> Tail | None:
    try:
        spare = _spares.pop()
    except IndexError:
        return None
    if spare.serves(path, capacity):
        return spare
    _spares.append(spare)
    return None


class Tail:
    """An open tail. ``put(data)`` appends, returns the number of written bytes, and raises OSError.

    If the tail is mapped, its only descriptor belongs to the mapping, and ``fd`` is -1.
    """

    put: Callable[[bytes], int]
    fd = -1

    def __init__(self, path: str, capacity: int, *, sync_each_step: bool) -> None:
        self.path = path
        self.folder, _, self.name = path.rpartition("/")
        self._map: mmap.mmap | None = None
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._capacity = capacity
        self._blank = _zeros(capacity)
        try:
            if not sync_each_step and may_map(self.fd):
                self._map = _reserved_map(self.fd, capacity)
        except BaseException:
            self.discard()
            raise
        fd = self.fd
        if self._map is not None:
            self.put = self._map.write
            self.fd = -1
            os.close(fd)  # the mapping has its own descriptor
        elif sync_each_step:
            self.put = lambda data: _write_synced(fd, data)
        else:
            self.put = lambda data: os.write(fd, data)

    @property
    def mapped(self) -> bool:
        """Whether steps are stored into a mapping instead of written."""
        return self._map is not None

    def serves(self, path: str, capacity: int) -> bool:
        """Return True if this spare can become the tail of this name and size."""
        return self._capacity == capacity and self.folder == path.rpartition("/")[0]

    def fits(self, size: int) -> bool:
        """Return True if there is room for a write of this size."""
        return self._map is None or self._map.tell() + size <= len(self._map)

    def grow(self, size: int) -> None:
        """Make room for a step with more trades than a tail can hold. Call it while the tail is blank."""
        if self._map is None:
            return
        fd = os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, size)
        finally:
            os.close(fd)
        self._map.resize(size)
        self._blank = _zeros(size)

    def restart(self) -> None:
        """Blank the tail, because its rows are in the stream now, and start again at the front."""
        self.rewind(0)

    def rewind(self, start: int) -> None:
        """Blank the bytes from ``start`` on, and continue there."""
        if self._map is not None:
            end = self._map.tell()
            self._map[start:end] = self._blank[: end - start]
            self._map.seek(start)
            return
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        if os.pwrite(self.fd, bytes(end - start), start) != end - start:
            raise OSError(errno.ENOSPC, "short write to the tail")
        os.lseek(self.fd, start, os.SEEK_SET)

    def put_mark(self, mark: bytes, at: int) -> None:
        """Store a last slot after the first ``at`` bytes, if the tail is mapped and ends there."""
        if self._map is not None and self._map.tell() == at and self.fits(len(mark)):
            self._map.write(mark)

    def rename(self, path: str) -> None:
        """Rename the tail in the same folder. Raise FileExistsError if another file has the name."""
        take_name(self.path, path)
        self.path, self.name = path, path.rpartition("/")[2]

    def retire(self) -> None:
        """Keep the tail under a hidden name for the next episode of the same run. The stream has all rows by now.

        Spares of other runs are removed, so that descriptors and files of finished runs do not accumulate.
        """
        if self._map is None or len(self._map) != self._capacity:
            self.discard()
            return
        last = _spares[-1:]  # one call, because another thread may take it
        if last and not last[0].serves(self.path, self._capacity):
            discard_spares()
        if len(_spares) >= _MOST_SPARES:
            self.discard()
            return
        try:
            self.restart()
            hidden = f"{self.folder}/.{secrets.token_hex(8)}{SPARE_SUFFIX}"  # no other file has this name
            os.rename(self.path, hidden)
            self.path = hidden
            _spares.append(self)
        except OSError:
            self.discard()

    def discard(self) -> None:
        """Remove the file. A tail that remains beside a closed journal is harmless."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and keep it."""
        self.put = _closed
        if self._map is not None:
            self._map.close()
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)


def may_map(fd: int) -> bool:
    """Return True if a tail on this file system may be mapped: on ext4 and tmpfs only (docs/adr/0002-mapped-tail.md).

    Called for each tail, because another file system can be mounted while the process runs.
    """
    return os.environ.get("RSC_MAPPED_TAIL", "1") != "0" and _file_system_magic(fd) in (_EXT4, _TMPFS)


def _file_system_magic(fd: int) -> int:
    """Return ``f_type`` of statfs(2), which Python does not offer; 0 if it is unknown."""
    answer = (ctypes.c_long * 64)()
    return int(answer[0]) if _libc().fstatfs(fd, answer) == 0 else 0


@functools.cache
def _libc() -> Any:
    return ctypes.CDLL(None)


@functools.lru_cache(maxsize=4)
def _zeros(size: int) -> memoryview:
    return memoryview(bytes(size))  # a slice of it is no copy


def _reserved_map(fd: int, capacity: int) -> mmap.mmap:
    os.posix_fallocate(fd, 0, capacity)
    return mmap.mmap(fd, capacity)


def _write_synced(fd: int, data: bytes) -> int:
    written = os.write(fd, data)
    os.fdatasync(fd)
    return written


def _closed(data: bytes) -> int:
    raise ValueError("the tail is closed")


def discard_spares(folder: Path | None = None) -> None:
    """Remove the spare tails of this process: all, or those in one folder."""
    last = _spares[-1:]
    if folder is None or (last and last[0].folder == os.fspath(folder)):
        for tail in _take_spares():
            tail.discard()


def _take_spares() -> list[Tail]:
    tails: list[Tail] = []
    with contextlib.suppress(IndexError):  # other threads may take and add some
        while True:
            tails.append(_spares.pop())
    return tails


def _forget_spares() -> None:
    """Forget the spare tails in a forked child, because they belong to the parent."""
    for tail in _take_spares():
        tail.close()


atexit.register(discard_spares)
os.register_at_fork(after_in_child=_forget_spares)
