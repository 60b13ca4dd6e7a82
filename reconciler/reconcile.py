"""One pass: find, look, decide, apply. Level-driven: each pass sees the world afresh, each episode has its own try."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from journal import Observer, list_journals
from journal.errors import JournalAccessError
from reconciler.config import Hooks, Settings
from reconciler.looking import RunSight, Sighting, look_at_episode, look_at_run
from reconciler.report import PassReport, item_of
from reconciler.rules import Action, Verdict, decide
from reconciler.writing import Work, Writer
from rsc.closing import ended_from, ended_without_evidence, start_row
from rsc.db import episodes, runs
from rsc.db.episodes import RECONCILER
from rsc.db.session import database_now, reading

T = TypeVar("T")
log = logging.getLogger("reconciler")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0
_PROGRESS_EVERY = 64
_LISTING = 500


class UnknownRunError(Exception):
    """The database does not know the run."""


class Pass:
    """A pass over some runs, or all: a function of the world, of which this object remembers nothing but the report.

    Raises UnknownRunError, and SQLAlchemyError where the database is gone; whatever else happens is in the report.
    """

    def __init__(
        self, engine: Engine, observer: Observer, settings: Settings, hooks: Hooks | None = None, pass_id: str = ""
    ) -> None:
        self.pass_id = pass_id or uuid.uuid4().hex
        self.report = PassReport()
        self._engine = engine
        self._observer = observer
        self._settings = settings
        self._hooks = hooks or Hooks()
        self._writer = Writer(engine, self.pass_id, self.report)
        self._judged_count = 0
        self._clock = (time.monotonic(), database_now(engine))

    @property
    def dry_run(self) -> bool:
        """Does it write nothing?"""
        return self._settings.dry_run

    @property
    def start_time(self) -> datetime:
        """When it was made, by the database's clock."""
        return self._clock[1]

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
        self.report.seconds = time.monotonic() - self._clock[0]
        return self.report

    def _look_once(self, run_ids: Sequence[str] | None) -> None:
        with reading(self._engine) as connection:
            rows = list(runs.all_runs(connection)) if run_ids is None else known_runs(connection, run_ids)
        for row in rows:
            if self._over():
                return
            if row.journal_root is not None:  # invariant D4: other people's rows are never judged
                self._reconcile_run(row)

    def _reconcile_run(self, row: Any) -> None:
        root = self._settings.journal_root or Path(row.journal_root)
        run = look_at_run(row.run_id, root, self._observer)
        stranded = _Stranded()
        self.report.runs += 1
        for works in _batched(self._works(run, stranded), self._settings.batch_episodes):
            if not self._settings.dry_run:
                self._writer.apply(works)
        for line in stranded.lines(run):
            self.report.fail(line)
        ended = row.status == "running" and run.marker is not None and not run.driver_may_live
        if ended and not self._settings.dry_run and not self._over():
            self._writer.interrupt(row.run_id)

    def _works(self, run: RunSight, stranded: _Stranded) -> Iterator[Work]:
        """Look and decide, one episode at a time; what is to be written comes out."""
        for journal_id, row in self._candidates(run):
            if self._over():
                return
            self._judged_count += 1
            if self._judged_count % _PROGRESS_EVERY == 0:
                self._hooks.on_progress(self._judged_count)
            try:
                work = self._judge(run, journal_id, row, stranded)
            except SQLAlchemyError:
                raise
            except Exception as error:  # invariant V3: one bad journal never stops a pass
                log.debug("episode %s", journal_id, exc_info=True)
                self.report.complain(f"{run.run_id}/{journal_id}: {type(error).__name__}: {error}")
                continue
            if work is not None:
                yield work
        self._hooks.on_progress(self._judged_count)

    def _candidates(self, run: RunSight) -> Iterator[tuple[str, Any]]:
        """The database's open rows, then those that may improve, then journals without a row."""
        for row in episodes.started_episodes(self._engine, run.run_id):
            if row.journal_id is not None:
                yield row.journal_id, row
        for row in episodes.improvable_episodes(self._engine, run.run_id):
            yield row.journal_id, row
        try:
            for ids in _batched(list_journals(run.root, run.run_id), _LISTING):
                with reading(self._engine) as connection:
                    known = episodes.known_journals(connection, ids)
                yield from ((journal_id, None) for journal_id in ids if journal_id not in known)
        except OSError as error:
            self.report.complain(str(JournalAccessError(run.root / run.run_id, error)))

    def _judge(self, run: RunSight, journal_id: str, row: Any, stranded: _Stranded) -> Work | None:
        now = self._clock[1] + timedelta(seconds=time.monotonic() - self._clock[0])
        sighting = look_at_episode(run, journal_id, row, self._settings, now)
        verdict = decide(sighting.facts)
        self.report.count(verdict, sighting, run, row)
        if verdict.action is Action.LEAVE:
            return None
        if verdict.case == "O":
            self.report.complain(f"{run.run_id}/{journal_id}: {sighting.look.reason}")
        stranded.note(verdict, sighting)
        if self._hooks.listening:
            self._hooks.on_item(item_of(run, journal_id, row, sighting, verdict))
        if verdict.action is Action.WAIT:
            return None
        return self._work(run, journal_id, row, sighting, verdict, now)

    def _work(self, run: RunSight, journal_id: str, row: Any, sighting: Sighting, verdict: Verdict, now: Any) -> Work:
        assert verdict.ending is not None, "Invariant: an episode ends with an ending"
        known: dict[str, Any] = {"now": now, "pass_id": self.pass_id}
        known["episode_id"] = None if row is None else row.episode_id
        if sighting.journal is None:
            ended = ended_without_evidence(journal_id, verdict.ending[2], end_time=row.start_time, **known)
        else:
            ending = (*verdict.ending[:2], f"{verdict.ending[2]} ({sighting.look.reason})")
            ended = ended_from(sighting.journal, finalized_by=RECONCILER, ending=ending, final=sighting.final, **known)
        insert = start_row(sighting.journal) if row is None and sighting.journal is not None else None
        return Work(run.run_id, verdict, ended, insert, None if row is None else row.status)

    def _over(self) -> bool:
        if self._hooks.should_stop():
            self.report.stopped = True
        return self.report.stopped


class _Stranded:
    """Episodes that wait for ever where this command runs: each reason becomes one line for the run, not one each."""

    def __init__(self) -> None:
        self.foreign: dict[str, int] = {}

    def note(self, verdict: Verdict, sighting: Sighting) -> None:
        """Remember a wait that time alone will not end."""
        facts, look = sighting.facts, sighting.look
        if verdict.case == "G" and not facts.here:
            self.foreign[facts.why] = self.foreign.get(facts.why, 0) + 1
        elif verdict.case == "D" and facts.writer == "unsure" and look.lease_age_s is None:
            self.foreign[look.reason] = self.foreign.get(look.reason, 0) + 1

    def lines(self, run: RunSight) -> Iterator[str]:
        """What to tell, and what to do about it."""
        for why, count in self.foreign.items():
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
