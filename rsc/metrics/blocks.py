"""The sums over a block of steps, and over the trades that they closed, which `RunningMetrics` adds to its state."""

from __future__ import annotations

import math
from typing import NamedTuple

from rsc.metrics.kernels import NAN, Moments

UNKNOWN = -1  # stands for an unknown number of trades


class Block(NamedTuple):
    """The sums and last values of a block of steps.

    Attributes:
        steps: Number of steps.
        moments: See `rsc.metrics.kernels.Moments`.
        reward: Sum of rewards.
        fees: Sum of fees.
        costs: Sum of costs.
        exposed: Number of steps that ended with an open position; NaN if a position is not finite.
        opened: Sum of the values that were opened, each as a fraction of the account's value before the step.
        peak: The peak so far.
        fall: The largest fall from a peak, as a fraction of that peak.
        below: How many values in a row are below the peak at the end.
        longest: The largest number of values in a row below the peak so far.
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
    """The sums over the trades that a block closed.

    Attributes:
        trades: Number of trades; `UNKNOWN` if they are unknown.
        wins: Number of trades with a profit.
        won: Sum of the profits.
        lost: Sum of the losses, as a positive number.
        steps_held: Sum of the steps that the trades were open.
        value: Sum of the values that they closed, each as a fraction of the account's value before the step.
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
