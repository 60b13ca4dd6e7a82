"""Query runs and reconciler passes, and change their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Connection, Row, delete, exists, func, insert, select, update

from rsc.db.errors import UnknownRunError
from rsc.db.models import episodes, reconciler_passes, training_runs
from rsc.db.session import DatabaseError
from rsc.db.tolerant import UnreadableRow, rows_of_query, value_of_first


def start_run(
    connection: Connection,
    run_id: str,
    parameters: Mapping[str, Any],
    journal_root: str | None,
    start_time: datetime,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Insert a running run.

    Args:
        connection: A connection in a transaction, which inserts the row.
        run_id: The run's id.
        parameters: The user's settings, for people and tools.
        journal_root: The folder of all runs' journals.
        start_time: When the run started.
        facts: Further columns, for example those of `rsc.provenance.provenance`.

    Raises:
        IntegrityError: The id is taken.
        DatabaseError: The database's encoding cannot hold the journal root.
    """
    _require_characters(connection, journal_root or "")
    connection.execute(
        insert(training_runs).values(
            run_id=run_id,
            start_time=start_time,
            parameters=dict(parameters),
            status="running",
            journal_root=journal_root,
            **(facts or {}),
        )
    )


def _require_characters(connection: Connection, path: str) -> None:
    """Refuse a path that the database's encoding would change."""
    encoding = getattr(connection.dialect, "rsc_encoding", "utf-8")
    if path != path.encode(encoding, "replace").decode(encoding):
        shown = path.encode("utf-8", "backslashreplace").decode()
        raise DatabaseError(
            f"the journal root {shown} is not {encoding.upper()}, and the database cannot store it; choose another folder"
        )


def end_run(connection: Connection, run_id: str, status: str, end_time: datetime, notes: str | None = None) -> bool:
    """Record how the driver ended a run: `completed`, `error` or `interrupted`. Replaces a status of the reconciler."""
    guard = training_runs.c.status.in_(("running", "interrupted"))
    statement = update(training_runs).where(training_runs.c.run_id == run_id, guard)
    return connection.execute(statement.values(status=status, end_time=end_time, notes=notes)).rowcount == 1


def resume_run(connection: Connection, run_id: str, mirror: str | None = None) -> bool:
    """Mark a run as running again, with its current mirror if it has one. Return False if there is no such run."""
    changes = {"status": "running", "end_time": None, "notes": None, **({"mirror": mirror} if mirror else {})}
    statement = update(training_runs).where(training_runs.c.run_id == run_id)
    return connection.execute(statement.values(changes)).rowcount == 1


def remove_without_episodes(connection: Connection, run_id: str) -> bool:
    """Remove a run that has ended and has neither episodes nor children. Return False if there is no such run."""
    child = training_runs.alias()
    statement = delete(training_runs).where(
        training_runs.c.run_id == run_id,
        training_runs.c.status != "running",
        ~exists().where(episodes.c.run_id == run_id),
        ~exists().where(child.c.parent_run_id == run_id),
    )
    return connection.execute(statement).rowcount == 1


def move_run(connection: Connection, run_id: str, journal_root: str) -> bool:
    """Record the new journal root of a run. Return False if there is no such run."""
    statement = update(training_runs).where(training_runs.c.run_id == run_id)
    return connection.execute(statement.values(journal_root=journal_root)).rowcount == 1


def interrupt_run(connection: Connection, run_id: str) -> bool:
    """Mark a run whose driver has exited as interrupted at the end of its last episode, unless one is still started."""
    of_run = episodes.c.run_id == run_id
    still_started = exists().where(of_run, episodes.c.status == "started")
    last_step = select(func.max(episodes.c.end_time)).where(of_run).scalar_subquery()
    statement = update(training_runs).where(
        training_runs.c.run_id == run_id, training_runs.c.status == "running", ~still_started
    )
    values = {"status": "interrupted", "end_time": func.coalesce(last_step, training_runs.c.start_time)}
    return connection.execute(statement.values(values)).rowcount == 1


