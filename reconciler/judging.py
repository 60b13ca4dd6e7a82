"""Turn a verdict into what is written: plain data that can be sent to another process, and needs no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.evidence import Evidence, RunState
from reconciler.rules import Action, Verdict
from rsc.closing import ended_from, ended_without_evidence, start_row, with_evidence
from rsc.db.episodes import RECONCILER, Ended
from rsc.db.writing import Change, Guard


@dataclass(frozen=True)
class Work:
    """A verdict that changes a row. ``was`` is the row's status before, None if there was no row."""

    verdict: Verdict
    change: Change
    ended: Ended
    was: str | None


def work_of(
    run: RunState, journal_id: str, row: Any, evidence: Evidence, verdict: Verdict, now: datetime, pass_id: str
) -> Work:
    """Return what a verdict writes: the final row and the trades, from the journal or without one."""
    assert verdict.ending is not None, "Invariant: an episode ends with an ending"
    episode_id, was = (None, None) if row is None else (row.episode_id, row.status)
    known: dict[str, Any] = {"now": now, "pass_id": pass_id, "episode_id": episode_id}
    start = None
    if evidence.journal is None:
        ended = ended_without_evidence(journal_id, verdict.ending, end_time=row.start_time, **known)
    else:
        ending = with_evidence(verdict.ending, _why(run, evidence))
        ended = ended_from(evidence.journal, finalized_by=RECONCILER, ending=ending, final=evidence.final, **known)
        start = start_row(evidence.journal.header) if row is None else None
    guard = Guard.LESS_EVIDENCE if verdict.action is Action.REPLACE else Guard.STARTED
    return Work(verdict, Change(run.run_id, journal_id, start, ended, guard), ended, was)


def _why(run: RunState, evidence: Evidence) -> str:
    """Return why the writer counts as dead, and which steps are unknown."""
    why, lacking = evidence.writer.reason, evidence.may_lack
    return f"{why}; read from the mirror {run.mirror}, and {lacking} are unknown" if run.mirror and lacking else why
