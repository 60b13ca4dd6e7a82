"""Engines: how the project talks to SQLite and PostgreSQL. Nothing is made at import."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from rsc.defaults import DATABASE_TIMEOUT_S


class DatabaseError(Exception):
    """The database cannot be used, with the reason and what to do."""


def open_engine(url: str, timeout_s: float = DATABASE_TIMEOUT_S) -> Engine:
    """An engine for a SQLite or PostgreSQL URL; connects to nothing yet. Raises DatabaseError for any other URL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(f"{url!r} is no database URL, expected sqlite:///FILE or postgresql://...") from error
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, timeout_s)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed, timeout_s)
    raise DatabaseError(f"{parsed.get_backend_name()} is not supported, use sqlite:///FILE or postgresql://...")


def _sqlite(url: URL, timeout_s: float) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": timeout_s, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # SQLAlchemy's own BEGIN, below, is the only one
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A deferred transaction that turns to writing fails at once where another writes; an immediate one waits.
        reading = connection.get_execution_options().get("rsc_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _postgresql(url: URL, timeout_s: float) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    try:
        return create_engine(
            url,
            pool_pre_ping=True,
            connect_args={
                "connect_timeout": max(1, round(timeout_s)),
                "options": f"-c lock_timeout={int(timeout_s * 1000)} -c statement_timeout={int(timeout_s * 12_000)}",
            },
        )
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'reinforce-strategy-creator[postgres]'") from error


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for queries alone, which waits for no writer."""
    with engine.connect() as connection:
        yield connection.execution_options(rsc_reading=True)
