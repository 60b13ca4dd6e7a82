"""Write the rows of a run without RLlib: for ended episodes, and for episodes whose journal failed."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal import JournalError, JournalWriter, Liveness, Observer, State, journal_path, list_journals, read_journal
from journal.host.identity import this_writer
from rsc import defaults

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from journal import Journal
    from rsc.db.writing import Change

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")

_BATCH = 256
_MOST_FAILED = 20_000
_FORGOTTEN = ("truncated", "closed", "its env was deleted without being closed")


class FailedJournals:
    """Records in the database, from a thread and at once, that the journals of running episodes failed.

    Otherwise a kill of the process could hide the failure, since a failing disk may not show it.

    Args:
        run_id: The run.
        database_url: The database with its rows.

    Attributes:
        reasons: The reason of each failure, by journal id.
    """

    def __init__(self, run_id: str, database_url: str) -> None:
        self.reasons: dict[str, str] = {}
        self._run_id = run_id
        self._database_url = database_url
        self._rows: deque[dict[str, Any]] = deque(maxlen=_MOST_FAILED)
        self._told = threading.Event()
        self._thread: threading.Thread | None = None

    def add(self, writer: JournalWriter, reason: str) -> None:
        """Add a journal that failed. Does not wait for the database."""
        from rsc.closing import start_row

        self.reasons[writer.journal_id] = reason
        self._rows.append({**start_row(writer.header), "status_reason": reason})
        self._told.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="rsc-failures", daemon=True)
            self._thread.start()

    def write(self, engine: Engine) -> None:
        """Write the rows. Rows that the database does not accept are kept for the next call."""
        from rsc.db.writing import Change, write_changes

        while rows := self._take():
            try:
                write_changes(engine, [Change(self._run_id, row["journal_id"], row) for row in rows], attempts=1)
            except Exception:
                self._rows.extendleft(reversed(rows))
                raise

    def _take(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        with contextlib.suppress(IndexError):  # two threads may write them
            while len(rows) < _BATCH:
                rows.append(self._rows.popleft())
        return rows

    def _work(self) -> None:
        from rsc.db.session import first_line, open_engine

        said = False
        while self._told.wait():
            self._told.clear()
            try:
                engine = open_engine(self._database_url, defaults.CALLBACK_TIMEOUT_S)
                try:
                    self.write(engine)
                finally:
                    engine.dispose()
            except Exception as error:
                if not said:
                    text = "run %s: that a journal failed is not recorded yet (%s)"
                    log.warning(text, self._run_id, first_line(error))
                said = True


def settle(engine: Engine, root: Path, run_id: str, deadline: float, failures: Mapping[str, str]) -> tuple[int, int]:
    """Write the rows of all ended episodes of a run. Return the number of all episodes, and of those that are left."""
    from rsc.db.episodes import settled_journals
    from rsc.db.session import reading
    from rsc.db.writing import write_changes

    with reading(engine) as connection:
        settled = settled_journals(connection, run_id)
    journals = sorted(list_journals(root, run_id))  # in the order of their start, so that episode numbers follow it
    written = len(settled.intersection(journals))
    waiting = iter(one for one in journals if one not in settled)
    while (batch := list(islice(waiting, _BATCH))) and time.monotonic() < deadline:
        changes = list(_changes(root, run_id, batch, deadline, failures))
        result = write_changes(engine, changes, attempts=1)
        written += len(changes) - len(result.refused)
        for journal_id, said in result.refused.items():
            log.warning("the database refuses the row of episode %s (%s)", journal_id, said)
    return len(journals), len(journals) - written


def _changes(
    root: Path, run_id: str, journal_ids: Iterable[str], deadline: float, failures: Mapping[str, str]
) -> Iterator[Change]:
    from rsc.closing import ended_from, start_row
    from rsc.db.episodes import CALLBACK
    from rsc.db.writing import Change, Guard

    observer = Observer()
    for journal_id in journal_ids:
        if time.monotonic() >= deadline:
            return
        path = journal_path(root, run_id, journal_id)
        try:
            journal = read_journal(path)
            ending = _ending_of_open(journal, failures.get(journal_id))
            if ending is not None and not _is_forgotten(path, journal, observer):
                continue
            ended = ended_from(journal, finalized_by=CALLBACK, now=datetime.now(UTC), ending=ending)
        except (JournalError, ValueError) as error:
            log.warning("episode %s: %s", journal_id, error)
            continue
        yield Change(run_id, journal_id, start_row(journal.header), ended, Guard.CALLBACK)


def _ending_of_open(journal: Journal, failure: str | None) -> tuple[str, str, str] | None:
    """Return the ending of an episode whose journal does not record one; None if it does."""
    if journal.end_reason is not None or journal.terminal is not None:
        return None
    if failure is None and journal.state is not State.FAILED:
        return _FORGOTTEN
    return "truncated", "closed", f"{failure or 'a write to its journal failed'}; later steps lost, number unknown"


def _is_forgotten(path: Path, journal: Journal, observer: Observer) -> bool:
    """Return True if an open journal belongs to an env that was deleted without being closed: its lock is free."""
    writer = journal.header.writer
    return writer == this_writer() and observer.look(path, journal.header.origin).liveness is Liveness.DEAD
