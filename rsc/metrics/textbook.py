"""Define the metrics of an episode as pure functions with textbook names.

`RunningMetrics` computes the same values from blocks of steps in constant memory. A metric is finite, or NaN where it is
undefined. Invalid input (inf, NaN, values at or below zero) gives NaN, never an exception or a warning.
docs/metrics.md has the formulas in prose.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from rsc.metrics import running
from rsc.metrics.running import NAN, Floats, as_array, quiet, spread


@quiet
def returns(values: ArrayLike, initial_value: float) -> Floats:
    """Simple returns r_t = V_t / V_(t-1) - 1, shape (n,), from portfolio values of shape (n,) and V_0.

    NaN where V_(t-1) is not above zero.
    """
    return running.returns_of(as_array(values), initial_value)


def total_return(initial_value: float, final_value: float) -> float:
    """Growth over the whole episode, V_n / V_0 - 1; NaN unless V_0 > 0."""
    return running.growth_of(initial_value, final_value)


def annual_return(initial_value: float, final_value: float, steps: int, periods_per_year: float) -> float:
    """Compound annual growth rate (V_n / V_0)^(periods_per_year / n) - 1.

    NaN for no steps, for V_0 <= 0, for V_n < 0, and beyond the range of a float.
    """
    return running.growth_per_year(initial_value, final_value, steps, periods_per_year)


@quiet
def volatility(r: ArrayLike, periods_per_year: float) -> float:
    """Standard deviation (ddof 1) of returns times sqrt(periods_per_year); NaN for fewer than two."""
    r = as_array(r)
    return running.annualised(running.root(spread(r)[1], len(r) - 1), periods_per_year)


@quiet
def sharpe_ratio(r: ArrayLike, periods_per_year: float) -> float:
    """Mean return over its standard deviation (ddof 1), times sqrt(periods_per_year) (Sharpe 1994, risk-free rate 0).

    NaN for fewer than two returns, and for returns whose spread is rounding noise: at most NOISE * (1 + |mean|).
    """
    r = as_array(r)
    earned, squares, _ = spread(r)
    return running.reward_to_risk(len(r), earned, running.root(squares, len(r) - 1), periods_per_year)


@quiet
def sortino_ratio(r: ArrayLike, periods_per_year: float) -> float:
    """Mean return over downside deviation sqrt(mean(min(r, 0)^2)), annualised as Sharpe's (Sortino & Price 1994, target 0).

    NaN for fewer than two returns, and where the downside deviation is zero or rounding noise, as for Sharpe.
    """
    r = as_array(r)
    earned, _, falls = spread(r)
    return running.reward_to_risk(len(r), earned, running.root(falls, len(r)), periods_per_year)


@quiet
def max_drawdown(values: ArrayLike, initial_value: float) -> float:
    """Largest fall from a running peak, as a positive fraction of that peak; the first peak is V_0.

    0.0 without a fall and without steps; above 1.0 if a value is below zero; NaN unless V_0 > 0.
    """
    drawdown, peak = running.fall(as_array(values), running.first_peak(initial_value))
    return running.finite(drawdown) if math.isfinite(peak) else NAN


def calmar_ratio(values: ArrayLike, initial_value: float, periods_per_year: float) -> float:
    """Annual return over maximum drawdown (Young 1991); NaN where that drawdown is zero or rounding noise (NOISE)."""
    values = as_array(values)
    if not len(values):
        return NAN
    growth = annual_return(initial_value, float(values[-1]), len(values), periods_per_year)
    return running.calmar(growth, max_drawdown(values, initial_value))


@quiet
def win_rate(pnls: ArrayLike) -> float:
    """Fraction of closed trades with pnl > 0; NaN for no trades."""
    pnls = as_array(pnls)
    return running.ratio(running.outcomes(pnls)[0], len(pnls))


@quiet
def profit_factor(pnls: ArrayLike) -> float:
    """Sum of positive pnl over the absolute sum of negative pnl; NaN without a loss."""
    _, won, lost = running.outcomes(as_array(pnls))
    return running.ratio(won, lost)


@quiet
def time_in_market(positions: ArrayLike) -> float:
    """Fraction of steps that ended with an open position; NaN for no steps."""
    positions = as_array(positions)
    return running.ratio(running.exposed(positions), len(positions))
