"""The tail file: the rows since the last seal, where a killed writer leaves them.

On file systems that overwrite reserved blocks in place the tail is reserved and mapped: a step is then a copy
into the page cache, without a system call, and survives SIGKILL as a write does. Elsewhere, and where each step
must reach the disk, it is one `write`. ADR 2 has the reasons and the limits.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import mmap
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from journal.format.schema import SPARE_SUFFIX
from journal.host.files import take_name
from journal.host.filesystems import OVERWRITES_IN_PLACE, file_system_of

_MOST_SPARES = 64  # a folder

_spares: dict[tuple[Path, int], list[Tail]] = {}


def open_tail(path: Path, capacity: int, *, sync_each_step: bool) -> Tail:
    """A blank tail of this name: one that an earlier episode left, since making a file costs more than naming one.

    Raises FileExistsError and OSError.
    """
    waiting = [] if sync_each_step else _spares.get((path.parent, capacity), [])
    while waiting:
        spare = waiting.pop()
        try:
            spare.rename(path)
        except FileNotFoundError:  # somebody tidied up
            spare.discard()
        except OSError:
            spare.discard()
            raise
        else:
            return spare
    return Tail(path, capacity, sync_each_step=sync_each_step)


class Tail:
    """An open tail. ``put(data)`` appends, returns the number of bytes taken, and raises OSError."""

    put: Callable[[bytes], int]
    fd = -1

    def __init__(self, path: Path, capacity: int, *, sync_each_step: bool) -> None:
        self.path = path
        self._map: mmap.mmap | None = None
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._capacity = capacity
        self._blank = bytes(capacity)
        try:
            if not sync_each_step and _may_map(path.parent):
                self._map = _reserved_map(self.fd, capacity)
        except BaseException:
            self.discard()
            raise
        fd = self.fd
        if self._map is not None:
            self.put = self._map.write
        elif sync_each_step:
            self.put = lambda data: _write_synced(fd, data)
        else:
            self.put = lambda data: os.write(fd, data)

    @property
    def mapped(self) -> bool:
        """Whether steps are stored into a mapping instead of written."""
        return self._map is not None

    def fits(self, size: int) -> bool:
        """Is there room for a write of this size behind what stands here?"""
        return self._map is None or self._map.tell() + size <= len(self._map)

    def grow(self, size: int) -> None:
        """Make room for a step with more trades than a whole tail holds; called while the tail is blank."""
        if self._map is None:
            return
        os.posix_fallocate(self.fd, 0, size)
        self._map.resize(size)
        self._blank = bytes(size)

    def restart(self) -> None:
        """Blank all that was written: it lives in the stream now. Then start again at the front."""
        self.rewind(0)

    def rewind(self, start: int) -> None:
        """Blank what was written from ``start`` on, and go on there."""
        if self._map is not None:
            end = self._map.tell()
            self._map[start:end] = self._blank[start:end]
            self._map.seek(start)
            return
        end = os.lseek(self.fd, 0, os.SEEK_CUR)
        if os.pwrite(self.fd, bytes(end - start), start) != end - start:
            raise OSError(errno.ENOSPC, "short write to the tail")
        os.lseek(self.fd, start, os.SEEK_SET)

    def rename(self, path: Path) -> None:
        """Take another name; raise FileExistsError if another file has that."""
        take_name(self.path, path)
        self.path = path

    def retire(self) -> None:
        """The episode is closed and all its rows live in the stream: wait for the next one under a hidden name."""
        waiting = _spares.setdefault((self.path.parent, self._capacity), [])
        if self._map is None or len(waiting) >= _MOST_SPARES or len(self._map) != self._capacity:
            self.discard()
            return
        try:
            self.restart()
            self.rename(self.path.with_name(f".{secrets.token_hex(8)}{SPARE_SUFFIX}"))
            waiting.append(self)
        except OSError:
            self.discard()

    def discard(self) -> None:
        """Remove the file. One that stays beside a closed journal does no harm."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; it stays where it is. A tail that nobody holds any more does so itself."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            if self._map is not None:
                self.put = _closed
                self._map.close()
            os.close(fd)


def _may_map(folder: Path) -> bool:
    return os.environ.get("RSC_MAPPED_TAIL", "1") != "0" and file_system_of(folder) in OVERWRITES_IN_PLACE


def _reserved_map(fd: int, capacity: int) -> mmap.mmap:
    os.posix_fallocate(fd, 0, capacity)
    return mmap.mmap(fd, capacity)


def _write_synced(fd: int, data: bytes) -> int:
    written = os.write(fd, data)
    os.fdatasync(fd)
    return written


def _closed(data: bytes) -> int:
    raise ValueError("the tail is closed")


def _spare_tails() -> list[Tail]:
    tails = [tail for waiting in _spares.values() for tail in waiting]
    _spares.clear()
    return tails


def _discard_spares() -> None:
    for tail in _spare_tails():
        tail.discard()


def _forget_spares() -> None:
    """In a forked child: they are the parent's."""
    for tail in _spare_tails():
        tail.close()


atexit.register(_discard_spares)
os.register_at_fork(after_in_child=_forget_spares)