def has_episodes(connection: Connection, run_id: str) -> bool:
    """Return whether any episode of a run has a row."""
    return connection.execute(select(exists().where(episodes.c.run_id == run_id))).scalar_one()


def add_trial(
    connection: Connection, run_id: str, trial_id: str, parameters: Mapping[str, Any], start_time: datetime
) -> None:
    """Add a Tune trial to its run's parameters, under "trials". A restart with other parameters gets another entry."""
    of_run = training_runs.c.run_id == run_id
    known = connection.execute(select(training_runs.c.parameters).where(of_run).with_for_update()).scalar()
    trials = dict((known or {}).get("trials", {}))
    starts = list(trials.get(trial_id, []))
    if starts and starts[-1]["parameters"] == dict(parameters):
        return
    trials[trial_id] = [*starts, {"start_time": start_time.isoformat(), "parameters": dict(parameters)}]
    connection.execute(update(training_runs).where(of_run).values(parameters={**(known or {}), "trials": trials}))


def find_run(connection: Connection, run_id: str) -> Row[Any] | None:
    """Return a run with every column, None if the database does not have it."""
    return connection.execute(select(training_runs).where(training_runs.c.run_id == run_id)).one_or_none()


_NAMED = 3
_PLACE: tuple[Column[Any], ...] = tuple(
    training_runs.c[name] for name in ("run_id", "status", "journal_root", "mirror")
)


def run_place(connection: Connection, run_id: str) -> Row[Any] | None:
    """Return run_id, status, journal_root and mirror of a run, None if the database does not have it.

    Times and parameters are left out, because they may be unreadable after an edit by hand.
    """
    return connection.execute(select(*_PLACE).where(training_runs.c.run_id == run_id)).one_or_none()


LATEST = "latest"


def run_named(connection: Connection, name: str) -> Row[Any]:
    """Return run_id, status, journal_root and mirror of the run with this name.

    Args:
        connection: An open connection.
        name: See `id_named`.

    Raises:
        UnknownRunError: No run, or more than one run, has this name.
    """
    exact = run_place(connection, name)
    if exact is not None:
        return exact
    places = {row.run_id: row for row in run_places(connection)}
    run_id = id_named(name, list(places))
    if run_id is None:
        what = "the database has no run" if name == LATEST else f"run {name} is not in the database"
        raise UnknownRunError(f"{what}; `rsc runs` lists those that are")
    return places[run_id]


def id_named(name: str, newest_first: Sequence[str]) -> str | None:
    """Return the id of the run with this name; None if there is none.

    Args:
        name: The run's id, the beginning of exactly one id, or "latest": the run that started last.
        newest_first: The ids of all runs.

    Raises:
        UnknownRunError: The name is the beginning of several ids.
    """
    if name in newest_first:
        return name
    if name == LATEST:
        return next(iter(newest_first), None)
    found = sorted(run_id for run_id in newest_first if run_id.startswith(name)) if name.strip() else []
    if len(found) > 1:
        shown = ", ".join(found[:_NAMED]) + (f" and {len(found) - _NAMED} more" if len(found) > _NAMED else "")
        raise UnknownRunError(f"{name} is the beginning of {shown}; give more of the id")
    return found[0] if found else None


def run_places(connection: Connection) -> Sequence[Row[Any]]:
    """Return run_id, status, journal_root and mirror of all runs, newest first."""
    return connection.execute(select(*_PLACE).order_by(training_runs.c.start_time.desc())).all()


def children(connection: Connection, run_id: str) -> list[str]:
    """Return the runs that evaluate or resume a run, newest first."""
    query = select(training_runs.c.run_id).where(training_runs.c.parent_run_id == run_id)
    return list(connection.execute(query.order_by(training_runs.c.start_time.desc())).scalars())


