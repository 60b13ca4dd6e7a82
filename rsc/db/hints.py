"""What to do about a database that cannot be used: by its kind, and by what it said."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rsc.db.session import DatabaseError, first_line

_OF_SQLITE = (
    ("readonly", "make the file and its folder writable, which SQLite needs for a look too, or use a copy"),
    ("unable to open", "check the path, and that you may read and write the file and its folder"),
    ("not a database", "check the path; for a new file from the journals, `reconcile --all --rebuild`"),
    ("malformed", "restore a copy, or make a new file from the journals by `reconcile --all --rebuild`"),
    ("locked", "another program is writing; try again"),
    ("full", "free some space on its disk"),
)
_OF_POSTGRESQL = (
    ("permission denied", "grant this role the right to create tables"),
    ("read-only transaction", "connect to the primary, as a role that may write"),
    ("timeout", "another program holds its tables; try again"),
    ("authentication failed", "check user and password in the database URL"),
    ("does not exist", "check the names in the database URL, or create what is missing"),
    ("too many", "free some connections"),
)
_CHECK = {"sqlite": "check the file and its disk", "postgresql": "start the server, or check the database URL"}


def unusable(engine: Engine, error: SQLAlchemyError) -> DatabaseError:
    """The error to raise: which database, what it said in one line, and the next step."""
    said, kind = first_line(error), engine.dialect.name
    hints = _OF_SQLITE if kind == "sqlite" else _OF_POSTGRESQL
    hint = next((hint for words, hint in hints if words in said), _CHECK[kind])
    return DatabaseError(f"cannot use the database {engine.url!r}: {said}; {hint}")
