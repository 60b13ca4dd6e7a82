"""Trades of ended episodes: the one table that grows by hundreds of thousands of rows a pass."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, delete, func, select

from rsc.db.models import completed_trades, episodes

TRADE_COLUMNS = tuple(column.name for column in completed_trades.columns if column.name != "episode_id")

_EPOCH = datetime.fromtimestamp(0, UTC)
_FIRST_US, _LAST_US = (int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10**6 for year in (1, 9999))
_TIMES = [1 + TRADE_COLUMNS.index(name) for name in ("entry_time", "exit_time")]
_FLOATS = [1 + TRADE_COLUMNS.index(name) for name in ("quantity", "entry_price", "exit_price", "pnl", "costs")]
Trade = tuple[Any, ...]


def insert_trades(connection: Connection, batch: Iterable[tuple[int, Sequence[Trade]]]) -> None:
    """Insert (episode_id, trades) of a batch; those that are there already stay as they are.

    Straight to the driver: SQLAlchemy's own path costs as much again as the database.
    """
    rows = [(episode_id, *trade) for episode_id, trades in batch for trade in trades]
    if not rows:
        return
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True))
    for index in _TIMES:
        columns[index] = driver_times(connection, columns[index])
    for index in _FLOATS:
        if math.isnan(math.fsum(columns[index])):
            columns[index] = tuple(None if value != value else value for value in columns[index])
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    connection.exec_driver_sql(
        f"INSERT INTO completed_trades (episode_id, {', '.join(TRADE_COLUMNS)}) VALUES ({marks})"
        " ON CONFLICT (episode_id, trade_number) DO NOTHING",
        list(zip(*columns, strict=True)),
    )


def delete_trades(connection: Connection, episode_id: int) -> None:
    """Remove an episode's trades: better ones follow in the same transaction."""
    connection.execute(delete(completed_trades).where(completed_trades.c.episode_id == episode_id))


def trade_counts(connection: Connection, run_id: str) -> dict[int, int]:
    """How many trades are stored for each episode of a run that has any."""
    rows = connection.execute(
        select(completed_trades.c.episode_id, func.count())
        .join(episodes, episodes.c.episode_id == completed_trades.c.episode_id)
        .where(episodes.c.run_id == run_id)
        .group_by(completed_trades.c.episode_id)
    )
    return {row[0]: row[1] for row in rows}


def trades_of(connection: Connection, episode_id: int) -> Sequence[Row[Any]]:
    """The trades of one episode, in order."""
    query = select(completed_trades).where(completed_trades.c.episode_id == episode_id)
    return connection.execute(query.order_by(completed_trades.c.trade_number)).all()


def driver_times(connection: Connection, times_us: Sequence[int]) -> tuple[Any, ...]:
    """For SQLite the text that SQLAlchemy's DateTime stores (``2026-11-22 23:59:59.000000``), else aware datetimes.

    Times that no datetime can hold are None.
    """
    times = np.asarray(times_us, "<i8")
    if times.min() < _FIRST_US or times.max() > _LAST_US:
        held = [_FIRST_US <= time_us <= _LAST_US for time_us in times_us]
        inside = driver_times(connection, [time_us if ok else 0 for time_us, ok in zip(times_us, held, strict=True)])
        return tuple(time if ok else None for time, ok in zip(inside, held, strict=True))
    if connection.dialect.name == "sqlite":
        text = np.datetime_as_string(times.view("datetime64[us]"))
        return tuple(time.replace("T", " ") for time in text.tolist())
    return tuple(_EPOCH + timedelta(microseconds=time_us) for time_us in times_us)
