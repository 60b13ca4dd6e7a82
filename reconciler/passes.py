"""One reconcile pass, from top to bottom: list the episodes, judge each by its files, write the verdicts.

A pass is stateless: it reads the disk and the database again.
"""

from __future__ import annotations

import logging
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from journal import JournalAccessError, Observer, list_journals
from journal.read.many import Found
from reconciler.evidence import RunState, gather_evidence, has_ended, read_at_once, run_state
from reconciler.executors import Turn, in_processes, in_turn
from reconciler.judging import Work, work_of
from reconciler.memory import Files, Memory, files_of, folder_state
from reconciler.report import Hooks, PassReport, item_of
from reconciler.rules import Action, JournalState, decide
from reconciler.settings import Settings
from rsc.closing import JOURNAL_MISSING
from rsc.db import episodes, runs
from rsc.db.episodes import SETTLED_AFTER
from rsc.db.session import database_now, first_line, reading
from rsc.db.tolerant import UnreadableRow
from rsc.db.trades import count_of
from rsc.db.writing import patiently, write_changes
from rsc.metrics.at_once import figures_at_once
from rsc.metrics.many import Figures
from rsc.ray_address import ClusterError

T = TypeVar("T")
log = logging.getLogger("reconciler")

Candidate = tuple[str, Any]
"""A journal id, with its row from `rsc.db.episodes` or None if there is no row."""
Look = tuple[Found, Figures | None]
"""A journal that was read with others, and its figures."""
DONE, FAILED, STOPPED = "done", "failed", "stopped"
"""Outcomes of a pass: everything was checked (the report has the complaints), an error ended it, a signal stopped it."""

_OF_OTHERS = "has no journal root in the database: another program made it, and its rows are not judged"
_ROOT_HINT = "is the journal root right, and its volume mounted?"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
_LISTING = 500
_READ_AT_ONCE = 100  # more are hardly faster, and take more memory
_WORTH_PROCESSES = 2000  # episodes; fewer are judged before helpers would have started
_SETTLING_S = 2.0  # a folder's time has the resolution of the kernel's tick


def record_pass(work: Pass, run_ids: Sequence[str] | None = None, wait_s: float = 0.0) -> PassReport:
    """Make a pass, and record its start and its outcome in the database. A dry run is not recorded.

    Raises:
        UnknownRunError: The database does not have one of the runs. Such a pass is not recorded.
        SQLAlchemyError: The database does not answer.
        ClusterError: The Ray cluster does not answer.
    """
    if work.settings.dry_run:
        return work.run(run_ids, wait_s)
    engine = work.engine
    with reading(engine) as connection:
        runs_to_judge(connection, run_ids)
    with engine.begin() as connection:
        runs.start_pass(connection, work.pass_id, socket.gethostname(), work.start_time)
    try:
        report = work.run(run_ids, wait_s)
    except Exception as error:
        _record_failure(work, error)
        raise
    outcome = STOPPED if report.stopped else DONE
    ended_at = database_now(engine)  # before the transaction, because a pool may have only one connection
    with engine.begin() as connection:
        runs.end_pass(connection, work.pass_id, outcome, ended_at, report.to_dict())
    return report


def _record_failure(work: Pass, error: Exception) -> None:
    report = {**work.report.to_dict(), "failures": [first_line(error)]}
    try:
        ended_at = database_now(work.engine)
        with work.engine.begin() as connection:
            runs.end_pass(connection, work.pass_id, FAILED, ended_at, report)
    except SQLAlchemyError:  # the database has probably failed; the pass stays unfinished there
        return


def runs_to_judge(connection: Connection, run_ids: Iterable[str] | None) -> list[Any]:
    """Return run_id, status and journal_root of these runs, each once, or of all; raise UnknownRunError."""
    if run_ids is None:
        return list(runs.run_places(connection))
    named = (runs.run_named(connection, name) for name in run_ids)
    return list({run.run_id: run for run in named}.values())


