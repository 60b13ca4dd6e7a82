"""Keep forks out of moments in which a file is open that no hook for forked children knows yet.

A child that inherits such a descriptor never closes it: it would hold the parent's lock, and keep a disk from being
unmounted.
"""

from __future__ import annotations

import os
import threading

_PATIENCE_S = 1.0  # a file system that hangs must not keep the process from forking


class _NoFork:
    """``with no_fork:`` has forks of other threads wait, for a bounded time. Any number of threads may be within."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._within = 0

    def __enter__(self) -> None:
        with self._condition:
            self._within += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._within = max(self._within - 1, 0)  # 0 already in a child that was forked within
            self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait until no thread is within, and let none enter."""
        self._condition.acquire()
        self._condition.wait_for(lambda: not self._within, _PATIENCE_S)

    def after_in_parent(self) -> None:
        """Let threads enter again."""
        self._condition.release()

    def after_in_child(self) -> None:
        """Begin anew: the other threads do not exist here."""
        self._begin()


no_fork = _NoFork()
os.register_at_fork(
    before=no_fork.before_fork, after_in_parent=no_fork.after_in_parent, after_in_child=no_fork.after_in_child
)
