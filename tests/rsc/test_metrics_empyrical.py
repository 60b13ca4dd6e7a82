"""The figures against empyrical-reloaded, quantstats and scipy: to 1e-12 wherever those define the same."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
import pytest

from rsc import metrics as m
from rsc.trading import price_sources as prices
from rsc.trading.market import load_market

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import empyrical
    import pandas as pd
    import quantstats.stats as quantstats
    import scipy.stats as scipy_stats

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


def of_markets(ticker: str, length: int = 250) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Returns of accounts that are in and out, short, or leveraged in a market, and the market's own."""
    price = load_market(ticker).close
    rng = np.random.default_rng(len(price))
    for start in range(0, len(price) - length, 250):
        b = price[start + 1 : start + length + 1] / price[start : start + length] - 1.0
        for held in (rng.integers(-1, 2, length), np.full(length, 1.5), (np.arange(length) // 20) % 2):
            yield held * b - 1e-4 * rng.random(length), b


def made_up() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(7)
    for first in FAMILIES.values():
        for second in FAMILIES.values():
            for n in (2, 3, 19, 20, 21, 40, 41, 250):
                yield first(rng, n).clip(-0.9, 3.0), second(rng, n).clip(-0.9, 3.0)


def close(ours: float, theirs: float, scale: float = 1.0) -> bool:
    if math.isnan(ours) or math.isnan(theirs):
        return math.isnan(ours) and not math.isfinite(theirs)
    return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=1e-12 * scale)


def exact_beta(r: np.ndarray, b: np.ndarray) -> float:
    """In fractions."""
    mine, market = [Fraction(x) for x in r.tolist()], [Fraction(x) for x in b.tolist()]
    middle, mean = sum(mine) / len(mine), sum(market) / len(market)
    both = sum((x - middle) * (y - mean) for x, y in zip(mine, market, strict=True))
    return float(both / sum((y - mean) ** 2 for y in market))


def check_risk(r: np.ndarray, b: np.ndarray) -> None:
    assert close(m.value_at_risk(r), -empyrical.value_at_risk(r))
    assert close(m.expected_shortfall(r), -empyrical.conditional_value_at_risk(r))
    if np.std(r) > 1e-9:
        assert close(m.skew(r), scipy_stats.skew(r))
        assert close(m.kurtosis(r), scipy_stats.kurtosis(r))
    if np.std(b) < 1e-9:
        return
    scale = np.std(r) / np.std(b)
    beta = m.beta(r, b)
    if len(r) < 50:
        assert close(beta, exact_beta(r, b), 1e3 * scale)
    if min(np.std(r), np.std(b)) < 1e-5:  # empyrical loses digits: it takes the deviations of b, and r as it is
        return
    assert close(beta, empyrical.beta(r, b), scale)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = empyrical.alpha(r, b, annualization=12.0)
    assert math.isclose(1 + m.alpha(r, b, 12.0), 1 + theirs, rel_tol=1e-11) or np.mean(r - beta * b) < -1


def test_risk_and_market__generated_series__are_empyricals_and_scipys() -> None:
    """Of every kind of account against every kind of market, around the number of steps where a quantile moves on."""
    count = 0
    for r, b in made_up():
        check_risk(r, b)
        count += 1
    assert count > 500


@pytest.mark.parametrize("ticker", sorted(prices.bundled()))
def test_risk_and_market__real_prices__are_everybodys(ticker: str) -> None:
    """quantstats knows ratio and beta, takes the mean of r - beta b times P for alpha, and an unbiased skew."""
    count = 0
    for r, b in of_markets(ticker):
        check_risk(r, b)
        days = pd.bdate_range("2001-01-01", periods=len(r))
        ours, market = pd.Series(r, days), pd.Series(b, days)
        theirs = quantstats.greeks(ours, market, periods=252.0, prepare_returns=False)
        assert close(m.beta(r, b), theirs["beta"])
        assert math.isclose(np.mean(r - m.beta(r, b) * b) * 252, theirs["alpha"], rel_tol=1e-9, abs_tol=1e-12)
        ratio = quantstats.information_ratio(ours, market, prepare_returns=False)
        assert close(m.information_ratio(r, b, 252.0), ratio * math.sqrt(252.0))
        n = len(r)
        assert close(m.skew(r) * math.sqrt(n * (n - 1)) / (n - 2), quantstats.skew(ours, prepare_returns=False))
        count += 1
    assert count > 20


def test_longest_drawdown__real_prices__is_that_of_quantstats() -> None:
    for ticker in sorted(prices.bundled()):
        price = load_market(ticker).close
        days = pd.date_range("2001-01-01", periods=len(price))
        details = quantstats.drawdown_details(
            quantstats.to_drawdown_series(pd.Series(price, days).pct_change().fillna(0))
        )
        assert m.longest_drawdown_steps(price[1:], float(price[0])) == details["days"].max()


def test_sharpe_standard_error__simulated_normal_returns__is_the_spread_of_the_ratio() -> None:
    """The ratios of 4 000 independent years spread as the formula says, to the 3 % that so many tell."""
    r = np.random.default_rng(1).normal(0.001, 0.01, (4000, 252))
    ratios = np.array([m.sharpe_ratio(each, 252.0) for each in r])
    said = np.mean([m.sharpe_standard_error(each, 252.0) for each in r])
    assert np.std(ratios) == pytest.approx(said, rel=0.03)


@pytest.mark.parametrize("value", [0.0, 0.01, 1e-17])
def test_sharpe_standard_error__returns_without_spread__is_undefined(value: float) -> None:
    assert math.isnan(m.sharpe_standard_error(np.full(100, value), 252.0))


def test_sharpe_standard_error__fewer_than_20_returns__is_undefined() -> None:
    r = np.random.default_rng(2).normal(0.001, 0.01, 20)
    assert math.isnan(m.sharpe_standard_error(r[:19], 252.0))
    assert m.sharpe_standard_error(r, 252.0) > 0
