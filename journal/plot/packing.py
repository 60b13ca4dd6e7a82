"""Pack the curves and trades of many episodes into a small binary, which the scripts of a page unpack.

A pack is gzip of: the length of a JSON document (4 bytes, little-endian), the document, the arrays. The document's
``arrays`` lists each array's name, type, length and coding, in order. ``delta`` arrays hold differences, and each array
is stored by byte planes (all first bytes, then all second bytes), because gzip compresses both better.
"""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from journal.format.schema import UNKNOWN_TIME
from journal.plot.series import CURVES, Series, read_columns, reduced
from journal.plot.tapes import NO_TAPE, Tapes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from journal.inspect.overview import Overview
    from journal.read.reader import Journal

_LEVELS, _SPREAD, _UNKNOWN = 4095, 16, 65535
"""A rounded curve holds its levels, 0 to 4,095, times 16: gzip halves the low bytes of their differences."""
_MOST_HOLES = 100  # the number of gaps of an episode that a page shows
_FULL = ("quantity", "entry_price", "exit_price", "costs")
_SHORT_BITS = 12  # of the 24 bits of a 32-bit float's mantissa: 3.6 decimal digits


@dataclass(frozen=True)
class Limits:
    """How much of each episode a page holds.

    Attributes:
        points: The number of points of a curve.
        trades: The number of closed trades. Those with the largest profits and losses are kept.
        short: If True, leave out rewards, and the prices, quantities and costs of trades, and round curves to 4,096
            levels.
    """

    points: int
    trades: int
    short: bool

    @classmethod
    def of_count(cls, episodes: int) -> Limits:
        """Return the limits of a page with this number of episodes, so that its size stays bounded."""
        share = max(episodes, 1)
        return cls(max(80, min(2000, 80_000 // share)), max(12, min(2000, 20_000 // share)), share > 100)


class Curves:
    """Collects the curves and trades of episodes for a pack.

    Args:
        limits: How much of each episode to keep.

    Attributes:
        limits: The limits that were given.
        reduced: The number of episodes whose curves have fewer points than steps.
        trades_left_out: The number of trades that were left out.
    """

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.reduced = 0
        self.trades_left_out = 0
        self._tapes = Tapes()
        self._episodes: list[tuple[Series, NDArray[np.intp]]] = []

    def add(self, one: Overview, journal: Journal) -> int:
        """Read an episode's curves and trades, and keep them within the limits.

        Args:
            one: The episode.
            journal: Its journal.

        Returns:
            The episode's number among the curves.
        """
        steps, trades = read_columns(journal)
        kept_by = ("portfolio_value", "position") if self.limits.short else CURVES
        series = reduced(one, journal, steps, trades, self.limits.points, kept_by)
        self._tapes.offer(series.market or "", steps)
        kept = _largest(trades["pnl"], self.limits.trades)
        self.reduced += len(series.step) < series.steps
        self.trades_left_out += len(trades["pnl"]) - len(kept)
        self._episodes.append((series, kept))
        return len(self._episodes) - 1

    def packed(self) -> bytes:
        """Return the pack of all episodes that were added."""
        tape, start = self._tapes.places()
        own = [series for (series, _), number in zip(self._episodes, tape.tolist(), strict=True) if number == NO_TAPE]
        arrays = {"tape": (tape, ""), "tape_start": (start, ""), **self._tapes.arrays(), **self._of_episodes()}
        arrays |= self._of_points(own) | self._of_trades(tape)
        holes = {str(at): one.holes[:_MOST_HOLES] for at, (one, _) in enumerate(self._episodes) if one.holes}
        return pack({"holes": holes, "short": self.limits.short}, arrays)

    def _of_episodes(self) -> dict[str, tuple[NDArray[Any], str]]:
        many = [series for series, _ in self._episodes]
        facts = {
            "points": np.array([len(one.step) for one in many], "<u4"),
            "steps": np.array([one.steps for one in many], "<u4"),
            "timed": np.array([_is_timed(one.market_time) for one in many], "u1"),
            "initial_value": np.array([one.initial_value for one in many], "<f8"),
            "first_price": np.array([np.nan if one.first_price is None else one.first_price for one in many], "<f8"),
            "trade_count": np.array([len(kept) for _, kept in self._episodes], "<u4"),
            "trade_total": np.array([len(one.trades["pnl"]) for one in many], "<u4"),
        }
        return {name: (values, "") for name, values in facts.items()}

    def _of_points(self, own: list[Series]) -> dict[str, tuple[NDArray[Any], str]]:
        many = [series for series, _ in self._episodes]
        arrays: dict[str, tuple[NDArray[Any], str]] = {"step": (_joined([one.step for one in many], "<u4"), "delta")}
        arrays |= self._curve("value", [one.value for one in many])
        arrays |= self._curve("position", [one.position for one in many])
        if not self.limits.short:
            arrays |= self._curve("reward", [one.reward for one in many])
        arrays |= self._curve("price", [one.price for one in own])
        arrays["time"] = (_joined([milliseconds(one.market_time) for one in own], "<f8"), "delta")
        return arrays

    def _curve(self, name: str, parts: list[NDArray[Any]]) -> dict[str, tuple[NDArray[Any], str]]:
        if not self.limits.short:
            return {name: (_joined(parts, "<f4"), "")}
        lows, highs = _ranges(parts)
        levels = [_levels(part, low, high) for part, low, high in zip(parts, lows, highs, strict=True)]
        ranges = {f"{name}_low": (np.array(lows, "<f8"), ""), f"{name}_high": (np.array(highs, "<f8"), "")}
        return {name: (_joined(levels, "<u2"), "delta"), **ranges}

    def _of_trades(self, tape: NDArray[Any]) -> dict[str, tuple[NDArray[Any], str]]:
        chosen = [{name: column[kept] for name, column in one.trades.items()} for one, kept in self._episodes]
        own = [trades for trades, number in zip(chosen, tape.tolist(), strict=True) if number == NO_TAPE]

        def column(name: str, kind: str, parts: list[dict[str, NDArray[Any]]] = chosen) -> NDArray[Any]:
            return _joined([trades[name] for trades in parts], kind)

        pnl = column("pnl", "<f4")
        arrays = {
            "trade_direction": (column("direction", "i1"), ""),
            "trade_exit": (column("exit_step", "<i4"), "delta"),
            "trade_entry": (column("entry_step", "<i4"), "delta"),
            "trade_pnl": (_rounded(pnl) if self.limits.short else pnl, ""),
        }
        if not self.limits.short:
            arrays |= {f"trade_{name}": (column(name, "<f4"), "") for name in _FULL}
        for name in ("entry_time", "exit_time"):
            times = [milliseconds(trades[name], np.nan) for trades in own]
            arrays[f"trade_{name}"] = (_joined(times, "<f8"), "")
        return arrays


def pack(facts: Mapping[str, Any], arrays: Mapping[str, tuple[NDArray[Any], str]]) -> bytes:
    """Return a pack.

    Args:
        facts: Values that JSON can hold.
        arrays: Arrays by name, each with its coding: "delta", or "" for none.
    """
    directory, parts = [], []
    for name, (values, coding) in arrays.items():
        kind = values.dtype.str.lstrip("<|")
        coded = np.diff(values, prepend=values.dtype.type(0)) if coding == "delta" and len(values) else values
        planes = coded.view("u1").reshape(len(coded), values.dtype.itemsize).T
        directory.append([name, kind, len(coded), coding])
        parts.append(np.ascontiguousarray(planes).tobytes())
    text = json.dumps({**facts, "arrays": directory}, allow_nan=False, separators=(",", ":")).encode()
    return gzip.compress(b"".join((len(text).to_bytes(4, "little"), text, *parts)), 9, mtime=0)


def milliseconds(times_us: NDArray[Any], unknown: float = 0.0) -> NDArray[np.float64]:
    """Convert market times in microseconds to milliseconds. Unknown times become ``unknown``."""
    times = times_us.astype(np.int64)
    return np.where(times == UNKNOWN_TIME, unknown, times / 1000.0)


def _is_timed(times: NDArray[np.int64]) -> bool:
    """Return True if each point has a market time that is later than that of the point before."""
    return bool(len(times) and times[0] != UNKNOWN_TIME and (np.diff(times) > 0).all())


def _largest(pnl: NDArray[Any], most: int) -> NDArray[np.intp]:
    """Return the ascending indices of the ``most`` largest profits and losses."""
    if len(pnl) <= most:
        return np.arange(len(pnl))
    return np.sort(np.argsort(-np.abs(np.nan_to_num(pnl)), kind="stable")[:most])


def _joined(parts: list[NDArray[Any]], kind: str) -> NDArray[Any]:
    with np.errstate(all="ignore"):  # a value above the range of 32 bits becomes infinite
        return np.concatenate(parts).astype(kind) if parts else np.empty(0, kind)


def _ranges(parts: list[NDArray[Any]]) -> tuple[list[float], list[float]]:
    finite = [part[np.isfinite(part)] for part in parts]
    return [float(part.min()) if len(part) else 0.0 for part in finite], [
        float(part.max()) if len(part) else 0.0 for part in finite
    ]


def _levels(values: NDArray[Any], low: float, high: float) -> NDArray[np.uint16]:
    with np.errstate(all="ignore"):
        level = np.rint((values - low) / (high - low) * _LEVELS) if high > low else np.zeros(len(values))
    return np.where(np.isfinite(values), level * _SPREAD, _UNKNOWN).astype(np.uint16)


def _rounded(values: NDArray[Any]) -> NDArray[Any]:
    """Round 32-bit floats to `_SHORT_BITS` bits, so that their low bytes are zero and compress well."""
    fraction, exponent = np.frexp(values)
    scale = np.float32(1 << _SHORT_BITS)
    return np.asarray(np.ldexp(np.rint(fraction * scale) / scale, exponent), "<f4")
