"""Close journals and write the rows of episodes from a thread, so that training waits for neither.

A thread of the process closes the journals of episodes that ended by themselves. Callbacks queue one entry per episode, its
latest state, and the thread writes the entries in batches. An entry that the database refuses is dropped. While the
database does not answer, entries wait in memory. The reconciler records dropped entries from the journals.
"""

from __future__ import annotations

import atexit
import json
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from journal import EndReason, JournalError, journal_path, read_journal
from rsc.defaults import CALLBACK_TIMEOUT_S, DATABASE_PAUSE_S
from rsc.rllib.closings import Closing

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from rsc.db.episodes import Ended
    from rsc.db.writing import Change

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")

GATHER_S = 2.0
"""Seconds for which a batch gathers entries, except in `drain`. Larger batches take less time for each entry."""
_FIRST_GATHER_S = 0.1  # the same for the first batch, so that a run soon shows its first episodes
DRAIN_S = 5.0
BATCH_ENTRIES = 256
MOST_ENTRIES = 20_000
MOST_KEPT_BYTES = 64 << 20
MOST_JOURNALS = 256
"""Closed journals are held in memory if fewer entries wait. One has up to 1 024 steps by default, which take 130 KB."""
MOST_CLOSINGS = 64
"""So many journals may wait for their closing, each with two descriptors. Others are closed at once."""


class State(IntEnum):
    """The state of an episode. A later state replaces an earlier one."""

    STARTED = 0
    LEFT = 1  # its env was closed; the journal records whether the episode had ended before
    ENDED = 2


@dataclass(frozen=True)
class Entry:
    """The latest state of one episode.

    Args:
        row: The columns of a started episode.
        journal_root: The folder of all runs' journals.
        kept: The recorder's own figures as JSON, for an ended episode whose journal failed.
        closing: The closing of its journal; None to read the journal from its file.
    """

    row: dict[str, Any]
    journal_root: str
    state: State
    kept: str | None = None
    closing: Closing | None = None

    @property
    def key(self) -> str:
        """Identifies the episode."""
        return str(self.row["journal_id"])

    def settled(self) -> Entry:
        """Return the entry with the figures of a journal that failed while it was closed."""
        if self.closing is None or self.closing.kept is None:
            return self
        return replace(self, kept=self.closing.kept, closing=None)


@dataclass(frozen=True)
class TrialEntry:
    """The parameters of a Tune trial of a run."""

    run_id: str
    trial_id: str
    parameters: dict[str, Any]
    state: State = State.ENDED
    kept: None = None

    @property
    def key(self) -> str:
        """Identifies the trial."""
        return f"{self.run_id} trial {self.trial_id}"

    def settled(self) -> TrialEntry:
        """Return the entry."""
        return self


