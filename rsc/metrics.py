"""The figures of an episode: textbook-named pure functions, and the running form that a checkpoint stores.

The pure functions are the definition; `RunningMetrics` gives the same figures from blocks of steps, in memory that does
not grow. Figures that are undefined are NaN; `stored` is the one place where NaN becomes NULL. docs/metrics.md has the
formulas in prose.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from journal import Journal

Floats = NDArray[np.float64]
NAN = float("nan")
# A return is a ratio of two rounded values, so it carries noise of about one unit in the last place. A spread below
# this bound is noise, and a ratio over it would be 1e15 instead of "undefined".
NOISE = 8 * np.finfo(np.float64).eps


def returns(values: Floats, initial_value: float) -> Floats:
    """Simple returns r_t = V_t / V_(t-1) - 1, shape (n,), from portfolio values of shape (n,) and V_0."""
    values = np.ascontiguousarray(values, np.float64)
    before = np.empty_like(values)
    before[:1] = initial_value
    before[1:] = values[:-1]
    with np.errstate(all="ignore"):
        return (values - before) / before


def volatility(r: Floats, periods_per_year: float) -> float:
    """Annualised standard deviation (ddof 1) of returns; NaN for fewer than two."""
    return _volatility(len(r), *_moments(r), periods_per_year)


def sharpe_ratio(r: Floats, periods_per_year: float) -> float:
    """Mean return over its standard deviation (ddof 1), annualised by sqrt(periods_per_year) (Sharpe 1994, risk-free 0).

    NaN for fewer than two returns and for returns without spread.
    """
    mean, squares = _moments(r)
    return _sharpe(len(r), mean, squares, periods_per_year)


def sortino_ratio(r: Floats, periods_per_year: float) -> float:
    """Mean return over downside deviation sqrt(mean(min(r, 0)^2)), annualised (Sortino & Price 1994, target 0).

    NaN for fewer than two returns and where no return is negative.
    """
    mean, _ = _moments(r)
    return _sortino(len(r), mean, float(np.add.reduce(np.minimum(r, 0.0) ** 2)), periods_per_year)


def max_drawdown(values: Floats, initial_value: float) -> float:
    """Largest fall from a running peak, as a positive fraction of that peak; the first peak is V_0."""
    path = np.concatenate(([initial_value], values))
    with np.errstate(all="ignore"):
        return float(np.max(1.0 - path / np.maximum.accumulate(path)))


def annual_return(initial_value: float, final_value: float, steps: int, periods_per_year: float) -> float:
    """Compound annual growth rate (V_n / V_0)^(periods_per_year / n) - 1; NaN for no steps or a value at or below zero."""
    if steps < 1 or not initial_value > 0 or not final_value > 0:
        return NAN
    try:
        return math.expm1(math.log(final_value / initial_value) * periods_per_year / steps)
    except OverflowError:
        return NAN


def calmar_ratio(values: Floats, initial_value: float, periods_per_year: float) -> float:
    """Annual return over maximum drawdown (Young 1991); NaN without a drawdown."""
    if not len(values):
        return NAN
    growth = annual_return(initial_value, float(values[-1]), len(values), periods_per_year)
    return _ratio(growth, max_drawdown(values, initial_value))


def win_rate(pnls: Floats) -> float:
    """Fraction of closed trades with pnl > 0; NaN for no trades."""
    return _ratio(float(np.count_nonzero(np.asarray(pnls) > 0)), float(len(pnls)))


def profit_factor(pnls: Floats) -> float:
    """Sum of the winners' pnl over the losers' (positive); NaN where nothing was lost."""
    pnls = np.asarray(pnls, np.float64)
    return _ratio(float(np.add.reduce(np.maximum(pnls, 0.0))), float(-np.add.reduce(np.minimum(pnls, 0.0))))


def exposure(positions: Floats) -> float:
    """Fraction of steps that ended with an open position; NaN for no steps."""
    return _ratio(float(np.count_nonzero(positions)), float(len(positions)))


@dataclass(frozen=True)
class EpisodeMetrics:
    """All figures of an episode, named like the columns of `episodes`; NaN where undefined."""

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
    exposure: float
    total_reward: float
    total_fees: float
    total_steps: int
    total_trades: int


METRIC_NAMES = tuple(field.name for field in fields(EpisodeMetrics))


def stored(metrics: EpisodeMetrics) -> dict[str, float | int | None]:
    """The figures as an ended episode's row holds them: undefined is NULL, but Sharpe ratio and win rate are 0.0.

    Users filter on those two, and `rsc check` must find them populated; total_steps and total_trades tell why.
    """
    row = {name: _or_none(getattr(metrics, name)) for name in METRIC_NAMES}
    for name in ("sharpe_ratio", "win_rate"):
        row[name] = 0.0 if row[name] is None else row[name]
    return row


def _or_none(value: float) -> float | int | None:
    return value if isinstance(value, int) or math.isfinite(value) else None


_STATE = struct.Struct("<Bqqqq14d")
_STATE_VERSION = 1


class RunningMetrics:
    """The figures of an episode, folded block by block; a journal's `Fold`.

    Means and squared deviations of blocks are merged by the update of Chan, Golub & LeVeque (1983), which keeps a small
    spread around a large mean. Equal blocks give equal bits, whoever folds them. Never raises on odd values: they make
    figures NaN.
    """

    __slots__ = (
        "_downside", "_drawdown", "_exposed", "_fees", "_initial", "_last", "_lost", "_mean", "_peak", "_periods",
        "_reward", "_squares", "_steps", "_trades", "_unrealized", "_wins", "_won",
    )  # fmt: skip

    def __init__(self, initial_portfolio_value: float, periods_per_year: float) -> None:
        self._initial = self._last = self._peak = float(initial_portfolio_value)
        self._periods = float(periods_per_year)
        self._steps = self._trades = self._wins = self._exposed = 0
        self._mean = self._squares = self._downside = self._drawdown = 0.0
        self._reward = self._fees = self._won = self._lost = 0.0
        self._unrealized = NAN

    def fold(self, steps: Mapping[str, NDArray[Any]], trades: Mapping[str, NDArray[Any]]) -> None:
        """Take the next block: at least one step, and the trades that it closed."""
        values = np.ascontiguousarray(steps["portfolio_value"], np.float64)
        with np.errstate(all="ignore"):
            self._fold_values(values, returns(values, self._last))
        self._last = float(values[-1])
        self._reward += float(np.add.reduce(np.ascontiguousarray(steps["reward"])))
        self._fees += float(np.add.reduce(np.ascontiguousarray(steps["fees"])))
        self._exposed += int(np.count_nonzero(steps["position"]))
        self._unrealized = float(steps["unrealized_pnl"][-1])
        if len(trades["pnl"]):
            self._fold_trades(np.ascontiguousarray(trades["pnl"], np.float64))

    def _fold_values(self, values: Floats, r: Floats) -> None:
        peaks = np.maximum.accumulate(values)
        np.maximum(peaks, self._peak, out=peaks)
        self._drawdown = float(np.maximum(self._drawdown, np.max(1.0 - values / peaks)))
        self._peak = float(peaks[-1])
        count, before = len(r), self._steps
        mean, squares = _moments(r)
        total, delta = before + count, mean - self._mean
        self._mean += delta * count / total
        self._squares += squares + delta * delta * before * count / total
        fall = np.minimum(r, 0.0)
        self._downside += float(np.add.reduce(fall * fall))
        self._steps = total

    def _fold_trades(self, pnls: Floats) -> None:
        self._trades += len(pnls)
        self._wins += int(np.count_nonzero(pnls > 0))
        self._won += float(np.add.reduce(np.maximum(pnls, 0.0)))
        self._lost -= float(np.add.reduce(np.minimum(pnls, 0.0)))

    def result(self) -> EpisodeMetrics:
        """The figures up to here."""
        steps, periods = self._steps, self._periods
        growth = annual_return(self._initial, self._last, steps, periods)
        drawdown = self._drawdown
        return EpisodeMetrics(
            initial_portfolio_value=self._initial,
            final_portfolio_value=self._last,
            pnl=self._last - self._initial,
            unrealized_pnl=self._unrealized if steps else 0.0,
            total_return=_ratio(self._last - self._initial, self._initial),
            annual_return=growth,
            sharpe_ratio=_sharpe(steps, self._mean, self._squares, periods),
            sortino_ratio=_sortino(steps, self._mean, self._downside, periods),
            calmar_ratio=_ratio(growth, drawdown),
            volatility=_volatility(steps, self._mean, self._squares, periods),
            max_drawdown=drawdown,
            win_rate=_ratio(self._wins, self._trades),
            profit_factor=_ratio(self._won, self._lost),
            exposure=_ratio(self._exposed, steps),
            total_reward=self._reward,
            total_fees=self._fees,
            total_steps=steps,
            total_trades=self._trades,
        )

    def to_bytes(self) -> bytes:
        """The state that a checkpoint stores: 145 bytes."""
        return _STATE.pack(
            _STATE_VERSION, self._steps, self._trades, self._wins, self._exposed, self._initial, self._periods, self._last,
            self._peak, self._drawdown, self._mean, self._squares, self._downside, self._reward, self._fees, self._won,
            self._lost, self._unrealized, 0.0,
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, state: bytes) -> RunningMetrics:
        """Restore what `to_bytes` gave; raise ValueError for anything else."""
        if len(state) != _STATE.size or state[0] != _STATE_VERSION:
            raise ValueError(f"not a state of running metrics: {len(state)} bytes, expected {_STATE.size} of version 1")
        self = cls.__new__(cls)
        (
            _, self._steps, self._trades, self._wins, self._exposed, self._initial, self._periods, self._last,
            self._peak, self._drawdown, self._mean, self._squares, self._downside, self._reward, self._fees, self._won,
            self._lost, self._unrealized, _,
        ) = _STATE.unpack(state)  # fmt: skip
        return self


def metrics_of(journal: Journal) -> EpisodeMetrics:
    """The figures of a journal's episode, from its last checkpoint and the rows behind it."""
    about = journal.header.about
    running = journal.folded(
        lambda: RunningMetrics(about.initial_portfolio_value, about.periods_per_year), RunningMetrics.from_bytes
    )
    return running.result()


