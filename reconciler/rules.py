"""Decide what happens to an episode: a pure function over facts, by a lettered table."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from journal import Liveness
from rsc.closing import COMPLETED, ERROR, JOURNAL_MISSING, TRUNCATED, Ending, journal_unreadable


class Row(enum.StrEnum):
    """What the database says about the episode."""

    STARTED = "started"
    NONE = "none"  # there is a journal, but no row
    OURS = "ours"  # the reconciler ended it
    ENDED = "ended"  # its callback ended it, which is final


class JournalState(enum.StrEnum):
    """The state of the journal, as far as it can be read."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"  # a write failed; the rest of the episode is missing
    MISSING = "missing"
    UNREADABLE = "unreadable"  # the header cannot be read
    BLOCKED = "blocked"  # it cannot be read: no permission, I/O error, newer format, another journal inside


class Action(enum.StrEnum):
    """What to do with the episode."""

    END = "end"
    WAIT = "wait"
    REPLACE = "replace"
    LEAVE = "leave"


@dataclass(frozen=True)
class Facts:
    """All facts for a verdict.

    Attributes:
        row: What the database says about the episode.
        journal: The state of the journal.
        writer: Whether the writer may still append.
        why: The reason for this judgement of the writer, as text.
        ending: How the episode ended, as the journal says; None if it was not read.
        steps: The last step of the journal.
        damaged: Whether the journal has findings.
        callback_missed: Whether the callback of a closed journal cannot come any more, or its grace period is over.
        young: Whether the row is younger than the grace period.
        here: Whether the episode was written in this folder: the marker is not a copy, and the root ids are equal.
        more: Whether the journal is better evidence than that of the reconciler's earlier verdict.
    """

    row: Row
    journal: JournalState
    writer: Liveness
    why: str = ""
    ending: Ending | None = None
    steps: int = 0
    damaged: bool = False
    callback_missed: bool = False
    young: bool = False
    here: bool = True
    more: bool = False

    @property
    def dead(self) -> bool:
        """Whether the writer will never append again, as far as is known."""
        return self.writer is Liveness.DEAD

    @property
    def over(self) -> bool:
        """Whether the episode is over and its callback will not come."""
        if self.journal is JournalState.CLOSED:
            return self.callback_missed
        return self.dead and self.journal in (JournalState.OPEN, JournalState.FAILED)

    @property
    def status(self) -> str | None:
        """The status that the journal alone gives."""
        return self.ending[0] if self.ending else None


@dataclass(frozen=True)
class Verdict:
    """An applied row of the table: its letter, the action, and the reason as text. ``ending`` is set if the episode ends.

    ``adopted`` is set in case J: the row must be created first. Then ``case`` is that of the inner verdict.
    """

    case: str
    action: Action
    why: str
    ending: Ending | None = None
    adopted: bool = False


@dataclass(frozen=True)
class Case:
    """A row of the table. ``applies`` tests the facts of an episode that is started or has no row; K and L of ended ones."""

    letter: str
    title: str
    applies: Callable[[Facts], bool]
    action: Action


def _judged(facts: Facts) -> bool:
    return facts.row in (Row.STARTED, Row.NONE)


def _plain(facts: Facts, *states: JournalState) -> bool:
    """Return True if the episode is over, and its journal undamaged and in one of these states."""
    return _judged(facts) and facts.over and not facts.damaged and facts.journal in states


_ANSWERABLE = (JournalState.OPEN, JournalState.CLOSED, JournalState.FAILED)

