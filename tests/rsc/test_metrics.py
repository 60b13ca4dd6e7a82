"""The figures: textbook laws, an outside oracle (empyrical-reloaded), and the running form against the pure functions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc import metrics as m
from rsc.market import load_market

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

INITIAL = 10_000.0
growths = st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=300)


def values_of(steps: list[float]) -> np.ndarray:
    return INITIAL * np.cumprod(1.0 + np.asarray(steps))


def real_series() -> Iterator[np.ndarray]:
    for ticker in ("AAPL", "GOOG", "IBM", "MSFT"):
        close = load_market(ticker).close
        for start in range(0, len(close) - 300, 250):
            yield INITIAL * close[start : start + 250] / close[start]


def generated_series(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(7)
    for _ in range(count):
        spread = 10.0 ** rng.uniform(-5, -1)
        yield values_of((rng.normal(rng.normal(0, spread), spread, rng.integers(2, 400))).clip(-0.9).tolist())


def blocks(values: np.ndarray, pnls: np.ndarray, sizes: list[int]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """The series as a journal would give it: blocks of these sizes, all trades in the last one."""
    at = 0
    for size in [*sizes, len(values)]:
        piece = values[at : at + size]
        at += size
        if len(piece):
            trades = {"pnl": pnls if at >= len(values) else pnls[:0]}
            yield (
                {**dict.fromkeys(("reward", "fees", "position", "unrealized_pnl"), piece), "portfolio_value": piece},
                trades,
            )


def run(values: np.ndarray, pnls: np.ndarray, sizes: list[int]) -> m.RunningMetrics:
    running = m.RunningMetrics(INITIAL, 252.0)
    for steps, trades in blocks(values, pnls, sizes):
        running.fold(steps, trades)
    return running


def same(ours: float, theirs: float, scale: float = 1.0) -> bool:
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12 * scale)


@pytest.mark.parametrize("series", [list(real_series()), list(generated_series(2000))], ids=["real", "generated"])
def test_figures__against_empyrical__agree_to_1e12(series: list[np.ndarray]) -> None:
    """Each figure that empyrical defines is empyrical's."""
    assert len(series) > 30
    for values in series:
        r = m.returns(values, INITIAL)
        conditioning = max(1.0, abs(r.mean()) / r.std()) if r.std() else 1.0
        assert same(m.sharpe_ratio(r, 252), empyrical.sharpe_ratio(r), 1e4 * conditioning)
        assert same(m.volatility(r, 252), empyrical.annual_volatility(r))
        assert same(m.max_drawdown(values, INITIAL), -empyrical.max_drawdown(r))
        if (r < 0).any():
            assert same(m.sortino_ratio(r, 252), empyrical.sortino_ratio(r), 1e4)
            assert math.isclose(m.calmar_ratio(values, INITIAL, 252), empyrical.calmar_ratio(r), rel_tol=1e-9)


@given(growths, st.lists(st.floats(-1e4, 1e4), max_size=40), st.lists(st.integers(1, 100), max_size=8))
@settings(max_examples=150, deadline=None)
def test_running__any_split_into_blocks__gives_the_pure_figures(
    steps: list[float], pnls: list[float], sizes: list[int]
) -> None:
    """The running form is the definition, whatever the blocks."""
    values, trades = values_of(steps), np.asarray(pnls, np.float64)
    result, r = run(values, trades, sizes).result(), m.returns(values, INITIAL)
    pairs = {
        "sharpe_ratio": m.sharpe_ratio(r, 252),
        "sortino_ratio": m.sortino_ratio(r, 252),
        "volatility": m.volatility(r, 252),
        "max_drawdown": m.max_drawdown(values, INITIAL),
        "win_rate": m.win_rate(trades),
        "profit_factor": m.profit_factor(trades),
        "exposure": m.exposure(values),
    }
    for name, expected in pairs.items():
        got = getattr(result, name)
        assert math.isnan(got) == math.isnan(expected), name
        assert math.isnan(got) or math.isclose(got, expected, rel_tol=1e-9, abs_tol=1e-9), name
    assert result.total_steps == len(values)
    assert result.total_trades == len(trades)


