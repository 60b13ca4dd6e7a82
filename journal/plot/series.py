"""Prepare what a plot shows of an episode: curves reduced to the points that fit, trades, missing steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from journal.inspect.figures import Figures
    from journal.inspect.overview import Overview
    from journal.read.reader import Journal

Floats = NDArray[np.float64]
_READ = ("step", "market_time", "portfolio_value", "price", "position", "reward")


@dataclass(frozen=True, eq=False)
class Series:
    """The curves of one episode. All arrays of steps have one shape (n,), n is at most about twice ``most``.

    ``drawdown`` is the fall from the highest value so far as a negative fraction; ``growth`` is value over initial
    value, minus one. Exits are the closed trades: ``exit_step``, ``exit_value`` (the account's value there), ``exit_pnl``.
    ``holes`` are the first and last of steps that are lost.
    """

    name: str
    standing: str
    initial_value: float
    step: NDArray[np.int64]
    market_time: NDArray[np.int64]
    value: Floats
    drawdown: Floats
    position: Floats
    reward: Floats
    price: Floats
    exit_step: NDArray[np.int64]
    exit_value: Floats
    exit_pnl: Floats
    holes: tuple[tuple[int, int], ...]
    figures: Figures

    def parts(self) -> list[slice]:
        """Return the stretches between missing steps. Lines are not drawn across missing steps."""
        cuts = [0]
        for first, _ in self.holes:
            cuts.append(int(np.searchsorted(self.step, first)))
        cuts.append(len(self.step))
        return [slice(start, end) for start, end in pairwise(cuts) if end > start]

    @property
    def last_step(self) -> int:
        """Number of the last step, 0 if there is none."""
        return int(self.step[-1]) if len(self.step) else 0

    @property
    def growth(self) -> Floats:
        """Return since the start, a fraction."""
        return self.value / self.initial_value - 1.0 if self.initial_value else self.value * np.nan


def series_of(one: Overview, journal: Journal, most: int = 2000) -> Series:
    """Read an episode's curves, reduced to about ``most`` points; each stretch keeps its lowest and highest."""
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _READ}
    exits: list[NDArray[Any]] = []
    pnls: list[NDArray[Any]] = []
    for steps, trades in journal.blocks():
        for name in _READ:
            columns[name].append(steps[name])
        exits.append(trades["exit_step"])
        pnls.append(trades["pnl"])
    full = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in columns.items()}
    step = full["step"].astype(np.int64)
    value = full["portfolio_value"].astype(float)
    initial = journal.header.about.initial_portfolio_value
    drawdown = drawdown_of(value, initial)
    exit_step = np.concatenate(exits).astype(np.int64) if exits else np.empty(0, np.int64)
    exit_pnl = np.concatenate(pnls).astype(float) if pnls else np.empty(0)
    kept = thinned((value, drawdown, full["position"].astype(float), full["reward"].astype(float)), most)
    return Series(
        name=one.journal_id,
        standing=standing_of(one),
        initial_value=initial,
        step=step[kept],
        market_time=full["market_time"].astype(np.int64)[kept],
        value=value[kept],
        drawdown=drawdown[kept],
        position=full["position"].astype(float)[kept],
        reward=full["reward"].astype(float)[kept],
        price=full["price"].astype(float)[kept],
        exit_step=exit_step,
        exit_value=_at(exit_step, step, value),
        exit_pnl=exit_pnl,
        holes=_holes(step),
        figures=one.figures(),
    )


def standing_of(one: Overview) -> str:
    """Return how the episode ended, or its state, in a word or two."""
    if one.end_reason is not None:
        return one.end_reason if one.condition == "closed" else f"{one.condition}, {one.end_reason}"
    if one.live:
        return "running"
    return "killed" if one.condition == "open" else str(one.condition)


def drawdown_of(value: Floats, initial: float) -> Floats:
    """Return the fall from the highest value so far, initial value included, as a negative fraction; shape (n,)."""
    if not len(value):
        return value
    peak = np.maximum(np.maximum.accumulate(value), initial)
    with np.errstate(all="ignore"):
        return np.asarray(value / peak - 1.0)


def thinned(curves: Iterable[Floats], most: int) -> NDArray[np.intp]:
    """Return ascending indices that keep each curve's lowest and highest point per stretch, and both ends."""
    lists = list(curves)
    count = len(lists[0])
    if count <= most:
        return np.arange(count)
    stretches = max(most // (2 * len(lists)), 1)
    width = -(-count // stretches)
    kept = [np.array([0, count - 1])]
    for curve in lists:
        padded = np.full(width * stretches, np.nan)
        padded[:count] = curve
        rows = padded.reshape(stretches, width)
        starts = np.arange(stretches) * width
        low, high = np.where(np.isnan(rows), np.inf, rows), np.where(np.isnan(rows), -np.inf, rows)
        kept += [starts + low.argmin(axis=1), starts + high.argmax(axis=1)]
    indices = np.unique(np.concatenate(kept))
    return indices[indices < count]


def _at(wanted: NDArray[np.int64], step: NDArray[np.int64], value: Floats) -> Floats:
    if not len(wanted):
        return np.empty(0)
    return np.asarray(value[np.minimum(np.searchsorted(step, wanted), len(step) - 1)])


def _holes(step: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    if not len(step):
        return ()
    ends = np.concatenate(([0], step))
    at = np.flatnonzero(np.diff(ends) != 1)
    return tuple((int(ends[index]) + 1, int(ends[index + 1]) - 1) for index in at if ends[index + 1] > ends[index] + 1)
