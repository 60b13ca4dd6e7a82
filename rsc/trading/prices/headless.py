"""Name the columns of a file without column names, if only one assignment is possible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.calendars import DateError, Moments
from rsc.trading.prices.errors import MarketError, listed
from rsc.trading.prices.moments import moments_of, times_of_day
from rsc.trading.prices.numbers import Floats, floats_of
from rsc.trading.prices.sheet import Column, Sheet, distinct

_CURE = "put a line of names on top, such as date,open,high,low,close,volume"
_MAX_LABELS = 2
_LIKE_A_PRICE = 0.9
_MAX_RANGE = 2.0
"""The largest ratio high / low of a usual bar. If it is larger, a column is not a price, but for example volume."""


def named(sheet: Sheet, remarks: list[str]) -> Sheet:
    """Return the sheet with names for date, time, the four prices and volume.

    The prices are the first four columns of numbers. The highest of them in each row is high, the lowest is low, and
    of the other two the first is open.

    Raises:
        MarketError: if the rows do not agree on one assignment.
    """
    columns = list(sheet.columns)
    names: list[str] = []
    date = _first_dates(columns)
    names += ["symbol" if at == 0 else f"label_{at}" for at in range(date[0])] + ["date"]
    at = date[0] + 1
    if at < len(columns) and _is_time(columns[at], date[1]):
        names.append("time")
        at += 1
    prices = columns[at : at + 4]
    if len(prices) < 4:
        raise MarketError(f"there is no line of names, and {len(columns)} columns are too few for bars; {_CURE}")
    numbers, refused = floats_of({str(i): each.values for i, each in enumerate(prices)})
    if refused:
        raise MarketError(
            f"there is no line of names, and one of the first columns holds {listed(refused.values())}; {_CURE}"
        )
    order = _order([numbers[str(i)] for i in range(4)], date[1])
    names += order
    names += _behind(columns[at + 4 :], numbers[str(order.index("low"))], numbers[str(order.index("high"))])
    remarks.append(f"there is no line of names: the columns are taken as {', '.join(name for name in names if name)}")
    kept = tuple(replace(each, name=name) for each, name in zip(columns, names, strict=True) if name)
    return Sheet(kept)


def _first_dates(columns: list[Column]) -> tuple[int, Moments]:
    """Return the first column of dates. Only labels, such as a symbol, may precede it."""
    refusal: DateError | None = None
    for at, column in enumerate(columns[: _MAX_LABELS + 1]):
        try:
            return at, moments_of(column.values)
        except DateError as error:
            refusal = refusal or error
        if not column.is_text or len(distinct(column.values)) * 2 > len(column.values):
            break
    raise MarketError(f"there is no line of names, and no dates in the first column ({refusal}); {_CURE}")


def _is_time(column: Column, dates: Moments) -> bool:
    """Return True for a column of times of day: with colons, of whole numbers where dates repeat, or all the same."""
    if not dates.all_dates:
        return False
    colons = column.is_text and bool(pc.any(pc.match_substring(column.values, ":")).as_py())
    repeat = bool((np.diff(dates.wall[dates.known]) == 0).any())
    if not colons and not repeat and len(distinct(column.values)) > 1:
        return False
    try:
        clock = times_of_day(column.values)
    except (DateError, pa.ArrowInvalid):
        return False
    return bool(clock.known.all())


def _order(prices: list[Floats], dates: Moments) -> list[str]:
    """Return the fields of four columns: open, high, low and close."""
    if not all((each[np.isfinite(each)] > 0).any() and (each[np.isfinite(each)] > 0).all() for each in prices):
        raise MarketError(
            f"there is no line of names, and one of the first four columns of numbers is no price; {_CURE}"
        )
    highs, lows = (_extreme(prices, ufunc) for ufunc in (np.fmax, np.fmin))
    if len(highs) != 1 or len(lows) != 1:
        raise MarketError(f"there is no line of names, and the first four columns of numbers are no bars; {_CURE}")
    if np.nanmedian(prices[highs[0]] / prices[lows[0]]) > _MAX_RANGE:
        raise MarketError(f"there is no line of names, and column {highs[0] + 1} of the numbers is no price; {_CURE}")
    first, last = (i for i in range(4) if i not in (highs[0], lows[0]))
    whole = np.isfinite(prices[first]) & np.isfinite(prices[last])
    if not whole.any():
        raise MarketError(f"there is no line of names, and no row has four prices; {_CURE}")
    steps = np.diff(dates.wall[dates.known])
    falls = len(steps) > 0 and np.median(steps) < 0
    opened, closed = (prices[i][whole][::-1] if falls else prices[i][whole] for i in (first, last))
    if _jump(opened, closed) > _jump(closed, opened):
        raise MarketError(
            f"there is no line of names, and which column is open and which is close is not clear; {_CURE}"
        )
    order = [""] * 4
    for at, name in ((highs[0], "high"), (lows[0], "low"), (first, "open"), (last, "close")):
        order[at] = name
    return order


def _extreme(prices: list[Floats], ufunc: Any) -> list[int]:
    """Return the columns that are the highest, or the lowest, in every row."""
    extreme = ufunc.reduce(prices)
    return [i for i, each in enumerate(prices) if bool(((each == extreme) | np.isnan(each)).all())]


def _jump(opened: Floats, closed: Floats) -> float:
    """Return the median distance between a bar's open and the previous close."""
    return float(np.median(np.abs(opened[1:] - closed[:-1]))) if len(opened) > 1 else 0.0


def _behind(columns: list[Column], low: Floats, high: Floats) -> list[str]:
    """Return names for the columns after the prices: an average price, volume, or '' for others."""
    names: list[str] = []
    for column in columns:
        numbers, refused = floats_of({"x": column.values})
        if refused or "volume" in names:
            names.append("")
            continue
        likely: Any = (numbers["x"] > 0.5 * low) & (numbers["x"] < 2 * high)
        if (numbers["x"] >= low * (1 - 1e-9)).all() and (numbers["x"] <= high * (1 + 1e-9)).all():
            names.append("average")
        elif likely.mean() > _LIKE_A_PRICE:
            raise MarketError(
                f"there is no line of names, and a column behind the prices may be an adjusted close; {_CURE}"
            )
        else:
            names.append("volume")
    return names
