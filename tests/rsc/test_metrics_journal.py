"""The figures of real journals: live, rescued and recomputed the same, and what a row of `episodes` holds of them."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from journal import About, EndReason, Journal, JournalWriter, Trade, read_journal
from rsc import metrics as m
from rsc.db.models import LATER_METRICS, METRICS, episodes
from rsc.metrics import EpisodeMetrics, RunningMetrics
from rsc.metrics.whole import WHOLE_NAMES

ABOUT = About("SomeEnv", 10_000.0, 252.0)


def write(root: Path, steps: int, *, fold: Any = None, every: int = 64, journal_id: str = "one") -> JournalWriter:
    """An open journal of random steps, one in ten of which closes a trade."""
    writer = JournalWriter(root, "run", journal_id, about=ABOUT, fold=fold, checkpoint_every_steps=every)
    rng = np.random.default_rng(steps)
    value = 10_000.0
    for step in range(1, steps + 1):
        value *= 1.0 + rng.normal(1e-4, 0.01)
        trades = [Trade(1, 2.0, 1, 0, 10.0, 11.0, rng.normal(0, 10), 0.1)] if step % 10 == 0 else []
        position = float(rng.integers(0, 2))
        writer.append(1.0, rng.normal(), value, 10.0, 0.0, position, 0.5, rng.normal(), step, False, False, trades)
    return writer


def new_metrics() -> RunningMetrics:
    return RunningMetrics(ABOUT.initial_portfolio_value, ABOUT.periods_per_year)


def by_definition(journal: Journal) -> dict[str, float]:
    """The pure functions on the columns of the whole journal."""
    steps = journal.steps()
    values = steps["portfolio_value"].to_numpy()
    pnls = journal.trades()["pnl"].to_numpy()
    r = m.returns(values, 10_000.0)
    return {
        "sharpe_ratio": m.sharpe_ratio(r, 252.0),
        "sortino_ratio": m.sortino_ratio(r, 252.0),
        "calmar_ratio": m.calmar_ratio(values, 10_000.0, 252.0),
        "volatility": m.volatility(r, 252.0),
        "max_drawdown": m.max_drawdown(values, 10_000.0),
        "win_rate": m.win_rate(pnls),
        "profit_factor": m.profit_factor(pnls),
        "time_in_market": m.time_in_market(steps["position"].to_numpy()),
        "total_reward": math.fsum(steps["reward"].to_pylist()),
        "total_fees": math.fsum(steps["fees"].to_pylist()),
        "unrealized_pnl": steps["unrealized_pnl"][-1].as_py(),
        "final_portfolio_value": values[-1],
        "total_steps": len(values),
        "total_trades": len(pnls),
    }


def test_metrics_of__closed_rescued_and_recomputed__have_the_same_bits(tmp_path: Path) -> None:
    """The writer's own fold, the checkpoint with the tail behind it, and all rows anew."""
    writer = write(tmp_path, 1000, fold=new_metrics())
    open_journal = read_journal(writer.path)
    rescued = m.metrics_of(open_journal)
    assert open_journal.checkpoint is not None
    assert open_journal.checkpoint.step < 1000, "the tail has a part in it"
    writer.close(EndReason.CLOSED)
    closed = read_journal(writer.path)
    live = writer.fold
    assert isinstance(live, RunningMetrics)
    assert (
        repr(rescued)
        == repr(live.result())
        == repr(m.metrics_of(closed))
        == repr(closed.replayed(new_metrics).result())
    )


@pytest.mark.parametrize("steps", [2, 63, 64, 65, 700])
def test_metrics_of__journal__are_the_definitions_of_its_columns(tmp_path: Path, steps: int) -> None:
    """Anyone who reads the stream can check them."""
    writer = write(tmp_path, steps, fold=new_metrics())
    journal = read_journal(writer.path)
    result = m.metrics_of(journal)
    for name, expected in by_definition(journal).items():
        assert getattr(result, name) == pytest.approx(expected, rel=1e-12, abs=1e-12, nan_ok=True), name
    writer.close(EndReason.CLOSED)


def test_metrics_of__journal_without_steps__is_an_unchanged_account(tmp_path: Path) -> None:
    """Killed between reset and the first step."""
    writer = write(tmp_path, 0, fold=new_metrics())
    assert repr(m.metrics_of(read_journal(writer.path))) == repr(new_metrics().result())
    writer.close(EndReason.CLOSED)


