"""What the server reads, in one thread at a time and not more often than it is worth."""

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
_REST = 10  # times the duration of a look until the next one: at most a tenth of a core
_MOST_RUNS = 32  # that are kept in memory


class Project:
    """The runs of one database. Pages that show the same run share its looks.

    Args:
        engine: The database, for queries alone.
        database_url: Its URL.
        journal_root: None: the roots that the runs recorded.
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
        ] = {}  # by what was looked at: when the next look is due, what it found

    async def overview(self) -> dict[str, Any]:
        """Return what the page of all runs shows.

        Raises:
            rsc.db.session.DatabaseError: The database cannot be used.
            SQLAlchemyError: The same.
        """
        return await self._look("", lambda: overview_values(self._engine, self._observer))

    async def run(self, name: str) -> LiveRun:
        """Return a run as it is now.

        Args:
            name: Its id, the unique beginning of one, or `latest`.

        Raises:
            rsc.db.errors.UnknownRunError: There is no such run, or several.
            rsc.db.session.DatabaseError: The database cannot be used.
            SQLAlchemyError: The same.
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
        """Return several runs, each once; see `run`."""
        found = [await self.run(name) for name in names]
        return list({run.place.run_id: run for run in found}.values())

    async def read(self, call: Callable[[], T]) -> T:
        """Call in a thread, one call at a time."""
        async with self._lock:
            return await _in_thread(call)

    async def _look(self, what: str, call: Callable[[], T]) -> T:
        async with self._lock:
            begun = time.monotonic()
            due, known = self._looked.get(what, (0.0, None))
            if begun < due:
                return cast("T", known)  # the same call returned it
            found = await _in_thread(call)
            self._let_go()
            took = time.monotonic() - begun
            self._looked[what] = time.monotonic() + max(EVERY_S, _REST * took), found
            return found

    def _let_go(self) -> None:
        """Close the connections to a file that this process may not write: they would not see what others write."""
        file = file_of(self._engine.url)
        if file is not None and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK)):
            for engine in (self._engine, *(run.place.engine for run in self._runs.values())):
                if engine is not None:
                    engine.dispose()


async def _in_thread(call: Callable[[], T]) -> T:
    """Call in a thread that does not keep the process from exiting, whatever its database does."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(act: Callable[[Any], None], value: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server has stopped meanwhile
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
