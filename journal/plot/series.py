"""Prepare the data of a plot: an episode's curves, reduced to the points that fit, its trades and its missing steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
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
_TRADES = (
    "direction",
    "quantity",
    "entry_step",
    "entry_time",
    "entry_price",
    "exit_step",
    "exit_time",
    "exit_price",
    "pnl",
    "costs",
)
CURVES = ("portfolio_value", "drawdown", "position", "reward")
"""The curves of which a reduced series keeps the lowest and highest points, unless other ones are named."""


@dataclass(frozen=True, eq=False)
class Series:
    """The curves of one episode, reduced to n points.

    Attributes:
        name: The name of the episode's journal.
        standing: How the episode ended, or its state.
        initial_value: The account's value before the first step.
        first_price: The price before the first step; None if unknown.
        market: The market's name; None if unknown.
        steps: The number of steps that were read.
        step: The number of each step, shape (n,), as are all arrays of steps.
        market_time: Market time of each step, in microseconds.
        value: The account's value after each step.
        drawdown: The fall from the highest value so far, as a negative fraction.
        position: The position after each step.
        reward: The reward of each step.
        price: The price of each step.
        trades: All closed trades, by column.
        exit_value: The account's value at the step that closed each trade.
        holes: The first and the last step of each gap of lost steps.
        figures: The episode's metrics.
        number: The number of the episode's row; None if unknown.
    """

    name: str
    standing: str
    initial_value: float
    first_price: float | None
    market: str | None
    steps: int
    step: NDArray[np.int64]
    market_time: NDArray[np.int64]
    value: Floats
    drawdown: Floats
    position: Floats
    reward: Floats
    price: Floats
    trades: Mapping[str, NDArray[Any]]
    exit_value: Floats
    holes: tuple[tuple[int, int], ...]
    figures: Figures
    number: int | None = None

    @property
    def title(self) -> str:
        """The episode's number, or the name of its journal if the number is unknown, and the market."""
        name = self.name if self.number is None else str(self.number)
        return f"{name}  {self.market}" if self.market else name

    @property
    def days(self) -> tuple[str, str] | None:
        """The first and the last day of the market time; None without steps or without market time."""
        if not len(self.step):
            return None
        first, last = (np.datetime64(int(time), "us").astype("datetime64[D]") for time in self.market_time[[0, -1]])
        return None if np.isnat(first) or np.isnat(last) else (str(first), str(last))

    @property
    def exit_step(self) -> NDArray[np.int64]:
        """The step that closed each trade."""
        return np.asarray(self.trades["exit_step"], np.int64)

    @property
    def exit_pnl(self) -> Floats:
        """Profit of each closed trade."""
        return np.asarray(self.trades["pnl"], np.float64)

    def parts(self) -> list[slice]:
        """Return the stretches without missing steps. Plots draw no line across missing steps."""
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


def read_columns(journal: Journal) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return the columns of a journal that plots need: those of all steps, and those of all closed trades."""
    blocks = list(journal.blocks())
    steps = {name: _joined([block[name] for block, _ in blocks], name == "step") for name in _READ}
    trades = {
        name: _joined([block[name] for _, block in blocks], name.endswith(("_step", "_time"))) for name in _TRADES
    }
    return steps, trades


def _joined(parts: list[NDArray[Any]], whole: bool) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate(parts) if parts else np.empty(0)
    return joined.astype(np.int64) if whole or joined.dtype.kind in "iM" else joined.astype(float)


def series_of(one: Overview, journal: Journal, most: int = 2000, number: int | None = None) -> Series:
    """Read an episode's curves, reduced to about ``most`` points. Each stretch keeps its lowest and highest point.

    Args:
        one: The episode.
        journal: Its journal.
        most: The number of points.
        number: The number of the episode's row; None if unknown.
    """
    return replace(reduced(one, journal, *read_columns(journal), most), number=number)


def reduced(
    one: Overview,
    journal: Journal,
    steps: Mapping[str, NDArray[Any]],
    trades: Mapping[str, NDArray[Any]],
    most: int,
    kept_by: Iterable[str] = CURVES,
) -> Series:
    """Reduce an episode's curves to about ``most`` points.

    Args:
        one: The episode.
        journal: Its journal.
        steps: The columns of the steps, from `read_columns`.
        trades: The columns of the closed trades, from `read_columns`. All trades are kept.
        most: The number of points.
        kept_by: The curves of `CURVES` whose lowest and highest point of each stretch are kept.
    """
    about = journal.header.about
    step, value = steps["step"], steps["portfolio_value"]
    curves = {**steps, "drawdown": drawdown_of(value, about.initial_portfolio_value)}
    kept = thinned([curves[name] for name in kept_by], most)
    return Series(
        name=one.journal_id,
        standing=standing_of(one),
        initial_value=about.initial_portfolio_value,
        first_price=about.start_price,
        market=about.market,
        steps=len(step),
        step=step[kept],
        market_time=steps["market_time"].astype(np.int64)[kept],
        value=value[kept],
        drawdown=curves["drawdown"][kept],
        position=steps["position"][kept],
        reward=steps["reward"][kept],
        price=steps["price"][kept],
        trades=trades,
        exit_value=_at(trades["exit_step"], step, value),
        holes=_holes(step),
        figures=one.figures(),
    )


def standing_of(one: Overview) -> str:
    """Return how the episode ended, or its state, as a word or two."""
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
    """Return ascending indices of about ``most`` points: each curve's lowest and highest per stretch, and both ends."""
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