class OtherFold:
    """Somebody else's running metrics."""

    def fold(self, steps: Any, trades: Any) -> None:
        """Needs nothing."""

    def to_bytes(self) -> bytes:
        return b"something else"


@pytest.mark.parametrize("fold", [OtherFold, type(None)], ids=["other fold", "no fold"])
def test_metrics_of__checkpoints_that_are_not_ours__are_computed_from_the_rows(
    tmp_path: Path, fold: Callable[[], Any]
) -> None:
    """So a journal outlives a change of the state's format."""
    theirs, ours = write(tmp_path, 300, fold=fold()), write(tmp_path, 300, fold=new_metrics(), journal_id="two")
    for writer in (theirs, ours):
        writer.close(EndReason.CLOSED)
    assert repr(m.metrics_of(read_journal(theirs.path))) == repr(m.metrics_of(read_journal(ours.path)))


def test_metrics_of__checkpoints_that_are_not_ours_and_lost_rows__is_refused(tmp_path: Path) -> None:
    """Figures of the rows that are left would pass for the episode's."""
    writer = write(tmp_path, 300, fold=OtherFold())
    writer.close(EndReason.CLOSED)
    data = bytearray(writer.path.read_bytes())
    data[len(data) // 2] ^= 1
    writer.path.write_bytes(data)
    journal = read_journal(writer.path)
    assert journal.steps_lost
    with pytest.raises(m.StateError, match="not a state"):
        m.metrics_of(journal)


def test_figures__undefined__are_none_and_nothing_else_differs(tmp_path: Path) -> None:
    """`journal` shows what is known; 0.0 for "unknown" is the database's affair alone."""
    writer = write(tmp_path, 1, fold=new_metrics())
    journal = read_journal(writer.path)
    shown, result = m.figures(journal), vars(m.metrics_of(journal))
    assert list(shown) == list(m.METRIC_NAMES)
    assert shown["sharpe_ratio"] is shown["win_rate"] is shown["profit_factor"] is None
    assert all(value is None or value == result[name] for name, value in shown.items())
    writer.close(EndReason.CLOSED)


def test_figures__entry_point__is_this_function() -> None:
    """`journal` finds it without importing the trading side."""
    (found,) = [entry for entry in entry_points(group="journal.figures") if entry.name == "trading"]
    assert found.load() is m.figures


def test_metric_names__table_of_episodes__has_each() -> None:
    """Named once more nowhere: the row is made of these."""
    assert {*m.METRIC_NAMES, *WHOLE_NAMES} >= {*METRICS, *LATER_METRICS, "total_steps", "total_trades"}
    assert {*m.METRIC_NAMES, *WHOLE_NAMES} <= set(episodes.columns.keys())


def test_metrics_page__table__has_each_column_once() -> None:
    """In the order of the row; those that need every step come last."""
    page = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert tuple(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == (*m.METRIC_NAMES, *WHOLE_NAMES)


def test_stored__undefined__is_null_except_sharpe_and_win_rate() -> None:
    """The one place where NaN becomes NULL, and where two figures become 0.0."""
    nothing = EpisodeMetrics(**dict.fromkeys(m.METRIC_NAMES, math.nan))  # type: ignore[arg-type]
    row = m.stored(nothing)
    assert {name for name, value in row.items() if value is not None} == {"sharpe_ratio", "win_rate"}
    assert row["sharpe_ratio"] == row["win_rate"] == 0.0


def test_stored__defined__is_the_figure_itself() -> None:
    """Plain floats and ints that any database driver and JSON take."""
    whole = {"total_steps": 17, "total_trades": 18, "longest_drawdown_steps": 19}
    known = EpisodeMetrics(**{**dict(zip(m.METRIC_NAMES, map(float, range(99)), strict=False)), **whole})  # type: ignore[arg-type]
    assert m.stored(known) == {name: getattr(known, name) for name in m.METRIC_NAMES}
    assert {type(value) for value in m.stored(known).values()} == {float, int}


def test_import__metrics__brings_numpy_and_nothing_heavy() -> None:
    """It runs in env processes and in the reconciler's start."""
    code = "import sys, rsc.metrics; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True).stdout
    assert "numpy" in loaded.split()
    assert not {"pandas", "pyarrow", "sqlalchemy", "journal", "ray", "gymnasium"} & set(loaded.split())
