"""End a training cleanly on SIGINT or SIGTERM, even if Ray replaces the exception that the handler raised."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from journal.console import SAME_REQUEST_S

_HANDLED = (signal.SIGINT, signal.SIGTERM)


class Stopped(BaseException):
    """A signal asked the driver to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Signals:
    """Ends training cleanly on the first SIGINT or SIGTERM, and ends the program on the next one.

    Signals within ``same_request_s`` of the first count as one request. The handler waits that long, and then restores
    the default handlers, so that the next signal ends the program even if the interpreter hangs.

    The handler raises Stopped. Inside `ray.wait` this becomes a SystemError, which RLlib may take for the failure of an
    env runner. So ``asked`` keeps the signal's number, and `believed` and `check` raise Stopped again.
    """

    def __init__(self, same_request_s: float = SAME_REQUEST_S) -> None:
        self.asked: int | None = None
        self._same_request_s = same_request_s
        self._awaits_company = False

    def take(self) -> dict[signal.Signals, Any]:
        """Install the handler. Return the replaced handlers."""
        return {number: signal.signal(number, self._stop) for number in _HANDLED}

    def _stop(self, number: int, frame: Any) -> None:
        if self._awaits_company:
            return
        self.asked, self._awaits_company = number, True
        time.sleep(self._same_request_s)
        self._awaits_company = False
        for one in _HANDLED:
            signal.signal(one, signal.SIG_DFL)
        raise Stopped(number)

    def check(self) -> None:
        """Raise Stopped if a signal came and its exception was swallowed."""
        if self.asked is not None:
            raise Stopped(self.asked)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Handle signals inside the block, and restore the earlier handlers afterwards."""
        before = self.take()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def believed(self) -> Iterator[None]:
        """After a signal, raise Stopped in place of any exception that leaves the block."""
        try:
            yield
        except BaseException as error:
            if self.asked is not None and not isinstance(error, Stopped):
                raise Stopped(self.asked) from error
            raise
