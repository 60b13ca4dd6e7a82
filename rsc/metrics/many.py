"""Compute the metrics of many episodes at once. The results have the same bits as `RunningMetrics` and `EveryStep`.

Most episodes are short, so the overhead of numpy's calls would dominate. Here one call works on the steps of many
episodes, which lie one after another in an array. A slot before each episode holds its state before the first step. In
arrays that are summed the slot is zero: `reduceat` begins with the slot, as `reduce` begins with its own zero. So both add
in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rsc.metrics.blocks import NO_TRADES, Block, Closed
from rsc.metrics.kernels import NAN, NOISE, Columns, Floats, positive, powers_of, quiet
from rsc.metrics.running import EpisodeMetrics, RunningMetrics
from rsc.metrics.whole import NO_LOTS, WHOLE_NAMES, are_lots, held_lots

Indices = NDArray[np.intp]
_NONE = np.empty(0)


class Episode(NamedTuple):
    """A whole episode: running metrics without a step, all steps, and all trades."""

    start: RunningMetrics
    steps: Columns
    trades: Columns


Figures = tuple[EpisodeMetrics, dict[str, float]]
"""All figures of an episode: those of `RunningMetrics.result`, and those of `rsc.metrics.whole`."""


class _Slots:
    """The places of each episode's rows, in arrays with a slot before each episode.

    Attributes:
        counts: Number of rows of each episode.
        starts: The slot before each episode.
        last: The last row of each episode, or its slot if it has no rows.
        total: Number of rows and slots.
    """

    def __init__(self, counts: Sequence[int] | Indices) -> None:
        self.counts = np.array(counts, np.intp)
        self.last = np.cumsum(self.counts + 1) - 1
        self.starts = self.last - self.counts
        self.total = int(self.last[-1]) + 1
        rows = np.ones(self.total, bool)
        rows[self.starts] = False
        self._rows = np.flatnonzero(rows)

    def filled(self, parts: Sequence[NDArray[Any]], start: Any = 0.0) -> Floats:
        """Return the rows of all episodes as one array, with ``start`` in the slots."""
        array = np.empty(self.total)
        array[self._rows] = np.concatenate(parts)
        array[self.starts] = start
        return array

    def each(self, values: NDArray[Any]) -> NDArray[Any]:
        """Repeat a value of each episode for its slot and rows."""
        return np.repeat(values, self.counts + 1, axis=-1)


@quiet
def figures_of_many(episodes: Sequence[Episode]) -> list[Figures | None]:
    """Return the figures of each episode; None where `RunningMetrics` and `EveryStep` must compute them.

    They must if a trade is unknown, or does not fit the steps.

    Args:
        episodes: At least one. All have the same extra columns and at least one step. The first step is 1, and no step
            is missing. The position before the first step is 0, and the header does not say that trades are unknown.
    """
    many = _Many(episodes)
    trades, blocks = many.trades(), many.blocks()
    for episode, block, own in zip(episodes, blocks, trades, strict=True):
        episode.start.take(block, own.closed, episode.steps)
    metrics = [episode.start.result() for episode in episodes]
    whole = zip(*many.lowest(), many.marked(metrics, trades), strict=True)
    named = (dict(zip(WHOLE_NAMES, each, strict=True)) for each in whole)
    return [each if own.fit else None for each, own in zip(zip(metrics, named, strict=True), trades, strict=True)]


class _Trades(NamedTuple):
    """An episode's trades.

    Attributes:
        closed: Their sums, for the running metrics.
        wins: Number of trades with a profit; NaN if a pnl is unknown.
        costs: Their costs.
        fit: Whether all trades are known and fit the steps.
    """

    closed: Closed
    wins: float
    costs: float
    fit: bool


class _Many:
    """The steps and trades of many episodes."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        self._starts = [episode.start for episode in episodes]
        self._steps = [episode.steps for episode in episodes]
        self._trades = [episode.trades for episode in episodes]
        self._slots = slots = _Slots([len(steps["portfolio_value"]) for steps in self._steps])
        before = zip(*(start.levels for start in self._starts), strict=True)
        names = ("position", "portfolio_value", "price")
        self._levels = np.stack(
            [slots.filled(self._all(name), start) for name, start in zip(names, before, strict=True)]
        )
        # The levels before each row. The level before a slot belongs to another episode and is not used.
        self._before = np.empty_like(self._levels)
        self._before[:, 0] = NAN
        self._before[:, 1:] = self._levels[:, :-1]
        self._before[1:] = positive(self._before[1:])
        self._rows = rows = np.empty((8, slots.total))
        np.subtract(self._levels[:, 1:], self._levels[:, :-1], out=rows[:3, 1:])
        rows[1:3] /= self._before[1:]
        rows[:3, slots.starts] = 0.0
        np.subtract(rows[1], rows[2], out=rows[3])
        rows[4], rows[5], rows[7] = slots.filled(self._all("reward")), slots.filled(self._all("fees")), self._levels[0]
        rows[6] = slots.filled(self._all("costs")) if "costs" in self._steps[0] else rows[5]
        rows[7, slots.starts] = 0.0
        self._sums = np.add.reduceat(rows, slots.starts, axis=1)
        self._returns = rows[1].copy()
        self._opened = rows[0]
        self._fills = slots.filled(self._all("fill_price")) if "fill_price" in self._steps[0] else self._levels[2]

    def _all(self, name: str) -> list[NDArray[Any]]:
        return [steps[name] for steps in self._steps]

    def lowest(self) -> tuple[list[float], list[float]]:
        """Return value at risk and expected shortfall of each episode, minus `textbook.lowest_of`. Sorts the returns."""
        slots, returns = self._slots, self._returns
        first = slots.starts + 1
        for start, end in zip(first.tolist(), (slots.last + 1).tolist(), strict=True):
            returns[start:end].sort()
        counts = (slots.counts - 1) // 20 + 1
        at, above = returns[first + counts - 1], returns[first + np.minimum(counts, slots.counts - 1)]
        quantile = at + (above - at) * ((slots.counts - 1) % 20 / 20)
        own = _Slots(counts)
        lowest = np.arange(own.total - len(counts)) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        worst = np.add.reduceat(own.filled([returns[lowest]]), own.starts) / counts
        unknown = ~np.isfinite(self._sums[1])
        quantile[unknown] = worst[unknown] = NAN
        return (-quantile).tolist(), (-worst).tolist()

    def blocks(self) -> list[Block]:
        """Return the sums of each episode's steps, for the running metrics. Overwrites the rows."""
        starts, counts, rows = self._slots.starts, self._slots.counts, self._rows
        sums = self._sums
        parts = powers_of(rows[1:4], self._slots.each(sums[1:4] / counts))
        parts[:, starts] = 0.0
        moments = np.concatenate((sums[1:4], np.add.reduceat(parts, starts, axis=1))).T.tolist()
        exposed = np.add.reduceat(rows[7] != 0.0, starts, dtype=np.int64) + 0.0 * sums[7]
        peaks, falls = self._falls()
        ends = self._levels[:, self._slots.last].tolist()
        columns = (
            counts.tolist(), map(tuple, moments), *sums[4:7].tolist(), exposed.tolist(), self._value_opened(),
            peaks[self._slots.last].tolist(), np.maximum.reduceat(falls, starts).tolist(), *self._below_peak(falls), *ends,
        )  # fmt: skip
        return list(map(Block, *columns))

    def _value_opened(self) -> list[float]:
        """Return `kernels.opened_value` of each episode."""
        opening = self._opened != 0.0
        opening[self._slots.starts] = True
        at = np.flatnonzero(opening)
        values = np.abs(self._opened[at]) * self._fills[at] / self._before[1, at]
        starts = np.searchsorted(at, self._slots.starts)
        values[starts] = 0.0
        sums: list[float] = np.add.reduceat(values, starts).tolist()
        return sums

    def _falls(self) -> tuple[Floats, Floats]:
        """Return the running peaks, and the fall of each value from its peak; 0 in the slots."""
        peaks = self._levels[1].copy()
        peaks[self._slots.starts] = [start.peak for start in self._starts]
        for start, last in zip(self._slots.starts.tolist(), self._slots.last.tolist(), strict=True):
            own = peaks[start : last + 1]
            np.maximum.accumulate(own, out=own)
        falls = peaks - self._levels[1]
        falls /= peaks
        falls[self._slots.starts] = 0.0
        return peaks, falls

    def _below_peak(self, falls: Floats) -> tuple[list[int], list[int]]:
        """Return `kernels.below_peak` of each episode."""
        tops = np.flatnonzero(falls <= NOISE)  # includes each slot
        rows_below = np.diff(tops, append=self._slots.total) - 1
        first = np.searchsorted(tops, self._slots.starts)
        last = np.append(first[1:], len(tops)) - 1
        return rows_below[last].tolist(), np.maximum.reduceat(rows_below, first).tolist()

    def _held_lots(self) -> tuple[list[Floats], list[Floats]]:
        """Return the units and entry prices of the lots that are open at the end of each episode."""
        slots, opened = self._slots, self._opened
        positions = self._levels[0, slots.last]
        lots = are_lots(opened, self._levels[0], self._before[0], slots.each(np.sign(positions)))
        lots[slots.starts] = False
        at = np.flatnonzero(lots)
        units, entries = opened[at], self._fills[at]
        first = np.searchsorted(at, slots.starts).tolist()
        odd = np.logical_or.reduceat(np.isnan(opened), slots.starts).tolist()
        found = []
        for position, start, end, unknown in zip(positions.tolist(), first, [*first[1:], len(at)], odd, strict=True):
            if position == 0.0:
                found.append((_NONE, _NONE))
            else:
                found.append(NO_LOTS if unknown else held_lots(units[start:end], entries[start:end], position))
        units_held, entries_held = zip(*found, strict=True)
        return list(units_held), list(entries_held)

    def marked(self, metrics: Sequence[EpisodeMetrics], trades: Sequence[_Trades]) -> list[float]:
        """Return the fraction of winners of each episode if its open lots were closed at the last price.

        `EveryStep._marked` computes the same for one episode.
        """
        all_units, all_entries = self._held_lots()
        own = _Slots([len(units) for units in all_units])
        units, entries = own.filled(all_units), own.filled(all_entries)
        positions, _, prices = self._levels[:, self._slots.last]
        closed, wins, costs = np.array([(each.closed.trades, each.wins, each.costs) for each in trades], np.float64).T
        borne, left = np.array(
            [(one.total_costs, one.final_portfolio_value - one.liquidation_value) for one in metrics]
        ).T
        borne = borne - costs
        sizes = np.abs(units)
        value = sizes * entries
        gains = units * (own.each(prices) - entries)
        of_value, of_size = (own.each(np.add.reduceat(each, own.starts)) for each in (value, sizes))
        gains -= own.each(borne) * value / of_value + own.each(left) * sizes / of_size
        gains[own.starts] = 0.0
        won = wins + np.add.reduceat(gains > 0.0, own.starts, dtype=np.int64)
        odd = np.logical_or.reduceat(np.isnan(gains), own.starts) | np.isnan(positions)
        result: list[float] = np.where(odd, NAN, won / (closed + own.counts)).tolist()
        return result

    def trades(self) -> list[_Trades]:
        """Return the trades of each episode.

        Call this first: it adds the units that trades closed to the opened units, which the other methods read.
        """
        counts = [len(trades["pnl"]) for trades in self._trades]
        if not any(counts):
            return [_NO_TRADES] * len(counts)
        own, names = _Slots(counts), ("pnl", "quantity", "direction", "entry_step", "exit_step", "exit_price", "costs")
        pnl, quantity, direction, entries, exits, prices, costs = (
            np.concatenate([trades[name] for trades in self._trades]) for name in names
        )
        fits = (exits >= 1) & (exits <= np.repeat(self._slots.counts, counts)) & (quantity == quantity)
        at = np.repeat(self._slots.starts, counts) + np.where(fits, exits, 1)
        self._opened += np.bincount(at, quantity * direction, self._slots.total)
        held = np.subtract(exits, entries.astype(np.float64))
        closed = quantity * prices
        closed /= self._before[1, at]
        gains, losses = np.maximum(pnl, 0.0), np.minimum(pnl, 0.0)
        won, lost, steps_held, value, borne, wins = np.add.reduceat(
            np.stack([own.filled([row]) for row in (gains, losses, held, closed, costs, pnl > 0.0)]), own.starts, axis=1
        )
        worst, first_entry = (
            np.minimum.reduceat(own.filled([row], np.inf), own.starts).tolist() for row in (pnl, entries)
        )
        best = np.maximum.reduceat(own.filled([pnl], -np.inf), own.starts)
        known = np.logical_and.reduceat(own.filled([fits], 1.0) > 0.0, own.starts)
        steps_held = np.where(np.array(first_entry) >= 0, steps_held, NAN)
        columns = (counts, (wins + 0.0 * (won - lost)).tolist(), won.tolist(), (-lost).tolist(), steps_held.tolist())
        taken = map(Closed, *columns, value.tolist(), best.tolist(), worst)
        marked = np.where(np.isnan(worst), NAN, wins).tolist()
        return [
            _Trades(each, *rest) if each.trades else _NO_TRADES
            for each, *rest in zip(taken, marked, borne.tolist(), known.tolist(), strict=True)
        ]


_NO_TRADES = _Trades(NO_TRADES, 0.0, 0.0, fit=True)
