"""The look: what the files say of one episode, as facts for the rules. Only reads, and holds nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from journal import (
    Journal,
    JournalAccessError,
    JournalError,
    Liveness,
    LivenessReport,
    NotAJournalError,
    Observer,
    State,
    WriterIdentity,
    marker_liveness,
    peek,
    read_header,
    read_journal,
)
from journal.format.schema import STREAM_SUFFIX
from journal.host.liveness import is_locked
from journal.host.paths import check_name, run_dir
from reconciler.rules import Facts, Row, Sight
from reconciler.settings import Settings
from rsc.closing import ending_of
from rsc.db.episodes import RECONCILER

_SIGHTS = {State.OPEN: Sight.OPEN, State.CLOSED: Sight.CLOSED, State.FAILED: Sight.FAILED}
_HELD = LivenessReport(Liveness.ALIVE, "its lock is held")


@dataclass
class RunState:
    """A run's folder as this pass sees it. ``marker`` is None where the marker is missing; ``local``: its locks are
    trusted."""

    run_id: str
    root: Path
    marker: LivenessReport | None
    observer: Observer
    folder: Path
    local: bool
    _gone: dict[WriterIdentity, bool] = field(default_factory=dict)

    @property
    def driver_may_live(self) -> bool:
        """Is the run's driver alive, or not known to be dead?"""
        return self.marker is not None and self.marker.liveness is not Liveness.DEAD

    def process_is_gone(self, writer: WriterIdentity) -> bool:
        """Is the writer's process certainly dead? Asked once for all its journals."""
        if writer not in self._gone:
            self._gone[writer] = self.observer.process_is_gone(writer)
        return self._gone[writer]

    def judge(self, locked: bool, writer: WriterIdentity | None) -> LivenessReport:
        """Judge a writer by the lock that was probed."""
        return self.observer.judge(locked, self.local, self.folder, writer)


@dataclass(frozen=True)
class Evidence:
    """What a look gave: the facts, and what they were taken from. ``journal`` is None where it was not read."""

    facts: Facts
    journal: Journal | None
    look: LivenessReport

    @property
    def final(self) -> bool:
        """Can no more evidence ever come? Only a lock proves that, or the journal's own end."""
        absolute = self.look.liveness is Liveness.DEAD and self.look.lease_age_s is None
        return self.facts.sight is Sight.CLOSED or absolute


def run_state(run_id: str, root: Path, observer: Observer) -> RunState:
    """Read the run's marker; an unreadable one counts as unsure."""
    try:
        marker = marker_liveness(root, run_id, observer)
    except JournalError as error:
        marker = LivenessReport(Liveness.UNSURE, str(error))
    folder = run_dir(root, run_id)
    return RunState(run_id, root, marker, observer, folder, observer.local(folder))


def gather_evidence(run: RunState, journal_id: str, row: Any, settings: Settings, now: datetime) -> Evidence:
    """Collect what the files say of one episode. File contents never make it raise."""
    try:
        path = f"{run.folder}/{check_name(journal_id, 'journal id')}{STREAM_SUFFIX}"
        sight, look, journal = _look(path, run, settings)
    except JournalError as error:  # no writer makes such a name
        sight, look, journal = Sight.BLOCKED, LivenessReport(Liveness.UNSURE, str(error)), None
    if sight is Sight.MISSING:
        return Evidence(_missing(run, row, settings, now), None, look)
    known = {} if journal is None else _told_by(journal, run, row, settings, now)
    facts = Facts(
        row_of(row),
        sight,
        _assumed(look.liveness, settings),
        look.reason,
        young=_is_young(row, settings, now),
        **known,
    )
    return Evidence(facts, journal, look)


def row_of(row: Any) -> Row:
    """What the database says of the episode."""
    if row is None:
        return Row.NONE
    if row.status == "started":
        return Row.STARTED
    return Row.OURS if row.finalized_by == RECONCILER else Row.ENDED


