"""Query episodes and change their state. Each change is one guarded write that reports whether it took effect."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain, groupby
from typing import Any

from sqlalchemy import Column, Connection, Engine, Row, and_, case, func, or_, select

from rsc.db.driver import Database, mark, rows_of, values_of
from rsc.db.models import episode_metrics, episodes, training_runs
from rsc.db.session import reading
from rsc.db.tolerant import UnreadableRow, rows_of_query, value_of_first
from rsc.db.trades import Insert, Trades, delete_trades, insert_trades, prepared

log = logging.getLogger("rsc")

RECONCILER, CALLBACK = "reconciler", "callback"
_RLLIBS_OWN = ("rllib_episode_id", "worker_index", "in_evaluation")
KNOWN_AT_START = ("env_index", "seed", "trial_id", "market", "market_start", "first_price")
"""Columns that the end of an episode fills in if the journal has their values, and keeps otherwise."""
_PAGE = 1000
_STARTS_A_STATEMENT = 32  # SQLAlchemy takes as long for a statement as SQLite for its row
_C = episodes.c


Rank = tuple[bool, bool, int, int]
"""Rank of evidence: final, closed, verified steps, and minus the lost ones. Compared from the left."""
_UNKNOWN_LOSS = 2**31 - 1
SETTLED_AFTER = timedelta(days=7)
"""After this time the reconciler does not judge its own verdict again, even if it was not final."""


@dataclass(frozen=True)
class Ended:
    """The end of an episode. ``row`` maps columns of `episodes` to values. ``episode_id`` is None if it is unknown."""

    journal_id: str
    row: Mapping[str, Any]
    trades: Trades
    episode_id: int | None = None


def rank_of(row: Mapping[str, Any]) -> Rank:
    """Return the rank of the evidence that ends a row. An unknown value counts as the lowest."""
    steps, trades = row.get("steps_lost"), row.get("trades_lost")
    lost = _UNKNOWN_LOSS if steps is None or trades is None else steps + trades
    return bool(row.get("evidence_final")), bool(row.get("evidence_closed")), row.get("evidence_steps") or 0, -lost


def start_episode(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Insert a started episode, or fill in the RLlib id of its row. Return False if the row has ended.

    A ``status_reason`` says that the episode's journal failed; it is stored in an existing row too.

    Raises IntegrityError if the run is unknown, or the RLlib id belongs to another journal.
    """
    started = bool(_started(connection, [row]))
    if row.get("status_reason") is not None and not started:
        each = mark(connection)
        told = connection.exec_driver_sql(
            f"UPDATE episodes SET status_reason = {each} WHERE journal_id = {each} AND status = 'started'",
            (row["status_reason"], row["journal_id"]),
        )
        return bool(told.rowcount)
    return started


