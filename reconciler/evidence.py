"""Collect what the files show about one episode, as facts for the rules. No file stays open, and no lock is held."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
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
from journal.format.header import Header, Origin, is_name
from journal.format.schema import STREAM_SUFFIX
from journal.host.filesystems import LOCAL
from journal.host.identity import Process
from journal.host.liveness import Probe, is_locked, probe
from journal.host.paths import check_name, run_dir
from journal.host.roots import read_root_id
from journal.read.many import Found, read_killed
from reconciler.rules import Facts, JournalState, Row
from reconciler.settings import Settings
from rsc.closing import ending_of, evidence_of
from rsc.db.episodes import RECONCILER, rank_of
from rsc.defaults import JOURNAL_FAILED

_STATES = {State.OPEN: JournalState.OPEN, State.CLOSED: JournalState.CLOSED, State.FAILED: JournalState.FAILED}
_HELD = LivenessReport(Liveness.ALIVE, "its lock is held", rule=1, original=True)


@dataclass
class RunState:
    """A run's folder as one pass sees it. File system, marker and processes are looked at once in each pass.

    Attributes:
        run_id: The run.
        root: The journal root.
        marker: The judgement of the run's driver, None where the run has no marker. On a cluster it may be that of
            the driver's node.
        observer: Judges writers; a daemon's observer lives longer than one pass.
        folder: The run's folder below the root.
        kind: The kind of its file system.
        root_id: The folder's random id; empty if it has none of its own.
        mirror: The URL of the mirror from which the folder was copied; empty if it is no copy of one.
    """

    run_id: str
    root: Path
    marker: LivenessReport | None
    observer: Observer
    folder: Path
    kind: str
    root_id: str
    mirror: str = ""
    _processes: dict[WriterIdentity, Process] = field(default_factory=dict)

    @property
    def local(self) -> bool:
        """Return True if locks can be trusted here."""
        return self.kind in LOCAL

    @property
    def driver_may_live(self) -> bool:
        """Return True if the run's driver is alive, or not known to be dead."""
        return self.marker is not None and self.marker.liveness is not Liveness.DEAD

    @property
    def is_home(self) -> bool:
        """Return True if this folder is no copy: the run's driver made it, or an env runner of the run on another node."""
        return self.marker is not None and self.marker.original

    def process(self, writer: WriterIdentity) -> Process:
        """Look at a writer's process, once for all its journals."""
        known = self._processes.get(writer)
        if known is None:
            known = self._processes[writer] = self.observer.process(writer)
        return known

    def has_seen(self, writer: WriterIdentity) -> bool:
        """Return True if the writer's process was looked at before."""
        return writer in self._processes

    def judge(self, path: str, found: Probe, origin: Origin) -> LivenessReport:
        """Judge the writer of a journal whose lock was probed."""
        return self.observer.judge(path, found, self.kind, origin, self.process(origin.writer))

    def judge_unreadable(self, found: Probe) -> LivenessReport:
        """Judge the writer of an unreadable journal: a free lock proves death only in the folder that the driver created."""
        if found.locked:
            return _HELD
        if self.local and self.is_home:
            return LivenessReport(Liveness.DEAD, "its lock is free, in the folder that the run's driver made")
        return LivenessReport(Liveness.UNSURE, "its lock is free, but this folder may be a copy")


@dataclass(frozen=True)
class Evidence:
    """The evidence for one episode: the facts and their sources.

    Attributes:
        facts: The facts for the rules.
        journal: The journal, None where it was not read.
        writer: The judgement of its writer.
    """

    facts: Facts
    journal: Journal | None
    writer: LivenessReport

    @property
    def final(self) -> bool:
        """Return True if no later evidence can change the verdict."""
        return self.journal is not None and _is_final(self.writer, self.journal)

    @property
    def may_lack(self) -> str:
        """Return the part that a copy of the journal may lack, as text; empty if the journal is closed or was not read."""
        if self.journal is None or self.journal.state is State.CLOSED:
            return ""
        return f"steps after {self.journal.last_step}"


