"""Create a file: lock it and write its first content, then give it its final name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import functools
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from journal.errors import JournalAccessError
from journal.format.schema import NEW_SUFFIX

# What file systems without hard links say of one: FAT, shared folders of virtual machines, some of FUSE.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC | os.O_APPEND
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


class NewFile:
    """A file without a name until `publish`; on exit no other name is left. ``fd`` is the caller's.

    Invariant L2: whoever finds the file under its own name finds it locked, as long as ``fd`` is open. Makes the folder
    if there is none. Raises OSError. Where the file system or the kernel makes no nameless files, it has a hidden name.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = os.fspath(path)
        self._hidden = ""
        folder = os.path.dirname(self.path)
        try:
            self.fd = self._made(folder)
        except FileNotFoundError:
            os.makedirs(folder, exist_ok=True)
            self.fd = self._made(folder)
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # some network file systems know no locks
            os.close(self.fd)
            if self._hidden:
                os.unlink(self._hidden)
            raise

    def _made(self, folder: str) -> int:
        if _makes_nameless(folder):
            with contextlib.suppress(OSError):  # another file system may be mounted there by now
                return os.open(folder, _NAMELESS, 0o644)
        self._hidden = _hidden_name(self.path)
        return os.open(self._hidden, _FLAGS, 0o644)

    def publish(self, *, replacing: bool = False) -> None:
        """Give it its name; raise FileExistsError if another file has that, unless it is to be replaced."""
        if replacing:
            if not self._hidden:
                hidden = _hidden_name(self.path)
                _link_nameless(self.fd, hidden)
                self._hidden = hidden
            os.rename(self._hidden, self.path)
        elif self._hidden:
            take_name(self._hidden, self.path)
        else:
            _link_nameless(self.fd, self.path)
        self._hidden = ""

    def __enter__(self) -> NewFile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._hidden:
            os.unlink(self._hidden)


def _hidden_name(path: str) -> str:
    folder, name = os.path.split(path)
    return f"{folder}/.{os.path.splitext(name)[0]}.{secrets.token_hex(4)}{NEW_SUFFIX}"


@functools.lru_cache(maxsize=64)
def _makes_nameless(folder: str) -> bool:
    """Try once for each folder whether a file can be made without a name, and get one. It saves a third of the time."""
    trial = _hidden_name(f"{folder}/trial")
    try:
        fd = os.open(folder, _NAMELESS, 0o644)
    except FileNotFoundError:
        raise
    except OSError:
        return False
    try:
        _link_nameless(fd, trial)
        os.unlink(trial)
    except OSError:  # no /proc, or a container that refuses it
        return False
    finally:
        os.close(fd)
    return True


def _link_nameless(fd: int, path: str) -> None:
    # With `src_dir_fd` Python calls linkat, which follows the link in /proc; link(2) does not.
    os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd, follow_symlinks=True)


def take_name(old: Path | str, new: Path | str) -> None:
    """Rename a file; raise FileExistsError rather than take the name from somebody."""
    error = rename_noreplace(os.fspath(old), os.fspath(new))
    if error == 0:
        return
    if error == errno.EEXIST:
        raise FileExistsError(error, os.strerror(error), str(new))
    _take_name_by_link(old, new)


def _take_name_by_link(old: Path | str, new: Path | str) -> None:
    """Where the kernel or the file system cannot rename so. Other errors come again here, and are raised."""
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


def rename_noreplace(old: str, new: str) -> int:
    """Call renameat2(2) with RENAME_NOREPLACE, which Python does not offer; return its errno, 0 for none."""
    call = _renameat2()
    if call is None:
        return errno.ENOSYS
    if call(_AT_FDCWD, os.fsencode(old), _AT_FDCWD, os.fsencode(new), _RENAME_NOREPLACE) == 0:
        return 0
    return ctypes.get_errno()


@functools.cache
def _renameat2() -> Any:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is not None:
        call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    return call


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
