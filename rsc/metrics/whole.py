"""Compute the figures that no state of constant size can give: those that need every step of the episode."""

from __future__ import annotations

import numpy as np

from rsc.metrics.kernels import NAN, Columns, Floats, as_array, closed_units, exits_of, quiet, returns_of
from rsc.metrics.running import EpisodeMetrics
from rsc.metrics.textbook import lowest_of

WHOLE_NAMES = ("value_at_risk", "expected_shortfall", "win_rate_marked")
_ROUNDING = 1e-9  # of the position: a smaller opening is what rounding leaves, and no lot


class EveryStep:
    """Gather what the figures of `WHOLE_NAMES` need, block by block: the values, and the lots that are open.

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
        """Keep the lots that are open now. First in, first out: they are the last that were opened on their side."""
        before = np.empty_like(positions)
        before[0], before[1:] = self._position, positions[:-1]
        opened = positions - before
        at = exits_of(steps, trades)
        opened = np.full(len(opened), NAN) if at is None else opened + closed_units(at, trades, len(opened))
        side, held = np.sign(positions[-1]), abs(float(positions[-1]))
        lots = opened * side > _ROUNDING * (np.abs(positions) + np.abs(before))
        fills = as_array(steps["fill_price"]) if "fill_price" in steps else prices
        kept = self._units * side > 0.0
        units = np.concatenate((self._units[kept], opened[lots]))
        entries = np.concatenate((self._entries[kept], fills[lots]))
        sizes = np.cumsum((units * side)[::-1])
        count = int(np.searchsorted(sizes, held * (1.0 - _ROUNDING))) + 1
        if np.isnan(opened).any() or count > len(units):  # the trades that the env tells do not fit its position
            self._units = self._entries = np.full(1, NAN)
            return
        self._units, self._entries = units[-count:].copy(), entries[-count:]
        self._units[0] -= side * (sizes[count - 1] - held)

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
        """Return the fraction of winners if the open lots were closed at the last price."""
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
    """Return those of `WHOLE_NAMES` that the env leaves without a source, by what it leaves of the other figures."""
    names = ("value_at_risk", "expected_shortfall") if "max_drawdown" in metrics.not_told else ()
    sources = {"total_trades", "win_rate", "time_in_market", "total_costs", "liquidation_value"}
    return (*names, *(("win_rate_marked",) if sources.intersection(metrics.not_told) else ()))
