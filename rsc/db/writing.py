"""Write episodes in batches: in one transaction, or one by one if the database refuses the batch.

The RLlib callback, `Run.end` and the reconciler all write through `write_changes`.
"""

from __future__ import annotations

import enum
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from rsc.db import episodes
from rsc.db.episodes import Ended
from rsc.db.session import first_line
from rsc.db.trades import Trades, insert_trades

T = TypeVar("T")
log = logging.getLogger("rsc")

_FIRST_WAIT_S = 0.05
ATTEMPTS = 4  # for deadlocks, and for writers that lock SQLite for longer than the timeout
UNAVAILABLE = (OperationalError, InterfaceError)
"""Errors of a database that does not answer. Any other error is about the row."""


_LOCK_NOT_AVAILABLE = "55P03"  # PostgreSQL's code of a lock timeout


_NO_TURN = nullcontext()


class Guard(enum.StrEnum):
    """The rows that an ending may change."""

    STARTED = "started"  # the reconciler's first verdict: only a row that is still started
    LESS_EVIDENCE = "less evidence"  # the reconciler's correction: only its own verdict on less evidence
    CALLBACK = "callback"  # the callback's end: a started row, or any verdict of the reconciler


@dataclass(frozen=True)
class Change:
    """A change of one episode: its row, its end, or both.

    Attributes:
        run_id: The episode's run.
        journal_id: The episode's journal.
        start: Columns of the row to insert where there is none, None to insert nothing.
        ended: The final row and trades, None for an episode that only starts.
        guard: Which rows ``ended`` may change.
    """

    run_id: str
    journal_id: str
    start: Mapping[str, Any] | None = None
    ended: Ended | None = None
    guard: Guard = Guard.STARTED


@dataclass
class Written:
    """The result of `write_changes`.

    Attributes:
        won: Journal ids whose change took effect. Others had ended by another writer before.
        refused: What the database said of each change that it refused, by journal id.
    """

    won: set[str] = field(default_factory=set)
    refused: dict[str, str] = field(default_factory=dict)


def write_changes(
    engine: Engine,
    changes: Sequence[Change],
    *,
    pass_id: str = "",
    attempts: int = ATTEMPTS,
    turn: AbstractContextManager[None] = _NO_TURN,
) -> Written:
    """Write all changes in one transaction, or each in its own if that fails.

    Args:
        engine: The database.
        changes: At most one change for each journal.
        pass_id: The reconciler pass that ``Guard.STARTED`` changes name in ``finalized_pass``.
        attempts: How often to try while the database does not answer.
        turn: Entered around each transaction; a lock that other writers share.

    Raises:
        OperationalError, InterfaceError: The database does not answer.
    """
    written = Written()
    _write(engine, list(changes), pass_id, attempts, turn, written)
    return written


def _write(
    engine: Engine,
    changes: list[Change],
    pass_id: str,
    attempts: int,
    turn: AbstractContextManager[None],
    written: Written,
) -> None:
    if not changes:
        return
    try:
        firsts = [one.ended for one in changes if one.ended is not None and one.guard is Guard.STARTED]
        verdicts = episodes.verdicts_of(engine, firsts)

        def in_one_transaction() -> set[str]:
            with turn, engine.begin() as connection:
                return _apply(connection, changes, verdicts, pass_id)

        written.won |= patiently(in_one_transaction, attempts)
    except Exception as error:  # invariant V3: a refused row does not affect other rows
        if isinstance(error, UNAVAILABLE) and not _is_of_a_row(error):
            raise
        if len(changes) > 1:
            for change in changes:
                _write(engine, [change], pass_id, 1, turn, written)
            return
        log.debug("episode %s", changes[0].journal_id, exc_info=True)
        written.refused[changes[0].journal_id] = first_line(error)


def _is_of_a_row(error: Exception) -> bool:
    """Return whether another program holds the lock of a row, so that the other rows can be written."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == _LOCK_NOT_AVAILABLE


def _apply(
    connection: Connection, changes: Sequence[Change], verdicts: episodes.Verdicts | None, pass_id: str
) -> set[str]:
    """Apply the changes in the caller's transaction; return the journal ids that took effect."""
    trades: list[tuple[int, Trades]] = []
    won: set[str] = set()
    starts: list[Mapping[str, Any]] = []
    for change in changes:
        if change.ended is not None and change.guard is Guard.CALLBACK:
            # First the starts before it: an end may insert its row, and rows get their numbers in the order of the changes.
            won |= episodes.start_episodes(connection, starts)
            starts = []
            if episodes.end_episode_by_callback(connection, change.ended, change.start, trades):
                won.add(change.journal_id)
        elif change.start is not None:
            starts.append(change.start)
    won |= episodes.start_episodes(connection, starts)
    won -= {one.journal_id for one in changes if one.ended is not None and one.guard is not Guard.CALLBACK}
    if verdicts is not None:
        won |= episodes.end_episodes_by_reconciler(connection, verdicts, pass_id)
    for change in changes:
        if change.guard is Guard.LESS_EVIDENCE and change.ended is not None:
            won |= {change.journal_id} if episodes.replace_on_more_evidence(connection, change.ended) else set()
    insert_trades(connection, trades)
    return won


def patiently(write: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """Call ``write`` again while the database does not answer; raise its error after the last attempt."""
    try:
        return write()
    except UNAVAILABLE:
        if attempts <= 1:
            raise
    # Imported only now, because its import takes a tenth of the start of a process that records.
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    time.sleep(random.uniform(0.0, _FIRST_WAIT_S))
    retrying = Retrying(
        retry=retry_if_exception_type(UNAVAILABLE),
        stop=stop_after_attempt(attempts - 1),
        wait=wait_random_exponential(multiplier=2 * _FIRST_WAIT_S, max=1.0),
        reraise=True,
    )
    return retrying(write)
