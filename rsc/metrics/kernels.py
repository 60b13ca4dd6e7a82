"""Compute figures from arrays and from sums. `rsc.metrics.textbook` and `RunningMetrics` both call these functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Columns = Mapping[str, NDArray[Any]]
NAN = float("nan")
# A smaller spread of returns is rounding noise: a ratio over it would be about 1e15 instead of undefined. A return is a
# ratio of two rounded values, which alone causes an error of up to 1 eps. A value is cash + position * price - fees: about
# four roundings, each relative to the gross exposure, which with leverage is a multiple of the value. The factor 64
# covers all of them. No real spread is that small: on an account of 10,000 it is 1.4e-10 a step.
NOISE = 64 * float(np.finfo(np.float64).eps)
FEW_STEPS = 20
"""With fewer returns than this, a Sharpe ratio has no standard error, and programs mark ratios."""

quiet = np.errstate(all="ignore")


def as_array(values: ArrayLike) -> Floats:
    """Return the values as a contiguous, aligned array of float64.

    numpy sums an unaligned array in pieces, which changes the last bits.
    """
    array = np.ascontiguousarray(values, np.float64)
    return array if array.flags.aligned else array.copy()


def sum_of(values: Floats) -> float:
    """Return numpy's pairwise sum."""
    return float(np.add.reduce(values))


def returns_of(values: Floats, value_before: float) -> Floats:
    """Return the simple returns; NaN where the value before is not above zero."""
    levels = np.empty((1, len(values) + 1))
    levels[0, 0], levels[0, 1:] = value_before, values
    returns = levels[0, 1:] - levels[0, :-1]
    returns /= positive(levels[0, :-1])
    return returns


def positive(values: Floats) -> Floats:
    """Return the values, with NaN in place of those that are not above zero."""
    lowest = np.fmin.reduce(values, axis=None, initial=1.0)  # fmin ignores NaN
    above: Floats = values if lowest > 0 else np.where(values > 0, values, NAN)
    return above


def spread(r: Floats) -> tuple[float, float, float]:
    """Return the sums of returns, of their squared deviations from the mean, and of the squares of negative returns."""
    earned = sum_of(r)
    parts = np.empty((2, len(r)))
    np.subtract(r, earned / (len(r) or 1), out=parts[0])
    np.minimum(r, 0.0, out=parts[1])
    parts *= parts
    squares, falls = np.add.reduce(parts, axis=1).tolist()
    return earned, squares, falls


Moments = tuple[float, ...]
"""Ten sums over returns r of an account, returns b of its market, and a = r - b. In order:

r, b, a; squared deviations from the mean of r, b, a; products of the deviations of r and b; third and fourth powers of the
deviations of r; squares of the negative r.
"""


def moments_of(r: Floats, b: Floats) -> Moments:
    """Return the `Moments` of returns of an account and of its market, both of shape (n,)."""
    three = np.empty((3, len(r)))
    three[0], three[1] = r, b
    np.subtract(r, b, out=three[2])
    return moments_from(three, np.add.reduce(three, axis=1))


def moments_from(three: Floats, sums: Floats) -> Moments:
    """Return the `Moments` of rows whose sums are known.

    The results have the same bits as those of `spread`: numpy sums a row like a separate array.

    Args:
        three: The rows r, b and a, shape (3, n). They are overwritten.
        sums: The sum of each row, shape (3,).
    """
    parts = powers_of(three, (sums / (three.shape[1] or 1))[:, None])
    return (*sums.tolist(), *np.add.reduce(parts, axis=1).tolist())


def powers_of(three: Floats, means: Floats) -> Floats:
    """Return the summands of the last seven sums of `Moments`, shape (7, n).

    Args:
        three: The rows r, b and a, shape (3, n). They are overwritten.
        means: The mean of each row, shape (3, 1).
    """
    r, b, _ = three
    parts = np.empty((7, three.shape[1]))
    np.minimum(r, 0.0, out=parts[6])
    three -= means
    np.multiply(three, three, out=parts[:3])
    np.multiply(r, b, out=parts[3])
    np.multiply(parts[0], r, out=parts[4])
    np.multiply(parts[0], parts[0], out=parts[5])
    parts[6] *= parts[6]
    return parts


