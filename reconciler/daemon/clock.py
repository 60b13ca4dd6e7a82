"""The clock by which leases are judged: it counts the time that somebody watched, and no other."""

from __future__ import annotations

import time
from collections.abc import Callable

from journal.format.schema import LEASE_INTERVAL_S


class AttentiveClock:
    """Counts only time that was spent watching, for leases: a gap is worth one lease interval at most.

    After an outage, a suspended machine or a mount that hung, a lease that stands still proves nothing yet, since its
    writer may have hung as well. So a writer is dead by its lease only after several looks that were apart.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()
        self._watched = 0.0

    def __call__(self) -> float:
        """Seconds watched."""
        now = self._clock()
        self._watched += min(now - self._last, LEASE_INTERVAL_S)
        self._last = now
        return self._watched
