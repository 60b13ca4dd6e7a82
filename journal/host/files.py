"""Create a file: lock it and write its first content, then give it its final name."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from pathlib import Path

from journal.errors import JournalAccessError
from journal.format.schema import NEW_SUFFIX

# What file systems without hard links say of one: FAT, shared folders of virtual machines, some of FUSE.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND


class NewFile:
    """Under a hidden name until `publish`; on exit no hidden name is left. ``fd`` is the caller's.

    Invariant L2: whoever finds the file under its own name finds it locked, as long as ``fd`` is open. Makes the folder
    if there is none. Raises OSError.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hidden = f"{path.parent}/.{path.stem}.{secrets.token_hex(4)}{NEW_SUFFIX}"
        try:
            self.fd = os.open(self._hidden, _FLAGS, 0o644)
        except FileNotFoundError:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.fd = os.open(self._hidden, _FLAGS, 0o644)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # some network file systems know no locks
            os.close(self.fd)
            os.unlink(self._hidden)
            raise

    def publish(self, *, replacing: bool = False) -> None:
        """Give it its name; raise FileExistsError if another file has that, unless it is to be replaced."""
        if replacing:
            os.rename(self._hidden, self.path)
        else:
            take_name(self._hidden, self.path)
        self._hidden = ""

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._hidden:
            os.unlink(self._hidden)


def take_name(old: Path | str, new: Path) -> None:
    """Rename a file; raise FileExistsError rather than take the name from somebody."""
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(new):  # the best that is left: a race for one name is decided by who comes last
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(new)) from None
        os.rename(old, new)
    else:
        os.unlink(old)


def write_all(fd: int, data: bytes) -> None:
    """One write; a short one is finished, so that a full disk shows as the error that it is."""
    written = os.write(fd, data)
    while written < len(data):
        more = os.write(fd, memoryview(data)[written:])
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def sync_folder(folder: Path) -> None:
    """A new name is durable only once its folder is."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_regular(path: Path | str) -> int:
    """A descriptor for reading a regular file: no symlink is followed, and a pipe blocks nobody. JournalAccessError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise JournalAccessError(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise JournalAccessError(path, OSError(errno.EINVAL, str(error))) from error
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError as error:  # ESTALE, where a server forgot the file
        os.close(fd)
        raise JournalAccessError(path, error) from error
    if not regular:
        os.close(fd)
        raise JournalAccessError(path, OSError(errno.EINVAL, "not a regular file"))
    return fd


def size_of(fd: int, path: Path | str) -> int:
    """Return the size of an open file; raise JournalAccessError."""
    try:
        return os.fstat(fd).st_size
    except OSError as error:
        raise JournalAccessError(path, error) from error
