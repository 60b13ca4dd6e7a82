"""Bring a database to this version's tables. Migrations travel in the package; nothing is ever dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from rsc.db.hints import unusable
from rsc.db.models import metadata
from rsc.db.session import DatabaseError, is_missing_file, open_engine, reading

HEAD = "0002"
_BASELINE = "0001"
_LOCK_KEY = 7_229_004_113  # of PostgreSQL's advisory lock: any number that nobody else uses


def open_existing(
    url: str,
    *,
    may_create: bool = False,
    may_upgrade: bool = True,
    hint: str = "give --database-url, or go to the folder that the training ran in",
) -> Engine:
    """An engine on a database that has this version's tables. To look must not make one: a file that is not there stays so.

    Raises DatabaseError, with ``hint`` where there is no file, and where one may not upgrade and would have to.
    """
    if is_missing_file(url) and not may_create:
        raise DatabaseError(f"there is no database {url}; {hint}")
    engine = open_engine(url)
    if may_upgrade:
        upgrade(engine)
    elif not is_current(engine):
        raise DatabaseError(
            f"the database {engine.url!r} is not of this version, and this command writes nothing; run `rsc db upgrade`"
        )
    return engine


def upgrade(engine: Engine) -> bool:
    """Create or upgrade the tables, and adopt a database that has some already; return whether anything changed.

    An adopted table keeps its rows and columns and gains the columns that it lacks. Two processes may call this at
    once: alembic takes no lock, so this does. Raises DatabaseError, also for a database of a newer version.
    """
    try:
        if is_current(engine):
            return False
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            if current_revision(connection) == HEAD:
                return False
            _migrate(connection)
            return True
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error


def is_current(engine: Engine) -> bool:
    """Has the database this version's tables? Writes nothing. Raises DatabaseError."""
    try:
        with reading(engine) as connection:
            return current_revision(connection) == HEAD
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error


def current_revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None without the table that says so. Costs no alembic import."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    here = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", here.replace("%", "%%"))  # as its parser wants it
    config.attributes["connection"] = connection
    if current_revision(connection) is None and _adopt(connection):
        command.stamp(config, _BASELINE)
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(
            f"the database has revision {current_revision(connection)}, this version knows up to {HEAD}; "
            "upgrade reinforce-strategy-creator on this machine"
        ) from error


def _adopt(connection: Connection) -> bool:
    """Give a database that has some of the tables whatever they lack; False if it has none."""
    have = set(inspect(connection).get_table_names())
    known = [table for table in metadata.sorted_tables if table.name in have]
    if not known:
        return False
    for table in known:
        _add_columns(connection, table)
    metadata.create_all(connection)
    return True


def _add_columns(connection: Connection, table: Table) -> None:
    """Nullable, since rows are there already; unique ones and indexes only where the rows allow it."""
    inspector = inspect(connection)
    have = {column["name"] for column in inspector.get_columns(table.name)}
    missing: list[Any] = [column for column in table.columns if column.name not in have]
    preparer, dialect = connection.dialect.identifier_preparer, connection.dialect
    for column in missing:
        kind = column.type.compile(dialect=dialect)
        connection.execute(
            text(f"ALTER TABLE {preparer.format_table(table)} ADD COLUMN {preparer.format_column(column)} {kind}")
        )
        if column.unique:
            name = f"uq_{table.name}_{column.name}"
            connection.execute(text(f"CREATE UNIQUE INDEX {name} ON {table.name} ({column.name})"))
    indexes = {index["name"] for index in inspector.get_indexes(table.name)}
    for index in table.indexes:
        if index.name not in indexes:
            index.create(connection)
