"""The figures' definitions: worked examples, what is undefined, and the laws that textbook figures obey."""

from __future__ import annotations

import decimal
import math
import warnings
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rsc import metrics as m

NAN, INF = math.nan, math.inf
YEAR = 252.0

initial_values = st.floats(1.0, 1e9)
return_lists = st.lists(st.floats(-0.5, 0.5), min_size=2, max_size=120)
cents = st.integers(-(10**8), 10**8).map(lambda amount: amount / 100)
all_floats = st.lists(st.floats(width=64), max_size=12)


def close(one: float, other: float, scale: float = 1.0) -> bool:
    """Equal to 1e-12, relatively or on a scale; NaN is equal to NaN."""
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12 * scale)


def grown(initial: float, r: Any) -> np.ndarray:
    """Portfolio values that have these returns."""
    return initial * np.cumprod(1.0 + np.asarray(r, np.float64))


def has_spread(r: Any, bound: float = 1e-6) -> bool:
    return float(np.std(r)) > bound


# Worked by hand: V_0 = 100, then 110, 99, 99, so r = 0.1, -0.1, 0 with mean 0 and squares 0.02.
PATH = np.array([110.0, 99.0, 99.0])
R = np.array([0.1, -0.1, 0.0])

WORKED = [
    ("total_return", m.total_return(100.0, 99.0), -0.01),
    ("annual_return", m.annual_return(100.0, 99.0, 3, 6.0), 0.99**2 - 1),
    ("annual_return of a total loss", m.annual_return(100.0, 0.0, 3, 6.0), -1.0),
    ("volatility", m.volatility(R, 4.0), math.sqrt(0.02 / 2) * 2),
    ("sharpe_ratio", m.sharpe_ratio(R, 4.0), 0.0),
    ("sharpe_ratio of 1 %, 3 %", m.sharpe_ratio([0.01, 0.03], 4.0), 0.02 / math.sqrt(0.0002) * 2),
    ("sortino_ratio", m.sortino_ratio([0.1, -0.1, 0.03], 4.0), 0.01 / math.sqrt(0.01 / 3) * 2),
    ("max_drawdown", m.max_drawdown(PATH, 100.0), 0.1),
    ("max_drawdown from V_0", m.max_drawdown([80.0, 90.0], 100.0), 0.2),
    ("max_drawdown of a rise", m.max_drawdown([110.0, 120.0], 100.0), 0.0),
    ("max_drawdown without steps", m.max_drawdown([], 100.0), 0.0),
    ("max_drawdown of a total loss", m.max_drawdown([50.0, 0.0], 100.0), 1.0),
    ("max_drawdown below zero", m.max_drawdown([200.0, -100.0], 100.0), 1.5),
    ("calmar_ratio", m.calmar_ratio(PATH, 100.0, 6.0), (0.99**2 - 1) / 0.1),
    ("win_rate", m.win_rate([5.0, -1.0, 0.0, 1e-9]), 0.5),
    ("profit_factor", m.profit_factor([5.0, -1.0, 0.0, 1.0, -2.0]), 2.0),
    ("profit_factor without winners", m.profit_factor([-1.0]), 0.0),
    ("time_in_market", m.time_in_market([0.0, 1.0, -2.0, -0.0]), 0.5),
]


@pytest.mark.parametrize(("got", "expected"), [row[1:] for row in WORKED], ids=[row[0] for row in WORKED])
def test_figure__worked_example__is_what_the_textbook_says(got: float, expected: float) -> None:
    """Figures whose inputs fit in a head."""
    assert close(got, expected)