def joined(count: int, old: Moments, more_count: int, more: Moments) -> Moments:
    """Return what to add to the sums of earlier returns to include a block of later ones.

    Each deviation gains a term from the distance of the two means (Chan, Golub & LeVeque 1983; Pebay 2008 for the higher
    powers). This keeps the digits of a small spread around a large mean.

    Args:
        count: Number of earlier returns.
        old: Their sums.
        more_count: Number of returns of the block.
        more: The sums of the block.
    """
    if not count:
        return more
    n, m = float(count), float(more_count)
    both = n + m
    share = n * m / both
    dr, db, da = (more[i] / m - old[i] / n for i in range(3))
    _, _, _, old_rr, _, _, _, old_cubes, _, _ = old
    r, b, a, rr, bb, aa, rb, cubes, fourths, falls = more
    bend, square = (n - m) / both, dr * dr
    cubes_more = dr * square * share * bend + 3.0 * dr * (n * rr - m * old_rr) / both
    fourths_more = (
        square * square * share * ((n * n - n * m + m * m) / (both * both))
        + 6.0 * square * (n * n * rr + m * m * old_rr) / (both * both)
        + 4.0 * dr * (n * cubes - m * old_cubes) / both
    )
    return (
        r, b, a, rr + square * share, bb + db * db * share, aa + da * da * share, rb + dr * db * share,
        cubes + cubes_more, fourths + fourths_more, falls,
    )  # fmt: skip


def first_peak(initial_value: float) -> float:
    """Return the peak before the first step; NaN if the value is not above zero, so that every drawdown is NaN."""
    return initial_value if initial_value > 0 else NAN


def falls_of(values: Floats, peak: float) -> tuple[Floats, float]:
    """Return the fall of each value from the running peak, as a fraction of it, and the last peak."""
    if not len(values):
        return values, peak
    peaks = np.maximum.accumulate(values)
    np.maximum(peaks, peak, out=peaks)
    falls = peaks - values
    falls /= peaks
    return falls, float(peaks[-1])


def largest(falls: Floats) -> float:
    """Return the largest fall; 0.0 without falls."""
    return float(np.maximum.reduce(falls)) if len(falls) else 0.0


def below_peak(falls: Floats, run: int, longest: int) -> tuple[int, int]:
    """Return how many values in a row are below the peak at the end, and the largest such number so far.

    Args:
        falls: Fall of each value.
        run: Number of values in a row below the peak, right before these values.
        longest: The largest such number before these values.
    """
    tops = np.flatnonzero(falls <= NOISE)
    if not len(tops):
        run += len(falls)
        return run, max(longest, run)
    inner = int(np.maximum.reduce(tops[1:] - tops[:-1])) - 1 if len(tops) > 1 else 0
    longest = max(longest, run + int(tops[0]), inner)
    run = len(falls) - 1 - int(tops[-1])
    return run, max(longest, run)


def exits_of(steps: Columns, trades: Columns) -> NDArray[np.int64] | None:
    """Return the index of the step that closed each trade; None if another step closed one of them."""
    at: NDArray[np.int64] = np.asarray(trades["exit_step"] - steps["step"][0], np.int64)
    inside = not len(at) or np.maximum.reduce(at.view(np.uint64)) < len(steps["step"])  # a negative index is huge here
    return at if inside else None


def closed_units(at: NDArray[np.int64], trades: Columns, count: int) -> Floats:
    """Return the signed units that each step closed, shape (count,).

    Args:
        at: The index of the step that closed each trade.
        trades: The closed trades.
        count: Number of steps.
    """
    return np.asarray(np.bincount(at, trades["quantity"] * trades["direction"], count), np.float64)


def opened_value(opened: Floats, fill_prices: Floats, before: Floats) -> float:
    """Return the sum of opened values, each as a fraction of the account's value before the step.

    The price of a step that opened nothing is ignored, so it may be NaN.

    Args:
        opened: Signed units that each step opened.
        fill_prices: Price of each step's fill.
        before: The account's value before each step; NaN where it is not above zero.
    """
    at = opened.nonzero()[0]
    return sum_of(np.abs(opened[at]) * fill_prices[at] / before[at]) if len(at) else 0.0


def exposed(positions: Floats) -> float:
    """Return the number of steps with an open position; NaN if a position is not finite."""
    return int(np.count_nonzero(positions)) + 0.0 * sum_of(positions)


