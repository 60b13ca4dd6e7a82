"""A psycopg connection that gives up on a server that does not answer.

The server's own timeouts end a statement that takes too long. They do not help if the server is stopped, swapped out or
unreachable: libpq would wait for it without a bound.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Generator
from typing import Any, Self

import psycopg

_TICK_S = 0.05  # how often the deadline is checked while no data comes


class PatientConnection(psycopg.Connection[Any]):
    """A connection whose statements end within ``patience_s``, with an answer or an OperationalError that closes it."""

    patience_s = 60.0

    @classmethod
    def connect_within(cls, *args: Any, **kwargs: Any) -> Self:
        """Connect in a thread, and give up after the time that ``connect_timeout`` allows for all hosts.

        libpq bounds each attempt to connect, but not the look-up of the host's name.

        Raises:
            psycopg.OperationalError: No server answers in time, or it refuses.
        """
        bound_s = _bound_s(kwargs)
        answers: queue.SimpleQueue[Self | BaseException] = queue.SimpleQueue()
        given_up = threading.Event()

        def connect() -> None:
            try:
                connection = cls.connect(*args, **kwargs)
            except BaseException as error:
                answers.put(error)
                return
            if given_up.is_set():
                connection.close()
            answers.put(connection)

        thread = threading.Thread(target=connect, name="rsc-connect", daemon=True)
        thread.start()
        try:
            answer = answers.get(timeout=bound_s)
        except queue.Empty:
            raise psycopg.OperationalError(f"no server and no name server answered within {bound_s:g} s") from None
        finally:
            given_up.set()
        thread.join(1.0)  # the thread is about to end; a program that forks must have no other thread
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        """Wait for the server, with the deadline. psycopg calls this for every wait."""
        kwargs.setdefault("interval", _TICK_S)
        return super().wait(_bounded(gen, self), **({} if args else kwargs))


def _bound_s(arguments: dict[str, Any]) -> float | None:
    """Return the bound for connecting to all hosts, in seconds; None if the user set none."""
    each_s = float(arguments.get("connect_timeout") or os.environ.get("PGCONNECT_TIMEOUT") or 0)
    hosts = str(arguments.get("host", "")).count(",") + 1
    return max(each_s, 2) * hosts + 1 if each_s > 0 else None  # libpq waits at least 2 s


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