def start_episodes(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Start episodes in their order as `start_episode` does. Return the journal ids of the started ones.

    Neighbours with the same columns are inserted by one statement.
    """
    won: set[str] = set()
    for (*_, failed), group in groupby(rows, lambda row: (*row, _learnt(row), row.get("status_reason") is not None)):
        alike = list(group)
        if failed:
            won |= {row["journal_id"] for row in alike if start_episode(connection, row)}
            continue
        for first in range(0, len(alike), _STARTS_A_STATEMENT):
            won |= _started(connection, alike[first : first + _STARTS_A_STATEMENT])
    return won


def _started(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Insert or fill in rows that have the same columns and `_learnt`. Return the journal ids of the started ones."""
    marks = f"({', '.join([mark(connection)] * len(rows[0]))}, 'started')"
    conflict = "DO NOTHING"
    if learnt := _learnt(rows[0]):
        names = ", ".join(f"{name} = excluded.{name}" for name in learnt)
        conflict = f"(journal_id) DO UPDATE SET {names} WHERE episodes.rllib_episode_id IS NULL"
    made = connection.exec_driver_sql(
        f"INSERT INTO episodes ({', '.join(rows[0])}, status) VALUES {', '.join([marks] * len(rows))}"
        f" ON CONFLICT {conflict} RETURNING journal_id, status",
        tuple(chain.from_iterable(rows_of(connection, episodes, rows))),
    )
    return {row.journal_id for row in made if row.status == "started"}


def _learnt(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the columns that an existing row gets from this one, if it lacks RLlib's id."""
    if row.get("rllib_episode_id") is None:
        return ()
    return tuple(name for name in _RLLIBS_OWN if row.get(name) is not None)


def end_episode_by_callback(
    connection: Connection, ended: Ended, start: Mapping[str, Any] | None, later: list[tuple[int, Trades]] | None = None
) -> bool:
    """End an episode as its callback, even if the reconciler ended it. Return False if the callback did so before.

    If there is no row, it is inserted from ``start``. If the reconciler ended the episode on equal evidence, the journal's
    end included, only RLlib's ids are filled in. If ``later`` is given, the trades are appended to it; the caller inserts
    the trades of all episodes with `insert_trades` in the same transaction.
    """
    row, each = ended.row, mark(connection)
    equal = f"evidence_closed AND {each} AND evidence_steps = {each} AND steps_lost = {each} AND trades_lost = {each}"
    guard = f"(status = 'started' OR (finalized_by = 'reconciler' AND ({equal}) IS NOT TRUE))"
    losses = row.get("steps_lost"), row.get("trades_lost")
    known = (bool(row.get("evidence_closed")), row.get("evidence_steps"), *losses)
    if _end(connection, ended, guard, *known, later=later):
        return True
    if start is None:
        return False
    start_episode(connection, {**start, "journal_id": ended.journal_id})
    return _end(connection, ended, guard, *known, later=later)


def replace_on_more_evidence(connection: Connection, ended: Ended) -> bool:
    """Replace an earlier verdict of the reconciler if ``ended`` rests on strictly more evidence.

    Unknown evidence of the row (NULL) counts as none.
    """
    each = mark(connection)
    known = (
        "(coalesce(evidence_final, FALSE), coalesce(evidence_closed, FALSE), coalesce(evidence_steps, 0),"
        f" coalesce(-(steps_lost + trades_lost), {-_UNKNOWN_LOSS}))"
    )
    guard = f"finalized_by = 'reconciler' AND {known} < ({each}, {each}, {each}, {each})"
    return _end(connection, ended, guard, *rank_of(ended.row))


@dataclass(frozen=True)
class Verdicts:
    """First verdicts of the reconciler, for the driver.

    Attributes:
        batch: The ends of the episodes.
        update: The statement that changes a row.
        rows: Its parameters for each episode.
        inserts: What inserts the trades of all episodes; None if an id is unknown, or there are very many trades.
    """

    batch: Sequence[Ended]
    update: str
    rows: list[tuple[Any, ...]]
    inserts: list[Insert] | None


def verdicts_of(database: Database, batch: Sequence[Ended]) -> Verdicts | None:
    """Convert first verdicts for the driver, before a transaction in which other writers wait. Return None without any."""
    if not batch:
        return None
    each = mark(database)
    changes = _assignments(each, tuple(batch[0].row))
    update = f"UPDATE episodes SET {changes} WHERE journal_id = {each} AND status = 'started'"
    values = rows_of(database, episodes, [ended.row for ended in batch])
    rows = [(*row, ended.journal_id) for row, ended in zip(values, batch, strict=True)]
    ids = [(one.episode_id, one.trades) for one in batch if one.episode_id is not None]
    return Verdicts(batch, update, rows, prepared(database, ids) if len(ids) == len(batch) else None)


def end_episodes_by_reconciler(connection: Connection, verdicts: Verdicts, pass_id: str) -> set[str]:
    """End all episodes of a batch that are still started, with their trades. Return their journal ids.

    The rows are changed by one executemany. If it changed fewer rows than the batch has, the pass id in the rows shows
    which ones.
    """
    batch = verdicts.batch
    result = connection.exec_driver_sql(verdicts.update, verdicts.rows)
    ids = {one.journal_id: one.episode_id for one in batch if one.episode_id is not None}
    all_won = result.rowcount == len(batch) == len(ids)
    if all_won and verdicts.inserts is not None:
        for statement, values in verdicts.inserts:
            connection.exec_driver_sql(statement, values)
        return set(ids)
    if not all_won:
        ids = _won(connection, batch, pass_id)
    insert_trades(connection, [(ids[one.journal_id], one.trades) for one in batch if one.journal_id in ids])
    return set(ids)


@functools.lru_cache(maxsize=16)
def _assignments(each: str, names: tuple[str, ...]) -> str:
    values = {name: f"coalesce({each}, {name})" if name in KNOWN_AT_START else each for name in names}
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _won(connection: Connection, batch: Sequence[Ended], pass_id: str) -> dict[str, int]:
    """Return the ids of the episodes that this pass ended, by journal id."""
    wanted = [ended.journal_id for ended in batch]
    won = connection.execute(
        select(_C.journal_id, _C.episode_id).where(_C.journal_id.in_(wanted), _C.finalized_pass == pass_id)
    )
    return {row.journal_id: row.episode_id for row in won}


def _end(
    connection: Connection, ended: Ended, guard: str, *guarded: Any, later: list[tuple[int, Trades]] | None = None
) -> bool:
    """Update the row if the guard holds, then its trades under the row lock. `overruled_status` keeps a replaced verdict."""
    each = mark(connection)
    found = connection.exec_driver_sql(
        f"UPDATE episodes SET {_assignments(each, tuple(ended.row))}, overruled_status ="
        " CASE WHEN finalized_by = 'reconciler' THEN status ELSE overruled_status END"
        f" WHERE journal_id = {each} AND {guard} RETURNING episode_id, overruled_status",
        (*values_of(connection, episodes, ended.row), ended.journal_id, *guarded),
    ).one_or_none()
    if found is None:
        return False
    if found.overruled_status is not None:
        delete_trades(connection, found.episode_id)
    if later is None:
        insert_trades(connection, [(found.episode_id, ended.trades)])
    else:
        later.append((found.episode_id, ended.trades))
    return True


_JUDGED = (
    _C.episode_id, _C.run_id, _C.journal_id, _C.rllib_episode_id, _C.start_time, _C.status, _C.writer_host,
    _C.writer_boot_id, _C.finalized_by, _C.root_id, _C.node_id, _C.evidence_steps, _C.evidence_closed,
    _C.evidence_final, _C.steps_lost, _C.trades_lost, _C.finalized_at, _C.status_reason,
)  # fmt: skip


def started_episodes(engine: Engine, run_id: str) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield the started episodes of a run, oldest first. Episodes that start meanwhile are left out."""
    return _paged(engine, and_(_C.run_id == run_id, _C.status == "started"), _JUDGED)


def improvable_episodes(engine: Engine, run_id: str, since: datetime) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield episodes that the reconciler ended after ``since``, while more evidence could still come."""
    guard = and_(_C.run_id == run_id, _C.evidence_final.is_(False), _C.finalized_at > since)
    return _paged(engine, guard, _JUDGED)


def ended_episodes(engine: Engine, run_id: str) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield all ended episodes of a run, every column."""
    return _paged(engine, and_(_C.run_id == run_id, _C.status != "started"), tuple(_C))


def episodes_of(engine: Engine, run_id: str) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield all episodes of a run, every column, oldest first."""
    return _paged(engine, _C.run_id == run_id, tuple(_C))


def _paged(engine: Engine, guard: Any, columns: Sequence[Column[Any]]) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield rows in pages by key, so that memory stays bounded and no transaction stays open for long."""
    last = 0
    with reading(engine) as connection:
        newest = connection.execute(select(func.max(_C.episode_id))).scalar() or 0
    while True:
        query = select(*columns).where(guard, _C.episode_id > last, _C.episode_id <= newest)
        with reading(engine) as connection:
            page = rows_of_query(connection, query.order_by(_C.episode_id).limit(_PAGE), _C.episode_id)
        yield from page
        if len(page) < _PAGE:
            return
        last = page[-1].key if isinstance(page[-1], UnreadableRow) else page[-1].episode_id


def known_journals(connection: Connection, journal_ids: Sequence[str]) -> set[str]:
    """Return the ids of those journals that have a row."""
    found = connection.execute(select(_C.journal_id).where(_C.journal_id.in_(journal_ids)))
    return {row.journal_id for row in found}


def rows_of_journals(connection: Connection, run_id: str, journal_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return every column of some journals' rows by journal id, with None for undefined metrics.

    Journals without a row are absent. Unreadable rows are absent too, and are logged.
    """
    view = episode_metrics.c
    return _by(view.journal_id, connection, and_(view.run_id == run_id, view.journal_id.in_(journal_ids)))


def rows_of_numbers(connection: Connection, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return every column of some rows by episode id, as `rows_of_journals` does."""
    return _by(episode_metrics.c.episode_id, connection, episode_metrics.c.episode_id.in_(numbers))


def _by(key: Column[Any], connection: Connection, guard: Any) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for row in rows_of_query(connection, select(episode_metrics).where(guard), episode_metrics.c.episode_id):
        if isinstance(row, UnreadableRow):
            log.warning("the row of episode %s cannot be read: %s", row.key, row.reason)
        else:
            found[row._mapping[key.name]] = dict(row._mapping)
    return found


def chosen_episodes(
    connection: Connection, run_id: str, guards: Sequence[Any], order: Sequence[Any], limit: int | None
) -> Sequence[Row[Any] | UnreadableRow]:
    """Return episodes of a run with every column, and None for undefined metrics.

    Args:
        connection: An open connection.
        run_id: The run.
        guards: Conditions on columns of `rsc.db.models.episode_metrics`.
        order: Sort keys. Equal episodes are sorted by their numbers.
        limit: Return at most this many.
    """
    view = episode_metrics.c
    query = select(episode_metrics).where(view.run_id == run_id, *guards).order_by(*order, view.episode_id)
    return rows_of_query(connection, query.limit(limit), view.episode_id)


def evaluation_rows(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """Return the rows of a run's completed evaluation episodes, in the order of their bars; undefined metrics are None."""
    of = episode_metrics.c
    query = select(episode_metrics).where(of.run_id == run_id, of.in_evaluation.is_(True), of.status == "completed")
    found = rows_of_query(connection, query.order_by(of.market_start, of.episode_id), of.episode_id)
    return [dict(row._mapping) for row in found if not isinstance(row, UnreadableRow)]


def names_of_run(engine: Engine, run_id: str) -> Iterator[Row[Any] | UnreadableRow]:
    """Yield episode_id and journal_id of all episodes of a run, oldest first."""
    return _paged(engine, _C.run_id == run_id, (_C.episode_id, _C.journal_id))


def settled_journals(connection: Connection, run_id: str) -> set[str]:
    """Return the journals of a run whose row is final.

    A row is final if the callback ended it, or the reconciler on final evidence or more than seven days ago.
    """
    old = _C.finalized_at < datetime.now(UTC) - SETTLED_AFTER
    final = or_(_C.finalized_by == CALLBACK, _C.evidence_final.is_(True), _C.evidence_closed.is_(True), old)
    query = select(_C.journal_id).where(_C.run_id == run_id, _C.status != "started", final)
    return set(connection.execute(query).scalars())


def journal_place(connection: Connection, episode_id: int) -> Row[Any] | None:
    """Return journal_root (as the run recorded it), run_id and journal_id of an episode; None if there is none."""
    columns: tuple[Column[Any], ...] = (training_runs.c.journal_root, _C.run_id, _C.journal_id)
    query = select(*columns).join_from(episodes, training_runs).where(_C.episode_id == episode_id)
    return connection.execute(query).one_or_none()


def status_counts(connection: Connection, run_id: str) -> dict[str, int]:
    """Return the number of episodes of a run by status."""
    rows = connection.execute(select(_C.status, func.count()).where(_C.run_id == run_id).group_by(_C.status))
    return {row[0]: row[1] for row in rows}


def first_and_last(connection: Connection, run_id: str) -> tuple[int, int] | None:
    """Return the lowest and the highest episode_id of a run, None if it has no episodes."""
    low, high = connection.execute(
        select(func.min(_C.episode_id), func.max(_C.episode_id)).where(_C.run_id == run_id)
    ).one()
    return None if low is None else (low, high)


def count_started(connection: Connection, run_id: str | None = None) -> int:
    """Return the number of started episodes, of a run or of all runs."""
    query = select(func.count()).where(_C.status == "started")
    return connection.execute(query if run_id is None else query.where(_C.run_id == run_id)).scalar_one()


def oldest_started(connection: Connection) -> datetime | None:
    """Return the start time of the oldest episode that is still started, over all runs.

    None if there is none, or if its time cannot be read.
    """
    query = select(_C.start_time).where(_C.status == "started").order_by(_C.start_time).limit(1)
    oldest: datetime | None = value_of_first(rows_of_query(connection, query, _C.episode_id))
    return oldest


def overruled_counts(connection: Connection) -> tuple[int, int]:
    """Return the number of replaced verdicts of the reconciler, and of those with a wrong status."""
    false = func.sum(case((_C.overruled_status != _C.status, 1), else_=0))
    row = connection.execute(select(func.count(), false).where(_C.overruled_status.is_not(None))).one()
    return row[0], row[1] or 0
