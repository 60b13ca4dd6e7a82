"""Is its writer alive? The kernel's lock answers where it can be trusted, a lease elsewhere; unsure means wait."""

from __future__ import annotations

import enum
import fcntl
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from journal.errors import JournalAccessError
from journal.format.header import WriterIdentity
from journal.format.schema import WRITERS_DIR
from journal.format.untrusted import json_object, real, whole
from journal.host.files import open_regular
from journal.host.filesystems import is_local
from journal.host.identity import boot_id, machine_id, process_start, this_writer

# A lease is dead when it stood still for this many of its own intervals.
LEASE_INTERVALS = 3


class Liveness(enum.StrEnum):
    """What is known about a writer. DEAD: nobody will ever append to this journal again."""

    ALIVE = "alive"
    DEAD = "dead"
    UNSURE = "unsure"


@dataclass(frozen=True)
class LivenessReport:
    """A judgement with its reason in words. ``lease_age_s``: how long this observer has seen the lease unchanged."""

    liveness: Liveness
    reason: str
    lease_age_s: float | None = None


@dataclass
class Observer:
    """Judges writers. Keep one for as long as you watch: leases are judged by how long *this* observer saw them
    unchanged on its own clock, so a new one is unsure at first.

    The fields are who observes; the defaults are this process. ``local`` tells if locks on a path are trusted.
    """

    boot_id: str = field(default_factory=boot_id)
    machine_id: str = field(default_factory=machine_id)
    host: str = field(default_factory=lambda: this_writer().host)
    clock: Callable[[], float] = time.monotonic
    local: Callable[[Path], bool] = is_local
    _seen: dict[Path, tuple[int, float]] = field(default_factory=dict)

    def look(self, path: Path, writer: WriterIdentity | None) -> LivenessReport:
        """Judge the writer of a journal or run marker at ``path``; ``writer`` is None where its header is unreadable.

        Raises JournalAccessError if the file cannot be opened.
        """
        return self.judge(is_locked(path), self.local(path.parent), path.parent, writer)

    def judge(self, locked: bool, local: bool, run_folder: Path, writer: WriterIdentity | None) -> LivenessReport:
        """The judgement alone, for a lock that was probed and a folder whose kind is known."""
        if locked:
            return LivenessReport(Liveness.ALIVE, "its lock is held")
        if local and writer is not None and writer.boot_id == self.boot_id:
            return LivenessReport(Liveness.DEAD, "its lock is free, on this host and boot")
        if local:
            return self._look_local(writer)
        return self._look_lease(run_folder, writer)

    def process_is_gone(self, writer: WriterIdentity) -> bool:
        """Is the writer's process certainly dead? Only its own host can tell; False where it can't be told."""
        if (writer.host, writer.machine_id) != (self.host, self.machine_id):
            return False
        return writer.boot_id != self.boot_id or process_start(writer.pid) != writer.process_start

    def _look_local(self, writer: WriterIdentity | None) -> LivenessReport:
        if writer is None:
            return LivenessReport(Liveness.DEAD, "its lock is free, on a local disk")
        if (writer.host, writer.machine_id) == (self.host, self.machine_id):
            return LivenessReport(Liveness.DEAD, "it was written before this host's last boot")
        return LivenessReport(
            Liveness.UNSURE, f"it was written on host {writer.host}, and this disk is local to {self.host}"
        )

    def _look_lease(self, run_folder: Path, writer: WriterIdentity | None) -> LivenessReport:
        if writer is None:
            return LivenessReport(
                Liveness.UNSURE, "its header is unreadable and locks are not trusted on this file system"
            )
        path = lease_path(run_folder, writer)
        lease, now = read_lease(path), self.clock()
        if lease is None:
            return LivenessReport(
                Liveness.UNSURE,
                f"locks are not trusted on this file system and there is no lease of {writer.host}",
            )
        beat, since = self._seen.get(path, (None, now))
        if beat != lease.beat:
            since = now
        self._seen[path] = (lease.beat, since)
        age = now - since
        if age >= LEASE_INTERVALS * lease.interval_s:
            return LivenessReport(Liveness.DEAD, f"its lease has not changed for {age:.0f} s", age)
        return LivenessReport(Liveness.UNSURE, f"its lease is being observed, unchanged for {age:.0f} s", age)


def is_locked(path: Path | str) -> bool:
    """Does somebody hold the writer's lock? Probes and holds nothing; raises JournalAccessError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise JournalAccessError(path, error) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise JournalAccessError(path, error) from error
    finally:
        os.close(fd)
    return False


@dataclass(frozen=True)
class Lease:
    """What a lease file says. ``beat`` grows with each renewal; only its change matters, never a clock's reading."""

    beat: int
    interval_s: float


def lease_path(run_folder: Path, writer: WriterIdentity) -> Path:
    """Where the lease of a writer process of this run lies."""
    safe_host = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in writer.host)
    return run_folder / WRITERS_DIR / f"{safe_host}-{writer.boot_id}-{writer.pid}.lease"


def read_lease(path: Path) -> Lease | None:
    """The lease, or None if there is none that can be read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            raw = json_object(file.read(4096))
        lease = Lease(whole(raw["beat"]), real(raw["interval_s"]))
    except (JournalAccessError, OSError, ValueError, KeyError):
        return None
    return lease if lease.interval_s > 0 else None  # no writer states less, and each look would find it run out
