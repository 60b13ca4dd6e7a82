"""One pass: find, look, decide, apply. Level-driven: each pass sees the world afresh, each episode has its own try."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from journal import Journal, JournalError, Observer, list_journals, list_runs, read_marker
from reconciler.config import Settings
from reconciler.looking import RunSight, look_at_episode, look_at_run
from reconciler.report import Item, PassReport
from reconciler.rules import Action, Facts, Verdict, decide
from rsc.closing import ended_from, ended_without_evidence, start_row
from rsc.db import episodes, runs
from rsc.db.episodes import RECONCILER, Ended
from rsc.db.session import first_line, reading

log = logging.getLogger("reconciler")


class UnknownRunError(Exception):
    """The database does not know the run."""


@dataclass
class _Work:
    """What an episode's verdict asks of the database."""

    item: Item
    verdict: Verdict
    ended: Ended
    insert: dict[str, Any] | None
    false_truncation: bool = False


@dataclass
class Pass:
    """One pass over runs. ``on_item`` hears each verdict; ``should_stop`` is asked between episodes."""

    engine: Engine
    observer: Observer
    settings: Settings
    now: datetime
    on_item: Callable[[Item], None] = lambda item: None
    should_stop: Callable[[], bool] = lambda: False

    def __post_init__(self) -> None:
        self.pass_id = uuid.uuid4().hex
        self.report = PassReport()
        self._started = time.monotonic()

    def run(self, run_ids: Sequence[str] | None) -> PassReport:
        """Reconcile these runs, or all that need it. Raises UnknownRunError, and SQLAlchemyError if nothing can be read."""
        with reading(self.engine) as connection:
            found = (
                [_known_run(connection, run_id, self.settings) for run_id in run_ids] if run_ids is not None else None
            )
            rows = found if found is not None else list(runs.unsettled_runs(connection))
        for row in rows:
            if self._over():
                break
            self._reconcile_run(row)
        self.report.seconds = time.monotonic() - self._started
        return self.report

    def _reconcile_run(self, row: Any) -> None:
        root = self.settings.journal_root or (Path(row.journal_root) if row.journal_root else None)
        if root is None:  # invariant D4: other people's rows are never judged
            return
        run = look_at_run(row.run_id, root, self.observer)
        if run.marker is None:
            if self._has_open_rows(row.run_id):
                self.report.failures.append(
                    f"run {row.run_id}: no marker in {root}: is the journal root right, and its volume mounted?"
                    " nothing was ended"
                )
            return
        for works in _batched(self._judged(run), self.settings.batch_episodes):
            if not self.settings.dry_run:
                self._apply(works)
        if not (self.settings.dry_run or run.driver_may_live or self._over()):
            self._interrupt(row)

    def _has_open_rows(self, run_id: str) -> bool:
        return bool(list(islice(episodes.started_episodes(self.engine, run_id), 1)))

    def _judged(self, run: RunSight) -> Iterator[_Work]:
        """Find and look: the database's open rows, then those that may improve, then journals without a row."""
        for journal_id, row in self._candidates(run):
            if self._over():
                return
            try:
                work = self._judge(run, journal_id, row)
            except Exception as error:  # invariant V3: one bad journal never stops a pass
                log.debug("episode %s", journal_id, exc_info=True)
                self.report.unlookable.append(f"{run.run_id}/{journal_id}: {error}")
                continue
            if work is not None:
                yield work

    def _candidates(self, run: RunSight) -> Iterator[tuple[str, Any]]:
        for rows in (episodes.started_episodes, episodes.improvable_episodes):
            for row in rows(self.engine, run.run_id):
                if row.journal_id is not None:
                    yield row.journal_id, row
        for ids in _batched(list_journals(run.root, run.run_id), 500):
            with reading(self.engine) as connection:
                known = episodes.known_journals(connection, ids)
            for journal_id in ids:
                if journal_id not in known:
                    yield journal_id, None

    def _judge(self, run: RunSight, journal_id: str, row: Any) -> _Work | None:
        facts, journal = look_at_episode(run, journal_id, row, self.observer, self.settings, self.now)
        verdict = decide(facts)
        item = _item_of(run, journal_id, row, facts, verdict, journal)
        self._count(item, facts, run)
        if verdict.action in (Action.END, Action.REPLACE):
            return self._work(item, verdict, row, journal)
        if verdict.action is Action.WAIT:
            self.on_item(item)
        return None

    def _work(self, item: Item, verdict: Verdict, row: Any, journal: Journal | None) -> _Work:
        assert verdict.ending is not None
        self.on_item(item)
        if journal is None:
            ended = ended_without_evidence(
                item.journal_id, verdict.ending[2], now=self.now, pass_id=self.pass_id, end_time=row.start_time
            )
        else:
            ended = ended_from(
                journal, finalized_by=RECONCILER, now=self.now, pass_id=self.pass_id, ending=verdict.ending
            )
        insert = start_row(journal) if row is None and journal is not None else None
        changed = verdict.action is Action.REPLACE and row.status != verdict.ending[0]
        return _Work(item, verdict, ended, insert, false_truncation=changed)

    def _count(self, item: Item, facts: Facts, run: RunSight) -> None:
        self.report.cases[item.case] += 1
        if item.case == "O":
            self.report.unlookable.append(f"{item.run_id}/{item.journal_id}: {item.why}")
        elif item.action == Action.WAIT:
            self.report.waiting += 1
            self.report.waiting_on_the_dead += not run.driver_may_live or facts.writer.liveness == "unsure"

    def _apply(self, works: Sequence[_Work]) -> None:
        """A batch in one transaction; if it fails, each episode in its own."""
        try:
            self._write(works)
        except SQLAlchemyError as error:
            if len(works) == 1:
                self.report.failures.append(f"{works[0].item.journal_id} not written: {first_line(error)}")
                return
            for work in works:
                self._apply([work])

    def _write(self, works: Sequence[_Work]) -> None:
        with self.engine.begin() as connection:
            for work in works:
                if work.insert is not None:
                    episodes.start_episode(connection, work.insert)
            fresh = [work.ended for work in works if work.verdict.action is Action.END]
            won = episodes.end_episodes_by_reconciler(connection, fresh, self.pass_id)
            repaired = [
                work
                for work in works
                if work.verdict.action is Action.REPLACE and episodes.replace_on_more_evidence(connection, work.ended)
            ]
        for work in works:
            if work.ended.journal_id in won:
                self._tally(work)
        for work in repaired:
            self.report.replaced += 1
            self.report.false_truncations += work.false_truncation

    def _tally(self, work: _Work) -> None:
        self.report.ended[work.ended.row["status"]] += 1
        self.report.steps_lost += work.ended.row["steps_lost"] or 0
        self.report.trades_lost += work.ended.row["trades_lost"] or 0

    def _interrupt(self, row: Any) -> None:
        with self.engine.begin() as connection:
            if runs.interrupt_run(connection, row.run_id):
                self.report.runs_interrupted.append(row.run_id)

    def _over(self) -> bool:
        deadline = self.settings.deadline_s
        if self.should_stop() or (deadline is not None and time.monotonic() - self._started > deadline):
            self.report.stopped = True
        return self.report.stopped


