"""Stop a pass by signals. The first one stops it after the current batch, a later one at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from journal.console import SAME_REQUEST_S, remark

_POLL_S = 0.1


class _Asked(threading.Event):
    """An event that a signal handler may set. It takes no lock.

    A handler that interrupts `threading.Event.wait` and calls `set` waits for the lock of the code that it interrupted.
    """

    _asked = False

    def set(self) -> None:
        self._asked = True

    def is_set(self) -> bool:
        return self._asked

    def wait(self, timeout: float | None = None) -> bool:
        until = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _POLL_S if until is None else min(_POLL_S, until - time.monotonic())
            if left <= 0:
                break
            time.sleep(left)
        return self.is_set()


@contextlib.contextmanager
def stop_on_signals(words: str, same_request_s: float = SAME_REQUEST_S) -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; print ``words`` then.

    Another signal that comes at least ``same_request_s`` seconds later raises KeyboardInterrupt.
    """
    asked = _Asked()
    asked_at = 0.0

    def ask(number: int, frame: Any) -> None:
        nonlocal asked_at
        if not asked.is_set():
            asked_at = time.monotonic()
            asked.set()
            remark(words, "signal", signal=signal.Signals(number).name)
        elif time.monotonic() - asked_at >= same_request_s:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
