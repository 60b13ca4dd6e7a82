"""The state of a journal in one word."""

from __future__ import annotations

import enum


class Condition(enum.StrEnum):
    """The one word for a journal; the worst that is true of it."""

    CLOSED = "closed"
    OPEN = "open"
    TORN = "torn"  # open, its last write is cut, and nobody will finish it
    FAILED = "failed"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