def outcomes(pnls: Floats) -> tuple[float, float, float]:
    """Return the number of trades with a profit, the sum of profits, and the sum of losses as a positive number.

    The number is NaN if a pnl is not finite.
    """
    won, lost = sum_of(np.maximum(pnls, 0.0)), -sum_of(np.minimum(pnls, 0.0))
    return int(np.count_nonzero(pnls > 0)) + 0.0 * (won + lost), won, lost


def growth_of(initial_value: float, final_value: float) -> float:
    """Return the total return; NaN unless V_0 > 0."""
    return ratio(final_value - initial_value, initial_value) if initial_value > 0 else NAN


def growth_per_year(initial_value: float, final_value: float, steps: int, periods: float) -> float:
    """Return the compound annual growth rate; NaN without steps, for V_n < 0, and beyond the range of a float."""
    growth = growth_of(initial_value, final_value)
    if steps < 1 or math.isnan(growth) or not final_value >= 0 or not periods > 0:
        return NAN
    left = final_value / initial_value
    if left == 0.0:
        return -1.0
    logarithm = math.log1p(growth) if growth > -0.5 else math.log(left)  # each is exact in its own range
    try:
        return finite(math.expm1(logarithm * periods / steps))
    except OverflowError:
        return NAN


def reward_to_risk(count: int, earned: float, risk: float, periods: float) -> float:
    """Return the annualised mean return over a deviation; NaN if the deviation is noise."""
    if count < 2 or not risk > NOISE * (1.0 + abs(earned / count)):
        return NAN
    return annualised(earned / count / risk, periods)


def annualised(figure: float, periods: float) -> float:
    """Return the annual value of a figure that grows with the square root of time."""
    return finite(figure * math.sqrt(periods)) if periods > 0 else NAN


def noisy(count: int, total: float, squares: float) -> bool:
    """Return True if the spread of returns is at most rounding noise, or undefined."""
    return count < 2 or not root(squares, count - 1) > NOISE * (1.0 + abs(total / count))


def compounded(each: float, periods: float) -> float:
    """Return (1 + each)^periods - 1; NaN below -1 and beyond the range of a float."""
    if not periods > 0 or not each >= -1.0:
        return NAN
    if each == -1.0:
        return -1.0
    try:
        return finite(math.expm1(periods * math.log1p(each)))
    except OverflowError:
        return NAN


def shape(count: int, moments: Moments) -> tuple[float, float]:
    """Return skew and excess kurtosis of r, biased; NaN if its spread is noise."""
    if noisy(count, moments[0], moments[3]):
        return NAN, NAN
    variance = moments[3] / count
    third = ratio(moments[7] / count, variance * math.sqrt(variance))
    return third, ratio(moments[8] / count, variance * variance) - 3.0


def sharpe_error(count: int, moments: Moments, periods: float, third: float, fourth: float) -> float:
    """Return the annualised standard error of the Sharpe ratio (Mertens 2002); NaN below `FEW_STEPS` returns.

    ``third`` and ``fourth`` are the `shape` of the same returns.
    """
    if count < FEW_STEPS or not periods > 0 or third != third:  # NaN where the spread is noise
        return NAN
    each = moments[0] / count / root(moments[3], count - 1)
    return root(periods * (1.0 - third * each + (fourth + 2.0) * each * each / 4.0), count)


def beta_of(count: int, moments: Moments) -> float:
    """Return cov(r, b) / var(b); NaN if the spread of b is noise."""
    return NAN if noisy(count, moments[1], moments[4]) else ratio(moments[6], moments[4])


def alpha_of(count: int, moments: Moments, periods: float, beta: float) -> float:
    """Return (1 + mean(r - beta b))^periods - 1; ``beta`` is `beta_of` the same returns."""
    return compounded((moments[0] - beta * moments[1]) / count, periods) if count else NAN


def calmar(growth: float, drawdown: float) -> float:
    """Return annual return over drawdown; NaN if the drawdown is noise."""
    return ratio(growth, drawdown) if drawdown > NOISE else NAN


def root(squares: float, count: int) -> float:
    """Return the root of a mean; NaN for an empty mean, a negative sum and an overflow."""
    return math.sqrt(squares / count) if count > 0 and 0 <= squares < math.inf else NAN


def ratio(over: float, under: float) -> float:
    """Return the quotient; NaN if it is undefined."""
    return finite(over / under) if under and math.isfinite(under) else NAN


def finite(value: float) -> float:
    """Return the value; NaN if it is infinite."""
    return value if math.isfinite(value) else NAN
