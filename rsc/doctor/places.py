"""Check the journal root: writable, working locks, file system, space. Leaves no file behind."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from journal.host.filesystems import LOCAL, SHARED, file_system_of
from journal.write.tail import may_map
from rsc.doctor.check import Check, fail, ok, warn
from rsc.doctor.database import existing_folder

_TRIAL_BYTES = 64 * 1024
_MIB = 1024 * 1024
_LEAST_BYTES, _FEW_BYTES = 100 * _MIB, 1024 * _MIB
_LEAST_INODES, _FEW_INODES = 1_000, 100_000
_ELSEWHERE = "put the journals on a local disk by --journal-root or $RSC_JOURNAL_ROOT"
_TIMEOUT_S = 20
_HELD = 7
# Another process must not get the lock. A fork would not do: it shares the descriptor, and so the lock.
_TRY_LOCK = f"""
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
try:
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit({_HELD})
"""


def check_root(root: Path) -> Iterator[Check]:
    """Yield the checks of a journal root, or of the nearest folder above it if it does not exist yet."""
    folder = existing_folder(root)
    name = f"{root}" if folder == root else f"{root} does not exist yet; {folder}, where it would be created,"
    if not folder.is_dir():
        yield fail("journal root", f"{folder} is not a folder", "give another --journal-root")
        return
    try:
        with _trial_file(folder) as (fd, path):
            os.write(fd, bytes(_TRIAL_BYTES))
            os.fsync(fd)
            yield ok("journal root", f"{name} is writable")
            yield _check_locks(fd, path)
            yield _check_kind(folder)
            yield _check_tails(fd, folder)
    except OSError as error:
        yield fail("journal root", f"{name} cannot be written: {error.strerror}", _cure_of(error))
    yield from _check_space(folder)


@contextlib.contextmanager
def _trial_file(folder: Path) -> Iterator[tuple[int, str]]:
    fd, path = tempfile.mkstemp(prefix=".rsc-doctor-", dir=folder)
    try:
        yield fd, path
    finally:
        os.close(fd)
        os.unlink(path)


def _cure_of(error: OSError) -> str:
    if error.errno in (28, 122):  # ENOSPC, EDQUOT
        return "free space on its disk, or give another --journal-root"
    return "let this user write there, or give another --journal-root"


def _check_locks(fd: int, path: str) -> Check:
    """Take a lock, check it from another process, release it, and check again."""
    name = "locks"
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = _try_lock(path)
        fcntl.flock(fd, fcntl.LOCK_UN)
        free = _try_lock(path)
    except OSError as error:
        return fail(name, f"the file system refuses locks: {error.strerror}; no journal can be written", _ELSEWHERE)
    except subprocess.TimeoutExpired:
        return fail(
            name, f"the file system did not answer a lock within {_TIMEOUT_S} s", "check the file system's server"
        )
    if held == _HELD and free == 0:
        return ok(name, "another process sees a held lock, and sees when it is released")
    if held == 0:
        return fail(name, "another process gets a lock that is held; live and dead writers look the same", _ELSEWHERE)
    return fail(name, f"another process cannot try a lock (exit codes {held} and {free})", _ELSEWHERE)


def _try_lock(path: str) -> int:
    command = [sys.executable, "-I", "-S", "-c", _TRY_LOCK, path]
    return subprocess.run(command, timeout=_TIMEOUT_S, check=False, stderr=subprocess.DEVNULL).returncode


def _check_kind(folder: Path) -> Check:
    name, kind = "file system", file_system_of(folder)
    if kind in LOCAL:
        return ok(name, f"{kind}, local: a free lock proves that a writer is dead")
    if kind in SHARED:
        found = f"{kind}, shared by several hosts: a writer counts as dead if its lease stands still for 30 s"
        return warn(name, found, "use the daemon, or `reconcile --wait 40s`")
    found = f"{kind or 'unknown'}: neither its locks nor leases prove that a writer is dead, so such episodes may wait"
    return warn(name, found, _ELSEWHERE)


def _check_tails(fd: int, folder: Path) -> Check:
    if may_map(fd):
        return ok("tails", "mapped: a step is a copy into memory")
    if os.environ.get("RSC_MAPPED_TAIL", "1") == "0":
        return ok("tails", "written, because $RSC_MAPPED_TAIL is 0: a step is a system call")
    return ok("tails", f"written, because tails are not mapped on {file_system_of(folder)}: a step is a system call")


def _check_space(folder: Path) -> Iterator[Check]:
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    found, cure = f"{free / _MIB:,.0f} MiB free", "free space, or export and prune old runs (`journal prune --help`)"
    if free < _LEAST_BYTES:
        yield fail("disk", f"{found}; journals fail when it is full", cure)
    elif free < _FEW_BYTES:
        yield warn("disk", found, cure)
    else:
        yield ok("disk", found)
    if state.f_files == 0:
        yield ok("inodes", "the file system has no fixed number")
        return
    found = f"{state.f_favail:,} free; each episode takes one, and a running one two"
    if state.f_favail < _LEAST_INODES:
        yield fail("inodes", found, cure)
    elif state.f_favail < _FEW_INODES:
        yield warn("inodes", found, cure)
    else:
        yield ok("inodes", found)
