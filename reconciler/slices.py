"""A slice of a run's episodes: look, decide, apply. What a pass is made of, in this process or in several."""

from __future__ import annotations

import ctypes
import gc
import logging
import multiprocessing
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from reconciler.evidence import Evidence, RunState, gather_evidence
from reconciler.report import Hooks, PassReport, item_of
from reconciler.rules import Action, Sight, Verdict, decide
from reconciler.settings import Settings
from reconciler.writing import Work, apply_verdicts
from rsc.closing import ended_from, ended_without_evidence, start_row
from rsc.db.episodes import RECONCILER

log = logging.getLogger("reconciler")

Candidate = tuple[str, Any]
"""A journal id and its row as far as `rsc.db.episodes` gives it, None if there is no row."""
_PR_SET_PDEATHSIG = 1
_YOUNG_OBJECTS = 50_000  # a slice makes that many, and all die by their reference count
_AHEAD = 2  # slices that wait for each process, so that none is idle and memory stays flat


@dataclass(frozen=True)
class Context:
    """What all slices of a pass share. ``now`` is the database's clock, carried on by this machine's."""

    engine: Engine
    pass_id: str
    settings: Settings
    hooks: Hooks
    start_time: datetime
    started: float

    @property
    def now(self) -> datetime:
        return self.start_time + timedelta(seconds=time.monotonic() - self.started)


def reconcile_slice(context: Context, run: RunState, candidates: Sequence[Candidate]) -> PassReport:
    """Judge each episode in a try of its own, and write the verdicts in one transaction.

    Stops between two episodes when it is asked to, and writes what it has. Raises SQLAlchemyError where the database
    is gone.
    """
    report, works = PassReport(), []
    for journal_id, row in candidates:
        if context.hooks.should_stop():
            report.stopped = True
            break
        report.judged += 1
        try:
            work = _judge(context, run, journal_id, row, report)
        except SQLAlchemyError:
            raise
        except Exception as error:  # invariant V3: one bad journal never stops a pass
            log.debug("episode %s", journal_id, exc_info=True)
            report.complain(f"{run.run_id}/{journal_id}: {type(error).__name__}: {error}")
            continue
        if work is not None:
            works.append(work)
    if works and not context.settings.dry_run:
        apply_verdicts(context.engine, context.pass_id, works, report)
    return report


def _judge(context: Context, run: RunState, journal_id: str, row: Any, report: PassReport) -> Work | None:
    now = context.now
    sighting = gather_evidence(run, journal_id, row, context.settings, now)
    if row is None and sighting.facts.sight is Sight.MISSING:  # somebody removed it since it was listed
        return None
    verdict = decide(sighting.facts)
    if verdict.action is Action.LEAVE:
        return None
    report.count(verdict, sighting, run, journal_id, row)
    if context.hooks.listening:
        context.hooks.on_item(item_of(run, journal_id, row, sighting, verdict))
    if verdict.action is Action.WAIT:
        return None
    return _work(context.pass_id, run, journal_id, row, sighting, verdict, now)


def _work(
    pass_id: str, run: RunState, journal_id: str, row: Any, sighting: Evidence, verdict: Verdict, now: datetime
) -> Work:
    assert verdict.ending is not None, "Invariant: an episode ends with an ending"
    known: dict[str, Any] = {"now": now, "pass_id": pass_id, "episode_id": None if row is None else row.episode_id}
    if sighting.journal is None:
        ended = ended_without_evidence(journal_id, verdict.ending[2], end_time=row.start_time, **known)
    else:
        ending = (*verdict.ending[:2], f"{verdict.ending[2]} ({sighting.look.reason})")
        ended = ended_from(sighting.journal, finalized_by=RECONCILER, ending=ending, final=sighting.final, **known)
    insert = start_row(sighting.journal) if row is None and sighting.journal is not None else None
    return Work(run.run_id, verdict, ended, insert, None if row is None else row.status)


def in_turn(context: Context, run: RunState, slices: Iterable[Sequence[Candidate]]) -> Iterator[PassReport]:
    """The reports of slices, one after the other."""
    for candidates in slices:
        yield reconcile_slice(context, run, candidates)


def in_processes(
    context: Context, run: RunState, slices: Iterable[Sequence[Candidate]], processes: int
) -> Iterator[PassReport]:
    """The same by several forked processes; only for a program without other threads, and for runs judged by locks.

    A process that is told to stop finishes the slices that were handed out; one that is killed takes its helpers along.
    Where a helper is killed, this process does what the helpers left.
    """
    handed_out: deque[tuple[Sequence[Candidate], Future[PassReport]]] = deque()

    def oldest() -> PassReport:
        candidates, answer = handed_out.popleft()
        try:
            return answer.result()
        except BrokenProcessPool:  # whatever they wrote has this pass's id, and counts once
            return reconcile_slice(context, run, candidates)

    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), _enter, (context, run, os.getpid()))
    try:
        for candidates in slices:
            handed_out.append((candidates, _hand_out(pool, candidates)))
            if len(handed_out) >= _AHEAD * processes:
                yield oldest()
        while handed_out:
            yield oldest()
    finally:
        pool.shutdown(cancel_futures=True)


def _hand_out(pool: ProcessPoolExecutor, candidates: Sequence[Candidate]) -> Future[PassReport]:
    try:
        return pool.submit(_slice_here, candidates)
    except BrokenProcessPool as error:
        answer: Future[PassReport] = Future()
        answer.set_exception(error)
        return answer


_here: tuple[Context, RunState] | None = None


def spare_the_collector() -> None:
    """For a process whose work is passes: what was imported stays, and what a slice makes dies without a collector."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)


def _enter(context: Context, run: RunState, parent: int) -> None:
    """A helper's first act: leave signals to the parent, die with it, and have database connections of its own."""
    global _here  # noqa: PLW0603 - a helper serves one pass over one run
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before that, and nobody else would end this one
        os._exit(1)
    context.engine.dispose(close=False)
    spare_the_collector()
    _here = context, run


def _slice_here(candidates: Sequence[Candidate]) -> PassReport:
    assert _here is not None, "Invariant: a helper was told its pass"
    return reconcile_slice(*_here, candidates)
