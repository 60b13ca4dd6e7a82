"""Callback and reconciler make the same row of the same journal."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import text, update

from journal import EndReason, read_journal
from rsc import closing
from rsc.closing import ended_from, ended_from_memory, ending_of, start_row
from rsc.db.episodes import end_episode_by_callback
from rsc.db.models import episodes as table
from rsc.db.session import reading
from rsc.db.trades import count_of
from rsc.metrics import METRIC_NAMES, RunningMetrics
from tests.reconciler.world import CAPITAL, PERIODS, World, open_journal, walk
from tests.support.journals import flip

NOW = datetime(2026, 11, 22, tzinfo=UTC)
OWN_WORDS = {
    "finalized_by",
    "finalized_at",
    "finalized_pass",
    "status_reason",
    "episode_id",
    "journal_id",
    "rllib_episode_id",
}


@pytest.fixture
def world(engine, tmp_path):
    world = World(engine, tmp_path / "journal")
    yield world
    world.driver_dies()


def plain(row) -> dict:
    hidden = {*OWN_WORDS, "start_time", "end_time"}
    return {name: value for name, value in row._mapping.items() if name not in hidden}


@pytest.mark.parametrize("reason", list(EndReason))
def test_callback_and_reconciler__same_journal__same_row_and_trades(world, reason):
    """Every value: metrics, status, reason, evidence; only who said it differs."""
    by_callback, by_reconciler = (world.ended(reason, seed=3) for _ in range(2))
    assert world.callback(by_callback)
    world.reconcile()
    mine, theirs = world.row(by_callback), world.row(by_reconciler)
    assert (mine.finalized_by, theirs.finalized_by) == ("callback", "reconciler")
    assert plain(mine) == plain(theirs)
    assert [tuple(trade)[1:] for trade in world.trades(by_callback)] == [
        tuple(trade)[1:] for trade in world.trades(by_reconciler)
    ]


def test_failed_journal__ended_by_itself__has_the_recorders_figures(world):
    """Invariant J6: a disk that was full costs the rows, not the episode's record."""
    whole = world.ended(EndReason.TERMINATED)
    journal = read_journal(world.path(whole))
    metrics = journal.folded(lambda: RunningMetrics(CAPITAL, PERIODS), RunningMetrics.from_bytes).result()
    lost = world.dead(5)
    ended = ended_from_memory(lost, metrics, journal.trade_rows(), EndReason.TERMINATED, now=NOW)
    with world.engine.begin() as connection:
        assert end_episode_by_callback(connection, ended, {"run_id": world.run_id, "start_time": NOW})
    world.callback(whole)
    row, twin = world.row(lost), world.row(whole)
    assert [getattr(row, name) for name in METRIC_NAMES] == [getattr(twin, name) for name in METRIC_NAMES]
    assert (row.status, row.evidence_final) == ("completed", True)
    assert "journal is incomplete" in row.status_reason
    assert len(world.trades(lost)) == len(world.trades(whole)) == row.total_trades
    world.reconcile()
    assert world.row(lost) == row


def test_failed_journal__its_kept_trades__say_how_many_are_missing():
    metrics = RunningMetrics(CAPITAL, PERIODS)
    names = ("portfolio_value", "price", "reward", "fees", "position", "unrealized_pnl")
    columns = {"step": np.arange(1, 4), **{name: np.ones(3) for name in names}}
    trades = {name: np.ones(2) for name in ("quantity", "exit_price", "direction", "entry_step")}
    metrics.fold(columns, {"pnl": np.array([1.0, 2.0]), "exit_step": np.array([2, 3]), **trades})
    ended = ended_from_memory("j", metrics.result(), [], EndReason.CLOSED, now=NOW)
    assert ended.row["trades_lost"] == 2


def test_start_row__row_missing__makes_it_from_the_journal(world):
    journal_id = world.ended(EndReason.CLOSED, row=False)
    with world.engine.begin() as connection:
        journal = read_journal(world.path(journal_id))
        ended = ended_from(journal, finalized_by="callback", now=NOW)
        assert end_episode_by_callback(connection, ended, start_row(journal.header))
    row = world.row(journal_id)
    assert (row.status, row.env_class, row.rllib_episode_id) == ("truncated", "TradingEnv", None)


def test_ending__error__has_the_exceptions_words(world):
    journal = read_journal(world.path(world.ended(EndReason.ERROR, "ValueError: no price")))
    assert ending_of(journal) == ("error", "error", "ValueError: no price")


