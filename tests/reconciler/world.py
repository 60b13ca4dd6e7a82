"""A small language for the reconciler's tests: a run with real journals, a real database, and what happens to them."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, update

from journal import About, EndReason, JournalWriter, Observer, RunMarker, Trade, new_journal_id
from journal.host.identity import Process, this_writer
from journal.host.paths import failed_path, journal_path, tail_path
from journal.host.roots import read_root_id
from reconciler.passes import Pass
from reconciler.report import Hooks, Item, PassReport
from reconciler.settings import Settings
from rsc.closing import ended_from, start_row
from rsc.db import episodes, runs
from rsc.db.models import completed_trades, training_runs
from rsc.db.models import episodes as episodes_table
from rsc.db.session import reading
from rsc.metrics import metrics_from
from tests.support.journals import abandon

CAPITAL, PERIODS = 10_000.0, 252.0
DAY_US = 86_400_000_000
LATER = Settings(grace_period_s=0.0)
"""Settings of somebody who comes so late that every grace period is over."""


def observer_of(*, kind: str = "ext4", clock: Callable[[], float] = time.monotonic, **changes: Any) -> Observer:
    """An observer whose process differs from this one in these facts, and that sees no process of others."""
    this = replace(this_writer(), **changes)
    return Observer(this, clock, file_system=lambda folder: kind, process=lambda writer: Process.UNSEEN)


def open_journal(
    root: Path,
    run_id: str,
    *,
    every: int = 1024,
    journal_id: str = "",
    facts: dict[str, Any] | None = None,
    **more: Any,
) -> JournalWriter:
    """A journal as the recorder opens one. ``facts`` are further fields of its header."""
    about = About("TradingEnv", CAPITAL, PERIODS, {"ticker": "MSFT"}, start_market_time_us=DAY_US, **(facts or {}))
    fold = metrics_from(about)
    name = journal_id or new_journal_id()
    return JournalWriter(root, run_id, name, about=about, fold=fold, checkpoint_every_steps=every, **more)


def walk(writer: JournalWriter, steps: int, *, seed: int = 7, trade_every: int = 10, terminal: bool = False) -> None:
    """Append steps of a random walk; the last may be the env's own end."""
    rng, value = random.Random(seed), CAPITAL
    for step in range(writer.steps + 1, writer.steps + steps + 1):
        value *= 1 + rng.gauss(0.0003, 0.01)
        time_us = step * DAY_US
        trades = ()
        if step % trade_every == 0:
            trades = (Trade(1, 10.0, max(1, step - 5), time_us - 5 * DAY_US, 100.0, 101.5, 14.6, 0.4),)
        ended = terminal and step == writer.steps + 1 and steps == 1
        writer.append(
            1.0, value / CAPITAL, value, 100.0 + step, value / 2, 10.0, 0.4 * len(trades), 1.0, time_us, ended, False, trades
        )  # fmt: skip


