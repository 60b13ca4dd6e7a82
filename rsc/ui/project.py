"""Read the runs of a database for the server. One thread reads at a time, and slow reads are repeated less often."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from journal.host.liveness import Observer
from rsc.db.urls import file_of
from rsc.records.names import find_run
from rsc.ui.following import LiveRun
from rsc.ui.overview import overview_values

if TYPE_CHECKING:
    from sqlalchemy import Engine

T = TypeVar("T")
EVERY_S = 0.5
_REST = 10  # the pause after a look, as a multiple of its duration, so that looks take at most a tenth of a core
_MOST_RUNS = 32  # the number of runs that are kept in memory


class Project:
    """The runs of one database. Pages that show the same run share what was read.

    Args:
        engine: The database, for reading only.
        database_url: The database's URL.
        journal_root: The journal root. If None, the roots that the runs recorded.
    """

    def __init__(self, engine: Engine, database_url: str, journal_root: Path | None = None) -> None:
        self._engine = engine
        self._database_url = database_url
        self._journal_root = journal_root
        self._observer = Observer()
        self._runs: dict[str, LiveRun] = {}
        self._lock = asyncio.Lock()
        self._looked: dict[
            str, tuple[float, Any]
        ] = {}  # when the next look is due, and the last result, by run id; "" is the overview

    async def overview(self) -> dict[str, Any]:
        """Return the values of the page of all runs.

        Raises:
            rsc.db.session.DatabaseError: The database cannot be used.
            SQLAlchemyError: A query failed.
        """
        return await self._look("", lambda: overview_values(self._engine, self._observer))

    async def run(self, name: str) -> LiveRun:
        """Return a run as it is now.

        Args:
            name: The run's id, a unique beginning of it, or `latest`.

        Raises:
            rsc.db.errors.UnknownRunError: No run has this name, or several do.
            rsc.db.session.DatabaseError: The database cannot be used.
            SQLAlchemyError: A query failed.
        """
        run = self._runs.get(name)
        if run is None:
            place = await self.read(lambda: find_run(name, self._database_url, self._journal_root))
            run = self._runs.setdefault(place.run_id, LiveRun(place))
            while len(self._runs) > _MOST_RUNS:
                self._runs.pop(next(iter(self._runs)))
        await self._look(run.place.run_id, run.look)
        return run

    async def runs(self, names: Sequence[str]) -> list[LiveRun]:
        """Return several runs without duplicates. Raises the same errors as `run`."""
        found = [await self.run(name) for name in names]
        return list({run.place.run_id: run for run in found}.values())

    async def read(self, call: Callable[[], T]) -> T:
        """Call a function in a thread, and return its result. Only one call runs at a time."""
        async with self._lock:
            return await _in_thread(call)

    async def _look(self, what: str, call: Callable[[], T]) -> T:
        async with self._lock:
            begun = time.monotonic()
            due, known = self._looked.get(what, (0.0, None))
            if begun < due:
                return cast("T", known)  # the last call for this key returned it
            found = await _in_thread(call)
            self._let_go()
            took = time.monotonic() - begun
            self._looked[what] = time.monotonic() + max(EVERY_S, _REST * took), found
            return found

    def _let_go(self) -> None:
        """Close the connections to a file that this process may not write.

        Such a connection does not see what other processes write later.
        """
        file = file_of(self._engine.url)
        if file is not None and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
            for engine in (self._engine, *(run.place.engine for run in self._runs.values())):
                if engine is not None:
                    engine.dispose()


async def _in_thread(call: Callable[[], T]) -> T:
    """Call a function in a daemon thread, so that a database that does not answer cannot keep the process from exiting."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(act: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed if the server has stopped
            loop.call_soon_threadsafe(lambda: None if future.done() else act(value))

    def work() -> None:
        try:
            result = call()
        except Exception as error:
            finish(future.set_exception, error)
        else:
            finish(future.set_result, result)

    threading.Thread(target=work, daemon=True, name="rsc-ui").start()
    return await future
