"""What a pass writes, and how it counts what took effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Engine

from reconciler.report import PassReport
from reconciler.rules import Action, Verdict
from rsc.db import runs
from rsc.db.episodes import Ended
from rsc.db.writing import Change, Guard, patiently, write_changes


@dataclass(frozen=True)
class Work:
    """What a verdict asks of the database. ``insert`` is the row that is missing, ``was`` the status before."""

    run_id: str
    verdict: Verdict
    ended: Ended
    insert: dict[str, Any] | None
    was: str | None

    @property
    def change(self) -> Change:
        """The change for the database."""
        guard = Guard.LESS_EVIDENCE if self.verdict.action is Action.REPLACE else Guard.STARTED
        return Change(self.run_id, self.ended.journal_id, self.insert, self.ended, guard)


def apply_verdicts(engine: Engine, pass_id: str, works: Sequence[Work], report: PassReport) -> None:
    """Write verdicts and count them. Raises OperationalError where the database does not answer."""
    written = write_changes(engine, [work.change for work in works], pass_id=pass_id)
    for work in works:
        journal_id = work.ended.journal_id
        if journal_id in written.refused:
            report.fail(f"{work.run_id}/{journal_id} not written: {written.refused[journal_id]}")
        else:
            _tally(report, work, journal_id in written.won)


def interrupt_run(engine: Engine, run_id: str, report: PassReport) -> None:
    """Mark a run interrupted whose driver is gone, if none of its episodes is started any more."""

    def write() -> bool:
        with engine.begin() as connection:
            return runs.interrupt_run(connection, run_id)

    if patiently(write):
        report.runs_interrupted.append(run_id)


def _tally(report: PassReport, work: Work, won: bool) -> None:
    row = work.ended.row
    if not won:
        report.overtaken += 1
        return
    if work.verdict.action is Action.REPLACE:
        report.replaced += 1
        report.false_truncations += work.was != row["status"]
        return
    report.ended[row["status"]] += 1
    report.adopted += work.insert is not None
    report.steps_lost += row["steps_lost"] or 0
    report.trades_lost += row["trades_lost"] or 0
    report.journals_lost += work.verdict.case in ("H", "N")
