"""Identify the calling process, and look at the process that another identity names."""

from __future__ import annotations

import enum
import functools
import os
import secrets
import socket
from pathlib import Path

from journal.format.header import WriterIdentity

HOST_VARIABLE = "RSC_HOST"
"""Environment variable with a name that replaces host name and machine id, for example the node of a pod."""

_NO_NAMESPACES = "none"  # for a kernel without time namespaces: all processes share one clock
_NAMELESS = ("", "localhost", "localhost.localdomain")


class Process(enum.StrEnum):
    """What is known about a process. UNSEEN: it may run, but it cannot be looked at from here."""

    RUNS = "runs"
    GONE = "gone"
    UNSEEN = "unseen"


def this_writer() -> WriterIdentity:
    """Return the identity of the calling process; a forked child has its own."""
    return _writer_of(os.getpid(), os.environ.get(HOST_VARIABLE, ""))


@functools.lru_cache(maxsize=1)
def _writer_of(pid: int, named: str) -> WriterIdentity:
    return WriterIdentity(
        host=named or socket.gethostname(),
        machine_id="" if named else machine_id(),
        boot_id=boot_id(),
        pid=pid,
        process_start=_start_in(Path("/proc/self/stat")),
        pid_namespace=_namespace("pid"),
        time_namespace=_namespace("time"),
        token=_token(),
    )


@functools.cache
def _token() -> str:
    return secrets.token_hex(8)


def _forget_parent() -> None:
    """Forget the cached identity in a forked child, which may have the parent's pid in a pid namespace of its own."""
    _writer_of.cache_clear()
    _token.cache_clear()


os.register_at_fork(after_in_child=_forget_parent)


@functools.cache
def boot_id() -> str:
    """Return the kernel's id of this boot, which all containers of one host share; empty if it cannot be read."""
    return _read_text("/proc/sys/kernel/random/boot_id")


@functools.cache
def machine_id() -> str:
    """Return the machine's id, empty where there is none (many containers)."""
    return _read_text("/etc/machine-id")


def same_host(one: WriterIdentity, other: WriterIdentity) -> bool:
    """Return True if both ran on the same host. A host without a name and without a machine id equals no other."""
    named = one.machine_id or one.host not in _NAMELESS
    return bool(named) and (one.host, one.machine_id) == (other.host, other.machine_id)


def same_boot(one: WriterIdentity, other: WriterIdentity) -> bool:
    """Return True if both ran under one boot of one kernel. An unknown boot equals no other."""
    return one.boot_id != "" and one.boot_id == other.boot_id


def look_at_process(writer: WriterIdentity) -> Process:
    """Look at the process that an identity names. It is GONE only if this process can prove that.

    Pids and start times can be compared only within one boot, one pid namespace and one time namespace. A process that
    cannot be read, for example under ``hidepid`` or behind another namespace's ``/proc``, is UNSEEN.
    """
    if not _comparable(writer, this_writer()):
        return Process.UNSEEN
    try:
        os.kill(writer.pid, 0)
    except ProcessLookupError:
        return Process.GONE
    except PermissionError:
        pass
    except (OSError, OverflowError):
        return Process.UNSEEN
    start = process_start(writer.pid)
    if start == 0 or writer.process_start == 0:
        return Process.UNSEEN
    return Process.RUNS if start == writer.process_start else Process.GONE


def _comparable(writer: WriterIdentity, this: WriterIdentity) -> bool:
    spaces = (writer.pid_namespace, writer.time_namespace)
    if writer.pid <= 0 or not same_boot(writer, this) or "" in spaces:
        return False
    return spaces == (this.pid_namespace, this.time_namespace) and _proc_is_own()


def _proc_is_own() -> bool:
    """Return True if ``/proc`` shows this process's own pid namespace."""
    try:
        return os.readlink("/proc/self") == str(os.getpid())
    except OSError:
        return False


def process_start(pid: int) -> int:
    """Return the clock ticks from boot to a process's start, 0 if they cannot be read. Unique with pid and boot."""
    return _start_in(Path(f"/proc/{pid}/stat"))


def _start_in(path: Path) -> int:
    try:
        stat = path.read_bytes()  # it contains the process's name, in any encoding
        return int(stat.rpartition(b")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _namespace(kind: str) -> str:
    """Return the kernel's name of a namespace of this process, empty if it cannot be read."""
    try:
        return os.readlink(f"/proc/self/ns/{kind}")
    except FileNotFoundError:
        return _NO_NAMESPACES if os.path.lexists("/proc/self/ns/pid") else ""
    except OSError:
        return ""


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
