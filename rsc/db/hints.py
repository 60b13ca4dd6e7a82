"""Turn a database's error into one line with a hint for the user."""

from __future__ import annotations

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from rsc.db.errors import DatabaseError, first_line
from rsc.db.urls import shown

_OF_SQLITE = (
    ("readonly", "make the file and its folder writable, or use a copy"),
    ("unable to open", "check the path, and that you may read and write the file and its folder"),
    ("not a database", "check the path; for a new file from the journals, `reconcile --all --rebuild`"),
    ("malformed", "restore a copy, or make a new file from the journals by `reconcile --all --rebuild`"),
    ("locked", "another program is writing; try again"),
    ("full", "free some space on its disk"),
)
_OF_POSTGRESQL = (
    (
        "permission denied",
        "grant this role SELECT on the tables for reading, all rights on them for writing, CREATE for creating them",
    ),
    ("read-only transaction", "connect to the primary, as a role that may write"),
    ("no schema has been selected", "create the schema that `search_path` names"),
    ("unsupported startup parameter", "add the parameter to `ignore_startup_parameters` of pgbouncer, or drop it"),
    ("name server", "check the host's name and the network"),
    ("statement timeout", "its `statement_timeout` is too short: the database, the role or the URL sets it"),
    ("connection timeout", "start the server, or check the network and the database URL"),
    ("timeout", "another program holds its tables; try again"),
    ("no password supplied", "give the password by $PGPASSWORD or ~/.pgpass"),
    ("authentication failed", "check user and password"),
    ("does not exist", "check the names in the database URL, or create what is missing"),
    ("too many", "free some connections"),
)
_CHECK = {"sqlite": "check the file and its disk", "postgresql": "start the server, or check the database URL"}


def unusable(engine: Engine, error: SQLAlchemyError) -> DatabaseError:
    """Return the error to raise: the database, its message in one line, and what to do."""
    said, kind = first_line(error), engine.dialect.name
    hints = _OF_SQLITE if kind == "sqlite" else _OF_POSTGRESQL
    hint = next((hint for words, hint in hints if words in said), _CHECK[kind])
    return DatabaseError(f"cannot use the database {shown(engine.url)}: {said}; {hint}")
