"""The exception for a database that cannot be used, and the first line of an error's message."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database cannot be used. The message is one line: the cause, and what to do. It holds no password."""


def first_line(error: BaseException | None) -> str:
    """Return what the database said, in one line; the name of an error that says nothing."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
