"""One pass over runs: find the candidates, hand them out in slices, sum up. Level-driven: it sees the world afresh."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from journal import Observer, list_journals
from journal.errors import JournalAccessError
from reconciler.evidence import RunState, run_state
from reconciler.report import Hooks, PassReport
from reconciler.settings import Settings
from reconciler.slices import Candidate, Context, in_processes, in_turn
from reconciler.writing import interrupt_run
from rsc.db import episodes, runs
from rsc.db.session import database_now, reading

T = TypeVar("T")

_OF_OTHERS = "has no journal root in the database: another program made it, and its rows are not judged"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
_LISTING = 500
_WORTH_PROCESSES = 2000  # episodes; fewer are done before helpers have started
_SETTLING_S = 2.0  # a folder's time is as coarse as the kernel's tick


class UnknownRunError(Exception):
    """The database does not know the run."""


class Pass:
    """A pass over some runs, or all: a function of the world, of which this object remembers nothing but the report.

    ``quiet`` is a daemon's memory of folders that had nothing for it, by run id: those are not listed again until they
    change. Raises UnknownRunError, and SQLAlchemyError where the database is gone; all else is in the report.
    """

    def __init__(
        self,
        engine: Engine,
        observer: Observer,
        settings: Settings,
        hooks: Hooks | None = None,
        pass_id: str = "",
        quiet: dict[str, int] | None = None,
    ) -> None:
        self.pass_id = pass_id or uuid.uuid4().hex
        self.report = PassReport()
        self._engine = engine
        self._observer = observer
        self._settings = settings
        self._hooks = hooks or Hooks()
        self._quiet = {} if quiet is None else quiet
        self._stranded: dict[str, list[str]] = {}  # by run, as of the last look at it
        self.start_time: datetime = database_now(engine)
        self._started = time.monotonic()
        self._context = Context(engine, self.pass_id, settings, self._hooks, self.start_time, self._started)

    @property
    def dry_run(self) -> bool:
        """Does it write nothing?"""
        return self._settings.dry_run

    def run(self, run_ids: Sequence[str] | None = None, wait_s: float = 0.0) -> PassReport:
        """Reconcile these runs, or all that need it.

        While something waits only because its dead run's last processes are still going, or because a lease is being
        observed, look again, for up to ``wait_s``.
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
        with reading(self._engine) as connection:
            rows = list(runs.all_runs(connection)) if run_ids is None else known_runs(connection, run_ids)
            unsettled = {row.run_id for row in runs.unsettled_runs(connection)}
        for row in rows:
            if self._over():
                return
            if row.journal_root is None:  # invariant D4: other people's rows are never judged
                if run_ids is not None:
                    self._stranded[row.run_id] = [f"run {row.run_id} {_OF_OTHERS}"]
                continue
            root = self._settings.journal_root or Path(row.journal_root)
            if row.run_id not in unsettled and self._quiet.get(row.run_id) == _changed(root / row.run_id):
                continue
            self._reconcile_run(row, run_state(row.run_id, root, self._observer))

    def _reconcile_run(self, row: Any, run: RunState) -> None:
        changed, found = _changed(run.folder), PassReport()
        for report in self._reports(run, row.run_id):
            found.merge(report)
            self.report.merge(report)
            self._hooks.on_progress(self.report.judged)
        self.report.runs += 1
        self._stranded[run.run_id] = list(_stranded(run, found))
        if not self._over() and not found.judged and time.time_ns() - changed > _SETTLING_S * 1e9:
            self._quiet[row.run_id] = changed
        gone = row.status == "running" and run.marker is not None and not run.driver_may_live
        if gone and not self._settings.dry_run and not self._over():
            interrupt_run(self._engine, row.run_id, self.report)

    def _reports(self, run: RunState, run_id: str) -> Iterator[PassReport]:
        slices = _batched(self._candidates(run), self._settings.batch_episodes)
        if self._settings.processes > 1 and run.local and not self._hooks.listening:
            with reading(self._engine) as connection:
                many = episodes.count_started(connection, run_id) >= _WORTH_PROCESSES
            if many:
                return in_processes(self._context, run, slices, self._settings.processes)
        return in_turn(self._context, run, slices)

    def _candidates(self, run: RunState) -> Iterator[Candidate]:
        """The database's open rows, then those that may improve, then journals without a row."""
        for row in episodes.started_episodes(self._engine, run.run_id):
            if self._over():
                return
            if row.journal_id is None:
                self.report.complain(f"{run.run_id}: the row of episode {row.episode_id} names no journal")
            else:
                yield row.journal_id, row
        for row in episodes.improvable_episodes(self._engine, run.run_id):
            yield row.journal_id, row
        try:
            for ids in _batched(list_journals(run.root, run.run_id), _LISTING):
                with reading(self._engine) as connection:
                    known = episodes.known_journals(connection, ids)
                yield from ((journal_id, None) for journal_id in ids if journal_id not in known)
        except OSError as error:
            self.report.complain(str(JournalAccessError(run.folder, error)))

    def _over(self) -> bool:
        if self._hooks.should_stop():
            self.report.stopped = True
        return self.report.stopped


def _changed(folder: Path) -> int:
    """When a name in the folder came or went, in nanoseconds; 0 if there is none."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def _stranded(run: RunState, report: PassReport) -> Iterator[str]:
    """Waits that time alone will not end: one line for each reason, not for each episode."""
    for why, count in report.stranded.items():
        hint = "if you know that they are dead: --assume-dead"
        if run.marker is None:
            hint = "is the journal root right, and its volume mounted?"
        yield f"run {run.run_id}: {count} episodes cannot be judged here, nothing was ended: {why}; {hint}"


def known_runs(connection: Connection, run_ids: Iterable[str]) -> list[Any]:
    """The rows of these runs, each once; raises UnknownRunError."""
    rows = []
    for run_id in dict.fromkeys(run_ids):
        row = runs.find_run(connection, run_id)
        if row is None:
            raise UnknownRunError(f"run {run_id} is not in the database; `rsc runs` lists those that are")
        rows.append(row)
    return rows


def _batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
