"""Delay forks while a new file is open that is not registered yet for closing in forked children.

Otherwise a child inherits the descriptor and never closes it. It would hold the parent's lock, and the disk could not
be unmounted.
"""

from __future__ import annotations

import os
import threading

_PATIENCE_S = 1.0  # a file system that hangs must not keep the process from forking


class _NoFork:
    """Context manager: forks of other threads wait, for a bounded time. Any number of threads may be inside."""

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
            self._within = max(self._within - 1, 0)  # already 0 in a child that was forked inside
            self._condition.notify_all()

    def before_fork(self) -> None:
        """Wait until no thread is inside, and let none enter."""
        self._condition.acquire()
        self._condition.wait_for(lambda: not self._within, _PATIENCE_S)

    def after_in_parent(self) -> None:
        """Let threads enter again."""
        self._condition.release()

    def after_in_child(self) -> None:
        """Reset the count: a child does not have the other threads."""
        self._begin()


no_fork = _NoFork()
os.register_at_fork(
    before=no_fork.before_fork, after_in_parent=no_fork.after_in_parent, after_in_child=no_fork.after_in_child
)
