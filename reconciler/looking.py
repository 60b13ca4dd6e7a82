"""The look: what the files say of one episode, as facts for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from journal import (
    Journal,
    JournalAccessError,
    JournalError,
    Liveness,
    NotAJournalError,
    Observer,
    State,
    journal_path,
    look_at_marker,
    read_journal,
)
from journal.lock import Look
from reconciler.config import Settings
from reconciler.rules import Facts, JournalFacts, RowFacts, Sight, WriterFacts
from rsc.closing import ending_of


@dataclass
class RunSight:
    """A run's folder as this pass sees it. ``marker`` is None where the marker is missing."""

    run_id: str
    root: Path
    marker: Look | None

    @property
    def driver_may_live(self) -> bool:
        """Is the run's driver alive, or not known to be dead?"""
        return self.marker is not None and self.marker.liveness is not Liveness.DEAD


def look_at_run(run_id: str, root: Path, observer: Observer) -> RunSight:
    """Look at the marker; one that cannot be read counts as unsure."""
    try:
        marker = look_at_marker(root, run_id, observer)
    except JournalAccessError as error:
        marker = Look(Liveness.UNSURE, str(error))
    return RunSight(run_id, root, marker)


def look_at_episode(
    run: RunSight, journal_id: str, row: Any, observer: Observer, settings: Settings, now: datetime
) -> tuple[Facts, Journal | None]:
    """Facts on one episode, and its journal if it could be read. Never raises for what a file may hold."""
    path = journal_path(run.root, run.run_id, journal_id)
    journal, writer_look, facts = _look(path, observer)
    writer = _writer_facts(journal, writer_look, run, row, observer)
    if journal is not None:
        facts = _journal_facts(journal, now)
    row_facts = None if row is None else _row_facts(row, now)
    marker = run.marker is not None
    return Facts(row_facts, facts, writer, marker, settings.grace_period_s, settings.assume_dead), journal


def _look(path: Path, observer: Observer) -> tuple[Journal | None, Look | None, JournalFacts]:
    """The lock first: what was free before the read can never be appended to after it."""
    try:
        locked_first = observer.look(path, None)
        journal = read_journal(path)
        look = observer.look(path, journal.header.writer)
        if locked_first.liveness is Liveness.ALIVE and look.liveness is not Liveness.ALIVE:
            journal = read_journal(path)  # it ended between the two: what it wrote last must be seen
        return journal, look, JournalFacts(Sight.READ)
    except NotAJournalError as error:
        foreign = "it holds journal" in error.reason
        sight = Sight.BLOCKED if foreign else Sight.UNREADABLE
        return None, observer.look(path, None), JournalFacts(sight, why=error.reason)
    except JournalAccessError as error:
        missing = isinstance(error.__cause__, FileNotFoundError)
        return None, None, JournalFacts(Sight.MISSING if missing else Sight.BLOCKED, why=str(error))
    except JournalError as error:
        return None, None, JournalFacts(Sight.BLOCKED, why=str(error))


def _writer_facts(
    journal: Journal | None, look: Look | None, run: RunSight, row: Any, observer: Observer
) -> WriterFacts:
    if look is not None:
        gone = journal is not None and observer.process_is_gone(journal.header.writer)
        return WriterFacts(look.liveness, look.reason, process_gone=gone)
    host = getattr(row, "writer_host", None)
    here = host == observer.host or getattr(row, "writer_boot_id", None) == observer.boot_id
    if not here:
        return WriterFacts(
            Liveness.UNSURE, f"its writer's host {host} cannot be judged from here", host_judgeable=False
        )
    driver = run.marker or Look(Liveness.UNSURE, "the run's marker is missing")
    return WriterFacts(driver.liveness, f"of the run's driver: {driver.reason}")


def _journal_facts(journal: Journal, now: datetime) -> JournalFacts:
    closed_at = journal.closed_at
    return JournalFacts(
        Sight.READ,
        closed=journal.state is State.CLOSED,
        closed_age_s=(now - closed_at).total_seconds() if closed_at else 0.0,
        failed=journal.state is State.FAILED,
        damaged=bool(journal.findings),
        metrics_complete=journal.metrics_step >= journal.last_step + _lost_behind(journal),
        last_step=journal.last_step,
        ending=ending_of(journal),
    )


def _lost_behind(journal: Journal) -> int:
    """Steps known to have been written behind the last intact one; a checkpoint may still cover them."""
    known = journal.checkpoint.step if journal.checkpoint else 0
    return max(0, known - journal.last_step)


def _row_facts(row: Any, now: datetime) -> RowFacts:
    return RowFacts(
        status=row.status,
        age_s=(now - row.start_time).total_seconds(),
        finalized_by=row.finalized_by,
        evidence_steps=row.evidence_steps or 0,
        evidence_closed=bool(row.evidence_closed),
    )
