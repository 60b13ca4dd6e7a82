"""Share one price curve among all episodes that play the same market."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from journal.format.schema import UNKNOWN_TIME

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_TAPE = 0
_MOST_BARS = 30_000  # the longest tape; episodes of a longer market store their own prices


class _Place(NamedTuple):
    """The part of a market that an episode plays: the times of its first and last step, and the number of steps."""

    market: str
    first: int
    last: int
    steps: int


class Tapes:
    """Collects the prices of markets by time. A tape is the sorted bars of one market.

    An episode gets a place on a tape under four conditions: market time grows with each step, no step is missing, every
    price is known, and no other episode of the market has another price at the same time.
    """

    def __init__(self) -> None:
        self._bars: dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]] = {}
        self._places: list[_Place | None] = []

    def offer(self, market: str, steps: Mapping[str, NDArray[Any]]) -> None:
        """Add an episode's prices. ``steps`` has the columns "step", "market_time" and "price"."""
        times, prices = steps["market_time"].astype(np.int64), steps["price"].astype(float)
        fits = self._is_tape(steps["step"], times, prices) and self._merge(market, times, prices)
        self._places.append(_Place(market, int(times[0]), int(times[-1]), len(times)) if fits else None)

    def places(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return each episode's tape, counted from 1 (`NO_TAPE` for none), and the bar of its first step."""
        numbers = {market: number for number, market in enumerate(self._bars, 1)}
        tape, start = np.zeros(len(self._places), "<u2"), np.zeros(len(self._places), "<u4")
        for at, place in enumerate(self._places):
            if place is None:
                continue
            first, last = np.searchsorted(self._bars[place.market][0], (place.first, place.last))
            if last - first + 1 == place.steps:  # otherwise another episode has bars in between
                tape[at], start[at] = numbers[place.market], first
        return tape, start

    def arrays(self) -> dict[str, tuple[NDArray[Any], str]]:
        """Return the tapes as arrays with their coding: lengths, times in milliseconds, prices."""
        bars = list(self._bars.values())
        times = np.concatenate([times for times, _ in bars]) if bars else np.empty(0)
        prices = np.concatenate([prices for _, prices in bars]) if bars else np.empty(0)
        return {
            "tape_bars": (np.array([len(times) for times, _ in bars], "<u4"), ""),
            "tape_time": ((times / 1000.0).astype("<f8"), "delta"),
            "tape_price": (prices.astype("<f4"), ""),
        }

    @staticmethod
    def _is_tape(step: NDArray[Any], times: NDArray[np.int64], prices: NDArray[np.float64]) -> bool:
        if not 0 < len(step) <= _MOST_BARS or times[0] == UNKNOWN_TIME:
            return False
        whole = int(step[-1]) == len(step) and int(step[0]) == 1
        return whole and bool((np.diff(times) > 0).all() and np.isfinite(prices).all())

    def _merge(self, market: str, times: NDArray[np.int64], prices: NDArray[np.float64]) -> bool:
        """Add bars to a market's tape; return False if a price differs, or if the tape would become too long."""
        if market not in self._bars:
            self._bars[market] = (times, prices)
            return True
        known_times, known_prices = self._bars[market]
        at = np.minimum(np.searchsorted(known_times, times), len(known_times) - 1)
        known = known_times[at] == times
        if not np.array_equal(known_prices[at[known]], prices[known]):
            return False
        if known.all():
            return True
        if len(known_times) + np.count_nonzero(~known) > _MOST_BARS:
            return False
        merged = np.concatenate((known_times, times[~known]))
        order = np.argsort(merged, kind="stable")
        self._bars[market] = (merged[order], np.concatenate((known_prices, prices[~known]))[order])
        return True
