"""Compute an episode's metrics incrementally; a checkpoint stores the state.

The functions of rsc.metrics.textbook call the ones here, so both forms agree.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
NAN = float("nan")
# Below this a spread of returns is rounding noise, and a ratio over it would be 1e15 instead of "undefined". A return
# is a ratio of two rounded values, which alone makes an error of up to 1 eps; a value of cash + position * price - fees
# has some four roundings, each as large as the gross exposure, which leverage makes a multiple of the value. 64 is room
# for all of them. It hides nothing real: on an account of 10 000, a spread of 1.4e-10 a step.
NOISE = 64 * float(np.finfo(np.float64).eps)

quiet = np.errstate(all="ignore")


@dataclass(frozen=True)
class EpisodeMetrics:
    """All figures of an episode, named like the columns of `episodes`: finite, or NaN where undefined.

    ``not_told`` names those that cannot be computed because the env does not tell what they are made of. They are NaN,
    or None for the number of trades.
    """

    initial_portfolio_value: float
    final_portfolio_value: float
    pnl: float
    unrealized_pnl: float
    total_return: float
    annual_return: float
    sharpe_ratio: float
    sortino_ratio: float
    calmar_ratio: float
    volatility: float
    max_drawdown: float
    win_rate: float
    profit_factor: float
    time_in_market: float
    total_reward: float
    total_fees: float
    total_steps: int
    total_trades: int | None
    not_told: tuple[str, ...] = ()


class StateError(ValueError):
    """The bytes are not a state of `RunningMetrics`, or one of another version."""


_ANNUALISED = ("annual_return", "sharpe_ratio", "sortino_ratio", "calmar_ratio", "volatility")
_OF_VALUES = (*_ANNUALISED, "max_drawdown")
_OF_LAST_VALUE = ("final_portfolio_value", "pnl", "total_return")
_UNKNOWN = -1  # as the number of trades
_TAG, _VERSION = b"rsm", 1
_SUMS = 7  # of: returns, their squared deviations, squared falls, rewards, fees, winners' pnl, losers' pnl
_STATE = struct.Struct(f"<3sB2q8d{2 * _SUMS}d")


class RunningMetrics:
    """Metrics of an episode, updated block by block: the journal's `Fold`.

    Squared deviations of blocks are merged by the update of Chan, Golub & LeVeque (1983), which keeps a small spread
    around a large mean, and sums carry their rounding errors along (Knuth's TwoSum), so a million blocks cost no digit.

    Equal blocks give equal bits, whoever folds them, in whatever memory layout, on whatever CPU: sums are numpy's own
    pairwise ones, never BLAS, which picks its order by CPU. (`annual_return` and `calmar_ratio` need logarithms, whose
    last digit is the C library's.) Odd values (inf, NaN) make figures NaN, never an exception or a warning.
    """

    __slots__ = (
        "_drawdown", "_errors", "_exposed", "_initial", "_last", "_peak", "_periods", "_steps", "_sums", "_trades",
        "_unrealized", "_wins",
    )  # fmt: skip

    def __init__(
        self, initial_portfolio_value: float, periods_per_year: float | None, *, trades_known: bool = True
    ) -> None:
        """``periods_per_year`` is None where nothing can be annualised."""
        self._initial = self._last = float(initial_portfolio_value)
        self._periods = NAN if periods_per_year is None else float(periods_per_year)
        self._peak = first_peak(self._initial)
        self._drawdown = self._unrealized = 0.0
        self._steps = 0
        self._trades = 0 if trades_known else _UNKNOWN
        self._wins = self._exposed = 0.0  # counts, or NaN where that cannot be told
        self._sums = [0.0] * _SUMS
        self._errors = [0.0] * _SUMS

    @quiet
    def fold(self, steps: Mapping[str, NDArray[Any]], trades: Mapping[str, NDArray[Any]]) -> None:
        """Take the next block: its steps, and the trades that they closed.

        Columns used: portfolio_value, reward, fees, position, unrealized_pnl; pnl and quantity of trades. A trade
        without a quantity stands for trades that could not be told: from there on, the episode's trades are unknown.
        """
        won, lost = self._fold_trades(as_array(trades["pnl"]), trades)
        values = as_array(steps["portfolio_value"])
        count = len(values)
        if not count:
            return self._add((0.0, 0.0, 0.0, 0.0, 0.0, won, lost))
        earned, squares, downside = spread(returns_of(values, self._last))
        if self._steps:
            apart = earned / count - (self._sums[0] + self._errors[0]) / self._steps
            squares += apart * apart * (count * self._steps / (count + self._steps))
        reward, fees = sum_of(as_array(steps["reward"])), sum_of(as_array(steps["fees"]))
        self._add((earned, squares, downside, reward, fees, won, lost))
        drawdown, self._peak = fall(values, self._peak)
        self._drawdown = max(self._drawdown, drawdown)
        self._exposed += exposed(as_array(steps["position"]))
        self._unrealized = float(steps["unrealized_pnl"][-1])
        self._last = float(values[-1])
        self._steps += count

    def _fold_trades(self, pnls: Floats, trades: Mapping[str, NDArray[Any]]) -> tuple[float, float]:
        if not len(pnls) or self._trades == _UNKNOWN:
            return 0.0, 0.0
        if np.isnan(as_array(trades["quantity"])).any():
            self._trades, self._wins = _UNKNOWN, NAN
            return NAN, NAN
        wins, won, lost = outcomes(pnls)
        self._trades += len(pnls)
        self._wins += wins
        return won, lost

    def _add(self, parts: tuple[float, ...]) -> None:
        """Add to the sums, and keep the exact error of each addition (Knuth's TwoSum). An inf makes the metric NaN."""
        sums, errors = self._sums, self._errors
        for i, part in enumerate(parts):
            before = sums[i]
            total = sums[i] = before + part
            added = total - before
            errors[i] += (before - (total - added)) + (part - added)

    def result(self) -> EpisodeMetrics:
        """Return the metrics of the steps so far."""
        steps, periods, initial, last = self._steps, self._periods, self._initial, self._last
        earned, squares, downside, reward, fees, won, lost = map(float.__add__, self._sums, self._errors)
        growth = growth_per_year(initial, last, steps, periods)
        drawdown = finite(self._drawdown) if math.isfinite(self._peak) else NAN
        known = self._trades != _UNKNOWN
        return EpisodeMetrics(
            initial_portfolio_value=finite(initial),
            final_portfolio_value=finite(last),
            pnl=finite(last - initial),
            unrealized_pnl=finite(self._unrealized),
            total_return=growth_of(initial, last),
            annual_return=growth,
            sharpe_ratio=reward_to_risk(steps, earned, root(squares, steps - 1), periods),
            sortino_ratio=reward_to_risk(steps, earned, root(downside, steps), periods),
            calmar_ratio=calmar(growth, drawdown),
            volatility=annualised(root(squares, steps - 1), periods),
            max_drawdown=drawdown,
            win_rate=ratio(self._wins, self._trades) if known else NAN,
            profit_factor=ratio(won, lost) if known else NAN,
            time_in_market=ratio(self._exposed, steps),
            total_reward=finite(reward),
            total_fees=finite(fees),
            total_steps=steps,
            total_trades=self._trades if known else None,
            not_told=tuple(self._not_told(reward, fees)),
        )

    def _not_told(self, reward: float, fees: float) -> Iterator[str]:
        """The figures that NaN rows, or what the header does not say, leave without a source."""
        if self._initial > 0 and math.isnan(self._peak):
            yield from _OF_VALUES
            if math.isnan(self._last):
                yield from _OF_LAST_VALUE
        elif math.isnan(self._periods):
            yield from _ANNUALISED
        if self._trades == _UNKNOWN:
            yield from ("win_rate", "profit_factor", "total_trades")
        elif math.isnan(self._wins):
            yield from ("win_rate", "profit_factor")
        of_sums = {
            "unrealized_pnl": self._unrealized, "time_in_market": self._exposed, "total_reward": reward, "total_fees": fees,
        }  # fmt: skip
        yield from (name for name, total in of_sums.items() if math.isnan(total))

    def to_bytes(self) -> bytes:
        """Return the state that a checkpoint stores: 196 bytes."""
        return _STATE.pack(
            _TAG, _VERSION, self._steps, self._trades, self._wins, self._exposed, self._initial, self._periods,
            self._last, self._peak, self._drawdown, self._unrealized, *self._sums, *self._errors,
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, state: bytes) -> RunningMetrics:
        """Restore a state of `to_bytes` exactly. Raises StateError, a ValueError, for any other bytes."""
        if len(state) != _STATE.size or state[:3] != _TAG:
            raise StateError(f"not a state of running metrics: {len(state)} bytes that start with {bytes(state[:4])!r}")
        if state[3] != _VERSION:
            raise StateError(f"running metrics of version {state[3]}, this program knows {_VERSION}; upgrade it")
        self = cls.__new__(cls)
        (
            _, _, self._steps, self._trades, self._wins, self._exposed, self._initial, self._periods,
            self._last, self._peak, self._drawdown, self._unrealized, *sums,
        ) = _STATE.unpack(state)  # fmt: skip
        self._sums, self._errors = sums[:_SUMS], sums[_SUMS:]
        most = 0 if self._trades == _UNKNOWN else self._trades
        if self._steps < 0 or most < 0 or self._wins > most or self._exposed > self._steps:
            raise StateError("not a state of running metrics: its counts contradict each other")
        return self


def as_array(values: ArrayLike) -> Floats:
    """Contiguous and aligned float64: numpy sums what is not aligned piece by piece, which changes the last bits."""
    array = np.ascontiguousarray(values, np.float64)
    return array if array.flags.aligned else array.copy()


def sum_of(values: Floats) -> float:
    """numpy's pairwise sum."""
    return float(np.add.reduce(values))


def returns_of(values: Floats, value_before: float) -> Floats:
    """Simple returns; NaN on a value that is not above zero."""
    before = np.empty_like(values)
    before[:1] = value_before
    before[1:] = values[:-1]
    if len(before) and not np.minimum.reduce(before) > 0:
        before[~(before > 0)] = NAN
    # The difference of two close values is exact, so a small return keeps its digits; V_t / V_(t-1) - 1 loses them.
    r = values - before
    r /= before
    return r


def spread(r: Floats) -> tuple[float, float, float]:
    """Sum of returns, of their squared deviations from the mean, and of their squared falls."""
    earned = sum_of(r)
    parts = np.empty((2, len(r)))
    np.subtract(r, earned / (len(r) or 1), out=parts[0])
    np.minimum(r, 0.0, out=parts[1])
    parts *= parts
    squares, falls = np.add.reduce(parts, axis=1).tolist()
    return earned, squares, falls


def first_peak(initial_value: float) -> float:
    """Return the peak before the first step. NaN stays to the end, since the drawdown is unknown then."""
    return initial_value if initial_value > 0 else NAN


def fall(values: Floats, peak: float) -> tuple[float, float]:
    """Return the largest fall from the running peak, as a fraction of it, and the last peak."""
    if not len(values):
        return 0.0, peak
    peaks = np.maximum.accumulate(values)
    np.maximum(peaks, peak, out=peaks)
    falls = peaks - values
    falls /= peaks
    return float(np.maximum.reduce(falls)), float(peaks[-1])


def exposed(positions: Floats) -> float:
    """Number of open positions; NaN if one is not finite."""
    return int(np.count_nonzero(positions)) + 0.0 * sum_of(positions)


def outcomes(pnls: Floats) -> tuple[float, float, float]:
    """Return the number of winners, their gains and the losers' losses, both positive; NaN if a pnl is not finite."""
    won, lost = sum_of(np.maximum(pnls, 0.0)), -sum_of(np.minimum(pnls, 0.0))
    return int(np.count_nonzero(pnls > 0)) + 0.0 * (won + lost), won, lost


def growth_of(initial_value: float, final_value: float) -> float:
    """Total return; NaN unless V_0 > 0."""
    return ratio(final_value - initial_value, initial_value) if initial_value > 0 else NAN


def growth_per_year(initial_value: float, final_value: float, steps: int, periods: float) -> float:
    """Compound annual growth rate; NaN without steps or with V_n < 0, and beyond the range of a float."""
    growth = growth_of(initial_value, final_value)
    if steps < 1 or math.isnan(growth) or not final_value >= 0 or not periods > 0:
        return NAN
    left = final_value / initial_value
    if left == 0.0:
        return -1.0
    logarithm = math.log1p(growth) if growth > -0.5 else math.log(left)  # each where it keeps its digits
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
    """Annualise a figure that grows with the square root of time."""
    return finite(figure * math.sqrt(periods)) if periods > 0 else NAN


def calmar(growth: float, drawdown: float) -> float:
    """Return annual return over drawdown; NaN if the drawdown is noise."""
    return ratio(growth, drawdown) if drawdown > NOISE else NAN


def root(squares: float, count: int) -> float:
    """Return the root of a mean; NaN for an empty mean, a negative sum and an overflow."""
    return math.sqrt(squares / count) if count > 0 and 0 <= squares < math.inf else NAN


def ratio(over: float, under: float) -> float:
    """A quotient, or NaN."""
    return finite(over / under) if under and math.isfinite(under) else NAN


def finite(value: float) -> float:
    """The value, or NaN for an infinite one."""
    return value if math.isfinite(value) else NAN
