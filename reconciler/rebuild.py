"""Runs that a database has lost: their rows, from the markers. Their episodes follow by case J."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine

from journal import JournalError, list_runs, read_marker
from journal.paths import marker_path
from rsc.db import runs


def adopt_runs(engine: Engine, root: Path, run_ids: Sequence[str] | None) -> Iterator[str]:
    """Give every run that has a marker under the root its row, if it has none; tell of each in a line.

    A rebuilt run starts when its marker was made, and is running until the pass finds its driver gone: how a
    driver ended it, only the lost row knew.
    """
    found = sorted(list_runs(root)) if run_ids is None else run_ids
    if not found:
        yield f"there are no runs under {root}"
    for run_id in found:
        try:
            _, parameters = read_marker(root, run_id)
            made = datetime.fromtimestamp(marker_path(root, run_id).stat().st_mtime, UTC)
        except (JournalError, OSError) as error:
            yield f"run {run_id} cannot be rebuilt: {error}"
            continue
        with engine.begin() as connection:
            if runs.find_run(connection, run_id) is None:
                runs.start_run(connection, run_id, parameters, str(root), made)
                yield f"run {run_id} had no row, and has one now"
