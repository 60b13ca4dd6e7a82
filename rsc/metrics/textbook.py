"""The metrics of an episode as pure functions with textbook names.

`RunningMetrics` computes the same values from blocks of steps in constant memory. A metric is finite, or NaN where it is
undefined. Invalid input (inf, NaN, values at or below zero) gives NaN, never an exception or a warning.
docs/metrics.md has the formulas in prose.

These arguments have one meaning in all functions:

    values             the account's value V_1 ... V_n after each step, shape (n,)
    initial_value      the value V_0 before the first step
    r                  the account's returns of each step, from `returns`, shape (n,)
    b                  the market's returns of the same steps, shape (n,)
    periods_per_year   the number P of steps in a year
    pnls               profit or loss of each closed trade
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from rsc.metrics import kernels
from rsc.metrics.kernels import NAN, Floats, as_array, quiet, spread

_FEW = 2000  # sorting fewer returns than this is faster than partitioning


@quiet
def returns(values: ArrayLike, initial_value: float) -> Floats:
    """Return the simple returns r_t = V_t / V_(t-1) - 1, shape (n,).

    NaN where V_(t-1) is not above zero.
    """
    return kernels.returns_of(as_array(values), initial_value)


def total_return(initial_value: float, final_value: float) -> float:
    """Return the growth over the whole episode, V_n / V_0 - 1; NaN unless V_0 > 0."""
    return kernels.growth_of(initial_value, final_value)


def annual_return(initial_value: float, final_value: float, steps: int, periods_per_year: float) -> float:
    """Return the compound annual growth rate (V_n / V_0)^(P / n) - 1.

    NaN without steps, for V_0 <= 0, for V_n < 0, and beyond the range of a float.
    """
    return kernels.growth_per_year(initial_value, final_value, steps, periods_per_year)


@quiet
def volatility(r: ArrayLike, periods_per_year: float) -> float:
    """Return the standard deviation (ddof 1) of returns times sqrt(P); NaN for fewer than two returns."""
    r = as_array(r)
    return kernels.annualised(kernels.root(spread(r)[1], len(r) - 1), periods_per_year)


@quiet
def sharpe_ratio(r: ArrayLike, periods_per_year: float) -> float:
    """Return the mean return over its standard deviation (ddof 1), times sqrt(P) (Sharpe 1994, risk-free rate 0).

    NaN for fewer than two returns, and for returns whose spread is rounding noise: at most NOISE * (1 + |mean|).
    """
    r = as_array(r)
    earned, squares, _ = spread(r)
    return kernels.reward_to_risk(len(r), earned, kernels.root(squares, len(r) - 1), periods_per_year)


@quiet
def sortino_ratio(r: ArrayLike, periods_per_year: float) -> float:
    """Return the mean return over the downside deviation, times sqrt(P) (Sortino & Price 1994, target 0).

    The downside deviation is sqrt(mean(min(r, 0)^2)). NaN for fewer than two returns, and if that deviation is zero or
    rounding noise, as for the Sharpe ratio.
    """
    r = as_array(r)
    earned, _, falls = spread(r)
    return kernels.reward_to_risk(len(r), earned, kernels.root(falls, len(r)), periods_per_year)


@quiet
def max_drawdown(values: ArrayLike, initial_value: float) -> float:
    """Return the largest fall from a running peak, as a positive fraction of that peak. The first peak is V_0.

    0.0 without a fall or without steps; above 1.0 if a value is below zero; NaN unless V_0 > 0.
    """
    falls, peak = kernels.falls_of(as_array(values), kernels.first_peak(initial_value))
    return kernels.finite(kernels.largest(falls)) if math.isfinite(peak) else NAN


@quiet
def longest_drawdown_steps(values: ArrayLike, initial_value: float) -> int | None:
    """Return the largest number of steps in a row that end below the peak before them; None unless V_0 > 0.

    A drawdown that does not recover counts to the end. A fall of at most NOISE does not count.
    """
    falls, peak = kernels.falls_of(as_array(values), kernels.first_peak(initial_value))
    return kernels.below_peak(falls, 0, 0)[1] if math.isfinite(peak) else None


def calmar_ratio(values: ArrayLike, initial_value: float, periods_per_year: float) -> float:
    """Return annual return over maximum drawdown (Young 1991); NaN if the drawdown is at most NOISE."""
    values = as_array(values)
    if not len(values):
        return NAN
    growth = annual_return(initial_value, float(values[-1]), len(values), periods_per_year)
    return kernels.calmar(growth, max_drawdown(values, initial_value))


@quiet
def win_rate(pnls: ArrayLike) -> float:
    """Return the fraction of closed trades with pnl > 0; NaN without trades."""
    pnls = as_array(pnls)
    return kernels.ratio(kernels.outcomes(pnls)[0], len(pnls))


@quiet
def profit_factor(pnls: ArrayLike) -> float:
    """Return the sum of positive pnl over the absolute sum of negative pnl; NaN without a loss."""
    _, won, lost = kernels.outcomes(as_array(pnls))
    return kernels.ratio(won, lost)


@quiet
def time_in_market(positions: ArrayLike) -> float:
    """Return the fraction of steps that ended with an open position; NaN without steps."""
    positions = as_array(positions)
    return kernels.ratio(kernels.exposed(positions), len(positions))


@quiet
def skew(r: ArrayLike) -> float:
    """Return the third standardised moment of returns, biased: mean(d^3) / mean(d^2)^1.5; NaN without spread."""
    r = as_array(r)
    return kernels.shape(len(r), kernels.moments_of(r, r))[0]


@quiet
def kurtosis(r: ArrayLike) -> float:
    """Return the excess kurtosis of returns, biased: mean(d^4) / mean(d^2)^2 - 3; NaN without spread."""
    r = as_array(r)
    return kernels.shape(len(r), kernels.moments_of(r, r))[1]


@quiet
def sharpe_standard_error(r: ArrayLike, periods_per_year: float) -> float:
    """Return the standard error of the annualised Sharpe ratio of returns that need not be normal (Mertens 2002).

    sqrt(P (1 - g3 S + (g4 - 1) S^2 / 4) / n), with S the Sharpe ratio of one step, g3 the skew and g4 the kurtosis, not
    excess. NaN below 20 returns, and where the Sharpe ratio is undefined.
    """
    r = as_array(r)
    moments = kernels.moments_of(r, r)
    return kernels.sharpe_error(len(r), moments, periods_per_year, *kernels.shape(len(r), moments))


@quiet
def beta(r: ArrayLike, b: ArrayLike) -> float:
    """Return cov(r, b) / var(b); NaN if the market does not move."""
    r = as_array(r)
    return kernels.beta_of(len(r), kernels.moments_of(r, as_array(b)))


@quiet
def alpha(r: ArrayLike, b: ArrayLike, periods_per_year: float) -> float:
    """Return the annual return that beta does not explain, (1 + mean(r - beta b))^P - 1 (Jensen 1968, risk-free rate 0)."""
    r = as_array(r)
    moments = kernels.moments_of(r, as_array(b))
    return kernels.alpha_of(len(r), moments, periods_per_year, kernels.beta_of(len(r), moments))


@quiet
def information_ratio(r: ArrayLike, b: ArrayLike, periods_per_year: float) -> float:
    """Return the mean of r - b over its standard deviation (ddof 1), times sqrt(P) (Grinold 1989).

    NaN if the Sharpe ratio of r - b would be NaN.
    """
    r = as_array(r)
    moments = kernels.moments_of(r, as_array(b))
    return kernels.reward_to_risk(len(r), moments[2], kernels.root(moments[5], len(r) - 1), periods_per_year)


@quiet
def value_at_risk(r: ArrayLike) -> float:
    """Return the loss that 5 % of the steps exceed: minus the 0.05 quantile, interpolated linearly; NaN without steps."""
    return -lowest_of(as_array(r))[0]


@quiet
def expected_shortfall(r: ArrayLike) -> float:
    """Return minus the mean of the floor(0.05 (n - 1)) + 1 lowest returns; NaN without returns."""
    return -lowest_of(as_array(r))[1]


def lowest_of(r: Floats) -> tuple[float, float]:
    """Return the 0.05 quantile, and the mean of the returns up to it."""
    if not len(r) or not math.isfinite(kernels.sum_of(r)):
        return NAN, NAN
    count = (len(r) - 1) // 20 + 1
    last = min(count, len(r) - 1)
    ordered = np.sort(r) if len(r) < _FEW else np.partition(r, sorted({count - 1, last}))
    share = (len(r) - 1) % 20 / 20
    at, above = float(ordered[count - 1]), float(ordered[last])
    # Sorted before they are summed, so that the same returns in another order give the same bits.
    lowest = ordered[:count] if len(r) < _FEW else np.sort(ordered[:count])
    return at + (above - at) * share, kernels.sum_of(lowest) / count


@quiet
def turnover(steps: kernels.Columns, trades: kernels.Columns, initial_value: float, periods_per_year: float) -> float:
    """Return the traded value a year, as a multiple of the account: (P / n) sum of traded value_t / V_(t-1).

    Args:
        steps: Columns `step`, `portfolio_value`, `position`, and `fill_price` or else `price`.
        trades: Columns `exit_step`, `direction`, `quantity` and `exit_price` of all closed trades.
        initial_value: Value before the first step. The position is 0 then.
        periods_per_year: Steps in a year.
    """
    values = as_array(steps["portfolio_value"])
    if not len(values) or not periods_per_year > 0:
        return NAN
    levels = np.empty((2, len(values) + 1))
    levels[:, 0] = (0.0, initial_value)
    levels[0, 1:], levels[1, 1:] = steps["position"], values
    before, opened = kernels.positive(levels[1, :-1]), levels[0, 1:] - levels[0, :-1]
    at = kernels.exits_of(steps, trades)
    if at is None:
        return NAN
    opened += kernels.closed_units(at, trades, len(values))
    fills = as_array(steps["fill_price" if "fill_price" in steps else "price"])
    closed = as_array(trades["quantity"]) * trades["exit_price"] / before[at]
    traded = kernels.sum_of(closed) + kernels.opened_value(opened, fills, before)
    return kernels.finite(traded * (periods_per_year / len(values)))
