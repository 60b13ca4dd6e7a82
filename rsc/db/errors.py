"""Exceptions about databases and runs, and the first line of an error's message."""

from __future__ import annotations


class DatabaseError(Exception):
    """The database cannot be used. The message is one line: the cause, and what to do. It holds no password."""


class UnknownRunError(Exception):
    """The database does not have the run, or the name fits more than one. The message is one line."""


def first_line(error: BaseException | None) -> str:
    """Return the first line of an error's message, or the error's name if it has no message."""
    said = str(getattr(error, "orig", None) or error).strip()
    return said.splitlines()[0] if said else type(error).__name__
