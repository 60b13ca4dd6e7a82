"""Identify the calling process: host, boot, pid and start time."""

from __future__ import annotations

import functools
import os
import socket
from pathlib import Path

from journal.format.header import WriterIdentity


def this_writer() -> WriterIdentity:
    """The identity of the calling process; a forked child has its own."""
    return _writer_of(os.getpid())


@functools.lru_cache(maxsize=1)
def _writer_of(pid: int) -> WriterIdentity:
    return WriterIdentity(socket.gethostname(), machine_id(), boot_id(), pid, process_start(pid))


@functools.cache
def boot_id() -> str:
    """The kernel's id of this boot, shared by all containers of one host."""
    return _read_text("/proc/sys/kernel/random/boot_id")


@functools.cache
def machine_id() -> str:
    """The machine's id, empty where there is none (many containers)."""
    return _read_text("/etc/machine-id")


def process_start(pid: int) -> int:
    """Clock ticks from boot to the start of a process: with the pid, unique within a boot. 0 if there is none."""
    stat = _read_text(f"/proc/{pid}/stat")
    return int(stat.rpartition(")")[2].split()[19]) if stat else 0


def _read_text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""
