"""Adjust prices and volumes for splits and dividends."""

from __future__ import annotations

import numpy as np

from rsc.trading.prices.date_parts import Ints
from rsc.trading.prices.errors import MarketError
from rsc.trading.prices.names import PRICES
from rsc.trading.prices.numbers import Floats

_SPLIT_STEP = 1.2
"""A change of the factor adj_close / close by more than this is a split; dividends change it by less."""
_SPLIT_AGREES = 0.15
_JUMP = 0.4
_RATIO_AGREES = 0.03
_RATIOS = (
    *((new, 1) for new in (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 100)),
    (3, 2),
    (5, 2),
    (4, 3),
    (5, 3),
)


def adjusted(numbers: dict[str, Floats], remarks: list[str]) -> dict[str, Floats]:
    """Scale prices by adj_close, and volume by splits.

    Args:
        numbers: open, high, low, close and volume, shape (n,); adj_close, adj_volume and split where the file has them.
            A split is the number of new shares for an old one, at the first bar of the new shares; else 0 or 1.
        remarks: Assumptions are appended to this list.

    Returns:
        Open, high, low, close and volume.

    Raises:
        MarketError: if an adjusted close is not a positive number.
    """
    kept = {key: numbers[key] for key in (*PRICES, "volume")}
    splits = _splits(numbers.get("split"), len(kept["close"]))
    if "adj_close" in numbers:
        factor = _checked(numbers["adj_close"]) / kept["close"]
        steps = np.concatenate(([1.0], factor[1:] / factor[:-1]))
        large = np.abs(np.log(steps)) > np.log(_SPLIT_STEP)
        shares = np.where(large, steps, 1.0)
        if splits is not None and (splits != 1).any():
            shares = np.where(np.abs(splits / steps - 1) < _SPLIT_AGREES, splits, 1.0)
        if (factor != 1).any():
            remarks.append("prices are scaled by the adjusted close")
    elif splits is not None:
        moves = np.concatenate(([1.0], kept["close"][:-1] / kept["close"][1:]))
        shares = np.where((splits != 1) & (np.abs(np.log(moves / splits)) < np.log(1 + _JUMP) / 2), splits, 1.0)
        factor = _later(shares, 1 / shares)
        if (shares != 1).any():
            remarks.append("prices are scaled by the column of splits, which they do not reflect")
    else:
        return kept
    result = {key: kept[key] * factor for key in PRICES}
    return {**result, "volume": _volume(kept["volume"], numbers.get("adj_volume"), shares, remarks)}


def _splits(column: Floats | None, size: int) -> Floats | None:
    if column is None:
        return None
    return np.where(np.isfinite(column) & (column > 0), column, np.ones(size))


def _checked(adj_close: Floats) -> Floats:
    bad = ~(np.isfinite(adj_close) & (adj_close > 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise MarketError(f"row {row + 1} has adj_close = {adj_close[row]:g}; adjusted prices must be positive numbers")
    return adj_close


def _later(shares: Floats, each: Floats) -> Floats:
    """Return for each bar the product of ``each`` over the bars after it."""
    following = np.append(each[1:], 1.0)
    return np.cumprod(following[::-1])[::-1] if (shares != 1).any() else np.ones(len(shares))


def _volume(volume: Floats, given: Floats | None, shares: Floats, remarks: list[str]) -> Floats:
    if given is not None and np.isfinite(given).all() and (given >= 0).all():
        return given
    count = int((shares != 1).sum())
    if not count or not volume.any():
        return volume
    remarks.append(f"volume is scaled by {count} split{'s' * (count > 1)}")
    return volume * _later(shares, shares)


def jumps(times_us: Ints, close: Floats) -> list[str]:
    """Return a remark for the largest changes from bar to bar, with the ratio of a split where one explains it."""
    changes = np.diff(np.log(close))
    at = np.flatnonzero(np.abs(changes) > _JUMP)
    if not len(at):
        return []
    largest = at[np.argsort(-np.abs(changes[at]), kind="stable")][:3]
    texts = [_jump(times_us[i + 1], float(changes[i])) for i in sorted(largest)]
    more = f" and {len(at) - len(texts)} more" if len(at) > len(texts) else ""
    return [f"the close changes by {'; '.join(texts)}{more}"]


def _jump(time_us: int, change: float) -> str:
    day = np.datetime64(int(time_us), "us").astype("datetime64[s]").item()
    text = f"{np.expm1(change):+.0%} at {day:%Y-%m-%d}" + (f" {day:%H:%M}" if day.hour or day.minute else "")
    for new, old in _RATIOS:
        if abs(np.exp(abs(change)) / (new / old) - 1) < _RATIO_AGREES:
            ratio = f"{new}:{old}" if change < 0 else f"{old}:{new}"
            return f"{text}, like a split of {ratio} that the prices do not reflect"
    return text
