"""The journal that a writer returns when it is closed is the one that a reader reads, bit for bit."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journal import About, EndReason, Journal, JournalWriter, Trade, read_journal
from journal.format.slots import Columns
from rsc.closing import ended_from
from rsc.metrics import metrics_from

EXTRAS: tuple[tuple[str, ...], ...] = ((), ("fill_price", "exit_costs"), ("costs", "depth"))
ODD = (float("nan"), float("inf"), -0.0, 1e308)
OF_READING = ("_batches", "_block", "_reopen", "tail_steps", "tail_trades")


def written(root: Path, rng: np.random.Generator, steps: int, **more: Any) -> JournalWriter:
    """A closed journal with random values, some of them odd, and random trades, some of them unknown."""
    extra = EXTRAS[rng.integers(len(EXTRAS))]
    about = About(
        "E", Decimal(100), rng.choice([None, 252.0]), {"size": np.int64(3), "pair": (1, 2)}, extra, None, {"a": np.nan},
        seed=np.int64(7), start_price=float(rng.choice([10.0, 0.0])), trades=str(rng.choice(["told", "unknown"])),
    )  # fmt: skip
    fold = metrics_from(about) if rng.random() < 0.8 else None
    writer = JournalWriter(root, "run", about=about, fold=fold, **more)
    for step in range(steps):
        values = [float(rng.choice(ODD)) if rng.random() < 0.01 else rng.normal(100, 1) for _ in range(8 + len(extra))]
        quantity = float("nan") if rng.random() < 0.01 else 1.0
        trades = [Trade(1, quantity, step, 1000, 9.0, values[3], values[1], 0.1)] * int(rng.integers(0, 3))
        time_us = None if rng.random() < 0.1 else step * 1000
        writer.append(*values[:8], time_us, step == steps - 1, False, trades, values[8:])
    writer.close(rng.choice([None, EndReason.ERROR]), "words")
    return writer


def assert_same(one: Columns, other: Columns) -> None:
    assert list(one) == list(other)
    for name, values in one.items():
        assert values.dtype == other[name].dtype
        assert values.tobytes() == other[name].tobytes()


def assert_same_journal(given: Journal, read: Journal) -> None:
    facts = ({name: value for name, value in vars(one).items() if name not in OF_READING} for one in (given, read))
    assert next(facts) == next(facts)
    assert_same(given.tail_steps, read.tail_steps)
    assert_same(given.tail_trades, read.tail_trades)
    assert_same(given.trade_columns(), read.trade_columns())
    blocks = [*given.blocks()], [*read.blocks()]
    assert len(blocks[0]) == len(blocks[1])
    for (steps, trades), (read_steps, read_trades) in zip(*blocks, strict=True):
        assert_same(steps, read_steps)
        assert_same(trades, read_trades)
    assert repr(given.steps().to_pydict()) == repr(read.steps().to_pydict())
    assert [*given.blocks(behind=given.last_step)] == []
    now = datetime.now(UTC)
    rows = [ended_from(one, finalized_by="callback", now=now) for one in (given, read)]
    assert repr(rows[0].row) == repr(rows[1].row)
    assert_same(dict(rows[0].trades), dict(rows[1].trades))


@pytest.mark.parametrize("seed", range(8))
def test_closed_journal__random_rows__is_what_a_reader_reads(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for steps in (0, 1, 63, 64, 250):
        writer = written(tmp_path, rng, steps)
        given = writer.closed_journal()
        assert given is not None
        assert_same_journal(given, read_journal(writer.path))


def test_closed_journal__several_batches__must_be_read(tmp_path: Path) -> None:
    assert written(tmp_path, np.random.default_rng(0), 30, checkpoint_every_steps=8).closed_journal() is None


def test_closed_journal__open__is_none(tmp_path: Path) -> None:
    with JournalWriter(tmp_path, "run", about=About("E", 1.0, None)) as writer:
        writer.append(action=1)
        assert writer.closed_journal() is None
