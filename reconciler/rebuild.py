"""Recreate missing rows of runs from the run markers. A later pass recreates the episodes' rows (case J)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from journal import JournalError, journal_path, list_journals, read_header, read_marker
from journal.host.paths import marker_path
from rsc.db import runs


def adopt_runs(engine: Engine, root: Path, run_ids: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Create the rows of runs under the root that have none. Yield for each run whether it has one now, and a message.

    A rebuilt run starts when its marker was created. It is running until the pass finds that its driver has exited,
    because only the lost row recorded how the driver ended it. A run without a marker, whose envs were recorded without
    `rsc.start_run`, starts with its first journal. It is interrupted, since no driver will ever end it.
    """
    for run_id in run_ids:
        try:
            parameters, made = _told_by_files(root, run_id)
        except (JournalError, OSError, ValueError) as error:  # a file's time may be outside of datetime's range
            yield False, f"run {run_id} cannot be rebuilt: {error}"
            continue
        try:
            with engine.begin() as connection:
                runs.start_run(connection, run_id, parameters or {}, str(root), made)
                if parameters is None:
                    runs.end_run(
                        connection, run_id, "interrupted", made, "no process said that it began or ended this run"
                    )
        except IntegrityError:  # it has a row
            continue
        yield True, f"run {run_id} had no row, and has one now"


def _told_by_files(root: Path, run_id: str) -> tuple[dict[str, Any] | None, datetime]:
    """Return the run's parameters (None without a marker) and its start time."""
    path = marker_path(root, run_id)
    first = min(list_journals(root, run_id), default=None)
    if first is not None and not path.exists():
        return None, read_header(journal_path(root, run_id, first)).start_time
    _, parameters = read_marker(root, run_id)
    return parameters, datetime.fromtimestamp(path.stat().st_mtime, UTC)
