"""The verdict: one pure function, a lettered table. It knows facts and no files, no database and no clock."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from journal import Liveness

Ending = tuple[str, str, str]
"""Status, end reason, and its words, as the journal tells them (`rsc.closing.ending_of`)."""


class Action(enum.StrEnum):
    """What to do with an episode."""

    END = "end"
    WAIT = "wait"
    REPLACE = "replace"
    LEAVE = "leave"


class Sight(enum.StrEnum):
    """What was there when the journal was looked at."""

    READ = "read"
    MISSING = "missing"
    UNREADABLE = "unreadable"  # no header can be read
    BLOCKED = "blocked"  # it cannot be looked at: no permission, I/O error, newer format, another journal inside


@dataclass(frozen=True)
class RowFacts:
    """What the database says. ``age_s`` since the episode's start."""

    status: str
    age_s: float
    finalized_by: str | None = None
    evidence_steps: int = 0
    evidence_closed: bool = False


@dataclass(frozen=True)
class JournalFacts:
    """What the journal says. ``why`` has the reason where it was not read."""

    sight: Sight
    why: str = ""
    closed: bool = False
    closed_age_s: float = 0.0
    failed: bool = False
    damaged: bool = False
    metrics_complete: bool = True
    last_step: int = 0
    ending: Ending | None = None


@dataclass(frozen=True)
class WriterFacts:
    """What is known of the writer. ``process_gone``: its process is certainly dead."""

    liveness: Liveness
    why: str
    process_gone: bool = False
    host_judgeable: bool = True


@dataclass(frozen=True)
class Facts:
    """All that a verdict is made of. ``row`` is None for a journal that the database has no row for."""

    row: RowFacts | None
    journal: JournalFacts
    writer: WriterFacts
    marker_present: bool
    grace_period_s: float
    assume_dead: bool = False


@dataclass(frozen=True)
class Verdict:
    """The case's letter, what to do, why in words; ``ending`` where the episode ends."""

    case: str
    action: Action
    why: str
    ending: Ending | None = None


def decide(facts: Facts) -> Verdict:
    """The table of docs/operations.md. Invariants: unsure means wait (L4); a held lock is never overruled (V2)."""
    if facts.row is not None and facts.row.status != "started":
        return _decide_ended(facts.row, facts)
    verdict = _decide_started(facts)
    if facts.row is None and verdict.action is Action.END:
        return Verdict("J", Action.END, f"no row; {verdict.why}", verdict.ending)
    return verdict


def _decide_ended(row: RowFacts, facts: Facts) -> Verdict:
    journal = facts.journal
    if row.finalized_by != "reconciler":
        return Verdict("L", Action.LEAVE, "ended by its own callback")
    if journal.sight is not Sight.READ:
        return Verdict("K", Action.LEAVE, "no better evidence")
    if not (journal.last_step > row.evidence_steps or (journal.closed and not row.evidence_closed)):
        return Verdict("K", Action.LEAVE, "no better evidence")
    if not journal.closed and _may_be_alive(facts):
        return Verdict("K", Action.WAIT, f"its writer came back: {facts.writer.why}")
    return Verdict("K", Action.REPLACE, f"more evidence: {journal.last_step} steps", _ending(journal))


def _decide_started(facts: Facts) -> Verdict:
    journal = facts.journal
    if journal.sight is Sight.BLOCKED:
        return Verdict("O", Action.WAIT, journal.why)
    if journal.sight is Sight.MISSING:
        return _decide_missing(facts)
    if journal.sight is Sight.UNREADABLE:
        return _decide_unreadable(facts)
    assert journal.sight is Sight.READ, f"Invariant: no case for {journal.sight}"
    if journal.closed:
        return _decide_closed(facts)
    return _decide_open(facts)


def _decide_missing(facts: Facts) -> Verdict:
    row, writer = facts.row, facts.writer
    assert row is not None, "Invariant: a journal without a row was found as a file"
    if not facts.marker_present:
        return Verdict("G", Action.WAIT, "the run's marker is not there: wrong journal root, or an unmounted volume?")
    if row.age_s < facts.grace_period_s:
        return Verdict("G", Action.WAIT, "its journal is not there yet")
    if not writer.host_judgeable:
        return Verdict("G", Action.WAIT, writer.why)
    if writer.liveness is not Liveness.DEAD and not (facts.assume_dead and writer.liveness is Liveness.UNSURE):
        return Verdict("G", Action.WAIT, f"its journal is missing, and {writer.why}")
    return Verdict("H", Action.END, "journal missing", ("error", "killed", "journal missing"))


def _decide_unreadable(facts: Facts) -> Verdict:
    age = facts.row.age_s if facts.row else float("inf")
    if _may_be_alive(facts) or age < facts.grace_period_s:
        return Verdict("N", Action.WAIT, facts.journal.why)
    if facts.row is None:
        return Verdict("O", Action.WAIT, facts.journal.why)  # without row and header nothing tells whose it is
    return Verdict("N", Action.END, facts.journal.why, ("error", "killed", facts.journal.why))


def _decide_closed(facts: Facts) -> Verdict:
    journal = facts.journal
    if journal.closed_age_s < facts.grace_period_s and not facts.writer.process_gone:
        return Verdict("D", Action.WAIT, "just closed; its callback may still come")
    ending = _ending(journal)
    if journal.damaged:
        return Verdict("I", Action.END, "closed and damaged", ending)
    case = {"completed": "A", "truncated": "B", "error": "C"}[ending[0]]
    return Verdict(case, Action.END, f"closed: {ending[1]}", ending)


def _decide_open(facts: Facts) -> Verdict:
    journal, writer = facts.journal, facts.writer
    if _may_be_alive(facts):
        return Verdict("D", Action.WAIT, writer.why)
    ending = _ending(journal)
    if journal.failed:
        return Verdict("M", Action.END, f"its journal failed; {writer.why}", ending)
    if journal.damaged:
        return Verdict("I", Action.END, f"damaged; {writer.why}", ending)
    if ending[0] == "completed":
        return Verdict("A", Action.END, f"its last step is terminal; {writer.why}", ending)
    return Verdict("E" if journal.last_step else "F", Action.END, writer.why, ending)


def _may_be_alive(facts: Facts) -> bool:
    if facts.writer.liveness is Liveness.UNSURE:
        return not facts.assume_dead
    return facts.writer.liveness is Liveness.ALIVE


def _ending(journal: JournalFacts) -> Ending:
    """As the journal says; but metrics that stop before its end make it truncated, whatever it says."""
    assert journal.ending is not None, "Invariant: a journal that was read says how it ended"
    status, reason, words = journal.ending
    return (status, reason, words) if journal.metrics_complete or status == "error" else ("truncated", reason, words)