class Pass:
    """A pass over some runs or all, which fills `report`.

    Args:
        engine: The database.
        observer: Judges whether writers are alive. A daemon keeps one for all its passes.
        settings: The settings of the pass.
        hooks: Callbacks that listen to the pass or stop it early.
        pass_id: Recorded in each row that the pass ends. Empty: a new one is made.
        memory: A daemon's states of unchanged files.
    """

    def __init__(
        self,
        engine: Engine,
        observer: Observer,
        settings: Settings,
        hooks: Hooks | None = None,
        pass_id: str = "",
        memory: Memory | None = None,
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.pass_id = pass_id or uuid.uuid4().hex
        self.report = PassReport()
        self._observer = observer
        self._hooks = hooks or Hooks()
        self._memory = Memory() if memory is None else memory
        self._known_files: dict[str, Files] = {}
        self._stranded: dict[str, list[str]] = {}  # by run, as of the last look at it
        self._turn: AbstractContextManager[None] = nullcontext()  # helpers write one after the other
        self.start_time: datetime = database_now(engine)
        self._started = time.monotonic()

    def run(self, run_ids: Sequence[str] | None = None, wait_s: float = 0.0) -> PassReport:
        """Reconcile these runs, or all that need it.

        Repeat for up to ``wait_s`` seconds while episodes wait only because the last processes of a dead run are still
        exiting, or because a lease is being observed.

        Raises:
            UnknownRunError: The database does not have one of the runs.
            SQLAlchemyError: The database does not answer. All other problems are in the report.
        """
        until, pause = time.monotonic() + wait_s, _FIRST_PAUSE_S
        self._look_once(run_ids)
        while self.report.waiting_on_the_dead and not self._over() and time.monotonic() < until:
            self._hooks.pause(max(0.0, min(pause, until - time.monotonic())))
            if self._over():
                break
            pause = min(2 * pause, _LONGEST_PAUSE_S)
            self.report.look_again()
            self._look_once(run_ids)
        for lines in self._stranded.values():
            for line in lines:
                self.report.fail(line)
        self.report.seconds = time.monotonic() - self._started
        return self.report

    def _look_once(self, run_ids: Sequence[str] | None) -> None:
        self._known_files, self._memory.files = self._memory.files, {}
        with reading(self.engine) as connection:
            rows = runs_to_judge(connection, run_ids)
            unsettled = runs.unsettled_runs(connection, self._unsettled_since)
            for run_id in runs.runs_without_row(connection) if run_ids is None else ():
                self.report.complain(f"{run_id}: its run has no row; `reconcile --run-id {run_id}` makes one")
        for row in rows:
            if self._over():
                return
            if row.journal_root is None:  # invariant D4: rows of other programs are never judged
                if run_ids is not None:
                    self._stranded[row.run_id] = [f"run {row.run_id} {_OF_OTHERS}"]
                continue
            try:
                self._look_at(row, unsettled=row.run_id in unsettled, named=run_ids is not None)
            except (SQLAlchemyError, ClusterError):
                raise
            except Exception as error:  # invariant V3: a run with an invalid id or root never stops a pass
                log.debug("run %s", row.run_id, exc_info=True)
                self._stranded[row.run_id] = [f"run {row.run_id!r} cannot be judged: {error}"]

    def _look_at(self, row: Any, *, unsettled: bool, named: bool) -> None:
        """Reconcile a run, unless it is settled and its folder is unchanged since the last pass.

        A running run that is ``named`` needs its folder, because episodes without a row are only found by their journals.
        """
        root = self.settings.journal_root or Path(row.journal_root)
        if unsettled or self._memory.folders.get(row.run_id) != folder_state(root / row.run_id):
            run = run_state(row.run_id, root, self._observer, self.settings.copied_from)
            self._reconcile_run(row, run)
            if named and row.status == "running" and not self._stranded[row.run_id] and not run.folder.is_dir():
                self._stranded[row.run_id] = [f"run {row.run_id}: there is no folder {run.folder}; {_root_hint(row)}"]

    def _reconcile_run(self, row: Any, run: RunState) -> None:
        changed, found = folder_state(run.folder), PassReport()
        for report in self._reports(run):
            found.merge(report)
            self.report.merge(report)
            self._hooks.on_progress(self.report.judged)
        self.report.runs += 1
        self._stranded[run.run_id] = list(_stranded(row, run, found))
        if not self._over() and not found.judged and time.time_ns() - changed > _SETTLING_S * 1e9:
            self._memory.folders[run.run_id] = changed
        driver_is_gone = row.status == "running" and run.marker is not None and not run.driver_may_live
        if driver_is_gone and not self.settings.dry_run and not self._over():
            self._interrupt(run.run_id)

    def _reports(self, run: RunState) -> Iterator[PassReport]:
        """Yield the report of each slice of the run's episodes."""
        slices = _batched(self._candidates(run), self.settings.batch_episodes)

        def reconcile(candidates: Sequence[Candidate]) -> PassReport:
            return self.reconcile_slice(run, candidates)

        if self.settings.processes > 1 and run.local and not self._hooks.listening:
            with reading(self.engine) as connection:
                many = episodes.count_started(connection, run.run_id) >= _WORTH_PROCESSES
            if many:  # a helper needs its own database connections
                if self.engine.dialect.name == "sqlite":  # it lets a waiting writer sleep, often for too long
                    self._turn = Turn()
                return in_processes(
                    reconcile, slices, self.settings.processes, partial(self.engine.dispose, close=False)
                )
        return in_turn(reconcile, slices)

    def _candidates(self, run: RunState) -> Iterator[Candidate]:
        """Yield the started rows, then those whose verdict may still change, then journals without a row."""
        for row in self._readable(run, episodes.started_episodes(self.engine, run.run_id)):
            if self._over():
                return
            yield row.journal_id, row
        for row in self._readable(run, episodes.improvable_episodes(self.engine, run.run_id, self._unsettled_since)):
            if not self._is_unchanged(run, row):
                yield row.journal_id, row
        try:
            for ids in _batched(list_journals(run.root, run.run_id), _LISTING):
                with reading(self.engine) as connection:
                    known = episodes.known_journals(connection, ids)
                yield from ((journal_id, None) for journal_id in ids if journal_id not in known)
        except OSError as error:
            self.report.complain(str(JournalAccessError(run.folder, error)))

    def _readable(self, run: RunState, rows: Iterable[Any]) -> Iterator[Any]:
        """Yield the rows that can be judged. Invariant V3: one bad row never stops a pass."""
        for row in rows:
            if isinstance(row, UnreadableRow):
                self.report.complain(f"{run.run_id}: the row of episode {row.key} cannot be read: {row.reason}")
            elif row.journal_id is None:
                self.report.complain(f"{run.run_id}: the row of episode {row.episode_id} names no journal")
            else:
                yield row

    def _is_unchanged(self, run: RunState, row: Any) -> bool:
        """Return True if the files behind a verdict have certainly not changed since it was made or confirmed."""
        files = files_of(run.folder, row.journal_id)
        if row.steps_lost is None and not row.evidence_steps:  # it ended without evidence, by case H or N
            was_missing = str(row.status_reason).startswith(JOURNAL_MISSING[2])
            if files[0] is None or (not was_missing and files[0].is_older_than(row.finalized_at)):
                return True  # the journal is still missing, or still the same unreadable file
        if self._known_files.get(row.journal_id) != files:
            return False
        self._memory.files[row.journal_id] = files
        return True

    def reconcile_slice(self, run: RunState, candidates: Sequence[Candidate]) -> PassReport:
        """Judge each episode in its own `try`, and write the verdicts in batches.

        If a signal stops the pass, it ends between two episodes and writes the verdicts so far.
        """
        report, works, trades = PassReport(), list[Work](), 0
        for work in self._works_of(run, candidates, report):
            works.append(work)
            trades += count_of(work.ended.trades)
            if trades >= self.settings.batch_trades:
                self._write(works, report)
                works, trades = [], 0
        self._write(works, report)
        return report

    def _works_of(self, run: RunState, candidates: Sequence[Candidate], report: PassReport) -> Iterator[Work]:
        """Yield what to write of each episode, until told to stop."""
        for part in _batched(candidates, _READ_AT_ONCE):
            looks = _look_at(run, part)
            for journal_id, row in part:
                if self._hooks.should_stop():
                    report.stopped = True
                    return
                report.judged += 1
                try:
                    work = self._judge(run, journal_id, row, report, looks.get(journal_id))
                except SQLAlchemyError:
                    raise
                except Exception as error:  # invariant V3: one bad journal never stops a pass
                    log.debug("episode %s", journal_id, exc_info=True)
                    report.complain(f"{run.run_id}/{journal_id}: {type(error).__name__}: {error}")
                    continue
                if work is not None:
                    yield work

    def _judge(
        self, run: RunState, journal_id: str, row: Any, report: PassReport, look: Look | None = None
    ) -> Work | None:
        """Gather the evidence of one episode, decide, and return the change; None if nothing changes."""
        files = files_of(run.folder, journal_id) if has_ended(row) else None
        now, (found, figures) = self._now, look or (None, None)
        evidence = gather_evidence(run, journal_id, row, self.settings, now, found)
        if row is None and evidence.facts.journal is JournalState.MISSING:  # removed after it was listed
            return None
        verdict = decide(evidence.facts)
        if verdict.action is Action.LEAVE:
            if files is not None:
                self._memory.files[journal_id] = files
            return None
        report.count(verdict, evidence, run, journal_id, row)
        if self._hooks.listening:
            self._hooks.on_item(item_of(run, journal_id, row, evidence, verdict))
        if verdict.action is Action.WAIT:
            return None
        return work_of(run, journal_id, row, evidence, verdict, now, self.pass_id, figures)

    def _write(self, works: Sequence[Work], report: PassReport) -> None:
        """Write verdicts, and count in the report those that took effect."""
        if self.settings.dry_run:
            return
        written = write_changes(self.engine, [work.change for work in works], pass_id=self.pass_id, turn=self._turn)
        for work in works:
            journal_id = work.change.journal_id
            if journal_id in written.refused:
                report.fail(f"{work.change.run_id}/{journal_id} not written: {written.refused[journal_id]}")
            elif journal_id not in written.won:
                report.overtaken += 1
            elif work.verdict.action is Action.REPLACE:
                report.count_replaced(work.ended, work.was)
            else:
                report.count_ended(work.verdict, work.ended, adopted=work.change.start is not None)

    def _interrupt(self, run_id: str) -> None:
        """Mark a run as interrupted if its driver has exited and none of its episodes is started."""

        def write() -> bool:
            with self.engine.begin() as connection:
                return runs.interrupt_run(connection, run_id)

        if patiently(write):
            self.report.runs_interrupted.append(run_id)

    @property
    def _now(self) -> datetime:
        """Return the database's time at the start of the pass, continued by this machine's clock."""
        return self.start_time + timedelta(seconds=time.monotonic() - self._started)

    @property
    def _unsettled_since(self) -> datetime:
        return self.start_time - SETTLED_AFTER

    def _over(self) -> bool:
        if self._hooks.should_stop():
            self.report.stopped = True
        return self.report.stopped


def _look_at(run: RunState, candidates: Sequence[Candidate]) -> dict[str, Look]:
    """Read at once those journals for which that is faster; each other one is read when it is judged."""
    started = [journal_id for journal_id, row in candidates if not has_ended(row)]
    try:
        found = read_at_once(run, started)
        figures = figures_at_once(each.journal for each in found.values())
    except Exception:  # invariant V3: read alone, a bad journal is named, and stops no other
        log.debug("run %s", run.run_id, exc_info=True)
        return {}
    return {journal_id: (each, figures.get(journal_id)) for journal_id, each in found.items()}


def _stranded(row: Any, run: RunState, report: PassReport) -> Iterator[str]:
    """Yield one line for each reason why episodes wait that will not end without the user."""
    for why in report.stranded:
        hint = "if you know that they are dead: --assume-dead"
        if run.marker is None:
            hint = _root_hint(row)
        yield f"run {run.run_id}: episodes cannot be judged here and were not ended: {why}; {hint}"


def _root_hint(row: Any) -> str:
    mirrored = f" if it is lost, use its mirror: --journal-root {row.mirror}" if row.mirror else ""
    return _ROOT_HINT + mirrored


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
