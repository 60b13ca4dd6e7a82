"""Create or upgrade the tables of a database, or refuse to. Nothing is ever dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Connection, Engine, MetaData, PrimaryKeyConstraint, String, Table, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from rsc.db.errors import DatabaseError
from rsc.db.hints import unusable
from rsc.db.models import EPISODE_METRICS, create_view, metadata
from rsc.db.session import open_engine, reading
from rsc.db.sqlite import create_file
from rsc.db.urls import is_missing_file, masked, shown

HEAD = "0004"
VERSION_TABLE = "rsc_version"
"""The table with the revision. Not alembic's default name, since other tools with alembic may share the database."""
_versions = Table(
    VERSION_TABLE,
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name=f"{VERSION_TABLE}_pkc"),  # as alembic creates it
)
_LOCK_KEY = 7_229_004_113  # key of PostgreSQL's advisory lock: a random number


def open_existing(
    url: str,
    *,
    may_create: bool = False,
    may_upgrade: bool = False,
    hint: str = "give --database-url, or go to the folder that the training ran in",
) -> Engine:
    """Return an engine on a database that has this version's tables.

    Args:
        url: The database.
        may_create: Create the file and the tables if there are none.
        may_upgrade: Upgrade older tables to this version. If neither is set, the engine is only for queries.
        hint: What the user can do if there is no such database.

    Raises:
        DatabaseError: The database cannot be used, has no tables and ``may_create`` is not set, or has tables of
            another version and ``may_upgrade`` is not set.
    """
    if is_missing_file(url) and not may_create:
        raise DatabaseError(f"there is no database {masked(url)}; {hint}")
    engine = open_engine(url, looking=not (may_create or may_upgrade))
    if may_create:
        upgrade(engine)
        return engine
    state = _state(engine)
    if state == HEAD:
        return engine
    if state is None:
        raise DatabaseError(
            f"the database {shown(engine.url)} has no runs: a training or `rsc db upgrade` creates its tables; {hint}"
        )
    if not may_upgrade:
        raise DatabaseError(
            f"the database {shown(engine.url)} has tables of another version, or some are missing; this command does not"
            " change them; run `rsc db upgrade`"
        )
    upgrade(engine)
    return engine


def upgrade(engine: Engine) -> bool:
    """Create or upgrade the tables, and adopt a database that has some of them already.

    An adopted table keeps its rows and columns, and gains missing columns. Two processes may call this at once: it takes a
    lock, since alembic does not.

    Returns:
        Whether anything changed.

    Raises:
        DatabaseError: The database cannot be used, or is of a newer version.
    """
    create_file(engine.url)
    try:
        if is_current(engine):
            return False
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            revision = current_revision(connection)
            if revision is None:
                _create(connection)
            elif revision != HEAD:
                _migrate(connection)
            elif _is_complete(connection):
                return False
            else:
                _complete(connection)
            return True
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error


def is_current(engine: Engine) -> bool:
    """Return whether the database has this version's tables. Writes nothing.

    Raises:
        DatabaseError: The database cannot be used.
    """
    return _state(engine) == HEAD


def current_revision(connection: Connection) -> str | None:
    """Return the revision that is stored in the database; None if there is none. Does not import alembic."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    revision: str | None = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return revision or None


def _state(engine: Engine) -> str | None:
    """Return the database's revision; "" if tables have none or are incomplete; None without tables."""
    try:
        with reading(engine) as connection:
            revision = current_revision(connection)
            if revision is None:
                return "" if _tables_there(connection) else None
            return "" if revision == HEAD and not _is_complete(connection) else revision
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error


def _tables_there(connection: Connection) -> list[Table]:
    """Return those of this project's tables that the database has."""
    have = set(inspect(connection).get_table_names())
    return [table for table in metadata.sorted_tables if table.name in have]


def _create(connection: Connection) -> None:
    """Create the missing tables of a database without a revision, and store the newest revision.

    This does not import alembic, which would double the time before a first training.
    """
    _complete(connection)
    _versions.create(connection, checkfirst=True)
    connection.execute(_versions.delete())  # a row without a revision
    connection.execute(_versions.insert().values(version_num=HEAD))


def _migrate(connection: Connection) -> None:
    from alembic import command  # slow to import, and only needed for tables of an older version
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    here = str(Path(__file__).with_name("migrations"))
    config.set_main_option("script_location", here.replace("%", "%%"))  # its parser interpolates "%"
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise DatabaseError(
            f"the database has revision {current_revision(connection)}, this version reads up to {HEAD}; "
            "upgrade reinforce-strategy-creator on this machine"
        ) from error


def _is_complete(connection: Connection) -> bool:
    """Return whether all tables, columns and the view exist. A dump may have been restored in part."""
    inspector = inspect(connection)
    names = set(inspector.get_table_names())
    if EPISODE_METRICS not in inspector.get_view_names() or not names.issuperset(metadata.tables):
        return False
    return all(
        {column["name"] for column in inspector.get_columns(table.name)} >= set(table.columns.keys())
        for table in metadata.sorted_tables
    )


def _complete(connection: Connection) -> None:
    """Create the missing tables, columns and indexes, and the view, in a database that has some of the tables."""
    for table in _tables_there(connection):
        _add_columns(connection, table)
    metadata.create_all(connection)
    connection.execute(text(f"DROP VIEW IF EXISTS {EPISODE_METRICS}"))  # it may lack columns
    connection.execute(text(create_view()))


def _add_columns(connection: Connection, table: Table) -> None:
    """Add missing columns, as nullable since there are rows already, and missing indexes."""
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
