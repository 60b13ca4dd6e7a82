"""Compute an episode's metrics incrementally. A checkpoint of a journal stores the state.

The functions of `rsc.metrics.textbook` use the same kernels, so both forms agree.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rsc.metrics.blocks import NO_MORE_KNOWN, NO_TRADES, NOT_KNOWN, UNKNOWN, Block, Closed
from rsc.metrics.kernels import (
    NAN,
    Columns,
    Floats,
    alpha_of,
    annualised,
    as_array,
    below_peak,
    beta_of,
    calmar,
    closed_units,
    exits_of,
    falls_of,
    finite,
    first_peak,
    growth_of,
    growth_per_year,
    joined,
    largest,
    moments_from,
    opened_value,
    positive,
    quiet,
    ratio,
    reward_to_risk,
    root,
    shape,
    sharpe_error,
)


@dataclass(frozen=True)
class EpisodeMetrics:
    """The figures of an episode, named like the columns of `episodes`.

    A figure is finite, or NaN where it is undefined; a whole number is None instead. `rsc.metrics.whole` has the figures
    that need all steps at once.

    Attributes:
        not_told: The names of the figures that cannot be computed, because the env does not tell their inputs.
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
    sharpe_standard_error: float
    skew: float
    kurtosis: float
    longest_drawdown_steps: int | None
    buy_and_hold_return: float
    excess_return: float
    beta: float
    alpha: float
    information_ratio: float
    turnover: float
    total_costs: float
    liquidation_value: float
    average_trade: float
    best_trade: float
    worst_trade: float
    average_holding_steps: float
    not_told: tuple[str, ...] = ()


class StateError(ValueError):
    """The bytes are not a state of `RunningMetrics`, or are a state of another version."""


_COMPARED = ("beta", "alpha", "information_ratio")
_ANNUALISED = (
    "annual_return", "sharpe_ratio", "sortino_ratio", "calmar_ratio", "volatility", "sharpe_standard_error", "alpha",
    "information_ratio", "turnover",
)  # fmt: skip
_OF_VALUES = (*_ANNUALISED, "max_drawdown", "skew", "kurtosis", "longest_drawdown_steps", "beta")
_OF_LAST_VALUE = ("final_portfolio_value", "pnl", "total_return", "excess_return", "liquidation_value")
_OF_PNL = ("win_rate", "profit_factor", "average_trade", "best_trade", "worst_trade")
_TAG, _VERSION = b"rsm", 2

# The places of the sums in a state: first those of `kernels.moments_of`, then these.
_MOMENTS = 10
_REWARD, _FEES, _WON, _LOST, _TRADED, _COSTS, _HELD = range(_MOMENTS, _MOMENTS + 7)
_SUMS = _MOMENTS + 7
_STATE = struct.Struct(f"<3sBB4q14d{2 * _SUMS}d")
_UNTOLD = np.full(1, NAN)
# The extra columns that a journal may have, by their bit in a state. They replace other columns, or add figures.
_BITS = {"fill_price": 1, "costs": 2, "exit_costs": 4}


