"""Read rows that may contain invalid values, such as a time that was edited by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, String, literal
from sqlalchemy.exc import DataError, OperationalError

from rsc.db.session import first_line

_NOT_UTF8 = "Could not decode to UTF-8"  # SQLite's driver reports invalid text as a database error


@dataclass(frozen=True)
class UnreadableRow:
    """A row that cannot be read. ``key`` is its primary key, ``reason`` the driver's message."""

    key: Any
    reason: str


def rows_of_query(connection: Connection, query: Select[Any], key: Column[Any]) -> Sequence[Row[Any] | UnreadableRow]:
    """Return the rows of a query, with an `UnreadableRow` for each row that cannot be read.

    Args:
        connection: An open connection.
        query: Selects columns of one table.
        key: The table's primary key.
    """
    try:
        return connection.execute(query).all()
    except (ValueError, TypeError, OverflowError, DataError, OperationalError) as error:
        if not _is_about_a_value(error):
            raise
    keys = connection.execute(query.with_only_columns(key)).scalars().all()
    rows = (_row(connection, query.where(key == _as_stored(value)), value) for value in keys)
    return [row for row in rows if row is not None]


def value_of_first(rows: Sequence[Row[Any] | UnreadableRow]) -> Any:
    """Return the first value of the first row; None if there is no row, or if it cannot be read."""
    return None if not rows or isinstance(rows[0], UnreadableRow) else rows[0][0]


def _as_stored(key: Any) -> Any:
    """Return a key as a query parameter that is not cut to the column's length."""
    return literal(key, String()) if isinstance(key, str) else key


def _row(connection: Connection, query: Select[Any], key: Any) -> Row[Any] | UnreadableRow | None:
    """Return one row; None if it was deleted meanwhile."""
    try:
        return connection.execute(query).one_or_none()
    except (ValueError, TypeError, OverflowError, DataError, OperationalError) as error:
        if not _is_about_a_value(error):
            raise
        return UnreadableRow(key, first_line(error))


def _is_about_a_value(error: Exception) -> bool:
    return not isinstance(error, OperationalError) or _NOT_UTF8 in str(error)