def all_runs(connection: Connection) -> Sequence[Row[Any] | UnreadableRow]:
    """Return all runs with every column, newest first."""
    query = select(training_runs).order_by(training_runs.c.start_time.desc())
    return rows_of_query(connection, query, training_runs.c.run_id)


def unsettled_runs(connection: Connection, since: datetime) -> set[str]:
    """Return the runs that a pass must check: running, or with started or improvable episodes.

    Verdicts from before ``since`` are not improvable.
    """
    of_run = episodes.c.run_id == training_runs.c.run_id
    # Two queries, since each uses its own index; one query with OR would scan every ended episode.
    started = exists().where(of_run, episodes.c.status == "started")
    improvable = exists().where(of_run, episodes.c.evidence_final.is_(False), episodes.c.finalized_at > since)
    query = select(training_runs.c.run_id).where((training_runs.c.status == "running") | started | improvable)
    return set(connection.execute(query).scalars())


def runs_without_row(connection: Connection) -> Sequence[str]:
    """Return the run ids of started episodes whose run has no row."""
    known = exists().where(episodes.c.run_id == training_runs.c.run_id)
    query = select(episodes.c.run_id).where(episodes.c.status == "started", ~known).distinct()
    return list(connection.execute(query).scalars())


def counts_by_run(connection: Connection) -> dict[str, dict[str, int]]:
    """Return the number of episodes by run and status."""
    rows = connection.execute(
        select(episodes.c.run_id, episodes.c.status, func.count()).group_by(episodes.c.run_id, episodes.c.status)
    )
    counts: dict[str, dict[str, int]] = {}
    for run_id, status, count in rows:
        counts.setdefault(run_id, {})[status] = count
    return counts


def counts_by_trial(connection: Connection) -> dict[str, dict[str, dict[str, int]]]:
    """Return the number of episodes by run, Tune trial and status."""
    columns = (episodes.c.run_id, episodes.c.trial_id, episodes.c.status)
    query = select(*columns, func.count()).where(episodes.c.trial_id.is_not(None)).group_by(*columns)
    counts: dict[str, dict[str, dict[str, int]]] = {}
    for run_id, trial_id, status, count in connection.execute(query.order_by(*columns)):
        counts.setdefault(run_id, {}).setdefault(trial_id, {})[status] = count
    return counts


def start_pass(connection: Connection, pass_id: str, host: str, start_time: datetime) -> None:
    """Record the start of a pass. A daemon's idle passes share one id, so only the last one is kept."""
    values = {"host": host, "start_time": start_time, "end_time": None, "outcome": None, "report": None}
    again = update(reconciler_passes).where(reconciler_passes.c.pass_id == pass_id)
    if connection.execute(again.values(values)).rowcount == 0:
        connection.execute(insert(reconciler_passes).values(pass_id=pass_id, **values))


def end_pass(connection: Connection, pass_id: str, outcome: str, end_time: datetime, report: Mapping[str, Any]) -> None:
    """Record how a pass ended."""
    statement = update(reconciler_passes).where(reconciler_passes.c.pass_id == pass_id)
    connection.execute(statement.values(outcome=outcome, end_time=end_time, report=dict(report)))


def last_passes(connection: Connection, count: int) -> Sequence[Row[Any] | UnreadableRow]:
    """Return the newest passes, newest first."""
    query = select(reconciler_passes).order_by(reconciler_passes.c.start_time.desc()).limit(count)
    return rows_of_query(connection, query, reconciler_passes.c.pass_id)


def last_success(connection: Connection) -> datetime | None:
    """Return when the last complete pass ended; None if there is none, or its time cannot be read."""
    end_time = reconciler_passes.c.end_time
    query = select(end_time).where(reconciler_passes.c.outcome == "done").order_by(end_time.desc()).limit(1)
    newest: datetime | None = value_of_first(rows_of_query(connection, query, reconciler_passes.c.pass_id))
    return newest