def run_state(run_id: str, root: Path, observer: Observer, mirror: str = "") -> RunState:
    """Look at the run's folder and marker. An unreadable marker counts as unsure.

    Args:
        run_id: The run.
        root: The journal root.
        observer: Judges writers.
        mirror: The URL of the mirror from which the root was copied.
    """
    try:
        marker = marker_liveness(root, run_id, observer)
    except JournalError as error:
        marker = LivenessReport(Liveness.UNSURE, str(error))
    folder = run_dir(root, run_id)
    kind, root_id = observer.file_system(folder), read_root_id(folder)
    return RunState(run_id, root, marker, observer, folder, kind, root_id, mirror)


def read_at_once(run: RunState, journal_ids: Iterable[str]) -> dict[str, Found]:
    """Read those journals at once for which that is faster, for `gather_evidence`: where locks can be trusted."""
    if not run.local:
        return {}
    return read_killed(str(run.folder), filter(is_name, journal_ids), lambda header: run.process(header.writer))


def gather_evidence(
    run: RunState, journal_id: str, row: Any, settings: Settings, now: datetime, found: Found | None = None
) -> Evidence:
    """Collect the evidence of one episode from its files. The content of files never raises an exception here.

    Args:
        run: The run.
        journal_id: The episode's journal.
        row: The episode's row, None without one.
        settings: What the pass may do.
        now: The time.
        found: The journal, if `read_at_once` has read it.
    """
    path = f"{run.folder}/{journal_id}{STREAM_SUFFIX}"
    try:
        check_name(journal_id, "journal id")
        if found is None:
            state, writer, journal = _read(path, run, settings)
        else:
            state, writer, journal = _judge(path, run, found.probe, found.journal)
    except JournalError as error:  # no writer creates such a name
        state, writer, journal = JournalState.BLOCKED, LivenessReport(Liveness.UNSURE, str(error)), None
    if state is JournalState.MISSING:
        return Evidence(_missing(run, row, settings, now), None, writer)
    if state is JournalState.OPEN and journal is not None and journal.terminal is None and _failure_of(row):
        state = JournalState.FAILED
    if settings.presumption and writer.liveness is Liveness.UNSURE:
        writer = replace(writer, reason=settings.presumption)
    known = {} if journal is None else _told_by(journal, writer, run, row, settings, now)
    assumed, young = _assumed(writer.liveness, settings), _is_young(row, settings, now)
    return Evidence(Facts(row_of(row), state, assumed, writer.reason, young=young, **known), journal, writer)


def _is_final(writer: LivenessReport, journal: Journal) -> bool:
    """Return True for a complete journal, or if its writer is certainly dead, so that nothing will be added.

    A journal without its tail is not final, because the tail may come back from a copy.
    """
    whole = journal.state is State.CLOSED and not (journal.findings or journal.steps_lost or journal.trades_lost)
    return whole or (writer.certain and not journal.tail_lost)


def row_of(row: Any) -> Row:
    """Return what the database says about the episode."""
    if row is None:
        return Row.NONE
    if row.status == "started":
        return Row.STARTED
    return Row.OURS if row.finalized_by == RECONCILER else Row.ENDED


def has_ended(row: Any) -> bool:
    """Return True if the episode has a row that is not started any more."""
    return row is not None and row.status != "started"


def _failure_of(row: Any) -> str | None:
    """Return the failure of the journal from the row of a started episode, since a failing disk may not show it."""
    if row is None or row.status != "started" or not str(row.status_reason).startswith(JOURNAL_FAILED):
        return None
    return str(row.status_reason)


def _read(path: str, run: RunState, settings: Settings) -> tuple[JournalState, LivenessReport, Journal | None]:
    """Judge the writer, then read the journal. If the writer was dead before, the read has all rows."""
    try:
        found = probe(path)
        if found.locked and not settings.dry_run:
            return JournalState.OPEN, _HELD, None
        wanted = settings.dry_run or settings.assume_dead
        if not (found.locked or run.local or wanted) and (writer := _lives_elsewhere(path, found, run)):
            return JournalState.OPEN, writer, None
        journal = read_journal(path)
        if found.locked and not is_locked(path):
            found, journal = probe(path), read_journal(path)  # it ended in between, so read its end
    except NotAJournalError as error:
        return _unreadable(path, run, error)
    except JournalAccessError as error:
        missing = isinstance(error.__cause__, FileNotFoundError | NotADirectoryError)
        return (
            (JournalState.MISSING if missing else JournalState.BLOCKED),
            LivenessReport(Liveness.UNSURE, str(error)),
            None,
        )
    except JournalError as error:
        return JournalState.BLOCKED, LivenessReport(Liveness.UNSURE, str(error)), None
    return _judge(path, run, found, journal)


