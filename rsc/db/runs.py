"""Runs and reconciler passes: every query and transition, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, exists, func, insert, select, update

from rsc.db.models import episodes, reconciler_passes, training_runs


def start_run(
    connection: Connection, run_id: str, parameters: Mapping[str, Any], journal_root: str | None, start_time: datetime
) -> None:
    """Insert a running run; raises IntegrityError if the id is taken."""
    connection.execute(
        insert(training_runs).values(
            run_id=run_id,
            start_time=start_time,
            parameters=dict(parameters),
            status="running",
            journal_root=journal_root,
        )
    )


def end_run(connection: Connection, run_id: str, status: str, end_time: datetime, notes: str | None = None) -> bool:
    """The driver's word: `completed`, `error` or `interrupted`; it beats the reconciler's."""
    guard = training_runs.c.status.in_(("running", "interrupted"))
    statement = update(training_runs).where(training_runs.c.run_id == run_id, guard)
    return connection.execute(statement.values(status=status, end_time=end_time, notes=notes)).rowcount == 1


def interrupt_run(connection: Connection, run_id: str) -> bool:
    """The reconciler's word for a run whose driver is gone: ended with its last episode, once none is started."""
    of_run = episodes.c.run_id == run_id
    still_started = exists().where(of_run, episodes.c.status == "started")
    last_step = select(func.max(episodes.c.end_time)).where(of_run).scalar_subquery()
    statement = update(training_runs).where(
        training_runs.c.run_id == run_id, training_runs.c.status == "running", ~still_started
    )
    values = {"status": "interrupted", "end_time": func.coalesce(last_step, training_runs.c.start_time)}
    return connection.execute(statement.values(values)).rowcount == 1


def find_run(connection: Connection, run_id: str) -> Row[Any] | None:
    """The run's row, None if the database does not know it."""
    return connection.execute(select(training_runs).where(training_runs.c.run_id == run_id)).one_or_none()


def all_runs(connection: Connection) -> Sequence[Row[Any]]:
    """All runs, newest first."""
    return connection.execute(select(training_runs).order_by(training_runs.c.start_time.desc())).all()


def unsettled_runs(connection: Connection) -> Sequence[Row[Any]]:
    """Runs that a pass has to look at: running, or with started or improvable episodes."""
    of_run = episodes.c.run_id == training_runs.c.run_id
    # Each of the two has its index; one question with an "or" would look at every episode that ever ended.
    started = exists().where(of_run, episodes.c.status == "started")
    improvable = exists().where(of_run, episodes.c.evidence_final.is_(False))
    query = select(training_runs).where((training_runs.c.status == "running") | started | improvable)
    return connection.execute(query.order_by(training_runs.c.start_time)).all()


def counts_by_run(connection: Connection) -> dict[str, dict[str, int]]:
    """Episodes of each run by status."""
    rows = connection.execute(
        select(episodes.c.run_id, episodes.c.status, func.count()).group_by(episodes.c.run_id, episodes.c.status)
    )
    counts: dict[str, dict[str, int]] = {}
    for run_id, status, count in rows:
        counts.setdefault(run_id, {})[status] = count
    return counts


def start_pass(connection: Connection, pass_id: str, host: str, start_time: datetime) -> None:
    """Note that a pass has begun. A daemon's idle passes share one id, and only the last of them is kept."""
    values = {"host": host, "start_time": start_time, "end_time": None, "outcome": None, "report": None}
    again = update(reconciler_passes).where(reconciler_passes.c.pass_id == pass_id)
    if connection.execute(again.values(values)).rowcount == 0:
        connection.execute(insert(reconciler_passes).values(pass_id=pass_id, **values))


def end_pass(connection: Connection, pass_id: str, outcome: str, end_time: datetime, report: Mapping[str, Any]) -> None:
    """Note how a pass ended."""
    statement = update(reconciler_passes).where(reconciler_passes.c.pass_id == pass_id)
    connection.execute(statement.values(outcome=outcome, end_time=end_time, report=dict(report)))


def last_passes(connection: Connection, count: int) -> Sequence[Row[Any]]:
    """The newest passes first."""
    query = select(reconciler_passes).order_by(reconciler_passes.c.start_time.desc()).limit(count)
    return connection.execute(query).all()


def last_success(connection: Connection) -> datetime | None:
    """When the last pass ended that did all it had to do."""
    query = select(func.max(reconciler_passes.c.end_time)).where(reconciler_passes.c.outcome == "done")
    return connection.execute(query).scalar()
