"""What `RunningMetrics` takes of a block of steps and of the trades that they closed."""

from __future__ import annotations

import math
from typing import NamedTuple

from rsc.metrics.kernels import NAN, Moments

UNKNOWN = -1  # as the number of trades


class Block(NamedTuple):
    """What `RunningMetrics` takes of the steps of a block.

    Attributes:
        steps: Number of steps.
        moments: See `rsc.metrics.kernels.Moments`.
        reward: Sum of rewards.
        fees: Sum of fees.
        costs: Sum of costs.
        exposed: Number of open positions.
        opened: Sum of the values that were opened, each over the account's value before the step.
        peak: The peak so far.
        fall: The largest fall.
        below: How many values in a row are below the peak at the end.
        longest: The longest such row so far.
        position: The last position.
        value: The last value of the account.
        price: The last price.
    """

    steps: int
    moments: Moments
    reward: float
    fees: float
    costs: float
    exposed: float
    opened: float
    peak: float
    fall: float
    below: int
    longest: int
    position: float
    value: float
    price: float


class Closed(NamedTuple):
    """What `RunningMetrics` takes of the trades that a block closed.

    Attributes:
        trades: Number of trades; `UNKNOWN` if they are unknown.
        wins: How many of them won.
        won: Their gains.
        lost: Their losses, positive.
        steps_held: Sum of the steps that they were open.
        value: Sum of the values that they closed, each over the account's value before the step.
        best: The highest pnl.
        worst: The lowest pnl.
    """

    trades: int
    wins: float
    won: float
    lost: float
    steps_held: float
    value: float
    best: float
    worst: float


NO_TRADES = Closed(0, 0.0, 0.0, 0.0, 0.0, 0.0, -math.inf, math.inf)
NOT_KNOWN = Closed(UNKNOWN, 0.0, 0.0, 0.0, 0.0, NAN, -math.inf, math.inf)
NO_MORE_KNOWN = Closed(UNKNOWN, NAN, NAN, NAN, NAN, NAN, -math.inf, math.inf)
