"""Compare ended rows with their journals, figure by figure. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from journal import JournalError, journal_path, read_journal
from reconciler.passes import runs_to_judge
from reconciler.settings import Settings
from rsc.closing import ended_from
from rsc.db import episodes, trades
from rsc.db.session import reading
from rsc.db.tolerant import UnreadableRow
from rsc.metrics import METRIC_NAMES, metrics_from, stored
from rsc.metrics.running import StateError
from rsc.metrics.whole import WHOLE_NAMES

AUDITED = (
    *METRIC_NAMES,
    *WHOLE_NAMES,
    "market_end",
    "last_price",
    "status",
    "end_reason",
    "end_time",
    "evidence_steps",
)


@dataclass(frozen=True)
class Difference:
    """One figure of an ended row that differs from its journal."""

    run_id: str
    episode_id: int
    journal_id: str
    column: str
    row: Any
    journal: Any


@dataclass
class AuditReport:
    """The number of rows that were compared, and of those that could not be."""

    compared: int = 0
    not_ended: int = 0
    without_journal: int = 0
    unlookable: int = 0
    differences: int = 0


def audit(
    engine: Engine, run_ids: Sequence[str] | None, settings: Settings, report: AuditReport
) -> Iterator[Difference | str]:
    """Yield differences, and a line for each row or journal that cannot be read. Pruned journals are only counted."""
    with reading(engine) as connection:
        rows = runs_to_judge(connection, run_ids)
    for run in rows:
        root = settings.journal_root or run.journal_root
        if root:
            yield from _audit_run(engine, run.run_id, root, report)


def _audit_run(engine: Engine, run_id: str, root: Path | str, report: AuditReport) -> Iterator[Difference | str]:
    with reading(engine) as connection:
        counts = trades.trade_counts(connection, run_id)
        report.not_ended += episodes.status_counts(connection, run_id).get("started", 0)
    for row in episodes.ended_episodes(engine, run_id):
        if isinstance(row, UnreadableRow):
            report.unlookable += 1
            yield f"{run_id}: the row of episode {row.key} cannot be read: {row.reason}"
            continue
        if row.journal_id is None:
            continue
        try:
            found = list(_differences(row, Path(root), counts.get(row.episode_id, 0)))
        except (
            JournalError,
            StateError,
            ValueError,
            TypeError,
        ) as error:  # the last two: an id or a root is not a valid name
            if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
                report.without_journal += 1
            else:
                report.unlookable += 1
                yield f"{run_id}/{row.journal_id}: {error}"
            continue
        report.compared += 1
        report.differences += len(found)
        yield from found


def _differences(row: Any, root: Path, stored_trades: int) -> Iterator[Difference]:
    journal = read_journal(journal_path(root, row.run_id, row.journal_id))
    told = ended_from(journal, finalized_by=row.finalized_by, now=row.finalized_at)
    expected = {**told.row, "stored_trades": trades.count_of(told.trades)}
    actual = {**row._mapping, "stored_trades": stored_trades}
    if not journal.steps_lost:  # from the rows, because checkpoints could repeat an error of the writer's fold
        replayed = journal.replayed(lambda: metrics_from(journal.header.about))
        expected |= stored(replayed.result())
    for column in (*AUDITED, "stored_trades"):
        if actual[column] != expected[column]:
            yield Difference(row.run_id, row.episode_id, row.journal_id, column, actual[column], expected[column])
