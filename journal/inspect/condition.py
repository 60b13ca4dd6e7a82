"""The state of a journal in one word."""

from __future__ import annotations

import enum


class Condition(enum.StrEnum):
    """State of a journal. The most serious one that applies is used."""

    CLOSED = "closed"
    OPEN = "open"
    TORN = "torn"  # open, its last write is incomplete, and its writer is dead
    FAILED = "failed"
    DAMAGED = "damaged"
    UNREADABLE = "unreadable"
