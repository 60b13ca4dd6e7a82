"""A pass that leaves a trace: what `reconcile status` tells."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from reconciler.passes import Pass
from reconciler.report import PassReport
from rsc.db import runs
from rsc.db.session import database_now, first_line

DONE, FAILED, STOPPED = "done", "failed", "stopped"
"""Outcomes: all was looked at (complaints are in the report), the database was gone, a signal or deadline came."""


def record_pass(engine: Engine, work: Pass, run_ids: Sequence[str] | None, wait_s: float = 0.0) -> PassReport:
    """Run a pass, and note in the database when it began and how it ended; a dry run leaves no trace."""
    if work.dry_run:
        return work.run(run_ids, wait_s)
    with engine.begin() as connection:
        runs.start_pass(connection, work.pass_id, socket.gethostname(), work.start_time)
    try:
        report = work.run(run_ids, wait_s)
    except Exception as error:
        _note_failure(engine, work, error)
        raise
    outcome = STOPPED if report.stopped else DONE
    with engine.begin() as connection:
        runs.end_pass(connection, work.pass_id, outcome, database_now(engine), report.to_dict())
    return report


def _note_failure(engine: Engine, work: Pass, error: Exception) -> None:
    try:
        with engine.begin() as connection:
            report = {**work.report.to_dict(), "failures": [first_line(error)]}
            runs.end_pass(connection, work.pass_id, FAILED, database_now(engine), report)
    except SQLAlchemyError:  # it is probably what failed; the pass stays unfinished
        return