def _look(path: str, run: RunState, settings: Settings) -> tuple[Sight, LivenessReport, Journal | None]:
    """The lock before the read: once it is free nothing more is written, so what is read then is all there is."""
    try:
        held = is_locked(path)
        if held and not settings.dry_run:
            return Sight.OPEN, _HELD, None
        wanted = settings.dry_run or settings.assume_dead
        if not (held or run.local or wanted) and (look := _lives_elsewhere(path, run)):
            return Sight.OPEN, look, None
        journal = read_journal(path)
        if held and not is_locked(path):
            held, journal = False, read_journal(path)  # it ended in between, and its last words count
    except NotAJournalError as error:
        return _unreadable(path, run, error)
    except JournalAccessError as error:
        missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        return (Sight.MISSING if missing else Sight.BLOCKED), LivenessReport(Liveness.UNSURE, str(error)), None
    except JournalError as error:
        return Sight.BLOCKED, LivenessReport(Liveness.UNSURE, str(error)), None
    header = journal.header
    if header.run_id != run.run_id or header.journal_id != journal.path.stem:
        return Sight.BLOCKED, LivenessReport(Liveness.UNSURE, _whose(header)), None
    return _SIGHTS[journal.state], run.judge(held, header.writer), journal


def _lives_elsewhere(path: str, run: RunState) -> LivenessReport | None:
    """Where locks prove nothing, a journal is read whole only when its lease has run out or it says that it ended."""
    look = run.judge(False, read_header(path).writer)
    return look if look.liveness is not Liveness.DEAD and peek(path) is None else None


def _unreadable(path: str, run: RunState, error: NotAJournalError) -> tuple[Sight, LivenessReport, None]:
    try:
        header = read_header(path)
    except JournalError:
        look = run.judge(is_locked(path), None)
        return Sight.UNREADABLE, LivenessReport(look.liveness, f"{error.reason}; {look.reason}"), None
    return Sight.BLOCKED, LivenessReport(Liveness.UNSURE, _whose(header)), None


def _whose(header: Any) -> str:
    return f"it holds journal {header.journal_id} of run {header.run_id}"


def _told_by(journal: Journal, run: RunState, row: Any, settings: Settings, now: datetime) -> dict[str, Any]:
    closed = journal.state is State.CLOSED
    return {
        "ending": ending_of(journal),
        "steps": journal.last_step,
        "damaged": bool(journal.findings),
        "settled": closed and _is_settled(journal, run, settings, now),
        "more": row is not None
        and (journal.last_step > (row.evidence_steps or 0) or (closed and not row.evidence_closed)),
    }


def _is_settled(journal: Journal, run: RunState, settings: Settings, now: datetime) -> bool:
    """Its callback cannot come any more, or had its time. A clock that is wrong by more than that counts as late."""
    closed_at = journal.closed_at
    late = closed_at is None or abs((now - closed_at).total_seconds()) > settings.grace_period_s
    return late or run.process_is_gone(journal.header.writer)


def _missing(run: RunState, row: Any, settings: Settings, now: datetime) -> Facts:
    driver = run.marker or LivenessReport(Liveness.UNSURE, f"the run's marker is not in {run.root}")
    host = getattr(row, "writer_host", None)
    here = run.marker is not None and (settings.assume_dead or _is_here(run, row))
    why = f"of the run's driver: {driver.reason}" if run.marker else driver.reason
    if run.marker is not None and not here:
        why = f"its writer's host {host or 'is unknown and'} cannot be judged from here"
    young = _is_young(row, settings, now)
    writer = _assumed(driver.liveness, settings)
    return Facts(row_of(row), Sight.MISSING, writer, why, young=young, here=here)


def _is_here(run: RunState, row: Any) -> bool:
    """Did this machine write the episode, in this boot or an earlier one?"""
    return row is not None and (row.writer_boot_id == run.observer.boot_id or row.writer_host == run.observer.host)


def _is_young(row: Any, settings: Settings, now: datetime) -> bool:
    return row is not None and abs((now - row.start_time).total_seconds()) < settings.grace_period_s


def _assumed(liveness: Liveness, settings: Settings) -> Liveness:
    return Liveness.DEAD if settings.assume_dead and liveness is Liveness.UNSURE else liveness
