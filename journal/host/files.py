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

# Errors of file systems without hard links: FAT, shared folders of virtual machines, some of FUSE.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS)
_NAMELESS = os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC | os.O_APPEND
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1


class NewFile:
    """A new, locked file that gets its name with `publish`. On exit its hidden name, if any, is removed.

    The caller closes ``fd``. The folder is created if it does not exist. If the file system or the kernel cannot create
    files without a name, the file has a hidden name until then. Methods raise OSError.

    Invariant L2: the file is locked when its name appears, and stays locked until ``fd`` is closed.
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
        except OSError:  # some network file systems have no locks
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
        """Give the file its name. Raise FileExistsError if the name is taken, unless ``replacing`` is set."""
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
    """Return True if files can be created in this folder without a name and named later, which is a third faster."""
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
    """Rename a file. Raise FileExistsError if the new name is taken."""
    error = rename_noreplace(os.fspath(old), os.fspath(new))
    if error == 0:
        return
    if error == errno.EEXIST:
        raise FileExistsError(error, os.strerror(error), str(new))
    _take_name_by_link(old, new)


def _take_name_by_link(old: Path | str, new: Path | str) -> None:
    """Do the same with hard links, for kernels and file systems without RENAME_NOREPLACE. Raise every other error."""
    try:
        os.link(old, new)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if os.path.lexists(new):  # without links there is a race: the last rename wins
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
    """Write all bytes with one call. Continue after a short write, so that a full disk raises its error."""
    written = os.write(fd, data)
    while written < len(data):
        more = os.write(fd, memoryview(data)[written:])
        if more == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += more


def sync_folder(folder: Path) -> None:
    """Sync a folder to disk. A new file's name survives a power cut only after that."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def open_regular(path: Path | str) -> int:
    """Open a regular file for reading, without following symlinks or blocking on pipes. Raises JournalAccessError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise JournalAccessError(path, error) from error
    except ValueError as error:  # a NUL in the name
        raise JournalAccessError(path, OSError(errno.EINVAL, str(error))) from error
    try:
        regular = stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError as error:  # for example ESTALE, if a file server restarted
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
