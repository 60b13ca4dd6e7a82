"""Engines: how the project talks to SQLite and PostgreSQL. Nothing is made at import."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from rsc.defaults import DATABASE_TIMEOUT_S

_SQLITE_FORM = "expected sqlite:///FILE or postgresql://USER@HOST/NAME"


class DatabaseError(Exception):
    """The database cannot be used, with the reason and what to do."""


def open_engine(url: str, timeout_s: float = DATABASE_TIMEOUT_S, statement_s: float | None = None) -> Engine:
    """An engine for a SQLite or PostgreSQL URL; connects to nothing yet. Raises DatabaseError for any other URL.

    ``timeout_s`` bounds connecting, and waiting for another writer's lock; ``statement_s`` each statement of a server,
    by default 12 times that.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseError(f"{url!r} is no database URL, {_SQLITE_FORM}") from error
    if parsed.get_backend_name() == "sqlite":
        if "?" in url and not parsed.query:  # what stands behind it would be dropped without a word
            raise DatabaseError(f"{url!r}: the path of a SQLite file has no '?'; give --database-url")
        return _sqlite(parsed, timeout_s)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql(parsed, timeout_s, statement_s or 12 * timeout_s)
    raise DatabaseError(f"{parsed.get_backend_name()} is not supported, {_SQLITE_FORM}")


def is_missing_file(url: str) -> bool:
    """Is this the URL of a SQLite file that does not exist?"""
    try:
        parsed = make_url(url)
    except ArgumentError:
        return False
    file = parsed.database if parsed.get_backend_name() == "sqlite" else None
    return file not in (None, "", ":memory:") and not Path(str(file)).exists()


def _sqlite(url: URL, timeout_s: float) -> Engine:
    if url.database and url.database != ":memory:":
        try:
            Path(url.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DatabaseError(f"cannot make the folder of {url.database}: {error.strerror}") from error
    engine = create_engine(
        url, connect_args={"timeout": timeout_s, "check_same_thread": False}, json_serializer=to_json
    )

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


def _postgresql(url: URL, timeout_s: float, statement_s: float) -> Engine:
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    options = f"-c lock_timeout={int(timeout_s * 1000)} -c statement_timeout={int(statement_s * 1000)}"
    try:
        engine = create_engine(
            url,
            pool_pre_ping=True,
            pool_timeout=timeout_s,
            json_serializer=to_json,
            # libpq takes whole seconds, at least 2.
            connect_args={"connect_timeout": max(2, math.ceil(timeout_s)), "options": options},
        )
        from rsc.db.patience import PatientConnection
    except (NoSuchModuleError, ModuleNotFoundError) as error:
        raise DatabaseError("PostgreSQL needs a driver: pip install 'reinforce-strategy-creator[postgres]'") from error

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> Any:
        connection = PatientConnection.connect(*args, **kwargs)
        connection.patience_s = statement_s
        return connection

    return engine


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for queries alone, which waits for no writer."""
    with engine.connect() as connection:
        yield connection.execution_options(rsc_reading=True)


def database_now(engine: Engine) -> datetime:
    """The time by the clock that all users of the database share: the server's; a file has only this host's."""
    if engine.dialect.name != "postgresql":
        return datetime.now(UTC)
    with reading(engine) as connection:
        now: datetime = connection.exec_driver_sql("SELECT clock_timestamp()").scalar_one()
    return now.astimezone(UTC)


def to_json(value: Any) -> str:
    """JSON that every database takes: NaN and infinities are null, unknown objects their text."""
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


def first_line(error: BaseException | None) -> str:
    """What the database said, in one line; of an error that says nothing, its name."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
