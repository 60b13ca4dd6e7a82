"""Call the database driver directly for the frequent writes, where SQLAlchemy costs several times as much.

The statements are plain SQL that both SQLite and PostgreSQL accept. Values are converted by the column types.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Dialect, Engine, Table

Convert = Callable[[Any], Any]
Database = Connection | Engine
"""Both know the driver. An engine is enough to convert values before a transaction."""


def mark(connection: Database) -> str:
    """Return the driver's placeholder of a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


def values_of(connection: Connection, table: Table, row: Mapping[str, Any]) -> list[Any]:
    """Return a row's values in the row's own order, converted for the driver."""
    values = list(row.values())
    for index, convert in _converters(connection.dialect, table, tuple(row)):
        values[index] = convert(values[index])
    return values


def rows_of(connection: Database, table: Table, rows: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
    """Return the values of many rows of the same columns, converted column by column."""
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
