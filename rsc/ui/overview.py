"""Read what the page of all runs shows: the runs, which of them are alive, and the last passes of the reconciler."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from journal.errors import JournalError
from journal.host.liveness import Liveness, Observer
from journal.write.marker import marker_liveness
from rsc.db import episodes, runs
from rsc.db.models import EPISODE_STATUSES
from rsc.db.session import reading
from rsc.db.tolerant import UnreadableRow

if TYPE_CHECKING:
    from sqlalchemy import Engine

_PASSES = 5


def overview_values(engine: Engine, observer: Observer) -> dict[str, Any]:
    """Return the values of the template `overview.html.j2`.

    Args:
        engine: The database.
        observer: Judges whether the drivers of running runs are alive.
    """
    with reading(engine) as connection:
        found = runs.all_runs(connection)
        counts = runs.counts_by_run(connection)
        passes = runs.last_passes(connection, _PASSES)
        success = runs.last_success(connection)
        oldest = episodes.oldest_started(connection)
    return {
        "statuses": EPISODE_STATUSES,
        "runs": [_run(row, counts, observer) for row in found],
        "passes": [_pass(row) for row in passes],
        "success": success,
        "oldest": oldest,
    }


def _run(row: Any, counts: Mapping[str, Mapping[str, int]], observer: Observer) -> dict[str, Any]:
    if isinstance(row, UnreadableRow):
        return {
            "id": row.key,
            "status": "unreadable",
            "episodes": {},
            "remark": f"its row cannot be read: {row.reason}",
        }
    return {
        "id": row.run_id,
        "status": row.status,
        "start": row.start_time,
        "end": row.end_time,
        "algorithm": row.algorithm,
        "parent": row.parent_run_id,
        "episodes": counts.get(row.run_id, {}),
        "remark": _remark(row, counts.get(row.run_id, {}), observer),
    }


def _remark(row: Any, counts: Mapping[str, int], observer: Observer) -> str:
    """Return a remark about a run that its counts do not show; empty if there is none."""
    if row.status == "running":
        if _driver_is_dead(row, observer):
            return f"its driver has exited without ending the run; run: reconcile --run-id {row.run_id}"
        return "" if counts else "it has no rows yet; a run of `rsc.start_run` writes them when it ends"
    left = counts.get("started")
    return (
        f"it has ended, and {left:,} of its episodes are still started; run: reconcile --run-id {row.run_id}"
        if left
        else ""
    )


def _driver_is_dead(row: Any, observer: Observer) -> bool:
    """Return True if the driver is dead. Without a marker on this machine that is unknown, so return False."""
    if not row.journal_root:
        return False
    try:
        found = marker_liveness(Path(row.journal_root), row.run_id, observer)
    except (JournalError, OSError):
        return False
    return found is not None and found.liveness is Liveness.DEAD


def _pass(row: Any) -> dict[str, Any]:
    if isinstance(row, UnreadableRow):
        return {"start": None, "host": None, "outcome": "unreadable", "words": f"its row cannot be read: {row.reason}"}
    report = row.report or {}
    ended = [f"{number:,} {status}" for status, number in sorted(report.get("ended", {}).items())]
    failures = report.get("failures") or () if row.outcome == "failed" else ()
    waiting = report.get("waiting")
    return {
        "start": row.start_time,
        "host": row.host,
        "outcome": row.outcome or "unfinished",
        "words": ", ".join(
            [*(ended or ["none ended"]), *([f"{waiting:,} waiting"] if waiting else []), *failures[-1:]]
        ),
    }
