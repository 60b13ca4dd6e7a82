"""Straight to the driver, for the writes that come with every episode: SQLAlchemy's own path costs several times as much.

The statements are plain SQL that SQLite and PostgreSQL both take; values are converted as the tables' types say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Table

Convert = Callable[[Any], Any]


def mark(connection: Connection) -> str:
    """How this driver writes a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


def values_of(connection: Connection, table: Table, row: Mapping[str, Any]) -> list[Any]:
    """A row's values in its own order, as the driver wants them."""
    values = list(row.values())
    for index, convert in _converters(connection.dialect, table, tuple(row)):
        values[index] = convert(values[index])
    return values


def rows_of(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """The same for many rows of the same columns, each column at once."""
    columns = [[row[name] for row in rows] for name in rows[0]]
    for index, convert in _converters(connection.dialect, table, tuple(rows[0])):
        columns[index] = [convert(value) for value in columns[index]]
    return [list(values) for values in zip(*columns, strict=True)]


@functools.lru_cache(maxsize=64)
def _converters(dialect: Dialect, table: Table, names: tuple[str, ...]) -> list[tuple[int, Convert]]:
    found: list[tuple[int, Convert]] = []
    for index, name in enumerate(names):
        convert = table.columns[name].type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None:
            found.append((index, convert))
    return found
