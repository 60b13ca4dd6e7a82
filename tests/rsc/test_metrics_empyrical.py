"""The figures against empyrical-reloaded, the field's own implementation: to 1e-12 wherever it defines them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from rsc import metrics as m
from rsc.trading import price_sources as prices
from rsc.trading.market import load_market

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical

INITIAL = 10_000.0
PERIODS = (1.0, 12.0, 52.0, 252.0, 365.0)

Family = Callable[[np.random.Generator, int], np.ndarray]

FAMILIES: dict[str, Family] = {
    "normal": lambda rng, n: rng.normal(rng.normal(0, 1e-3), 10.0 ** rng.uniform(-6, -1), n),
    "fat tails": lambda rng, n: 0.01 * rng.standard_t(2.5, n),
    "small spread": lambda rng, n: rng.normal(1e-3, 10.0 ** rng.uniform(-10, -6), n),
    "mostly idle": lambda rng, n: rng.normal(0, 0.02, n) * (rng.random(n) < 0.1),
    "rising": lambda rng, n: rng.exponential(0.01, n),
    "falling": lambda rng, n: -rng.exponential(0.01, n),
    "alternating": lambda rng, n: 0.05 * (-1.0) ** np.arange(n) + rng.normal(0, 1e-4, n),
    "one jump": lambda rng, n: np.where(np.arange(n) == n // 2, rng.normal(0, 0.5), 1e-4 * rng.normal(0, 1, n)),
    "constant": lambda rng, n: np.full(n, rng.choice([0.0, 1e-6, 0.001, -0.001, 0.1])),
}


def generated(family: Family, count: int = 600) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(len(FAMILIES))
    for i in range(count):
        n = i % 5 if i < 25 else int(rng.integers(2, 500))
        yield INITIAL * np.cumprod(1.0 + family(rng, n).clip(-0.9, 3.0))


def real(ticker: str) -> Iterator[np.ndarray]:
    """Buy and hold, a short, and in and out, over a year, three years and all."""
    price = load_market(ticker).close
    for length in (250, 750, len(price) - 1):
        for start in range(0, len(price) - length, 125):
            change = price[start + 1 : start + length + 1] / price[start] - 1.0
            yield INITIAL * (1.0 + change)
            yield until_ruin(INITIAL * (1.0 - change))
            held = (np.arange(length) // 20) % 2
            yield INITIAL * np.cumprod(1.0 + held * np.diff(price[start : start + length + 1]) / price[start])


def until_ruin(values: np.ndarray) -> np.ndarray:
    """An env ends where nothing is left."""
    ruined = np.flatnonzero(values <= 0)
    return values[: ruined[0]] if len(ruined) else values


def agree(ours: float, theirs: float) -> bool:
    """Both within 1e-12, or both without a figure: where empyrical says inf, we say NaN."""
    if math.isnan(ours):
        return not math.isfinite(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-12)


def check(values: np.ndarray, periods: float) -> None:
    r = m.returns(values, INITIAL)
    known = {"annualization": periods}
    if len(r) < 2 or np.std(r, ddof=1) > 2 * m.NOISE:
        assert agree(m.sharpe_ratio(r, periods), empyrical.sharpe_ratio(r, **known))
    else:
        assert math.isnan(m.sharpe_ratio(r, periods))  # empyrical knows exact constancy only
    if np.sqrt(np.mean(np.minimum(r, 0) ** 2)) > 2 * m.NOISE if len(r) else True:
        assert agree(m.sortino_ratio(r, periods), empyrical.sortino_ratio(r, **known))
    assert agree(m.volatility(r, periods), empyrical.annual_volatility(r, **known))
    if not len(r):
        return
    # empyrical multiplies the returns up again: its own path is off by some n roundings.
    theirs = empyrical.max_drawdown(r)
    drawdown = m.max_drawdown(values, INITIAL)
    assert agree(drawdown, -theirs)
    annual = m.annual_return(INITIAL, float(values[-1]), len(r), periods)
    rebuilt = empyrical.annual_return(r, **known)
    assert math.isclose(1 + annual, 1 + rebuilt, rel_tol=1e-12)
    if drawdown > 1e-3:
        calmar = m.calmar_ratio(values, INITIAL, periods)
        scale = (1 + abs(annual)) / drawdown
        assert math.isclose(calmar, empyrical.calmar_ratio(r, **known), rel_tol=1e-12, abs_tol=1e-12 * scale / drawdown)


@pytest.mark.parametrize("ticker", sorted(prices.bundled()))
def test_figures__real_prices__are_empyricals(ticker: str) -> None:
    """Long, short, and in and out of the bundled prices."""
    count = 0
    for values in real(ticker):
        check(values, 252.0)
        count += 1
    assert count > 80


@pytest.mark.parametrize("family", FAMILIES)
def test_figures__generated_series__are_empyricals(family: str) -> None:
    """Hundreds of series of each kind, from no step to 500, at each of the usual periods."""
    for i, values in enumerate(generated(FAMILIES[family])):
        check(values, PERIODS[i % len(PERIODS)])


@pytest.mark.parametrize("last", [0.0, 1e-9])
def test_figures__total_loss__are_empyricals(last: float) -> None:
    """A value of zero is a return of -1, an annual return of -1 and a drawdown of 1."""
    check(INITIAL * np.array([1.1, 0.9, 1.3, last]), 252.0)
    assert m.max_drawdown([INITIAL, last], INITIAL) == pytest.approx(1.0, abs=1e-12)