def test_damage__prefix_alone__row_and_trades_agree(world):
    """Behind a hole that no checkpoint bridges, neither steps nor trades count, and the row says where it stops."""
    journal_id = world.dead(60)
    tail = world.path(journal_id).with_suffix(".tail")
    flip(tail, 8 * 40 * 96)
    journal = read_journal(world.path(journal_id))
    ended = ended_from(journal, finalized_by="reconciler", now=NOW)
    steps = ended.row["total_steps"]
    assert 0 < steps < 60
    assert ended.row["total_trades"] == count_of(ended.trades) == steps // 10
    assert max(ended.trades["exit_step"]) <= steps
    assert ended.row["status"] == "truncated"
    assert f"up to step {steps}" in ended.row["status_reason"]


def test_rows__have_every_metric_and_nothing_unknown(world):
    from rsc.db.models import episodes

    journal = read_journal(world.path(world.dead(row=False)))
    ended = ended_from(journal, finalized_by="reconciler", now=NOW)
    assert set(METRIC_NAMES) <= set(ended.row) <= set(episodes.columns.keys())
    assert set(start_row(journal.header)) <= set(episodes.columns.keys())


def test_closing__is_the_only_place_that_computes_final_metrics():
    """Nothing else calls `stored`, which makes a row's figures of metrics."""
    import subprocess
    from pathlib import Path

    home = Path(inspect.getfile(closing)).parents[1]
    found = subprocess.run(
        ["grep", "-rlE", r"\bstored\(", "--include=*.py", "rsc", "reconciler"],
        cwd=home, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert set(found) <= {"rsc/closing.py", "rsc/metrics/episode.py", "reconciler/audit.py"}


def test_header_and_last_step__tell_market_seed_and_trial(world):
    about = {"start_price": 100.0, "market": "MSFT", "seed": 2**40, "env_index": 3, "trial_id": "trial_1"}
    writer = open_journal(world.root, world.run_id, facts=about)
    world.insert(writer.journal_id, seed=7)
    walk(writer, 20)
    writer.close(EndReason.TERMINATED)
    assert world.callback(writer.journal_id)
    row = world.row(writer.journal_id)
    assert (row.market, row.seed, row.env_index, row.trial_id) == ("MSFT", 2**40, 3, "trial_1")
    first, last = datetime(1970, 1, 2, tzinfo=UTC), datetime(1970, 1, 21, tzinfo=UTC)
    assert (row.market_start, row.market_end) == (first, last)
    assert (row.first_price, row.last_price) == (100.0, 120.0)
    assert row.buy_and_hold_return == 120.0 / 100.0 - 1
    assert row.excess_return == row.total_return - row.buy_and_hold_return


def test_header_that_does_not_tell__leaves_what_the_start_knew(world):
    journal_id = world.episode(0, row=False).journal_id
    world.insert(journal_id, seed=7, market="AAPL", trial_id="trial_2")
    world.callback(journal_id)
    row = world.row(journal_id)
    assert (row.seed, row.market, row.trial_id) == (7, "AAPL", "trial_2")
    assert (row.last_price, row.market_end, row.buy_and_hold_return, row.excess_return) == (None, None, None, None)


def test_episode_metrics__undefined_figures_are_null_and_earned_zeros_stay(world):
    no_steps, walked = world.dead(0), world.dead(5)
    world.reconcile()
    with reading(world.engine) as connection:
        rows = connection.execute(text("SELECT * FROM episode_metrics")).all()
        found = {row.journal_id: row for row in rows}
        loser = {"win_rate": 0.0, "total_trades": 3, "sharpe_ratio": 0.0, "volatility": 0.1}
        connection.execute(update(table).where(table.c.journal_id == walked).values(loser))
        earned = connection.execute(text("SELECT win_rate, sharpe_ratio FROM episode_metrics WHERE total_trades = 3"))
        assert tuple(earned.one()) == (0.0, 0.0)
        connection.rollback()
    assert (world.row(no_steps).sharpe_ratio, world.row(no_steps).win_rate) == (0.0, 0.0)
    assert (found[no_steps].sharpe_ratio, found[no_steps].win_rate) == (None, None)
    assert found[walked].sharpe_ratio == world.row(walked).sharpe_ratio != 0.0
    assert found[walked].win_rate is None