def figures(journal: Journal) -> dict[str, float | int | None]:
    """What `journal` shows of an episode: undefined figures are None. Installed as an entry point."""
    metrics = metrics_of(journal)
    return {name: _or_none(getattr(metrics, name)) for name in METRIC_NAMES}


def _moments(r: Floats) -> tuple[float, float]:
    """Mean, and sum of squared deviations from it."""
    if not len(r):
        return 0.0, 0.0
    mean = float(np.add.reduce(r)) / len(r)
    deviations = r - mean
    return mean, float(np.add.reduce(deviations * deviations))


def _deviation(count: int, mean: float, squares: float) -> float:
    """Standard deviation (ddof 1); NaN for fewer than two values and for a spread that is only rounding noise."""
    if count < 2 or not squares >= 0:
        return NAN
    deviation = math.sqrt(squares / (count - 1))
    return deviation if deviation > NOISE * (1.0 + abs(mean)) else NAN


def _sharpe(count: int, mean: float, squares: float, periods: float) -> float:
    return mean / _deviation(count, mean, squares) * math.sqrt(periods)


def _volatility(count: int, mean: float, squares: float, periods: float) -> float:
    if count < 2 or not squares >= 0:
        return NAN
    return math.sqrt(squares / (count - 1)) * math.sqrt(periods)


def _sortino(count: int, mean: float, downside: float, periods: float) -> float:
    if count < 2 or not downside > 0:
        return NAN
    deviation = math.sqrt(downside / count)
    return mean / deviation * math.sqrt(periods) if deviation > NOISE else NAN


def _ratio(over: float, under: float) -> float:
    return over / under if under and math.isfinite(under) else NAN
