"""The `Source` protocol that readers use, and its implementation for files."""

from __future__ import annotations

import errno
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

from journal.errors import JournalAccessError
from journal.format.schema import FAILED_SUFFIX, MAX_TAIL_BYTES, TAIL_SUFFIX
from journal.host.files import open_regular, size_of

_PAGE = 1 << 12
_BEHIND_TAIL = 1 << 15  # a little more, so that a reader notices a longer tail


class Source(Protocol):
    """The bytes of one journal. All methods raise JournalAccessError only."""

    name: str

    def tail(self) -> tuple[bytes, bool] | None:
        """Return the tail's bytes and whether writing failed there; None if there is no tail.

        A tail longer than MAX_TAIL_BYTES may be cut a little after that.
        """
        ...

    def size(self) -> int:
        """Return the size of the stream in bytes; it may grow."""
        ...

    def read(self, offset: int, length: int) -> bytes:
        """Return bytes of the stream.

        Args:
            offset: Where they start, in bytes.
            length: Their number. Fewer are returned only at the end of the stream.
        """
        ...


class FileSource:
    """A journal in files. It is not memory-mapped, because a mapped file that shrinks kills its reader with SIGBUS.

    Only regular files are opened, and no symbolic link is followed.
    """

    def __init__(self, path: Path | str, fd: int | None = None) -> None:
        """Open the journal at ``path``, or take its open descriptor ``fd``. Raises JournalAccessError."""
        self.name = os.fspath(path)  # not a Path: creating one takes as long as opening the file
        self._fd = open_regular(self.name) if fd is None else fd

    def __enter__(self) -> FileSource:
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd = self._fd, -1  # another file may reuse this descriptor's number, and must not be read instead
        os.close(fd)

    def fileno(self) -> int:
        """Return the open descriptor."""
        return self._fd

    def tail(self) -> tuple[bytes, bool] | None:
        stem = os.path.splitext(self.name)[0]
        tail = _whole(stem + TAIL_SUFFIX)
        if tail is not None and tail[:_PAGE].strip(b"\0"):
            return tail, False
        # A blank tail may belong to another writer that did not get this name. It must not hide a failed tail.
        failed = _whole(stem + FAILED_SUFFIX)
        if failed is not None:
            return failed, True
        return None if tail is None else (tail, False)

    def size(self) -> int:
        return size_of(self._fd, self.name)

    def read(self, offset: int, length: int) -> bytes:
        return _read(self._fd, self.name, offset, length)


def kept_open(source: Source) -> AbstractContextManager[Source]:
    """Return a source that its owner closes, for code that opens one."""
    return nullcontext(source)


def _whole(path: str) -> bytes | None:
    """Return a tail's bytes, or None if there is no such file."""
    try:
        fd = open_regular(path)
    except JournalAccessError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return None
        raise
    try:
        return _read(fd, path, 0, min(size_of(fd, path), MAX_TAIL_BYTES + _BEHIND_TAIL))
    finally:
        os.close(fd)


def _read(fd: int, path: Path | str, offset: int, length: int) -> bytes:
    try:
        data = os.pread(fd, length, offset)
        while len(data) < length and (more := os.pread(fd, length - len(data), offset + len(data))):
            data += more
    except (OSError, ValueError, OverflowError) as error:
        raise JournalAccessError(
            path, error if isinstance(error, OSError) else OSError(errno.EINVAL, str(error))
        ) from error
    return data