def _known_run(connection: Connection, run_id: str, settings: Settings) -> Any:
    row = runs.find_run(connection, run_id)
    if row is None:
        raise UnknownRunError(f"run {run_id} is not in the database; `rsc runs` lists those that are")
    return row


def adopt_runs(engine: Engine, root: Path, run_ids: Sequence[str] | None, now: datetime) -> list[str]:
    """For --rebuild: give every run that has a marker under the root its row, from the marker alone."""
    adopted = []
    for run_id in run_ids if run_ids is not None else sorted(list_runs(root)):
        with engine.begin() as connection:
            if runs.find_run(connection, run_id) is not None:
                continue
            try:
                _, parameters = read_marker(root, run_id)
            except JournalError as error:
                log.warning("run %s is not rebuilt: %s", run_id, error)
                continue
            runs.start_run(connection, run_id, parameters, str(root), now)
            adopted.append(run_id)
    return adopted


def pass_until_settled(
    make_pass: Callable[[], Pass], run_ids: Sequence[str] | None, wait_s: float, pause_s: float = 0.5
) -> PassReport:
    """Pass again while episodes wait only because their killed run's last processes are still going, up to ``wait_s``."""
    until = time.monotonic() + wait_s
    report = make_pass().run(run_ids)
    while report.waiting_on_the_dead and not report.stopped and time.monotonic() < until:
        time.sleep(min(pause_s, max(0.0, until - time.monotonic())))
        report.add(make_pass().run(run_ids))
    return report


def _item_of(run: RunSight, journal_id: str, row: Any, facts: Facts, verdict: Verdict, journal: Journal | None) -> Item:
    evidence: dict[str, Any] = {}
    if journal is not None:
        time_of_last = journal.last_step_time
        evidence = {
            "steps": journal.step_count,
            "trades": journal.trade_count,
            "last_step_time": time_of_last.isoformat() if time_of_last else None,
            "findings": tuple(finding.message for finding in journal.findings),
            "steps_lost": journal.steps_lost,
            "trades_lost": journal.trades_lost,
        }
    status, end_reason = verdict.ending[:2] if verdict.ending else (None, None)
    return Item(
        run.run_id, journal_id, None if row is None else row.episode_id, verdict.case, str(verdict.action),
        verdict.why, status, end_reason, writer=facts.writer.why, **evidence,
    )  # fmt: skip


T = TypeVar("T")


def _batched(items: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    """Tuples of up to ``size`` items."""
    iterator = iter(items)
    while batch := tuple(islice(iterator, size)):
        yield batch


def utc_now() -> datetime:
    """The reconciler's clock."""
    return datetime.now(UTC)
