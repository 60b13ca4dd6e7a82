"""Eight reconcilers at once over one run, each killed at random and started again until all is done."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select

from journal import EndReason, Observer
from reconciler.passes import Pass
from reconciler.settings import Settings
from rsc.db.models import completed_trades, episodes, metadata
from rsc.db.session import open_engine, reading
from tests.reconciler.world import LATER, World

RECONCILERS = 8
LIMIT_S = 240.0


def reconcile_again_and_again(url: str, seed: int) -> None:
    """One reconciler's life: small batches, so that a kill hits one in the middle."""
    engine = open_engine(url, 30.0)
    settings = Settings(grace_period_s=0.0, batch_episodes=random.Random(seed).choice((3, 10, 50)))
    while Pass(engine, Observer(), settings).run().wrote:
        pass


def populate(world: World, count: int) -> None:
    """Stale episodes of every kind that has an ending."""
    for number in range(count):
        kind = number % 5
        if kind == 0:
            world.ended(EndReason.TERMINATED, steps=30, seed=number)
        elif kind == 1:
            world.dead(30, seed=number, row=False)
        elif kind == 2:
            world.fails(world.dead(20, seed=number))
        else:
            world.dead(30, seed=number)
    world.driver_dies()


def figures(engine: Engine) -> tuple[list, list]:
    """Everything that a pass decides, without who and when."""
    hidden = {"episode_id", "finalized_at", "finalized_pass"}
    columns = [column for column in episodes.columns if column.name not in hidden]
    trades = [column for column in completed_trades.columns if column.name != "episode_id"]
    joined = completed_trades.join(episodes, episodes.c.episode_id == completed_trades.c.episode_id)
    with reading(engine) as connection:
        rows = connection.execute(select(*columns).order_by(episodes.c.journal_id)).all()
        query = select(episodes.c.journal_id, *trades).select_from(joined)
        stored = connection.execute(query.order_by(episodes.c.journal_id, trades[0])).all()
    return [tuple(row) for row in rows], [tuple(row) for row in stored]


def quiet_copy(world: World, path: str) -> Engine:
    """The same stale rows in a database of their own, ended by one quiet pass."""
    Path(path).touch()  # an engine makes no file
    copy = open_engine(f"sqlite:///{path}")
    metadata.create_all(copy)
    with reading(world.engine) as source, copy.begin() as target:
        for table in (metadata.tables["training_runs"], episodes):
            rows = [dict(row._mapping) for row in source.execute(select(table))]
            target.execute(table.insert(), rows)
    Pass(copy, Observer(), LATER).run()
    return copy


def swarm(url: str, kills_wanted: int) -> int:
    """Keep eight alive, kill one at random again and again, and return the number of kills that hit."""
    context, rng = multiprocessing.get_context("fork"), random.Random(11)
    running: list = []
    kills, seed, deadline = 0, 0, time.monotonic() + LIMIT_S
    done = False
    while not done or running:
        assert time.monotonic() < deadline, "the swarm did not come to an end"
        running = [process for process in running if process.is_alive()]
        while not done and len(running) < RECONCILERS:
            seed += 1
            process = context.Process(target=reconcile_again_and_again, args=(url, seed))
            process.start()
            running.append(process)
        time.sleep(rng.uniform(0.005, 0.08))
        if kills < kills_wanted and running:
            victim = rng.choice(running)
            victim.kill()
            victim.join()
            kills += victim.exitcode == -signal.SIGKILL
        elif kills >= kills_wanted:
            done = True
    return kills


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.torture)])
def test_swarm__killed_at_random__ends_each_row_once_with_each_trade_once(world, database_url, tmp_path, count):
    populate(world, count)
    quiet = quiet_copy(world, str(tmp_path / "quiet.db"))
    world.engine.dispose()
    kills = swarm(database_url, count // 5)
    rows, trades = figures(world.engine)
    quiet_rows, quiet_trades = figures(quiet)
    assert kills == count // 5
    assert len(rows) == count
    assert Counter(row for row in rows) == Counter(quiet_rows)
    assert trades == quiet_trades
    with reading(world.engine) as connection:
        assert connection.execute(select(func.count()).where(episodes.c.status == "started")).scalar() == 0
    assert world.run_row().status == "interrupted"
    quiet.dispose()
