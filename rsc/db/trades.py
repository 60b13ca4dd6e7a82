"""Trades of ended episodes: the one table that grows by hundreds of thousands of rows a pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, func, select

from journal.format.schema import UNKNOWN_STEP
from rsc.db.driver import mark
from rsc.db.models import completed_trades, episodes

TRADE_COLUMNS = tuple(column.name for column in completed_trades.columns if column.name != "episode_id")

_EPOCH = datetime.fromtimestamp(0, UTC)
_FIRST_US, _LAST_US = (int((datetime(year, 1, 1, tzinfo=UTC) - _EPOCH).total_seconds()) * 10**6 for year in (1, 9999))
Trades = Mapping[str, Any]
"""Trades of an episode by column, TRADE_COLUMNS, each an array of equal length; times in microseconds."""


def trades_from(rows: Sequence[Sequence[Any]]) -> Trades:
    """From rows in the order of TRADE_COLUMNS."""
    columns = zip(*rows, strict=True) if rows else [()] * len(TRADE_COLUMNS)
    return dict(zip(TRADE_COLUMNS, columns, strict=True))


def count_of(trades: Trades) -> int:
    """How many they are."""
    return len(trades["trade_number"])


def insert_trades(connection: Connection, batch: Sequence[tuple[int, Trades]]) -> None:
    """Insert (episode_id, trades) of a batch; those that are there already stay as they are.

    Straight to the driver, and column by column: both SQLAlchemy's own path and a loop over trades cost as much again
    as the database.
    """
    batch = [(episode_id, trades) for episode_id, trades in batch if count_of(trades)]
    if not batch:
        return
    episode_ids = np.repeat([one for one, _ in batch], [count_of(trades) for _, trades in batch]).tolist()
    columns = {name: np.concatenate([trades[name] for _, trades in batch]).tolist() for name in TRADE_COLUMNS}
    # Episodes share their market's bars, so each time is converted once.
    times_us = list({*columns["entry_time"], *columns["exit_time"]})
    time = dict(zip(times_us, driver_times(connection, times_us), strict=True))
    for name in ("entry_time", "exit_time"):
        columns[name] = [time[time_us] for time_us in columns[name]]
    columns["entry_step"] = [None if step == UNKNOWN_STEP else step for step in columns["entry_step"]]
    if connection.dialect.name != "sqlite":  # SQLite stores NaN as NULL by itself
        columns = {name: [None if one != one else one for one in values] for name, values in columns.items()}
    names = ("episode_id", *TRADE_COLUMNS)
    connection.exec_driver_sql(
        f"INSERT INTO completed_trades ({', '.join(names)}) VALUES ({', '.join([mark(connection)] * len(names))})"
        " ON CONFLICT (episode_id, trade_number) DO NOTHING",
        list(zip(episode_ids, *columns.values(), strict=True)),
    )


def delete_trades(connection: Connection, episode_id: int) -> None:
    """Remove an episode's trades: better ones follow in the same transaction."""
    each = mark(connection)
    connection.exec_driver_sql(f"DELETE FROM completed_trades WHERE episode_id = {each}", (episode_id,))


def trade_counts(connection: Connection, run_id: str) -> dict[int, int]:
    """How many trades are stored for each episode of a run that has any."""
    rows = connection.execute(
        select(completed_trades.c.episode_id, func.count())
        .join(episodes, episodes.c.episode_id == completed_trades.c.episode_id)
        .where(episodes.c.run_id == run_id)
        .group_by(completed_trades.c.episode_id)
    )
    return {row[0]: row[1] for row in rows}


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
