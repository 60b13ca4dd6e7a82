"""Make passes on a schedule until a signal stops them. `Schedule` sets when the next pass starts."""

from __future__ import annotations

import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_random_exponential
from tenacity.nap import sleep_using_event
from tenacity.stop import stop_when_event_set

from journal import Observer
from reconciler.daemon.cron import CronTrigger
from reconciler.daemon.metrics import Gauges
from reconciler.memory import Memory
from reconciler.passes import Pass, record_pass
from reconciler.report import Hooks, PassReport
from reconciler.settings import Settings
from rsc.db import episodes
from rsc.db.errors import UnknownRunError
from rsc.db.session import DatabaseError, first_line, is_missing_file, reading
from rsc.db.upgrade import upgrade
from rsc.db.urls import shown
from rsc.ray_address import ClusterError

if TYPE_CHECKING:
    from reconciler.daemon.apart import ClusterPasses

_JITTER = 0.1  # fraction of the interval, so that many daemons do not start at the same time
_LONGEST_BACKOFF_S = 30.0
_FAREWELL_S = 10.0


@dataclass(frozen=True)
class Schedule:
    """When passes start, and how long one may take. Exactly one of ``every_s`` and ``cron`` is given."""

    every_s: float | None
    cron: str | None
    deadline_s: float

    def trigger(self) -> BaseTrigger:
        """Return the scheduler's trigger; raise ValueError for a wrong cron expression."""
        if self.cron is not None:
            return CronTrigger(self.cron)
        seconds = self.every_s or 0.0
        return IntervalTrigger(seconds=seconds, timezone=UTC, jitter=seconds * _JITTER)

    def longest_silence_s(self) -> float:
        """Return the longest time from the end of a good pass to the end of the next one, in seconds."""
        if self.cron is None:
            return 3 * (self.every_s or 0.0) + self.deadline_s
        trigger, now = self.trigger(), datetime.now(UTC)
        first = trigger.get_next_fire_time(None, now) or now
        second = trigger.get_next_fire_time(first, first) or first
        return 2 * (second - first).total_seconds() + self.deadline_s


class Daemon:
    """Makes passes until ``stop`` is set, and logs by ``say``, which takes the arguments of `remark`.

    With ``cluster`` the passes are over a Ray cluster.
    """

    def __init__(
        self,
        engine: Engine,
        run_ids: Sequence[str] | None,
        settings: Settings,
        schedule: Schedule,
        stop: threading.Event,
        gauges: Gauges,
        say: Callable[..., None],
        cluster: ClusterPasses | None = None,
    ) -> None:
        self._engine = engine
        self._run_ids = run_ids
        self._settings = settings
        self._schedule = schedule
        self._stop = stop
        self._gauges = gauges
        self._say = say
        self._cluster = cluster
        self._observer = Observer()
        self._pass_id = ""
        self._has_passed = False
        self._memory = Memory()
        self._complaints: set[str] = set()
        self._idle = threading.Event()
        self._idle.set()

    def run(self) -> None:
        """Make passes; return when ``stop`` is set and the running pass has ended. A pass that hangs ends the process."""
        # APScheduler warns of each pass that is skipped because one takes longer or waits for the database.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        scheduler.add_job(self._guarded, self._schedule.trigger(), next_run_time=datetime.now(UTC))
        scheduler.start()
        try:
            self._stop.wait()
        finally:
            self._stop.set()
            scheduler.shutdown(wait=False)
        if not self._idle.wait(_FAREWELL_S):
            self._say(
                "a pass hangs in the file system or the database; the daemon exits, and no partial result is stored",
                "hang",
                level="error",
            )
            os._exit(1)

    def _guarded(self) -> None:
        self._idle.clear()
        try:
            self._until_the_database_answers()
        except UnknownRunError as error:
            self._gauges.failed()
            self._tell_new({str(error)})
        except ClusterError as error:
            self._gauges.failed()
            self._tell_new({f"{error}; {error.hint}"})
        except Exception as error:
            self._gauges.failed()
            self._say(f"a pass failed: {type(error).__name__}: {first_line(error)}", "pass_failed", level="error")
        finally:
            self._idle.set()

    def _until_the_database_answers(self) -> None:
        """Retry until the database answers. Log one line when it fails and one when it is back."""
        lost = False

        def tell(state: RetryCallState) -> None:
            nonlocal lost
            self._gauges.failed()
            if not lost and state.outcome is not None:
                why = first_line(state.outcome.exception())
                words = f"the database is gone, trying again until it is back: {why}"
                self._say(words, "database_gone", level="error", error=why)
            lost = True

        retrying = Retrying(
            retry=retry_if_exception_type((SQLAlchemyError, DatabaseError)),
            wait=wait_random_exponential(multiplier=0.5, max=_LONGEST_BACKOFF_S),
            stop=stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            before_sleep=tell,
            retry_error_callback=lambda state: None,
        )
        report = retrying(self._pass)
        if lost and report is not None:
            self._say("the database is back", "database_back")

    def _pass(self) -> PassReport:
        if self._has_passed and is_missing_file(self._engine.url.render_as_string(hide_password=False)):
            raise DatabaseError(f"there is no database {shown(self._engine.url)}")  # `upgrade` would make an empty one
        if upgrade(self._engine):
            self._say(f"made or upgraded the tables of {shown(self._engine.url)}", "tables")
        self._pass_id = self._pass_id or uuid.uuid4().hex
        report = self._recorded(self._schedule.deadline_s)
        self._has_passed = True
        if report.wrote:
            self._pass_id = ""  # idle passes share an id, so `reconcile status` shows only the last one
        self._tell(report)
        return report

    def _recorded(self, deadline_s: float) -> PassReport:
        if self._cluster is not None:
            return self._cluster.record(self._run_ids, self._pass_id, deadline_s)
        over = time.monotonic() + deadline_s
        hooks = Hooks(should_stop=lambda: self._stop.is_set() or time.monotonic() > over)
        work = Pass(self._engine, self._observer, self._settings, hooks, self._pass_id, self._memory)
        return record_pass(work, self._run_ids)

    def _tell(self, report: PassReport) -> None:
        with reading(self._engine) as connection:
            overruled, false = episodes.overruled_counts(connection)
        self._gauges.passed(report, overruled, false)
        if report.stopped and not self._stop.is_set():
            words = f"a pass reached its deadline of {self._schedule.deadline_s:g} s: {report.sentence()}"
            self._say(words, "deadline", level="warning", **report.sums())
        elif report.wrote:
            self._say(report.sentence(), "pass", **report.sums())
        self._tell_new({*report.unlookable, *report.failures})

    def _tell_new(self, complaints: set[str]) -> None:
        """Log complaints that the last pass did not have."""
        for line in sorted(complaints - self._complaints):
            self._say(f"error: {line}", "complaint", level="error")
        self._complaints = complaints
