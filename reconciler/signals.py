"""Stop a pass by signals. The first one stops it after the current batch, a later one at once."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

from journal.console import SAME_REQUEST_S, SignalEvent, remark


@contextlib.contextmanager
def stop_on_signals(words: str, same_request_s: float = SAME_REQUEST_S) -> Iterator[threading.Event]:
    """Yield an event that SIGINT and SIGTERM set; print ``words`` then.

    Another signal that comes at least ``same_request_s`` seconds later raises KeyboardInterrupt.
    """
    asked = SignalEvent()
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