class RunningMetrics:
    """Compute the metrics of an episode block by block. Implements the journal's `Fold`.

    `kernels.joined` joins sums of deviations. Each sum carries its rounding error along (Knuth's TwoSum), so a million
    blocks lose no digit.

    Equal blocks give equal bits in every process, in every memory layout and on every CPU, because all sums are numpy's
    pairwise sums. BLAS is not used: it chooses the order of addition by CPU. In `annual_return`, `calmar_ratio` and
    `alpha` the last digit depends on the C library's logarithm. Values that are infinite or NaN make figures NaN and
    never raise.

    Args:
        initial_portfolio_value: Value before the first step.
        periods_per_year: Steps in a year, for annualised figures; None if unknown.
        trades_known: Whether the trades of the episode are known.
        start_price: Price before the first step; None if unknown.
        start_position: Position before the first step.
        extra_columns: The extra columns of the steps. Those that `journal.format.schema` names are used.
    """

    __slots__ = (
        "_below", "_best", "_columns", "_drawdown", "_errors", "_exit_costs", "_exposed", "_first_price", "_initial",
        "_last", "_longest", "_peak", "_periods", "_position", "_price", "_steps", "_sums", "_trades", "_unrealized",
        "_wins", "_worst",
    )  # fmt: skip

    def __init__(
        self,
        initial_portfolio_value: float,
        periods_per_year: float | None,
        *,
        trades_known: bool = True,
        start_price: float | None = None,
        start_position: float = 0.0,
        extra_columns: Sequence[str] = (),
    ) -> None:
        self._initial = self._last = float(initial_portfolio_value)
        self._periods = NAN if periods_per_year is None else float(periods_per_year)
        self._peak = first_peak(self._initial)
        self._drawdown = self._unrealized = 0.0
        self._steps = self._below = self._longest = 0
        self._trades = 0 if trades_known else UNKNOWN
        self._wins = self._exposed = 0.0  # counts, or NaN if they are unknown
        self._first_price = self._price = NAN if start_price is None else float(start_price)
        self._position = start_position
        self._exit_costs = NAN if start_position else 0.0
        self._best, self._worst = -math.inf, math.inf
        self._columns = sum(_BITS.get(name, 0) for name in extra_columns)
        self._sums = [0.0] * _SUMS
        self._errors = [0.0] * _SUMS

    @property
    def levels(self) -> tuple[float, float, float]:
        """Position, value and price after the last step, or before the first."""
        return self._position, self._last, self._price

    @property
    def peak(self) -> float:
        """The highest value so far; NaN where it is undefined."""
        return self._peak

    @quiet
    def fold(self, steps: Columns, trades: Columns) -> None:
        """Take the next block: its steps, and the trades that they closed.

        Args:
            steps: Columns `step`, `portfolio_value`, `price`, `position`, `reward`, `fees`, `unrealized_pnl`, and extra
                columns.
            trades: Columns `pnl`, `quantity`, `direction`, `entry_step`, `exit_step` and `exit_price`. A NaN quantity
                means that the env could not tell its trades: the episode's trades are unknown from there on.
        """
        values = steps["portfolio_value"]
        count = len(values)
        if not count:
            return
        # Most episodes are short, so the columns are rows of one array, and few calls of numpy do the work.
        levels = np.empty((3, count + 1))
        levels[:, 0] = (self._position, self._last, self._price)
        levels[0, 1:], levels[1, 1:], levels[2, 1:] = steps["position"], values, steps["price"]
        before = positive(levels[1:, :-1])
        rows = np.empty((8, count))
        opened, r, b = rows[:3]
        np.subtract(levels[:, 1:], levels[:, :-1], out=rows[:3])
        rows[1:3] /= before
        np.subtract(r, b, out=rows[3])
        rows[4], rows[5], rows[7] = steps["reward"], steps["fees"], levels[0, 1:]
        rows[6] = self._extra(steps, "costs", rows[5])
        sums = np.add.reduce(rows, axis=1)
        moments = moments_from(rows[1:4], sums[1:4])
        _, _, _, _, reward, fees, costs, held = sums.tolist()
        closed = self._closed(steps, trades, opened, before[0])
        value_opened = opened_value(opened, self._extra(steps, "fill_price", levels[2, 1:]), before[0])
        falls, peak = falls_of(levels[1, 1:], self._peak)
        exposed = int(np.count_nonzero(rows[7])) + 0.0 * held
        self.take(
            Block(
                count, moments, reward, fees, costs, exposed, value_opened, peak, largest(falls),
                *below_peak(falls, self._below, self._longest), *levels[:, -1].tolist(),
            ),
            closed,
            steps,
        )  # fmt: skip

    def take(self, block: Block, closed: Closed, steps: Columns) -> None:
        """Take the sums of a block, as `fold` computes them.

        Args:
            block: The sums over the steps.
            closed: The sums over the closed trades.
            steps: The columns of the steps.
        """
        (
            count, moments, reward, fees, costs, exposed, opened, self._peak, fall, self._below, self._longest,
            self._position, self._last, self._price,
        ) = block  # fmt: skip
        if self._steps:
            so_far = tuple(map(float.__add__, self._sums[:_MOMENTS], self._errors[:_MOMENTS]))
            moments = joined(self._steps, so_far, count, moments)
        trades, wins, won, lost, steps_held, value, best, worst = closed
        if trades == UNKNOWN:
            self._trades = UNKNOWN
        else:
            self._trades += trades
        self._wins += wins
        self._best, self._worst = max(self._best, best), min(self._worst, worst)
        self._add((*moments, reward, fees, won, lost, value + opened, costs, steps_held))
        self._drawdown = max(self._drawdown, fall)
        self._exposed += exposed
        self._unrealized = float(steps["unrealized_pnl"][-1])
        self._exit_costs = float(self._extra(steps, "exit_costs", _UNTOLD)[-1]) if self._position else 0.0
        self._steps += count

    def _closed(self, steps: Columns, trades: Columns, opened: Floats, before: Floats) -> Closed:
        """Return the sums over the trades of a block. Adds the units that they closed to ``opened``."""
        count = len(trades["pnl"])
        if self._trades == UNKNOWN:
            return NOT_KNOWN
        if not count:
            return NO_TRADES
        rows = np.empty((5, count))
        pnls, held, closed, won, lost = rows
        pnls[:], held[:], closed[:] = trades["pnl"], trades["entry_step"], trades["quantity"]
        worst, first_entry, quantity = np.minimum.reduce(rows[:3], axis=1).tolist()  # NaN if one is NaN
        if quantity != quantity:
            return NO_MORE_KNOWN
        at = exits_of(steps, trades)
        np.maximum(pnls, 0.0, out=won)
        np.minimum(pnls, 0.0, out=lost)
        np.subtract(trades["exit_step"], held, out=held)
        closed *= trades["exit_price"]
        if at is None:
            closed.fill(NAN)
        else:
            opened += closed_units(at, trades, len(opened))
            closed /= before[at]
        _, steps_held, value, gains, losses = np.add.reduce(rows, axis=1).tolist()
        wins = int(np.count_nonzero(pnls > 0)) + 0.0 * (gains - losses)
        held_known = steps_held if first_entry >= 0 else NAN
        return Closed(count, wins, gains, -losses, held_known, value, float(np.maximum.reduce(pnls)), worst)

    def _extra(self, steps: Columns, name: str, instead: Floats) -> Floats:
        """Return an extra column, or ``instead`` if the journal does not have it."""
        if not self._columns & _BITS[name]:
            return instead
        try:
            return as_array(steps[name])
        except KeyError:  # the state belongs to another journal
            return np.full(len(instead), NAN)

    def _add(self, parts: tuple[float, ...]) -> None:
        """Add to the sums, and keep the exact error of each addition (Knuth's TwoSum). An infinite part gives NaN."""
        sums, errors = self._sums, self._errors
        for i, part in enumerate(parts):
            before = sums[i]
            total = sums[i] = before + part
            added = total - before
            errors[i] += (before - (total - added)) + (part - added)

    def result(self) -> EpisodeMetrics:
        """Return the metrics of the steps so far."""
        steps, periods, initial, last = self._steps, self._periods, self._initial, self._last
        totals = tuple(map(float.__add__, self._sums, self._errors))
        moments, (reward, fees, won, lost, traded, costs, held) = totals[:_MOMENTS], totals[_MOMENTS:]
        earned, _, ahead, squares, _, ahead_squares, _, _, _, downside = moments
        growth, gain = growth_per_year(initial, last, steps, periods), growth_of(initial, last)
        drawdown = finite(self._drawdown) if math.isfinite(self._peak) else NAN
        held_market = finite(ratio(self._price, self._first_price) - 1.0) if steps and self._first_price > 0 else NAN
        (skew, kurtosis), beta, spread = shape(steps, moments), beta_of(steps, moments), root(squares, steps - 1)
        trades = 0 if self._trades == UNKNOWN else self._trades
        told = bool(trades) and not math.isnan(self._wins)
        return EpisodeMetrics(
            initial_portfolio_value=finite(initial),
            final_portfolio_value=finite(last),
            pnl=finite(last - initial),
            unrealized_pnl=finite(self._unrealized),
            total_return=gain,
            annual_return=growth,
            sharpe_ratio=reward_to_risk(steps, earned, spread, periods),
            sortino_ratio=reward_to_risk(steps, earned, root(downside, steps), periods),
            calmar_ratio=calmar(growth, drawdown),
            volatility=annualised(spread, periods),
            max_drawdown=drawdown,
            win_rate=ratio(self._wins, trades),
            profit_factor=ratio(won, lost) if trades else NAN,
            time_in_market=ratio(self._exposed, steps),
            total_reward=finite(reward),
            total_fees=finite(fees),
            total_steps=steps,
            total_trades=None if self._trades == UNKNOWN else trades,
            sharpe_standard_error=sharpe_error(steps, moments, periods, skew, kurtosis),
            skew=skew,
            kurtosis=kurtosis,
            longest_drawdown_steps=self._longest if math.isfinite(self._peak) else None,
            buy_and_hold_return=held_market,
            excess_return=gain - held_market,
            beta=beta,
            alpha=alpha_of(steps, moments, periods, beta),
            information_ratio=reward_to_risk(steps, ahead, root(ahead_squares, steps - 1), periods),
            turnover=finite(traded * ratio(periods, steps)) if periods > 0 else NAN,
            total_costs=finite(costs),
            liquidation_value=finite(last - self._exit_costs),
            average_trade=ratio(won - lost, trades),
            best_trade=finite(self._best) if told else NAN,
            worst_trade=finite(self._worst) if told else NAN,
            average_holding_steps=ratio(held, trades),
            not_told=tuple(dict.fromkeys(self._not_told(totals))),
        )

    def _not_told(self, totals: tuple[float, ...]) -> Iterator[str]:
        """Yield the figures that lack an input, because the header or the rows leave it unknown."""
        if self._initial > 0 and math.isnan(self._peak):
            yield from _OF_VALUES
            if math.isnan(self._last):
                yield from _OF_LAST_VALUE
        elif math.isnan(self._periods):
            yield from _ANNUALISED
        if math.isnan(self._first_price) or math.isnan(self._price):
            yield from ("buy_and_hold_return", "excess_return")
        if math.isnan(self._first_price) or (self._steps and math.isnan(totals[1])):
            yield from _COMPARED
        if self._trades == UNKNOWN:
            yield from (*_OF_PNL, "total_trades", "average_holding_steps", "turnover")
        elif math.isnan(self._wins):
            yield from _OF_PNL
        of_sums = {
            "unrealized_pnl": self._unrealized, "time_in_market": self._exposed, "total_reward": totals[_REWARD],
            "total_fees": totals[_FEES], "total_costs": totals[_COSTS], "turnover": totals[_TRADED],
            "average_holding_steps": totals[_HELD], "liquidation_value": self._exit_costs,
        }  # fmt: skip
        yield from (name for name, total in of_sums.items() if math.isnan(total))

    def to_bytes(self) -> bytes:
        """Return the state that a checkpoint stores. Its size is constant."""
        return _STATE.pack(
            _TAG, _VERSION, self._columns, self._steps, self._trades, self._below, self._longest, self._wins,
            self._exposed, self._initial, self._periods, self._last, self._peak, self._drawdown, self._unrealized,
            self._first_price, self._price, self._position, self._exit_costs, self._best, self._worst, *self._sums,
            *self._errors,
        )  # fmt: skip

    @classmethod
    def from_bytes(cls, state: bytes) -> RunningMetrics:
        """Restore a state of `to_bytes` exactly. Raises StateError for any other bytes."""
        if len(state) < 4 or state[:3] != _TAG:
            raise StateError(f"not a state of running metrics: {len(state)} bytes that start with {bytes(state[:4])!r}")
        if state[3] != _VERSION:
            raise StateError(f"running metrics of version {state[3]}, this program knows {_VERSION}; upgrade it")
        if len(state) != _STATE.size:
            raise StateError(f"not a state of running metrics: {len(state)} bytes instead of {_STATE.size}")
        self = cls.__new__(cls)
        (
            _, _, self._columns, self._steps, self._trades, self._below, self._longest, self._wins, self._exposed,
            self._initial, self._periods, self._last, self._peak, self._drawdown, self._unrealized, self._first_price,
            self._price, self._position, self._exit_costs, self._best, self._worst, *sums,
        ) = _STATE.unpack(state)  # fmt: skip
        self._sums, self._errors = sums[:_SUMS], sums[_SUMS:]
        most = 0 if self._trades == UNKNOWN else self._trades
        rows = 0 <= self._below <= self._longest <= self._steps
        if not rows or most < 0 or self._wins > most or self._exposed > self._steps:
            raise StateError("not a state of running metrics: its counts contradict each other")
        return self