@given(growths, st.integers(1, 200))
@settings(max_examples=60, deadline=None)
def test_running__restored_from_its_bytes__goes_on_with_the_same_bits(steps: list[float], cut: int) -> None:
    """Live, rescued and recomputed figures are equal to the last bit, since the blocks are."""
    values = values_of(steps)
    straight, restored = m.RunningMetrics(INITIAL, 252.0), m.RunningMetrics(INITIAL, 252.0)
    for block in blocks(values, np.array([1.0, -2.0]), [cut]):
        straight.fold(*block)
        restored = m.RunningMetrics.from_bytes(restored.to_bytes())
        restored.fold(*block)
    assert restored.to_bytes() == straight.to_bytes()
    assert len(straight.to_bytes()) < 512


@pytest.mark.parametrize("state", [b"", b"\x01", b"\x02" + bytes(144), bytes(145), b"x" * 145])
def test_from_bytes__anything_else__is_a_value_error(state: bytes) -> None:
    """A checkpoint of another version is refused, not misread."""
    with pytest.raises(ValueError, match="not a state"):
        m.RunningMetrics.from_bytes(state)


@given(growths, st.floats(0.01, 1000.0))
@settings(max_examples=60, deadline=None)
def test_ratios__scaled_account__do_not_change(steps: list[float], factor: float) -> None:
    """Law of scale: a larger account with the same returns has the same ratios."""
    values = values_of(steps)
    one = run(values, np.empty(0), []).result()
    large = m.RunningMetrics(INITIAL * factor, 252.0)
    for block in blocks(values * factor, np.empty(0), []):
        large.fold(*block)
    for name in ("max_drawdown", "total_return"):
        assert math.isclose(getattr(one, name), getattr(large.result(), name), rel_tol=1e-6, abs_tol=1e-9)


@pytest.mark.parametrize("growth", [0.0, 1e-6, 0.001, -0.001, 0.3])
def test_sharpe__constant_growth__is_undefined_and_not_1e15(growth: float) -> None:
    """A spread that is only rounding noise is no spread."""
    values = values_of([growth] * 500)
    assert math.isnan(run(values, np.empty(0), [100, 100]).result().sharpe_ratio)
    assert math.isnan(m.sharpe_ratio(m.returns(values, INITIAL), 252))


@pytest.mark.parametrize("count", [0, 1])
def test_figures__fewer_than_two_returns__are_undefined(count: int) -> None:
    """And stored as NULL, but Sharpe ratio and win rate as 0.0: the one place where NaN becomes something else."""
    running = run(values_of([0.1] * count), np.empty(0), [])
    result = running.result()
    assert math.isnan(result.sharpe_ratio)
    assert math.isnan(result.win_rate)
    stored = m.stored(result)
    assert stored["sharpe_ratio"] == stored["win_rate"] == 0.0
    assert stored["sortino_ratio"] is None
    assert stored["max_drawdown"] == 0.0
    assert stored["final_portfolio_value"] is not None


@pytest.mark.parametrize("odd", [0.0, -5.0, float("nan"), float("inf")])
def test_running__odd_values__make_nan_and_no_exception(odd: float) -> None:
    """Bankruptcy and broken envs cost figures, not the training."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = run(np.array([11_000.0, odd, 9_000.0]), np.array([odd]), [1]).result()
    assert m.stored(result)["total_steps"] == 3


def test_running__a_million_steps_of_a_tiny_spread__keeps_it() -> None:
    """A spread of 1e-7 around 1e-4 survives a million steps: against exact fractions."""
    rng = np.random.default_rng(3)
    r = 1e-9 + rng.normal(0, 1e-7, 1_000_000)
    values = INITIAL * np.cumprod(1 + r)
    got = run(values, np.empty(0), [1024] * 976).result()
    exact = [Fraction(float(x)) for x in m.returns(values, INITIAL)]
    mean = sum(exact) / len(exact)
    variance = float(sum((x - mean) ** 2 for x in exact) / (len(exact) - 1))
    assert math.isclose(got.volatility, math.sqrt(variance) * math.sqrt(252), rel_tol=1e-12)
    assert math.isclose(got.sharpe_ratio, float(mean) / math.sqrt(variance) * math.sqrt(252), rel_tol=1e-9)