UNDEFINED = {
    "sharpe_ratio of one return": m.sharpe_ratio([0.1], YEAR),
    "sharpe_ratio of none": m.sharpe_ratio([], YEAR),
    "sharpe_ratio without spread": m.sharpe_ratio([0.1, 0.1, 0.1], YEAR),
    "sharpe_ratio of an idle account": m.sharpe_ratio([0.0, 0.0], YEAR),
    "sharpe_ratio of a NaN": m.sharpe_ratio([0.1, NAN, 0.2], YEAR),
    "sharpe_ratio of an inf": m.sharpe_ratio([0.1, INF, 0.2], YEAR),
    "sharpe_ratio beyond floats": m.sharpe_ratio([1e200, -1e200, 3e200], YEAR),
    "sharpe_ratio without periods": m.sharpe_ratio([0.1, 0.2], 0.0),
    "sharpe_ratio of negative periods": m.sharpe_ratio([0.1, 0.2], -1.0),
    "sharpe_ratio of NaN periods": m.sharpe_ratio([0.1, 0.2], NAN),
    "volatility of one return": m.volatility([0.1], YEAR),
    "sortino_ratio of one return": m.sortino_ratio([-0.1], YEAR),
    "sortino_ratio without a fall": m.sortino_ratio([0.1, 0.0, 0.2], YEAR),
    "sortino_ratio of a fall that is rounding": m.sortino_ratio([0.1, -1e-16, 0.2], YEAR),
    "calmar_ratio without a fall": m.calmar_ratio([110.0, 120.0], 100.0, YEAR),
    "calmar_ratio of a fall that is rounding": m.calmar_ratio([110.0, 110.0 - 2e-14, 120.0], 100.0, YEAR),
    "calmar_ratio without steps": m.calmar_ratio([], 100.0, YEAR),
    "annual_return without steps": m.annual_return(100.0, 100.0, 0, YEAR),
    "annual_return of debt": m.annual_return(100.0, -1.0, 5, YEAR),
    "annual_return beyond floats": m.annual_return(1.0, 1e9, 1, 525_600.0),
    "annual_return from nothing": m.annual_return(0.0, 1.0, 5, YEAR),
    "total_return from nothing": m.total_return(0.0, 1.0),
    "total_return from debt": m.total_return(-100.0, 1.0),
    "total_return of an inf": m.total_return(100.0, INF),
    "max_drawdown from nothing": m.max_drawdown([1.0, 0.5], 0.0),
    "max_drawdown of a NaN": m.max_drawdown([1.0, NAN, 2.0], 1.0),
    "max_drawdown behind an inf": m.max_drawdown([1.0, INF, 2.0], 1.0),
    "win_rate without trades": m.win_rate([]),
    "win_rate of a NaN": m.win_rate([1.0, NAN]),
    "profit_factor without trades": m.profit_factor([]),
    "profit_factor without losers": m.profit_factor([1.0, 0.0]),
    "profit_factor of an inf": m.profit_factor([1.0, -INF]),
    "time_in_market without steps": m.time_in_market([]),
    "time_in_market of unknown positions": m.time_in_market([NAN, 1.0]),
}


@pytest.mark.parametrize("got", UNDEFINED.values(), ids=UNDEFINED.keys())
def test_figure__undefined__is_nan(got: float) -> None:
    """Not 0.0, not inf, not 1e15, and no exception."""
    assert math.isnan(got)


@pytest.mark.parametrize("ruin", [0.0, -5.0, NAN])
def test_returns__behind_a_value_not_above_zero__are_nan(ruin: float) -> None:
    """The loss itself is a return; what follows it has no base."""
    r = m.returns([110.0, ruin, 50.0, 60.0], 100.0)
    assert np.array_equal(np.isnan(r), [False, math.isnan(ruin), True, False])
    assert math.isnan(m.sharpe_ratio(r, YEAR))


def test_returns__tiny_changes__keep_their_digits() -> None:
    """V_t / V_(t-1) - 1, computed so that the difference is exact: the textbook's form loses 4 of 16 digits here."""
    value = 10_000.0 * (1 + 2.0**-40)
    assert m.returns([value], 10_000.0)[0] == pytest.approx(2.0**-40, rel=1e-15)


@given(st.floats(1.0, 1e6), st.floats(-0.2, 0.2), st.integers(2, 2000))
@settings(deadline=None)
def test_sharpe__compounding_at_one_rate__is_undefined(initial: float, rate: float, steps: int) -> None:
    """The only spread is that of rounding, which must not become a ratio of 1e15."""
    steps = min(steps, int(20 / max(abs(rate), 1e-3)))
    for values in (grown(initial, np.full(steps, rate)), initial * (1.0 + rate) ** np.arange(1, steps + 1)):
        r = m.returns(values, initial)
        assert math.isnan(m.sharpe_ratio(r, YEAR))
        assert m.volatility(r, YEAR) < 1e-12
        if rate >= 0:
            assert math.isnan(m.sortino_ratio(r, YEAR))
            assert math.isnan(m.calmar_ratio(values, initial, YEAR))


@given(st.floats(100.0, 1e6), st.floats(1.0, 1e4), st.floats(-4.0, 4.0), st.integers(2, 300))
@settings(deadline=None)
def test_sharpe__leveraged_account_in_an_idle_market__is_undefined(
    initial: float, price: float, leverage: float, steps: int
) -> None:
    """Borrowed cash + position * price is rounded more coarsely than the value itself; the bound leaves room for it."""
    fees = np.linspace(0.0, 3.0, steps)
    position = leverage * initial / price
    values = (initial - position * price - fees) + position * price + fees
    assert math.isnan(m.sharpe_ratio(m.returns(values, initial), YEAR))


