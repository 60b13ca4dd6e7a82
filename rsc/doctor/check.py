"""The result of one check."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Level(enum.StrEnum):
    """The severity of a result. WARN: it works, with a limit that the text names. FAIL: something will not work."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One line of `rsc doctor`.

    Attributes:
        name: The subject in one or two words. Unique among the checks of a machine.
        level: The severity.
        found: The finding, and its meaning.
        cure: What the user can do; empty if ``level`` is OK.
    """

    name: str
    level: Level
    found: str
    cure: str = ""


def ok(name: str, found: str) -> Check:
    """Return a check without a problem."""
    return Check(name, Level.OK, found)


def warn(name: str, found: str, cure: str) -> Check:
    """Return a check that found a limit."""
    return Check(name, Level.WARN, found, cure)


def fail(name: str, found: str, cure: str) -> Check:
    """Return a check that found something that will not work."""
    return Check(name, Level.FAIL, found, cure)
