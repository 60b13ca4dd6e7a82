"""What a pass writes: batches in one transaction each, and one by one where a batch fails."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from reconciler.report import PassReport
from reconciler.rules import Action, Verdict
from rsc.db import episodes, runs
from rsc.db.episodes import Ended
from rsc.db.session import first_line

T = TypeVar("T")
log = logging.getLogger("reconciler")

_ATTEMPTS = 4  # of one batch: against deadlocks, and writers that hold SQLite for longer than the timeout
_UNAVAILABLE = (OperationalError, InterfaceError)


@dataclass(frozen=True)
class Work:
    """What a verdict asks of the database. ``insert`` is the row that is missing, ``was`` the status before."""

    run_id: str
    verdict: Verdict
    ended: Ended
    insert: dict[str, Any] | None
    was: str | None


class Writer:
    """Applies verdicts under the guards of `rsc.db.episodes`, and counts who won."""

    def __init__(self, engine: Engine, pass_id: str, report: PassReport) -> None:
        self._engine = engine
        self._pass_id = pass_id
        self._report = report

    def apply(self, works: Sequence[Work]) -> None:
        """Invariant V3: one bad row costs itself alone. Raises OperationalError where the database is gone."""
        try:
            won = _patiently(lambda: self._write(works))
        except _UNAVAILABLE:
            raise
        except Exception as error:
            if len(works) > 1:
                for work in works:
                    self.apply([work])
                return
            log.debug("episode %s", works[0].ended.journal_id, exc_info=True)
            self._report.fail(f"{works[0].run_id}/{works[0].ended.journal_id} not written: {first_line(error)}")
            return
        for work in works:
            self._tally(work, work.ended.journal_id in won)

    def interrupt(self, run_id: str) -> None:
        """Mark a run whose driver is gone, if none of its episodes is started any more."""

        def write() -> bool:
            with self._engine.begin() as connection:
                return runs.interrupt_run(connection, run_id)

        if _patiently(write):
            self._report.runs_interrupted.append(run_id)

    def _write(self, works: Sequence[Work]) -> set[str]:
        fresh = [work.ended for work in works if work.verdict.action is Action.END]
        missing = [work.insert for work in works if work.insert is not None]
        with self._engine.begin() as connection:
            for row in missing:
                episodes.start_episode(connection, row)
            won = episodes.end_episodes_by_reconciler(connection, fresh, self._pass_id)
            for work in works:
                if work.verdict.action is Action.REPLACE and episodes.replace_on_more_evidence(connection, work.ended):
                    won.add(work.ended.journal_id)
        return won

    def _tally(self, work: Work, won: bool) -> None:
        report, row = self._report, work.ended.row
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


def _patiently(write: Callable[[], T]) -> T:
    retrying = Retrying(
        retry=retry_if_exception_type(_UNAVAILABLE),
        stop=stop_after_attempt(_ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.05, max=1.0),
        reraise=True,
    )
    return retrying(write)
