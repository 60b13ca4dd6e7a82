"""A psycopg connection that gives up on a server that does not answer, whatever keeps it from answering.

The server's own timeouts end what it works on. They end nothing where the server is stopped, swapped out or gone
without a word, and libpq waits for such a server for ever.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg

_BREATH_S = 0.05  # how often the deadline is looked at while nothing comes


class PatientConnection(psycopg.Connection[Any]):
    """Each statement ends within ``patience_s``, by its answer or by an OperationalError that closes the connection."""

    patience_s = 60.0

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """psycopg's one place where it waits for the server."""
        kwargs.setdefault("interval", _BREATH_S)
        return super().wait(_bounded(gen, self), **({} if args else kwargs))


def _bounded(gen: Generator[Any, Any, Any], connection: PatientConnection) -> Generator[Any, Any, Any]:
    deadline = time.monotonic() + connection.patience_s
    ready = None
    while True:
        try:
            wanted = gen.send(ready)
        except StopIteration as done:
            return done.value
        ready = yield wanted
        if not ready and time.monotonic() > deadline:
            connection.pgconn.finish()
            raise psycopg.OperationalError(f"the server did not answer within {connection.patience_s:g} s")