def _judge(
    path: str, run: RunState, found: Probe, journal: Journal
) -> tuple[JournalState, LivenessReport, Journal | None]:
    """Judge the writer of a journal that was read."""
    header = journal.header
    if header.run_id != run.run_id or path != f"{run.folder}/{header.journal_id}{STREAM_SUFFIX}":
        return JournalState.BLOCKED, LivenessReport(Liveness.UNSURE, _whose(header)), None
    looked = run.has_seen(header.writer)
    writer = run.judge(path, found, header.origin)
    if writer.rule == 2 and not looked:
        journal = _read_again(path, journal)  # its process may have written more and died since the read
    return _STATES[journal.state], writer, journal


def _read_again(path: str, journal: Journal) -> Journal:
    try:
        return read_journal(path)
    except JournalError:
        return journal


def _lives_elsewhere(path: str, found: Probe, run: RunState) -> LivenessReport | None:
    """Judge by the header alone where locks prove nothing. Return None if the whole journal must be read."""
    writer = run.judge(path, found, read_header(path).origin)
    return writer if writer.liveness is not Liveness.DEAD and peek(path) is None else None


def _unreadable(path: str, run: RunState, error: NotAJournalError) -> tuple[JournalState, LivenessReport, None]:
    try:
        header = read_header(path)
    except JournalError:
        writer = run.judge_unreadable(probe(path))
        return JournalState.UNREADABLE, LivenessReport(writer.liveness, f"{error.reason}; {writer.reason}"), None
    return JournalState.BLOCKED, LivenessReport(Liveness.UNSURE, _whose(header)), None


def _whose(header: Header) -> str:
    return f"it holds journal {header.journal_id} of run {header.run_id}"


def _told_by(
    journal: Journal, writer: LivenessReport, run: RunState, row: Any, settings: Settings, now: datetime
) -> dict[str, Any]:
    closed, final = journal.state is State.CLOSED, _is_final(writer, journal)
    return {
        "ending": ending_of(journal, _failure_of(row)),
        "steps": journal.last_step,
        "damaged": bool(journal.findings),
        "callback_missed": closed and _is_callback_missed(journal, run, settings, now),
        "more": has_ended(row) and rank_of(evidence_of(journal, final=final)) > rank_of(row._mapping),
    }


def _is_callback_missed(journal: Journal, run: RunState, settings: Settings, now: datetime) -> bool:
    """Return True if the callback cannot come any more, or its grace period is over.

    If the writer's clock is ahead by more than the grace period, the period counts as over.
    """
    closed_at = journal.closed_at
    late = closed_at is None or abs((now - closed_at).total_seconds()) > settings.grace_period_s
    return late or run.process(journal.header.writer) is Process.GONE


def _missing(run: RunState, row: Any, settings: Settings, now: datetime) -> Facts:
    """Return the facts of an episode without a journal. Only the folder where it was written can prove its loss."""
    driver = run.marker or LivenessReport(Liveness.UNSURE, f"the run's marker is not in {run.root}")
    why = f"of the run's driver: {driver.reason}" if run.marker else driver.reason
    here = run.marker is not None and (settings.assume_dead or _is_home_of(run, row))
    if run.marker is not None and not here:
        host = getattr(row, "writer_host", None) or "an unknown host"
        why = f"{run.folder} is not known to be the folder in which {host} wrote it"
    young = _is_young(row, settings, now)
    return Facts(row_of(row), JournalState.MISSING, _assumed(driver.liveness, settings), why, young=young, here=here)


def _is_home_of(run: RunState, row: Any) -> bool:
    """Return True if the episode was written in this folder. A copied marker or an equal path does not prove that."""
    return run.is_home and row is not None and run.root_id != "" and row.root_id == run.root_id


def _is_young(row: Any, settings: Settings, now: datetime) -> bool:
    return row is not None and abs((now - row.start_time).total_seconds()) < settings.grace_period_s


def _assumed(liveness: Liveness, settings: Settings) -> Liveness:
    return Liveness.DEAD if settings.assume_dead and liveness is Liveness.UNSURE else liveness
