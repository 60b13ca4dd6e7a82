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
    """Give every run under the root its row, if it has none; yield for each whether it could be, and what was done.

    A rebuilt run starts when its marker was made, and is running until the pass finds its driver gone: how a
    driver ended it, only the lost row knew. A run without a marker, whose envs were recorded without `rsc.start_run`,
    starts with its first journal, and is interrupted, since no driver will ever end it.
    """
    for run_id in run_ids:
        try:
            parameters, made = _told_by_files(root, run_id)
        except (JournalError, OSError, ValueError) as error:  # a file's time may be one that no datetime holds
            yield False, f"run {run_id} cannot be rebuilt: {error}"
            continue
        try:
            with engine.begin() as connection:
                runs.start_run(connection, run_id, parameters or {}, str(root), made)
                if parameters is None:
                    runs.end_run(
                        connection, run_id, "interrupted", made, "no process said that it began or ended this run"
                    )
        except IntegrityError:  # it has one
            continue
        yield True, f"run {run_id} had no row, and has one now"


def _told_by_files(root: Path, run_id: str) -> tuple[dict[str, Any] | None, datetime]:
    """The run's parameters, None without a marker, and when it began."""
    path = marker_path(root, run_id)
    first = min(list_journals(root, run_id), default=None)
    if first is not None and not path.exists():
        return None, read_header(journal_path(root, run_id, first)).start_time
    _, parameters = read_marker(root, run_id)
    return parameters, datetime.fromtimestamp(path.stat().st_mtime, UTC)
