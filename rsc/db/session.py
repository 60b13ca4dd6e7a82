"""Create engines and open connections for SQLite and PostgreSQL. Importing creates no engine."""

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
    """Return an engine for a database URL. It does not connect, and creates no file; `rsc.db.upgrade` does that.

    Args:
        url: A URL for `rsc.db.urls.parse_url`. Its settings are kept, and defaults are added.
        timeout_s: Bound in seconds for connecting, and for waiting for another writer's lock.
        statement_s: Bound in seconds for each statement on a server. None: 12 times ``timeout_s``.
        looking: Open a SQLite file only for queries, which works without write permission.

    Raises:
        DatabaseError: ``url`` is not a database URL, or its driver is not installed.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        return sqlite_engine(parsed, timeout_s, to_json, looking)
    try:
        from rsc.db.postgres import postgres_engine  # psycopg is an extra
    except ModuleNotFoundError as error:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'reinforce-strategy-creator[postgres]'") from error
    return postgres_engine(parsed, timeout_s, statement_s or 12 * timeout_s, to_json)


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Open a connection for queries. It does not wait for writers."""
    with engine.connect() as connection:
        yield connection.execution_options(rsc_reading=True)


def database_now(engine: Engine) -> datetime:
    """Return the time of the server's clock, which all its users share; for a file the time of this host."""
    if engine.dialect.name != "postgresql":
        return datetime.now(UTC)
    with reading(engine) as connection:
        now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now.astimezone(UTC)


def to_json(value: Any) -> str:
    """Return JSON that every database accepts. NaN and infinities become null, unknown objects become text."""
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