@pytest.mark.parametrize("spread", [1e-12, 1e-10, 1e-7])
@pytest.mark.parametrize("mean", [0.0, 1e-4, 1e-2])
def test_sharpe__small_but_real_spread__is_defined(mean: float, spread: float) -> None:
    """The bound hides nothing that an account can earn: a ten-billionth of a cent on a hundred counts."""
    r = mean + spread * np.tile([1.0, -1.0], 500)
    expected = spread * math.sqrt(1000 / 999) * math.sqrt(YEAR)
    assert m.volatility(r, YEAR) == pytest.approx(expected, rel=1e-5)
    assert m.sharpe_ratio(r, YEAR) == pytest.approx(mean / expected * YEAR, rel=1e-5, abs=1e-3)


@given(return_lists, st.floats(-0.3, 0.3))
def test_translation__of_returns__moves_the_mean_and_not_the_spread(steps: list[float], shift: float) -> None:
    """Law: volatility(r + c) = volatility(r), and the Sharpe ratio moves by c / std."""
    assume(has_spread(steps, 1e-3))
    r = np.array(steps)
    assert close(m.volatility(r + shift, YEAR), m.volatility(r, YEAR), 10)
    moved = m.sharpe_ratio(r, YEAR) + shift * YEAR / m.volatility(r, YEAR)
    assert math.isclose(m.sharpe_ratio(r + shift, YEAR), moved, rel_tol=1e-9, abs_tol=1e-9)


@given(return_lists, st.floats(1.0, 1e6), st.floats(0.01, 1e6))
def test_translation__by_idle_cash__never_deepens_the_drawdown(steps: list[float], initial: float, cash: float) -> None:
    """Law: the same gains and losses on a larger account fall by a smaller fraction."""
    values = grown(initial, steps)
    assert m.max_drawdown(values + cash, initial + cash) <= m.max_drawdown(values, initial) + 1e-12


@given(return_lists, initial_values, st.integers(-30, 30))
def test_scale__account_times_a_power_of_two__changes_no_bit(steps: list[float], initial: float, power: int) -> None:
    """Law: figures of a value path have no unit. Such a scale is exact in floats, so the equality is, too."""
    values, factor = grown(initial, steps), 2.0**power
    r = m.returns(values, initial)
    assert r.tobytes() == m.returns(values * factor, initial * factor).tobytes()
    assert m.max_drawdown(values, initial) == m.max_drawdown(values * factor, initial * factor)
    calmar = [m.calmar_ratio(values * x, initial * x, YEAR) for x in (1.0, factor)]
    assert calmar[0] == calmar[1] or math.isnan(calmar[0])


@given(return_lists, initial_values, st.floats(1e-3, 1e6))
def test_scale__any_other_currency__changes_rounding_only(steps: list[float], initial: float, factor: float) -> None:
    """Law: an account in another currency has the same figures."""
    assume(has_spread(steps))
    values = grown(initial, steps)
    one, other = m.returns(values, initial), m.returns(values * factor, initial * factor)
    assert np.allclose(one, other, rtol=0, atol=1e-15)
    assert math.isclose(m.sharpe_ratio(one, YEAR), m.sharpe_ratio(other, YEAR), rel_tol=1e-8, abs_tol=1e-8)
    assert close(m.max_drawdown(values, initial), m.max_drawdown(values * factor, initial * factor))


@given(return_lists, st.floats(0.01, 100.0))
def test_scale__leverage__leaves_ratios_and_multiplies_volatility(steps: list[float], factor: float) -> None:
    """Law: risk and reward grow alike."""
    assume(has_spread(steps))
    r = np.array(steps)
    assert close(m.sharpe_ratio(r * factor, YEAR), m.sharpe_ratio(r, YEAR), 100)
    assert close(m.volatility(r * factor, YEAR), m.volatility(r, YEAR) * factor)
    if m.sortino_ratio(r, 1.0) < 1e6:
        assert close(m.sortino_ratio(r * factor, YEAR), m.sortino_ratio(r, YEAR), 100)


@given(st.lists(cents, min_size=1, max_size=60), st.integers(-20, 20))
def test_scale__trades_in_another_unit__leave_win_rate_and_profit_factor(pnls: list[float], power: int) -> None:
    """Law: neither has a unit."""
    scaled = np.array(pnls) * 2.0**power
    assert m.win_rate(pnls) == m.win_rate(scaled)
    assert close(m.profit_factor(pnls), m.profit_factor(scaled))


@given(return_lists, st.floats(1.0, 1e6))
def test_time__annualising__goes_by_the_root_of_the_periods(steps: list[float], periods: float) -> None:
    """Law: sqrt(periods) for the ratios and for volatility."""
    for figure in (m.sharpe_ratio, m.sortino_ratio, m.volatility):
        once = figure(steps, 1.0)
        assert close(figure(steps, periods), once * math.sqrt(periods), abs(once) * 1e3)