@dataclass
class World:
    """A run under ``root``, known to the database of ``engine``."""

    engine: Engine
    root: Path
    run_id: str = "run-1"
    observer: Observer = field(default_factory=Observer)
    marker: RunMarker | None = None

    def __post_init__(self) -> None:
        self.marker = RunMarker(self.root, self.run_id, {"algo": "ppo"})
        with self.engine.begin() as connection:
            runs.start_run(connection, self.run_id, {"algo": "ppo"}, str(self.root), datetime.now(UTC))

    def driver_dies(self) -> None:
        """The driver's lock goes."""
        assert self.marker is not None
        self.marker.close()

    def path(self, journal_id: str) -> Path:
        return journal_path(self.root, self.run_id, journal_id)

    def insert(self, journal_id: str, **more: Any) -> None:
        """The row that a callback inserts at an episode's start."""
        writer = this_writer()
        row = {
            "run_id": self.run_id,
            "journal_id": journal_id,
            "rllib_episode_id": f"rllib-{journal_id}",
            "env_class": "TradingEnv",
            "in_evaluation": False,
            "worker_index": 1,
            "writer_host": writer.host,
            "writer_boot_id": writer.boot_id,
            "root_id": read_root_id(self.root / self.run_id),
            "start_time": datetime.now(UTC),
            "initial_portfolio_value": CAPITAL,
            **more,
        }
        with self.engine.begin() as connection:
            episodes.start_episode(connection, row)

    def episode(self, steps: int = 25, *, row: bool = True, seed: int = 7, **more: Any) -> JournalWriter:
        """A running episode with a row."""
        writer = open_journal(self.root, self.run_id, **more)
        if row:
            self.insert(writer.journal_id)
        if steps:
            walk(writer, steps, seed=seed)
        return writer

    def dead(self, steps: int = 25, **more: Any) -> str:
        """An episode whose writer was killed; its journal id."""
        writer = self.episode(steps, **more)
        abandon(writer)
        return writer.journal_id

    def ended(self, reason: EndReason, message: str = "", steps: int = 25, **more: Any) -> str:
        """An episode whose journal was closed, and whose callback never came; its journal id."""
        writer = self.episode(steps, **more)
        writer.close(reason, message)
        return writer.journal_id

    def fails(self, journal_id: str) -> None:
        """The journal could not be written to its end."""
        tail_path(self.path(journal_id)).rename(failed_path(self.path(journal_id)))

    def callback(self, journal_id: str) -> bool:
        """The episode's own callback."""
        from journal import read_journal

        with self.engine.begin() as connection:
            journal = read_journal(self.path(journal_id))
            ended = ended_from(journal, finalized_by=episodes.CALLBACK, now=datetime.now(UTC))
            return episodes.end_episode_by_callback(connection, ended, start_row(journal.header))

    def reconcile(self, settings: Settings = LATER, *, run_ids: list[str] | None = None, **more: Any) -> PassReport:
        """One pass."""
        return Pass(self.engine, self.observer, settings).run(run_ids, **more)

    def explain(self, settings: Settings = LATER) -> dict[str, Item]:
        """A dry run's verdicts by journal id."""
        items: list[Item] = []
        hooks = Hooks(on_item=items.append, listening=True)
        Pass(self.engine, self.observer, replace(settings, dry_run=True), hooks).run()
        return {item.journal_id: item for item in items}

    def row(self, journal_id: str) -> Any:
        """The episode's row, None if there is none."""
        with reading(self.engine) as connection:
            query = select(episodes_table).where(episodes_table.c.journal_id == journal_id)
            return connection.execute(query).one_or_none()

    def rows(self) -> list[Any]:
        """All rows, without what tells passes apart."""
        with reading(self.engine) as connection:
            found = connection.execute(select(episodes_table).order_by(episodes_table.c.journal_id)).all()
        return [
            {name: value for name, value in row._mapping.items() if not name.startswith("finalized_")} for row in found
        ]

    def trades(self, journal_id: str) -> list[Any]:
        """The episode's stored trades."""
        with reading(self.engine) as connection:
            query = select(completed_trades).join(
                episodes_table, episodes_table.c.episode_id == completed_trades.c.episode_id
            )
            return list(connection.execute(query.where(episodes_table.c.journal_id == journal_id)).all())

    def count(self, table: str) -> int:
        """Rows of a table."""
        with reading(self.engine) as connection:
            return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())

    def started(self) -> int:
        """Episodes that have not ended."""
        with reading(self.engine) as connection:
            return episodes.count_started(connection, self.run_id)

    def run_row(self) -> Any:
        """The run's row."""
        with reading(self.engine) as connection:
            return connection.execute(select(training_runs).where(training_runs.c.run_id == self.run_id)).one()

    def age(self, journal_id: str, seconds: float) -> None:
        """Make an episode's row older."""
        older = datetime.now(UTC) - timedelta(seconds=seconds)
        with self.engine.begin() as connection:
            connection.execute(
                update(episodes_table).where(episodes_table.c.journal_id == journal_id).values(start_time=older)
            )
