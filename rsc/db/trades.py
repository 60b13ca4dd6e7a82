"""Insert, delete and count the trades of ended episodes. A pass inserts hundreds of thousands of them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from journal.format.schema import UNKNOWN_STEP
from rsc.db.driver import Database, mark
from rsc.db.models import completed_trades, episodes

TRADE_COLUMNS = tuple(column.name for column in completed_trades.columns if column.name != "episode_id")

_EPOCH = datetime.fromtimestamp(0, UTC)
_ROWS = 50_000  # this many trades are converted at once
_ROWS_A_STATEMENT = (64, 8, 1)  # SQLite takes a third less time for a statement of many rows
_FIRST_US, _LAST_US = (int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10**6 for year in (1, 9999))
Trades = Mapping[str, Any]
"""Trades of an episode by column, TRADE_COLUMNS, each an array of equal length; times in microseconds."""


def trades_from(rows: Sequence[Sequence[Any]]) -> Trades:
    """Convert rows in the order of TRADE_COLUMNS to columns."""
    columns = zip(*rows, strict=True) if rows else [()] * len(TRADE_COLUMNS)
    return dict(zip(TRADE_COLUMNS, columns, strict=True))


def count_of(trades: Trades) -> int:
    """Return the number of trades."""
    return len(trades["trade_number"])


Insert = tuple[str, Any]
"""A statement that inserts trades, and its parameters."""


def insert_trades(connection: Connection, batch: Sequence[tuple[int, Trades]]) -> None:
    """Insert the trades of some episodes. Existing rows are not changed.

    Args:
        connection: A connection in a transaction, which inserts all rows.
        batch: Pairs of an episode id and its trades.
    """
    for statement, values in inserts_of(connection, batch):
        connection.exec_driver_sql(statement, values)


def prepared(connection: Database, batch: Sequence[tuple[int, Trades]]) -> list[Insert] | None:
    """Return all statements that `insert_trades` would execute; None if they would take much memory."""
    few = sum(count_of(trades) for _, trades in batch) <= _ROWS
    return list(inserts_of(connection, batch)) if few else None


def inserts_of(connection: Database, batch: Sequence[tuple[int, Trades]]) -> Iterator[Insert]:
    """Yield the statements that insert trades, for `exec_driver_sql`.

    They are for the driver, and converted column by column, because SQLAlchemy or a loop over trades would each cost as
    much time as the database itself.
    """
    batch = [(episode_id, trades) for episode_id, trades in batch if count_of(trades)]
    if not batch:
        return
    ids = np.repeat([episode_id for episode_id, _ in batch], [count_of(trades) for _, trades in batch])
    columns = {name: np.concatenate([trades[name] for _, trades in batch]) for name in TRADE_COLUMNS}
    insert = _insert_arrays if connection.dialect.name == "postgresql" else _insert_rows
    for first in range(0, len(ids), _ROWS):  # Python's objects take ten times the memory of the arrays
        part = slice(first, first + _ROWS)
        yield from insert(connection, ids[part].tolist(), _for_driver(connection, columns, part))


def _for_driver(connection: Database, columns: Mapping[str, Any], part: slice) -> dict[str, list[Any]]:
    """Convert a part of the columns to lists: times to text, unknown values to None."""
    lists = {name: values[part].tolist() for name, values in columns.items()}
    for name in ("entry_time", "exit_time"):
        lists[name] = driver_times(connection, lists[name])
    lists["entry_step"] = [None if step == UNKNOWN_STEP else step for step in lists["entry_step"]]
    return lists


_COLUMNS = ("episode_id", *TRADE_COLUMNS)
_INTO = f"INSERT INTO completed_trades ({', '.join(_COLUMNS)})"
_BESIDES = "ON CONFLICT (episode_id, trade_number) DO NOTHING"


def _insert_rows(_: Database, episode_ids: list[int], columns: Mapping[str, list[Any]]) -> Iterator[Insert]:
    """Insert into SQLite, which stores NaN as NULL."""
    rows = list(zip(episode_ids, *columns.values(), strict=True))
    first, marks = 0, f"({', '.join('?' * len(_COLUMNS))})"
    for together in _ROWS_A_STATEMENT:
        groups = range(first, len(rows) - together + 1, together)
        if groups:
            values = [tuple(chain.from_iterable(rows[at : at + together])) for at in groups]
            yield f"{_INTO} VALUES {', '.join([marks] * together)} {_BESIDES}", values
            first += len(groups) * together


def _insert_arrays(connection: Database, episode_ids: list[int], columns: Mapping[str, list[Any]]) -> Iterator[Insert]:
    """Insert into PostgreSQL by one statement with an array for each column.

    One statement for each row is as fast only if it is prepared, which poolers such as pgbouncer do not allow.
    """
    kinds = (completed_trades.columns[name].type.compile(dialect=connection.dialect) for name in _COLUMNS)
    arrays = ", ".join(f"CAST(%s AS {kind}[])" for kind in kinds)
    values = tuple(_array(column) for column in (episode_ids, *columns.values()))
    yield f"{_INTO} SELECT * FROM unnest({arrays}) {_BESIDES}", values


def _array(values: list[Any]) -> str:
    """Return numbers or times as the text of a PostgreSQL array, with None and NaN as NULL."""
    return "{" + ",".join(["NULL" if value is None or value != value else str(value) for value in values]) + "}"


def delete_trades(connection: Connection, episode_id: int) -> None:
    """Delete an episode's trades. The caller inserts better ones in the same transaction."""
    each = mark(connection)
    connection.exec_driver_sql(f"DELETE FROM completed_trades WHERE episode_id = {each}", (episode_id,))


def trade_counts(connection: Connection, run_id: str) -> dict[int, int]:
    """Return the number of stored trades by episode id, for the episodes of a run that have any."""
    rows = connection.execute(
        select(completed_trades.c.episode_id, func.count())
        .join(episodes, episodes.c.episode_id == completed_trades.c.episode_id)
        .where(episodes.c.run_id == run_id)
        .group_by(completed_trades.c.episode_id)
    )
    return {row[0]: row[1] for row in rows}


def driver_times(connection: Database, times_us: Sequence[int]) -> list[str | None]:
    """Return times as text: for SQLite as SQLAlchemy's DateTime stores it (``2026-11-22 23:59:59.000000``).

    Times that no datetime can hold are None. For PostgreSQL the text is quoted, as an array needs it.
    """
    text_of = _quoted_text_of if connection.dialect.name == "postgresql" else _text_of
    return [text_of(time_us) for time_us in times_us]


@functools.lru_cache(maxsize=1 << 14)  # the episodes of a run share their market's bars
def _text_of(time_us: int) -> str | None:
    if not _FIRST_US <= time_us <= _LAST_US:
        return None
    return (_EPOCH + timedelta(microseconds=time_us)).replace(tzinfo=None).isoformat(" ", "microseconds")


@functools.lru_cache(maxsize=1 << 14)
def _quoted_text_of(time_us: int) -> str | None:
    text = _text_of(time_us)
    return None if text is None else f'"{text}+00"'