@given(st.floats(0.5, 2.0), st.integers(1, 5000), st.floats(1.0, 1000.0))
def test_time__annual_return__compounds_back_to_the_total(growth: float, steps: int, periods: float) -> None:
    """Law: (1 + annual)^(years) = V_n / V_0, and a year's annual return is its total return."""
    annual = m.annual_return(1000.0, 1000.0 * growth, steps, periods)
    if math.isfinite(annual) and annual > -1 + 1e-9:
        assert math.isclose((1 + annual) ** (steps / periods), growth, rel_tol=1e-6)
    assert close(m.annual_return(1000.0, 1000.0 * growth, steps, float(steps)), growth - 1)


@pytest.mark.parametrize("periods", [252.0, 19_656.0, 525_600.0])
@pytest.mark.parametrize("final", [1000.0 + 2.0**-30, 1000.1, 1100.0, 999.0, 1.0, 1e-200])
@pytest.mark.parametrize("steps", [1, 250, 10_000])
def test_time__annual_return_of_any_bar__is_the_power_to_1e12(final: float, steps: int, periods: float) -> None:
    """Against 50 digits, also where a minute's growth is taken to the 525 600th power."""
    with decimal.localcontext(prec=50):
        exact = (Decimal(final) / 1000) ** (Decimal(periods) / steps) - 1
    got = m.annual_return(1000.0, final, steps, periods)
    assert math.isnan(got) if exact > 1e308 else math.isclose(got, float(exact), rel_tol=1e-12)


@given(return_lists, st.randoms(use_true_random=False))
def test_time__order_of_returns__does_not_matter_to_their_moments(steps: list[float], random: Any) -> None:
    """Law: Sharpe, Sortino and volatility know no order (a drawdown does)."""
    assume(has_spread(steps))
    shuffled = random.sample(steps, len(steps))
    for figure in (m.sharpe_ratio, m.sortino_ratio, m.volatility):
        one, other = figure(steps, YEAR), figure(shuffled, YEAR)
        assert close(one, other, 100) or math.isclose(one, other, rel_tol=1e-9)


@given(return_lists, st.floats(1.0, 1e6), st.integers(1, 119))
def test_time__a_longer_path__never_has_a_smaller_drawdown(steps: list[float], initial: float, cut: int) -> None:
    """Law: the maximum over a prefix is at most the maximum over the whole."""
    values = grown(initial, steps)
    assert m.max_drawdown(values[:cut], initial) <= m.max_drawdown(values, initial)


@given(st.lists(st.floats(-0.3, 0.3), min_size=3, max_size=60), st.floats(1e-3, 0.3))
def test_noise__with_zero_mean__lowers_the_sharpe_ratio(steps: list[float], size: float) -> None:
    """Law: noise that has nothing to do with the returns adds to their variance and not to their mean."""
    r = np.array(steps)
    assume(has_spread(r, 1e-3) and abs(r.mean()) > 1e-4)
    both, noise = np.concatenate([r, r]), size * np.concatenate([np.ones(len(r)), -np.ones(len(r))])
    clean, noisy = m.sharpe_ratio(both, YEAR), m.sharpe_ratio(both + noise, YEAR)
    assert abs(noisy) < abs(clean)
    assert m.volatility(both + noise, YEAR) > m.volatility(both, YEAR)


PURE: list[Callable[[Any], float]] = [
    lambda x: m.sharpe_ratio(x, YEAR),
    lambda x: m.sortino_ratio(x, YEAR),
    lambda x: m.volatility(x, YEAR),
    lambda x: m.max_drawdown(x, 100.0),
    lambda x: m.calmar_ratio(x, 100.0, YEAR),
    m.win_rate,
    m.profit_factor,
    m.time_in_market,
]


@given(all_floats, st.floats(width=64), st.floats(width=64), st.integers(0, 10**9))
def test_figures__any_floats_at_all__are_finite_or_nan(
    values: list[float], initial: float, last: float, steps: int
) -> None:
    """Broken input costs the figure, never an exception, a warning or an inf in the database."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        m.returns(values, initial)
        got = [figure(values) for figure in PURE]
        got += [m.max_drawdown(values, initial), m.total_return(initial, last)]
        got += [m.annual_return(initial, last, steps, YEAR), m.annual_return(100.0, 101.0, 5, initial)]
    assert not any(math.isinf(figure) for figure in got)
    assert all(type(figure) is float for figure in got)


def test_figures__any_kind_of_sequence__is_taken() -> None:
    """Lists, integers, float32 and strided views mean what their values mean."""
    pnls = np.array([3, -1, 2, -2], np.int32)
    assert m.win_rate(pnls) == m.win_rate(pnls.tolist()) == m.win_rate(np.repeat(pnls, 3)[::3]) == 0.5
    assert m.sharpe_ratio(np.float32([0.5, 0.25]), YEAR) == m.sharpe_ratio([0.5, 0.25], YEAR)