CASES = (
    Case(
        "A",
        "the env ended the episode; only its callback was lost",
        lambda f: _plain(f, JournalState.OPEN, JournalState.CLOSED) and f.status == COMPLETED,
        Action.END,
    ),
    Case(
        "B",
        "the env was reset or closed before the episode finished",
        lambda f: _plain(f, JournalState.CLOSED) and f.status == TRUNCATED,
        Action.END,
    ),
    Case(
        "C",
        "the env raised an exception",
        lambda f: _plain(f, JournalState.CLOSED) and f.status == ERROR,
        Action.END,
    ),
    Case(
        "D",
        "its writer is alive, may be alive, or has just closed the journal",
        lambda f: _judged(f) and f.journal in _ANSWERABLE and not f.over,
        Action.WAIT,
    ),
    Case(
        "E",
        "its writer died",
        lambda f: _plain(f, JournalState.OPEN) and f.status != COMPLETED and f.steps > 0,
        Action.END,
    ),
    Case(
        "F",
        "its writer died before the first step",
        lambda f: _plain(f, JournalState.OPEN) and f.status != COMPLETED and f.steps == 0,
        Action.END,
    ),
    Case(
        "G",
        "its journal is missing, but it may be elsewhere, or not made yet",
        lambda f: f.row is Row.STARTED and f.journal is JournalState.MISSING and (f.young or not f.here or not f.dead),
        Action.WAIT,
    ),
    Case(
        "H",
        "its journal is lost",
        lambda f: f.row is Row.STARTED and f.journal is JournalState.MISSING and not f.young and f.here and f.dead,
        Action.END,
    ),
    Case(
        "I",
        "its journal is damaged before its end",
        lambda f: _judged(f) and f.over and f.damaged and f.journal is not JournalState.FAILED,
        Action.END,
    ),
    Case(
        "K",
        "the reconciler ended it before, and more evidence is readable now",
        lambda f: f.row is Row.OURS and f.more and (f.journal is JournalState.CLOSED or f.over),
        Action.REPLACE,
    ),
    Case(
        "K",
        "the reconciler ended it before, but its writer is alive",
        lambda f: f.row is Row.OURS and f.journal in _ANSWERABLE and f.journal is not JournalState.CLOSED and _back(f),
        Action.WAIT,
    ),
    Case(
        "K",
        "the reconciler ended it before, and there is no more evidence",
        lambda f: f.row is Row.OURS and not (f.journal in _ANSWERABLE and (_back(f) or f.more)),
        Action.LEAVE,
    ),
    Case("L", "its callback ended it", lambda f: f.row is Row.ENDED, Action.LEAVE),
    Case(
        "M",
        "a write to its journal failed",
        lambda f: _judged(f) and f.over and f.journal is JournalState.FAILED,
        Action.END,
    ),
    Case(
        "N",
        "its journal has no readable header",
        lambda f: f.row is Row.STARTED and f.journal is JournalState.UNREADABLE and f.dead and not f.young,
        Action.END,
    ),
    Case(
        "O",
        "its journal cannot be read",
        lambda f: (
            _judged(f)
            and (f.journal is JournalState.BLOCKED or (f.journal is JournalState.UNREADABLE and not _lost(f)))
        ),
        Action.WAIT,
    ),
)


def _back(facts: Facts) -> bool:
    """Return True if a writer that was judged dead is alive: it holds its lock, or renews its lease and has written more."""
    return facts.journal is not JournalState.CLOSED and (
        facts.writer is Liveness.ALIVE or (facts.writer is Liveness.UNSURE and facts.more)
    )


def _lost(facts: Facts) -> bool:
    return facts.row is Row.STARTED and facts.dead and not facts.young


def decide(facts: Facts) -> Verdict:
    """Apply the table. Invariants: unsure means wait (L4), and exactly one row of the table fits."""
    assert facts.journal is not JournalState.MISSING or facts.row is not Row.NONE, (
        "Invariant: a journal without a row is a file"
    )
    verdict = _verdict(_case_of(facts), facts)
    if facts.row is Row.NONE and verdict.action is Action.END:
        return replace(verdict, adopted=True)
    return verdict


_remembered: dict[tuple[object, ...], Case] = {}


def _case_of(facts: Facts) -> Case:
    """Return the case that fits. Cached, since many episodes share a few situations."""
    situation = (
        facts.row, facts.journal, facts.writer, facts.status, facts.steps > 0, facts.damaged, facts.callback_missed,
        facts.young, facts.here, facts.more,
    )  # fmt: skip
    known = _remembered.get(situation)
    if known is None:
        fitting = [case for case in CASES if case.applies(facts)]
        assert len(fitting) == 1, f"Invariant: one case fits, got {[case.letter for case in fitting]} for {facts}"
        known = _remembered[situation] = fitting[0]
    return known


def _verdict(case: Case, facts: Facts) -> Verdict:
    why = f"{case.title}; {facts.why}" if facts.why else case.title
    if case.action not in (Action.END, Action.REPLACE):
        return Verdict(case.letter, case.action, why)
    if case.letter == "H":
        return Verdict("H", case.action, why, JOURNAL_MISSING)
    if case.letter == "N":
        return Verdict("N", case.action, why, journal_unreadable(facts.why))
    assert facts.ending is not None, "Invariant: a journal that was read says how it ended"
    return Verdict(case.letter, case.action, why, facts.ending)
