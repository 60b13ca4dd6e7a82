"""Read leases, the heartbeat files of writer processes, and watch whether they change."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from journal.errors import JournalAccessError
from journal.format.header import is_name
from journal.format.schema import LEASE_INTERVAL_S, MAX_SIDE_FILE, WRITERS_DIR
from journal.format.values import Natural, Whole, decoder_of
from journal.host.files import open_regular

LEASE_SUFFIX = ".lease"
LEASE_INTERVALS = 3  # a lease that did not change for this many of its intervals stands still
_DROPPED_RENEWALS = 2  # the file list in the first renewal can be older than the previous look
_FRESH_S = 1.0  # many journals share a lease, so a look is reused for this long


@dataclass(frozen=True)
class Lease:
    """The content of a lease file.

    Attributes:
        beat: A counter of renewals. Observers look only whether it changes, so no clocks are compared.
        interval_s: Seconds between renewals.
        files: Names of the files in the run's folder that the process holds open.
        ended: The process has closed all files there, and no longer renews this lease.
        genuine: The file's inode is the one that is recorded in it, so the file is no copy.
    """

    beat: int
    interval_s: float
    files: frozenset[str]
    ended: bool
    genuine: bool


@dataclass(frozen=True)
class _Stored:
    """The JSON in a lease file."""

    beat: Whole
    interval_s: float
    inode: Natural
    files: frozenset[str]
    ended: bool = False


_decode = decoder_of(_Stored)


def lease_path(run_folder: Path, token: str) -> Path:
    """Return the path of the lease of a writer process in a run's folder."""
    return run_folder / WRITERS_DIR / f"{token}{LEASE_SUFFIX}"


def read_lease(path: Path) -> Lease | None:
    """Read a lease; return None if there is none that can be read."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            stored = _decode(file.read(MAX_SIDE_FILE))
    except (JournalAccessError, OSError, ValueError):
        return None
    interval_s = max(stored.interval_s, LEASE_INTERVAL_S)  # no writer records less
    return Lease(stored.beat, interval_s, stored.files, stored.ended, stored.inode == inode)


@dataclass
class LeaseSight:
    """What an observer has seen of one lease so far.

    Attributes:
        lease: The lease at the last look, None if there was none.
        unchanged_s: Seconds of watching without a change.
        renewals: Changes that were seen.
    """

    lease: Lease | None = None
    unchanged_s: float = 0.0
    renewals: int = 0
    _looked: float = 0.0
    _unlisted: dict[str, int] = field(default_factory=dict)

    @property
    def still(self) -> bool:
        """Return True if the lease was unchanged for three of its intervals."""
        return self.lease is not None and self.unchanged_s >= LEASE_INTERVALS * self.lease.interval_s

    @property
    def renews(self) -> bool:
        """Return True if a change was seen, and the lease does not stand still."""
        return self.lease is not None and self.renewals > 0 and not self.still

    def dropped(self, name: str) -> bool:
        """Return True if the process says in its lease that it does not hold this file any more."""
        if self.lease is not None and self.lease.ended and name not in self.lease.files:
            return True
        if self.lease is None or name in self.lease.files:
            self._unlisted.pop(name, None)
            return False
        since = self._unlisted.setdefault(name, self.renewals)
        return self.renews and self.renewals - since >= _DROPPED_RENEWALS

    def note(self, lease: Lease | None, now: float) -> None:
        """Take a look into account. A gap between two looks counts as one interval at most.

        After an outage or a suspended machine an unchanged lease proves nothing yet, because its writer may have been
        suspended too.
        """
        before = self.lease
        if lease is not None and before is not None and lease.beat == before.beat:
            self.unchanged_s += min(now - self._looked, lease.interval_s)
        else:
            self.unchanged_s = 0.0
            self.renewals += lease is not None and before is not None
        self.lease = lease
        self._looked = now


class LeaseWatch:
    """Watch leases for one observer, by the observer's clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sights: dict[Path, LeaseSight] = {}
        self._looked: dict[Path, float] = {}

    def look(self, run_folder: Path, token: str) -> LeaseSight:
        """Look at the lease of a process in a run's folder."""
        if not is_name(token):
            return LeaseSight()
        path, now = lease_path(run_folder, token), self._clock()
        sight = self._sights.setdefault(path, LeaseSight())
        last = self._looked.get(path)
        if last is None or now - last >= _FRESH_S:
            sight.note(read_lease(path), now)
            self._looked[path] = now
        return sight
