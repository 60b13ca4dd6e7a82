"""Compute the figures that need every step of an episode, so that no state of constant size can hold them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rsc.metrics.kernels import NAN, Columns, Floats, as_array, closed_units, exits_of, quiet, returns_of
from rsc.metrics.running import EpisodeMetrics
from rsc.metrics.textbook import lowest_of

WHOLE_NAMES = ("value_at_risk", "expected_shortfall", "win_rate_marked")
NO_LOTS = (np.full(1, NAN), np.full(1, NAN))
"""Units and entry prices if the lots are unknown."""
_ROUNDING = 1e-9  # fraction of the position; an opening smaller than that is a rounding error, not a lot


class EveryStep:
    """Collect the inputs of the figures of `WHOLE_NAMES` block by block: the account's values and the open lots.

    Args:
        position: Position before the first step.
        price: Price before the first step, None if it is unknown.
    """

    def __init__(self, position: float, price: float | None) -> None:
        self.steps = 0
        self._values: list[Floats] = []
        self._position = position
        self._price = NAN if price is None else price
        self._units, self._entries = (
            np.array([position] if position else []),
            np.array([price or NAN])[: bool(position)],
        )

    @quiet
    def take(self, steps: Columns, trades: Columns) -> None:
        """Take the next block."""
        self._values.append(as_array(steps["portfolio_value"]))
        self.steps += len(self._values[-1])
        positions, prices = as_array(steps["position"]), as_array(steps["price"])
        held = float(positions[-1])
        if held == 0.0:
            self._units = self._entries = np.empty(0)
        elif not (self._position == held and len(trades["quantity"]) == 0 and np.all(positions == held)):
            self._open(steps, trades, positions, prices)
        self._position, self._price = held, float(prices[-1])

    def _open(self, steps: Columns, trades: Columns, positions: Floats, prices: Floats) -> None:
        """Keep the lots that are open now. With first in, first out, they are the last ones opened on their side."""
        before = np.empty_like(positions)
        before[0], before[1:] = self._position, positions[:-1]
        opened = positions - before
        at = exits_of(steps, trades)
        opened = np.full(len(opened), NAN) if at is None else opened + closed_units(at, trades, len(opened))
        lots = are_lots(opened, positions, before, np.sign(positions[-1]))
        fills = as_array(steps["fill_price"]) if "fill_price" in steps else prices
        kept = self._units * np.sign(positions[-1]) > 0.0
        units = np.concatenate((self._units[kept], opened[lots]))
        entries = np.concatenate((self._entries[kept], fills[lots]))
        self._units, self._entries = (
            NO_LOTS if np.isnan(opened).any() else held_lots(units, entries, float(positions[-1]))
        )

    @quiet
    def figures(self, initial_value: float, metrics: EpisodeMetrics, trades: Columns) -> dict[str, float]:
        """Return the figures of `WHOLE_NAMES`; NaN where undefined or unknown.

        Args:
            initial_value: Value before the first step.
            metrics: The other figures of the same steps.
            trades: All closed trades.
        """
        values = self._values[0] if len(self._values) == 1 else np.concatenate(self._values or [np.empty(0)])
        quantile, worst = lowest_of(returns_of(values, initial_value))
        return {
            "value_at_risk": -quantile,
            "expected_shortfall": -worst,
            "win_rate_marked": self._marked(metrics, as_array(trades["pnl"]), as_array(trades["costs"])),
        }

    def _marked(self, metrics: EpisodeMetrics, pnls: Floats, costs: Floats) -> float:
        """Return the fraction of trades with a profit if the open lots were closed at the last price."""
        count = len(pnls) + len(self._units)
        if metrics.total_trades is None or self._position != self._position or not count or np.isnan(pnls).any():
            return NAN
        gains = np.empty(0)
        if len(self._units):
            sizes = np.abs(self._units)
            borne = metrics.total_costs - float(np.add.reduce(costs))
            left = metrics.final_portfolio_value - metrics.liquidation_value
            value = sizes * self._entries
            gains = self._units * (self._price - self._entries)
            gains -= borne * value / np.add.reduce(value) + left * sizes / np.add.reduce(sizes)
        if np.isnan(gains).any():
            return NAN
        return float(np.count_nonzero(pnls > 0) + np.count_nonzero(gains > 0)) / count


def are_lots(opened: Floats, positions: Floats, before: Floats, side: Floats) -> NDArray[np.bool_]:
    """Return which steps opened a lot on a side, 1 or -1. Openings that are only rounding errors do not count."""
    lots: NDArray[np.bool_] = opened * side > _ROUNDING * (np.abs(positions) + np.abs(before))
    return lots


def held_lots(units: Floats, entries: Floats, position: float) -> tuple[Floats, Floats]:
    """Return the last lots that add up to a position, as first in, first out leaves them.

    Args:
        units: Signed units of each opened lot, on the side of the position.
        entries: Entry price of each lot.
        position: The position.
    """
    held, size = abs(position), 0.0
    least = held * (1.0 - _ROUNDING)
    for first in range(len(units) - 1, -1, -1):
        size += abs(float(units[first]))
        if size >= least:
            units = units[first:].copy()
            units[0] -= math.copysign(1.0, position) * (size - held)
            return units, entries[first:]
    return NO_LOTS  # the env's trades do not fit its position


def whole_columns(extra: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns of steps that `EveryStep` reads."""
    return (
        "step",
        "market_time",
        "portfolio_value",
        "price",
        "position",
        *(("fill_price",) if "fill_price" in extra else ()),
    )


def not_told_of(metrics: EpisodeMetrics) -> tuple[str, ...]:
    """Return the figures of `WHOLE_NAMES` that lack an input, derived from the other figures that lack one."""
    names = ("value_at_risk", "expected_shortfall") if "max_drawdown" in metrics.not_told else ()
    sources = {"total_trades", "win_rate", "time_in_market", "total_costs", "liquidation_value"}
    return (*names, *(("win_rate_marked",) if sources.intersection(metrics.not_told) else ()))
