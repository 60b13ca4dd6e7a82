"""Bring a database to this version's tables. Migrations travel in the package; nothing is ever dropped."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import SQLAlchemyError

from rsc.db.session import DatabaseError

HEAD = "0001"
_BASELINE = "0001"
_LOCK_KEY = 7_229_004_113  # of PostgreSQL's advisory lock: any number that nobody else uses


def upgrade(engine: Engine) -> bool:
    """Create or upgrade the tables, and adopt a database that has them already; return whether anything changed.

    Two processes may call it at once: alembic takes no lock, so this does. Raises DatabaseError.
    """
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
            if current_revision(connection) == HEAD:
                return False
            _migrate(connection)
            return True
    except SQLAlchemyError as error:
        raise DatabaseError(f"cannot prepare the database {engine.url!r}: {_first_line(error)}") from error


def current_revision(connection: Connection) -> str | None:
    """The revision that the database says it has; None without the table that says so. Costs no alembic import."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    if current_revision(connection) is None and inspect(connection).has_table("episodes"):
        command.stamp(config, _BASELINE)
    command.upgrade(config, "head")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
