"""The verdict: one pure function, a lettered table. It knows facts and no files, no database and no clock."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace

from journal import Liveness
from rsc.closing import COMPLETED, ERROR, JOURNAL_MISSING, TRUNCATED, Ending, journal_unreadable


class Row(enum.StrEnum):
    """What the database says of the episode."""

    STARTED = "started"
    NONE = "none"  # there is a journal, and no row
    OURS = "ours"  # the reconciler ended it
    ENDED = "ended"  # its callback ended it: the last word


class Sight(enum.StrEnum):
    """What the journal looks like."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"  # a write failed; the rest of the episode is not in it
    MISSING = "missing"
    UNREADABLE = "unreadable"  # no header can be read
    BLOCKED = "blocked"  # it cannot be looked at: no permission, I/O error, newer format, another journal inside


class Action(enum.StrEnum):
    """What to do with the episode."""

    END = "end"
    WAIT = "wait"
    REPLACE = "replace"
    LEAVE = "leave"


@dataclass(frozen=True)
class Facts:
    """All that a verdict is made of. ``why`` is the look's reason in words.

    ``writer``: may it still append? ``settled``: a closed journal's callback cannot come any more, or had its grace
    period. ``young``: the row is younger than that. ``here``: the run's marker is in this root and the writer's host
    can be judged from here. ``ending``: what the journal says, None where it was not read. ``more``: it holds more
    evidence than the row that the reconciler ended.
    """

    row: Row
    sight: Sight
    writer: Liveness
    why: str = ""
    ending: Ending | None = None
    steps: int = 0
    damaged: bool = False
    settled: bool = False
    young: bool = False
    here: bool = True
    more: bool = False

    @property
    def dead(self) -> bool:
        """Nobody will ever append to this journal, as far as can be known."""
        return self.writer is Liveness.DEAD

    @property
    def over(self) -> bool:
        """The episode is over, and nobody else will say so."""
        if self.sight is Sight.CLOSED:
            return self.settled
        return self.dead and self.sight in (Sight.OPEN, Sight.FAILED)

    @property
    def status(self) -> str | None:
        """The status that the journal alone would give."""
        return self.ending[0] if self.ending else None


@dataclass(frozen=True)
class Verdict:
    """A row of the table, applied: its letter, what to do, why in words; ``ending`` where the episode ends.

    ``adopted``: case J, the row must be made first; ``case`` is then that of the inner verdict.
    """

    case: str
    action: Action
    why: str
    ending: Ending | None = None
    adopted: bool = False


@dataclass(frozen=True)
class Case:
    """A row of the table. ``applies`` looks at facts of a row that is started, or none; K and L at ended ones."""

    letter: str
    title: str
    applies: Callable[[Facts], bool]
    action: Action


def _judged(facts: Facts) -> bool:
    return facts.row in (Row.STARTED, Row.NONE)


def _plain(facts: Facts, *sights: Sight) -> bool:
    """Over, undamaged, and one of these."""
    return _judged(facts) and facts.over and not facts.damaged and facts.sight in sights


_ANSWERABLE = (Sight.OPEN, Sight.CLOSED, Sight.FAILED)

CASES = (
    Case(
        "A",
        "the env ended the episode; only its callback was lost",
        lambda f: _plain(f, Sight.OPEN, Sight.CLOSED) and f.status == COMPLETED,
        Action.END,
    ),
    Case(
        "B",
        "the env was reset or closed before the episode finished",
        lambda f: _plain(f, Sight.CLOSED) and f.status == TRUNCATED,
        Action.END,
    ),
    Case(
        "C",
        "the env raised an exception",
        lambda f: _plain(f, Sight.CLOSED) and f.status == ERROR,
        Action.END,
    ),
    Case(
        "D",
        "its writer is alive, may be alive, or has just closed the journal",
        lambda f: _judged(f) and f.sight in _ANSWERABLE and not f.over,
        Action.WAIT,
    ),
    Case(
        "E",
        "its writer died",
        lambda f: _plain(f, Sight.OPEN) and f.status != COMPLETED and f.steps > 0,
        Action.END,
    ),
    Case(
        "F",
        "its writer died before the first step",
        lambda f: _plain(f, Sight.OPEN) and f.status != COMPLETED and f.steps == 0,
        Action.END,
    ),
    Case(
        "G",
        "its journal is missing, but it may be elsewhere, or not made yet",
        lambda f: f.row is Row.STARTED and f.sight is Sight.MISSING and (f.young or not f.here or not f.dead),
        Action.WAIT,
    ),
    Case(
        "H",
        "its journal is lost",
        lambda f: f.row is Row.STARTED and f.sight is Sight.MISSING and not f.young and f.here and f.dead,
        Action.END,
    ),
    Case(
        "I",
        "its journal is damaged before its end",
        lambda f: _judged(f) and f.over and f.damaged and f.sight is not Sight.FAILED,
        Action.END,
    ),
    Case(
        "K",
        "the reconciler ended it before, and more evidence is readable now",
        lambda f: f.row is Row.OURS and f.more and (f.sight is Sight.CLOSED or f.over),
        Action.REPLACE,
    ),
    Case(
        "K",
        "the reconciler ended it before, but its writer is alive",
        lambda f: f.row is Row.OURS and f.sight in _ANSWERABLE and f.sight is not Sight.CLOSED and _back(f),
        Action.WAIT,
    ),
    Case(
        "K",
        "the reconciler ended it before, and there is no more evidence",
        lambda f: f.row is Row.OURS and not (f.sight in _ANSWERABLE and (_back(f) or f.more)),
        Action.LEAVE,
    ),
    Case("L", "its callback ended it", lambda f: f.row is Row.ENDED, Action.LEAVE),
    Case(
        "M",
        "a write to its journal failed",
        lambda f: _judged(f) and f.over and f.sight is Sight.FAILED,
        Action.END,
    ),
    Case(
        "N",
        "its journal has no readable header",
        lambda f: f.row is Row.STARTED and f.sight is Sight.UNREADABLE and f.dead and not f.young,
        Action.END,
    ),
    Case(
        "O",
        "its journal cannot be read",
        lambda f: _judged(f) and (f.sight is Sight.BLOCKED or (f.sight is Sight.UNREADABLE and not _lost(f))),
        Action.WAIT,
    ),
)


def _back(facts: Facts) -> bool:
    """A writer that was taken for dead holds its lock, or renewed its lease and wrote on."""
    return facts.sight is not Sight.CLOSED and (
        facts.writer is Liveness.ALIVE or (facts.writer is Liveness.UNSURE and facts.more)
    )


def _lost(facts: Facts) -> bool:
    return facts.row is Row.STARTED and facts.dead and not facts.young


def decide(facts: Facts) -> Verdict:
    """Apply the table. Invariants: unsure means wait (L4), and one row of the table fits, no more and no less."""
    assert facts.sight is not Sight.MISSING or facts.row is not Row.NONE, "Invariant: a journal without a row is a file"
    verdict = _verdict(_case_of(facts), facts)
    if facts.row is Row.NONE and verdict.action is Action.END:
        return replace(verdict, adopted=True)
    return verdict


_remembered: dict[tuple[object, ...], Case] = {}


def _case_of(facts: Facts) -> Case:
    """The one that fits. There are few situations and many episodes, so each is decided once."""
    situation = (
        facts.row, facts.sight, facts.writer, facts.status, facts.steps > 0, facts.damaged, facts.settled, facts.young,
        facts.here, facts.more,
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
