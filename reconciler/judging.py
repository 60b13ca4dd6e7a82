"""Turn a verdict into the change of a row, as plain data that can be sent to another process. Uses no database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reconciler.evidence import Evidence, RunState
from reconciler.rules import Action, Verdict
from rsc.closing import ended_from, ended_without_evidence, start_row, with_evidence
from rsc.db.episodes import RECONCILER, Ended
from rsc.db.writing import Change, Guard
from rsc.metrics.many import Figures


@dataclass(frozen=True)
class Work:
    """A verdict that changes a row.

    Attributes:
        verdict: The verdict.
        change: The change to write.
        ended: The final row and the trades.
        was: The row's earlier status; None if there was no row.
    """

    verdict: Verdict
    change: Change
    ended: Ended
    was: str | None


def work_of(
    run: RunState,
    journal_id: str,
    row: Any,
    evidence: Evidence,
    verdict: Verdict,
    now: datetime,
    pass_id: str,
    figures: Figures | None = None,
) -> Work:
    """Return the change that a verdict makes: the final row, and the trades if there is a journal.

    Args:
        run: The run.
        journal_id: The episode's journal.
        row: The episode's row; None if it has none.
        evidence: The evidence for the verdict.
        verdict: A verdict that ends the episode.
        now: The current time.
        pass_id: The id of the pass.
        figures: The figures of the journal, if `rsc.metrics.at_once.figures_at_once` has computed them.
    """
    assert verdict.ending is not None, "Invariant: an episode ends with an ending"
    episode_id, was = (None, None) if row is None else (row.episode_id, row.status)
    known: dict[str, Any] = {"now": now, "pass_id": pass_id, "episode_id": episode_id}
    start = None
    if evidence.journal is None:
        ended = ended_without_evidence(journal_id, verdict.ending, end_time=row.start_time, **known)
    else:
        ending = with_evidence(verdict.ending, _why(run, evidence))
        known |= {"finalized_by": RECONCILER, "final": evidence.final, "figures": figures}
        ended = ended_from(evidence.journal, ending=ending, **known)
        start = start_row(evidence.journal.header) if row is None else None
    guard = Guard.LESS_EVIDENCE if verdict.action is Action.REPLACE else Guard.STARTED
    return Work(verdict, Change(run.run_id, journal_id, start, ended, guard), ended, was)


def _why(run: RunState, evidence: Evidence) -> str:
    """Return the reason why the writer counts as dead, and which steps are unknown."""
    why, lacking = evidence.writer.reason, evidence.may_lack
    return f"{why}; read from the mirror {run.mirror}, and {lacking} are unknown" if run.mirror and lacking else why
