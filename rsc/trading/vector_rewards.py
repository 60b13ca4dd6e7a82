"""Compute the rewards of rsc.trading.rewards for many accounts at once, with the same bits."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.metrics.kernels import NOISE
from rsc.trading.config import TradingConfig
from rsc.trading.rewards import FALL, LOG_FLOOR, SHARPE_BOUND, RewardFunction, StepOutcome, moments
from rsc.trading.vector_accounts import Accounts, Flags, Floats, Integers

_LEAST = 2
# Up to this many logarithms, single calls are faster than one call of Arrow.
FEW = 100


class Rewards:
    """The rewards of n accounts: a kind of reward, minus penalties."""

    def __init__(self, config: TradingConfig, n: int) -> None:
        self._trade_penalty, self._drawdown_penalty = config.trade_penalty, config.drawdown_penalty
        self._plain = not config.trade_penalty and not config.drawdown_penalty
        self._kind = config.reward
        self._sharpe = _RollingSharpes(config.sharpe_window, n)

    def reset(self, lanes: Integers) -> None:
        if self._kind == "sharpe":
            self._sharpe.reset(lanes)

    def __call__(
        self, before: Floats, value: Floats, drawdown: Floats, accounts: Accounts, idle: Flags | None
    ) -> Floats:
        rewards = self._earned(before, value, drawdown, accounts, idle)
        if self._plain:
            return rewards
        rewards = rewards - self._trade_penalty * accounts.traded
        return rewards - self._drawdown_penalty * drawdown

    def _earned(
        self, before: Floats, value: Floats, drawdown: Floats, accounts: Accounts, idle: Flags | None
    ) -> Floats:
        if callable(self._kind):
            return _each(self._kind, before, value, drawdown, accounts, idle)
        ratio = value / before
        if self._kind == "log":
            return logarithms(np.maximum(ratio, LOG_FLOOR, out=ratio))
        ratio -= 1.0
        return ratio if self._kind == "simple" else self._sharpe(ratio, idle)


def _each(
    function: RewardFunction, before: Floats, value: Floats, drawdown: Floats, accounts: Accounts, idle: Flags | None
) -> Floats:
    """Call the user's function for each account, except for accounts that were just reset."""
    columns = (before, value, accounts.worth, drawdown, accounts.fees, accounts.traded)
    outcomes = map(StepOutcome._make, zip(*(column.tolist() for column in columns), strict=True))
    idles = [False] * len(value) if idle is None else idle.tolist()
    return np.array([0.0 if skip else function(outcome) for outcome, skip in zip(outcomes, idles, strict=True)])


class _RollingSharpes:
    """`rsc.trading.rewards.RollingSharpe` for each account."""

    def __init__(self, window: int, n: int) -> None:
        self._window = window
        self._returns = np.zeros((n, window))
        self._steps = np.zeros(n, np.int64)
        self._mean, self._squares, self._largest = np.zeros(n), np.zeros(n), np.zeros(n)
        self._lanes = np.arange(n)

    def reset(self, lanes: Integers) -> None:
        self._returns[lanes] = 0.0
        self._steps[lanes] = 0
        self._mean[lanes] = self._squares[lanes] = self._largest[lanes] = 0.0

    def __call__(self, latest: Floats, idle: Flags | None) -> Floats:
        slots = self._steps % self._window
        oldest = self._returns[self._lanes, slots]
        self._returns[self._lanes, slots] = latest
        full = self._steps >= self._window
        self._steps += 1
        count = np.minimum(self._steps, self._window)
        mean = self._mean
        change = latest - np.where(full, oldest, mean)
        moved = mean + change / count
        rest = latest - moved
        rest += np.where(full, oldest - mean, 0.0)
        rest *= change
        squares = self._squares + rest
        fallen = (squares < self._largest * FALL).nonzero()[0]
        for lane in fallen.tolist():
            moved[lane], squares[lane] = moments(self._returns[lane, : count[lane]].tolist())
        np.maximum(self._largest, squares, out=self._largest)
        self._largest[fallen] = squares[fallen]
        self._mean, self._squares = moved, squares
        spread = np.sqrt(squares / np.maximum(count - 1, 1))
        bound = np.abs(moved)
        bound += 1.0
        bound *= NOISE
        defined = spread > bound
        defined &= count >= _LEAST
        ratio: Floats = np.divide(moved, spread, out=np.zeros(len(moved)), where=defined)
        if idle is not None:  # this step only reset these
            self.reset(idle.nonzero()[0])
        np.maximum(ratio, -SHARPE_BOUND, out=ratio)
        np.minimum(ratio, SHARPE_BOUND, out=ratio)
        return ratio


def logarithms(values: Floats) -> Floats:
    """Return `math.log` of each value in a new array."""
    return _one_by_one(values) if len(values) < FEW else _same_as_math_log()(values)


@functools.cache
def _same_as_math_log() -> Callable[[Floats], Floats]:
    """Return the fastest function with the bits of `math.log`. On some processors numpy has its own logarithm."""
    sample = np.exp(np.random.default_rng(0).normal(0.0, 0.05, 20_000))
    expected = _one_by_one(sample)
    for candidate in (_by_numpy, _by_arrow):
        if np.array_equal(candidate(sample), expected):
            return candidate
    return _one_by_one


def _by_numpy(values: Floats) -> Floats:
    return np.log(values)


def _by_arrow(values: Floats) -> Floats:
    return np.array(pc.ln(pa.array(values)).to_numpy())


def _one_by_one(values: Floats) -> Floats:
    return np.fromiter(map(math.log, values.tolist()), np.float64, len(values))
