"""How a signal ends a training in order, although Ray stands between the handler and the driver."""

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
    """SIGINT and SIGTERM end training in order; while that is under way, another one ends the program.

    Those within ``same_request_s`` of the first are one with it. It is waited for, since from then on the system itself
    ends the program, whatever holds the interpreter up.

    The handler raises Stopped, but what arrives may be something else: inside `ray.wait` it turns into a SystemError,
    which RLlib may take for a runner's failure and go on. So ``asked`` remembers, and `believed` and `check` tell.
    """

    def __init__(self, same_request_s: float = SAME_REQUEST_S) -> None:
        self.asked: int | None = None
        self._same_request_s = same_request_s
        self._awaits_company = False

    def take(self) -> dict[signal.Signals, Any]:
        """Install the handler; return those that were there."""
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
        """Handle signals inside; give them back to who had them afterwards."""
        before = self.take()
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def believed(self) -> Iterator[None]:
        """Whatever exception leaves this after a signal is that signal's."""
        try:
            yield
        except BaseException as error:
            if self.asked is not None and not isinstance(error, Stopped):
                raise Stopped(self.asked) from error
            raise