class RowWriter:
    """Writes entries into one database from a thread of this process. No method raises or waits for the database.

    Args:
        engine: The database. None: `open_engine` failed, and entries are dropped.
    """

    def __init__(self, engine: Engine | None) -> None:
        self._engine = engine
        self._condition = threading.Condition()
        self._entries: dict[str, Entry | TrialEntry] = {}
        self._in_hand: dict[str, Entry | TrialEntry] = {}
        self._closings: list[Closing] = []
        self._in_hand_closings: list[Closing] = []
        self._kept_bytes = 0
        self._thread: threading.Thread | None = None
        self._drainers = 0
        self._idle = False
        self._attempts = self._failed_attempt = 0
        self._earliest = 0.0  # the next batch starts at this monotonic time or later
        self._outage = False
        self._said: set[str] = set()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle as None. RLlib sends the env runner to sub-envs in spawned processes, which do not need its rows."""
        return type(None), ()

    def put(self, entry: Entry | TrialEntry) -> None:
        """Queue the latest state of an episode, to be written soon."""
        if self._engine is None:
            return
        with self._condition:
            before = self._entries.get(entry.key)
            if before is not None and before.state > entry.state:
                return
            if len(self._entries) >= MOST_JOURNALS and isinstance(entry, Entry) and entry.closing is not None:
                entry.closing.forget_journal()  # it is read later, so that memory stays bounded
            self._entries[entry.key] = entry
            self._kept_bytes += len(entry.kept or "") - len((before.kept if before else None) or "")
            self._make_room()
            self._wake()

    def close_later(self, closing: Closing) -> bool:
        """Close a journal soon, in the thread. Return False if it must be closed now: without a thread, or if many wait."""
        if self._engine is None:
            return False
        with self._condition:
            if len(self._closings) >= MOST_CLOSINGS:
                return False
            self._wake()  # first, because it raises if no thread can be started
            self._closings.append(closing)
        return True

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._work, name="rsc-rows", daemon=True)
            thread.start()  # raises if there are too many; the next entry tries again
            self._thread = thread
        elif self._idle:
            self._condition.notify_all()

    def drain(self, timeout_s: float) -> int:
        """Close the waiting journals, write the waiting entries, and return the number of those that still wait.

        Returns early if the database does not answer.
        """
        deadline = time.monotonic() + timeout_s
        with self._condition:
            own_attempt = self._attempts + 1
            self._drainers += 1
            self._condition.notify_all()
            while self._entries or self._in_hand or self._closings or self._in_hand_closings:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or self._failed_attempt >= own_attempt:
                    break
                self._condition.wait(left_s)
            self._drainers -= 1
            return len(self._entries) + len(self._in_hand)

    def _make_room(self) -> None:
        """Drop the oldest entries. Drop entries with the only copy of figures last."""
        while len(self._entries) > MOST_ENTRIES or self._kept_bytes > MOST_KEPT_BYTES:
            too_large = self._kept_bytes > MOST_KEPT_BYTES
            found = (key for key, entry in self._entries.items() if bool(entry.kept) is too_large)
            dropped = self._entries.pop(next(found, next(iter(self._entries))))
            self._kept_bytes -= len(dropped.kept or "")
            self._say("full", "too many rows wait for the database, so the oldest one is dropped")

    def _work(self) -> None:
        while True:
            self._gather()
            for closing in self._in_hand_closings:
                closing.close()
            with self._condition:
                self._in_hand_closings = []
                self._in_hand = {key: entry.settled() for key, entry in self._in_hand.items()}
                batch = list(self._in_hand.values())
                self._condition.notify_all()
            if not batch:
                continue
            answered = True
            try:
                answered = self._write(batch)
            except Exception:
                log.exception(
                    "rows of %d episodes are not written; `reconcile` records them (the first is %s)",
                    len(batch),
                    batch[0].key,
                )
            with self._condition:
                if not answered:
                    self._failed_attempt = self._attempts
                    self._entries = {**self._in_hand, **self._entries}
                    self._kept_bytes = sum(len(entry.kept or "") for entry in self._entries.values())
                    self._make_room()
                self._in_hand = {}
                self._earliest = 0.0 if answered else time.monotonic() + DATABASE_PAUSE_S
                self._condition.notify_all()

    def _gather(self) -> None:
        """Wait for journals to close and entries to write, gather more, and take them in hand.

        While the database does not answer, only journals are taken. The journal of an entry is taken before it, or with it.
        """
        with self._condition:
            self._idle = True
            while not (self._entries or self._closings):
                self._condition.wait()
            while not (self._closings or self._drainers) and (left_s := self._earliest - time.monotonic()) > 0:
                self._condition.wait(left_s)
            self._idle = False
            begin = time.monotonic() + (GATHER_S if self._attempts else _FIRST_GATHER_S)
            while not self._drainers and (left_s := begin - time.monotonic()) > 0:
                self._condition.wait(left_s)
            self._in_hand_closings, self._closings = self._closings, []
            due = self._drainers or self._earliest <= time.monotonic()
            keys = list(self._entries)[: BATCH_ENTRIES if due else 0]
            self._in_hand = {key: self._entries.pop(key) for key in keys}
            self._kept_bytes -= sum(len(entry.kept or "") for entry in self._in_hand.values())
            self._attempts += bool(keys)

    def _write(self, batch: Sequence[Entry | TrialEntry]) -> bool:
        """Write a batch; return False if the database does not answer."""
        from sqlalchemy.exc import SQLAlchemyError

        from rsc.db.session import DatabaseError, first_line

        # Read journals before the transaction, because other writers of a SQLite file wait during it.
        changes = [self._change(entry) for entry in batch if isinstance(entry, Entry)]
        try:
            self._write_all(changes, [entry for entry in batch if isinstance(entry, TrialEntry)])
        except (SQLAlchemyError, DatabaseError, OSError) as error:
            if not self._outage:
                log.warning(
                    "the database does not answer (%s); training continues, rows wait in memory, and `reconcile`"
                    " writes missing ones", first_line(error),
                )  # fmt: skip
            self._outage = True
            return False
        self._outage = False
        return True

    def _change(self, entry: Entry) -> Change:
        """Return the row of an entry. If the journal of an ended episode cannot be read, only its start is written."""
        from rsc.db.writing import Change, Guard

        ended = None
        try:
            ended = None if entry.state is State.STARTED else _ended(entry)
        except JournalError as error:
            self._say(f"unreadable {type(error).__name__}", f"{_name(entry)} has only its start ({error})")
        except Exception:
            log.exception("%s has only its start; `reconcile` records the rest", _name(entry))
        return Change(entry.row["run_id"], entry.key, entry.row, ended, Guard.CALLBACK)

    def _write_all(self, changes: Sequence[Change], trials: Sequence[TrialEntry]) -> None:
        """Write episodes in one transaction, and trials, which are few, in another.

        Raises:
            SQLAlchemyError, DatabaseError, OSError: The database does not answer.
        """
        from rsc.db.runs import add_trial
        from rsc.db.writing import write_changes

        engine = self._engine
        assert engine is not None
        try:
            _require_file(engine)
            for journal_id, said in write_changes(engine, changes, attempts=1).refused.items():
                row = next(change.start for change in changes if change.journal_id == journal_id) or {}
                self._say("refused", f"the database refuses the row of episode {row.get('rllib_episode_id')} ({said})")
            if trials:
                with engine.begin() as connection:
                    for trial in trials:
                        add_trial(connection, trial.run_id, trial.trial_id, trial.parameters, datetime.now(UTC))
        finally:
            if engine.dialect.name != "sqlite":  # a server has few connections, and a cluster many env runners
                engine.dispose()

    def _say(self, kind: str, message: str) -> None:
        """Log a warning, once for each kind."""
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s; `reconcile` records it; there are no further warnings of this kind", message)


def _name(entry: Entry) -> str:
    return f"the row of episode {entry.row.get('rllib_episode_id')}"


def _require_file(engine: Engine) -> None:
    """Raise DatabaseError if a SQLite file was removed, because connecting would create an empty database."""
    from rsc.db.session import DatabaseError, is_missing_file

    if is_missing_file(engine.url.render_as_string(hide_password=False)):
        raise DatabaseError(f"there is no database {engine.url.database}")


def _ended(entry: Entry) -> Ended | None:
    """Return the final row of an episode; None if its env was closed before it ended."""
    from rsc.closing import ended_from, ended_from_memory
    from rsc.db.episodes import CALLBACK
    from rsc.metrics import RunningMetrics

    now = datetime.now(UTC)
    if entry.kept is None:
        written = entry.closing.journal if entry.closing is not None else None
        journal = written or read_journal(journal_path(entry.journal_root, entry.row["run_id"], entry.key))
        if entry.state is State.LEFT and journal.end_reason in (None, EndReason.CLOSED):
            return None
        return ended_from(journal, finalized_by=CALLBACK, now=now)
    kept = json.loads(entry.kept)
    metrics = RunningMetrics.from_bytes(bytes.fromhex(kept["metrics"])).result()
    trades = [tuple(trade) for trade in kept["trades"]]
    return ended_from_memory(entry.key, metrics, trades, EndReason(kept["reason"]), now=now)


_writers: dict[str, RowWriter] = {}
_of_parent: list[RowWriter] = []


def writer_for(database_url: str) -> RowWriter:
    """Return this process's writer for a database. ``database_url`` may contain a password.

    All modules that the thread needs are imported here, so that the thread does not hold the interpreter's import lock.
    """
    if database_url not in _writers:
        from rsc.db.session import DatabaseError, open_engine

        engine = None
        try:
            engine = open_engine(database_url, CALLBACK_TIMEOUT_S, CALLBACK_TIMEOUT_S)
        except DatabaseError as error:
            log.warning("no rows are written, and `reconcile` records the episodes: %s", error)
        _writers[database_url] = RowWriter(engine)
    return _writers[database_url]


def drain(database_url: str) -> int:
    """Write this process's waiting entries for a database, and return the number of those that still wait."""
    writer = _writers.get(database_url)
    return 0 if writer is None else writer.drain(DRAIN_S)


def _drain_all() -> None:
    deadline = time.monotonic() + DRAIN_S
    for writer in list(_writers.values()):
        writer.drain(max(0.0, deadline - time.monotonic()))


def _drop_in_child() -> None:
    """Drop the queues in a forked child, and keep the parent's connections open."""
    _of_parent.extend(_writers.values())
    _writers.clear()


os.register_at_fork(after_in_child=_drop_in_child)
atexit.register(_drain_all)
