"""Runs that a database has lost: their rows, from the markers. Their episodes follow by case J."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from journal import JournalError, read_marker
from journal.host.paths import marker_path
from rsc.db import runs


def adopt_runs(engine: Engine, root: Path, run_ids: Sequence[str]) -> Iterator[tuple[bool, str]]:
    """Give every run that has a marker under the root its row, if it has none; tell of each if it could be, and in words.

    A rebuilt run starts when its marker was made, and is running until the pass finds its driver gone: how a
    driver ended it, only the lost row knew.
    """
    for run_id in run_ids:
        try:
            _, parameters = read_marker(root, run_id)
            made = datetime.fromtimestamp(marker_path(root, run_id).stat().st_mtime, UTC)
        except (JournalError, OSError, ValueError) as error:  # a file's time may be one that no datetime holds
            yield False, f"run {run_id} cannot be rebuilt: {error}"
            continue
        try:
            with engine.begin() as connection:
                runs.start_run(connection, run_id, parameters, str(root), made)
        except IntegrityError:  # it has one
            continue
        yield True, f"run {run_id} had no row, and has one now"
