"""Engines and connections: how the project talks to SQLite and PostgreSQL. Importing makes no engine."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from rsc.db.errors import DatabaseError, first_line
from rsc.db.sqlite import sqlite_engine
from rsc.db.urls import is_missing_file, masked, parse_url
from rsc.defaults import DATABASE_TIMEOUT_S

__all__ = [
    "DatabaseError",
    "database_now",
    "first_line",
    "is_missing_file",
    "masked",
    "open_engine",
    "reading",
    "to_json",
]


def open_engine(
    url: str, timeout_s: float = DATABASE_TIMEOUT_S, statement_s: float | None = None, *, looking: bool = False
) -> Engine:
    """Return an engine for a database URL. Connects to nothing, and makes no file: `rsc.db.upgrade` makes it.

    Args:
        url: As `rsc.db.urls.parse_url` takes it. What it sets is kept, and ours is added.
        timeout_s: How long connecting may take, and waiting for another writer's lock.
        statement_s: How long each statement of a server may take. None: 12 times ``timeout_s``.
        looking: Open a SQLite file for queries alone, also where it may not be written.

    Raises:
        DatabaseError: It is no database URL, or its driver is not installed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite_engine(parsed, timeout_s, to_json, looking)
    try:
        from rsc.db.postgres import postgres_engine  # its driver is an extra
    except ModuleNotFoundError as error:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'reinforce-strategy-creator[postgres]'") from error
    return postgres_engine(parsed, timeout_s, statement_s or 12 * timeout_s, to_json)


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection for queries alone, which waits for no writer."""
    with engine.connect() as connection:
        yield connection.execution_options(rsc_reading=True)


def database_now(engine: Engine) -> datetime:
    """Return the time by the clock that all users of the database share: a server's own; a file has only this host's."""
    if engine.dialect.name != "postgresql":
        return datetime.now(UTC)
    with reading(engine) as connection:
        now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now.astimezone(UTC)


def to_json(value: Any) -> str:
    """Return JSON that every database takes: NaN and infinities are null, unknown objects are their text."""
    try:
        return json.dumps(value, allow_nan=False, default=str)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False, default=str)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
