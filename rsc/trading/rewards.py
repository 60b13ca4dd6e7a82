"""Compute the reward of a step; docs/environment.md has the formulas."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

# The log reward of a step that leaves less than this fraction of the equity, bankruptcy included.
LOG_FLOOR = 1e-4
# A smaller variance of returns is rounding noise of its sums.
NO_SPREAD = 1e-14


class StepOutcome(NamedTuple):
    """Outcome of a step for a reward function: amounts in the account's currency, drawdown as a fraction."""

    value_before: float
    value: float
    position_value: float
    drawdown: float
    fees: float
    traded: bool


RewardFunction = Callable[[StepOutcome], float]


class Reward:
    """Reward of one episode's steps: a kind, less penalties."""

    def __init__(
        self, kind: str | RewardFunction, sharpe_window: int, trade_penalty: float, drawdown_penalty: float
    ) -> None:
        self._earned = _function_of(kind, sharpe_window)
        self._trade_penalty = trade_penalty
        self._drawdown_penalty = drawdown_penalty

    def __call__(self, outcome: StepOutcome) -> float:
        reward = self._earned(outcome)
        if outcome.traded:
            reward -= self._trade_penalty
        return reward - self._drawdown_penalty * outcome.drawdown


def _function_of(kind: str | RewardFunction, sharpe_window: int) -> RewardFunction:
    if kind == "log":
        return log_return
    if kind == "simple":
        return simple_return
    if kind == "sharpe":
        return RollingSharpe(sharpe_window)
    assert callable(kind), "Invariant: TradingConfig has checked the kind"
    return kind


def log_return(outcome: StepOutcome) -> float:
    """ln(value / value before), not below ln(LOG_FLOOR)."""
    return math.log(max(outcome.value / outcome.value_before, LOG_FLOOR))


def simple_return(outcome: StepOutcome) -> float:
    """value / value before - 1."""
    return outcome.value / outcome.value_before - 1.0


class RollingSharpe:
    """Mean / standard deviation (ddof 1) of the last ``window`` simple returns, not annualised; 0 while undefined.

    Running sums make the cost of a step independent of the window.
    """

    def __init__(self, window: int) -> None:
        self._returns: deque[float] = deque([0.0] * window, maxlen=window)
        self._window = window
        self._count = 0
        self._sum = 0.0
        self._squares = 0.0

    def __call__(self, outcome: StepOutcome) -> float:
        latest, oldest = simple_return(outcome), self._returns[0]
        self._returns.append(latest)
        self._sum += latest - oldest
        self._squares += latest * latest - oldest * oldest
        count = self._count = min(self._count + 1, self._window)
        if count < 2:
            return 0.0
        mean = self._sum / count
        variance = (self._squares - mean * self._sum) / (count - 1)
        return mean / math.sqrt(variance) if variance > NO_SPREAD else 0.0
