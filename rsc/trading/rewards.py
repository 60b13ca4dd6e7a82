"""Compute the reward of a step; docs/environment.md has the formulas."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from typing import NamedTuple

from rsc.metrics.kernels import NOISE

# The log reward is bounded as if at least this fraction of the equity remained, even in bankruptcy.
LOG_FLOOR = 1e-4
# The largest absolute value of the Sharpe reward.
SHARPE_BOUND = 10.0
# Running moments are recomputed after their spread (sum of squares) fell to this fraction of its largest value.
FALL = 1e-4
_LEAST = 2


class StepOutcome(NamedTuple):
    """Outcome of a step, for a reward function. Amounts are in the account's currency.

    Attributes:
        value_before: Value of the account before the step.
        value: Value of the account after the step.
        position_value: Signed value of the position after the step.
        drawdown: Fall from the highest value so far, as a fraction of it.
        fees: Fees of the step.
        traded: Whether the step traded.
    """

    value_before: float
    value: float
    position_value: float
    drawdown: float
    fees: float
    traded: bool


RewardFunction = Callable[[StepOutcome], float]


class Reward:
    """The rewards of one episode: a kind of reward, minus penalties."""

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
    """Return ln(value / previous value), at least ln(LOG_FLOOR)."""
    return math.log(max(outcome.value / outcome.value_before, LOG_FLOOR))


def simple_return(outcome: StepOutcome) -> float:
    """Return value / previous value - 1."""
    return outcome.value / outcome.value_before - 1.0


class RollingSharpe:
    """Mean / standard deviation (ddof 1) of the last ``window`` simple returns, not annualised.

    It is limited to +-SHARPE_BOUND. It is 0 for fewer than two returns, and for returns whose spread is rounding noise, as
    in the metrics. Running moments make the time of a step independent of the window. They are recomputed after the spread
    has fallen a lot, when rounding errors could matter.
    """

    def __init__(self, window: int) -> None:
        self._returns: deque[float] = deque(maxlen=window)
        self._window = window
        self._mean = self._squares = self._largest = 0.0

    def __call__(self, outcome: StepOutcome) -> float:
        latest, returns = simple_return(outcome), self._returns
        count = len(returns)
        mean = self._mean
        if count < self._window:
            count += 1
            change = latest - mean
            self._mean = moved = mean + change / count
            squares = self._squares + change * (latest - moved)
        else:
            oldest = returns[0]
            change = latest - oldest
            self._mean = moved = mean + change / count
            squares = self._squares + change * ((latest - moved) + (oldest - mean))
        returns.append(latest)
        if squares > self._largest:
            self._largest = squares
        elif squares < self._largest * FALL:
            moved, squares = moments(returns)
            self._mean = moved
            self._largest = squares
        self._squares = squares
        if count < _LEAST:
            return 0.0
        spread = math.sqrt(squares / (count - 1))
        if not spread > NOISE * (1.0 + abs(moved)):
            return 0.0
        ratio = moved / spread
        if -SHARPE_BOUND <= ratio <= SHARPE_BOUND:
            return ratio
        return SHARPE_BOUND if ratio > 0.0 else -SHARPE_BOUND


def moments(returns: Collection[float]) -> tuple[float, float]:
    """Return the mean and the sum of squared deviations. The result does not depend on the order of the returns."""
    mean = math.fsum(returns) / len(returns)
    return mean, math.fsum([(each - mean) ** 2 for each in returns])
