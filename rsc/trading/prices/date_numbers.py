"""Parse dates that are numbers: 20240131 and similar forms, and times since 1970."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.calendars import CURE, DateError, Moments, Order, century, is_monotonic, only_order, spread
from rsc.trading.prices.date_parts import Ints

# Unit, lowest and highest size of a number since 1970, microseconds of one unit.
_EPOCHS = (
    ("seconds", 1e8, 1e10, 1e6),
    ("milliseconds", 1e11, 1e13, 1e3),
    ("microseconds", 1e14, 1e16, 1.0),
    ("nanoseconds", 1e17, 1e19, 1e-3),
)
# Counts of 100 ns that have the size of nanoseconds since 1970: of .NET since the year 1, of Windows since 1601.
_TICKS = ((6.2e17, 6.6e17), (1.22e17, 1.36e17))


def moments_of_numbers(values: Any) -> Moments:
    """Read numbers as dates such as 20240131, or as time since 1970 by their size.

    Raises:
        DateError: if they are neither, or dates that can be read in two ways.
    """
    known = np.asarray(values.is_valid())
    whole = pa.types.is_integer(values.type)
    numbers = np.asarray(pc.fill_null(values if whole else pc.cast(values, pa.float64(), safe=False), 0))
    if not whole:
        known &= np.isfinite(numbers)
        numbers = np.where(known, numbers, 0.0)
    if not known.any():
        raise DateError(f"there are no dates; {CURE}")
    shown = numbers[known]
    if (shown == np.rint(shown)).all() and shown.min() >= 0 and shown.max() < 1e14:
        digits = pc.cast(pa.array(shown.astype(np.int64)), pa.string())
        if (calendar := _of_digits(digits)) is not None:
            return spread(calendar, known)
    return spread(_of_epochs(shown), known)


def _of_digits(digits: Any) -> Moments | None:
    """Read dates of digits only: 20240131, 31012024, 240131, and the first two followed by hours and minutes."""
    widest = int(pc.max(pc.binary_length(digits)).as_py())
    width = next((each for each in (6, 8, 12, 14) if each >= widest), 0)
    if not width or (width == 6 and widest < 3) or (width == 14 and widest < 14) or (width == 12 and widest < 11):
        return None
    text = pc.utf8_lpad(digits, width, "0").to_numpy(zero_copy_only=False).astype(f"U{width}")
    letters = text.view(np.uint32).reshape(-1, width) - 48

    def number(start: int, end: int) -> Ints:
        value = np.zeros(len(letters), np.int64)
        for at in range(start, end):
            value = value * 10 + letters[:, at].astype(np.int64)
        return value

    clock = np.zeros(len(letters), np.int64)
    if width > 8:
        hour, minute, second = number(8, 10), number(10, 12), number(12, 14) if width == 14 else np.int64(0)
        if (hour > 23).any() or (minute > 59).any() or (np.asarray(second) > 59).any():
            return None
        clock = ((hour * 60 + minute) * 60 + second) * 1_000_000
    orders: tuple[Order, ...]
    if width == 6:
        orders = (
            ("year, month, day", century(number(0, 2)), number(2, 4), number(4, 6)),
            ("day, month, year", century(number(4, 6)), number(2, 4), number(0, 2)),
            ("month, day, year", century(number(4, 6)), number(0, 2), number(2, 4)),
            ("year and month", number(0, 4), number(4, 6), np.ones(len(letters), np.int64)),
        )
    else:
        orders = (
            ("year, month, day", number(0, 4), number(4, 6), number(6, 8)),
            ("day, month, year", number(4, 8), number(2, 4), number(0, 2)),
            ("month, day, year", number(4, 8), number(0, 2), number(2, 4)),
        )
    return only_order(orders, clock, np.ones(len(letters), bool), str(digits[0]))


def _of_epochs(numbers: Any) -> Moments:
    """Read times since 1970, in the unit that follows from the size of the numbers."""
    size = np.abs(numbers.astype(np.float64))
    units = [(name, scale) for name, low, high, scale in _EPOCHS if ((size >= low) & (size < high)).any()]
    if not units or size.max() >= 1e19:
        raise DateError(
            f"dates are numbers such as {numbers[0]:g}, neither 20240131 nor time since 1970; {CURE}"
            + ("; in a spreadsheet, format the column as dates" if 1e4 <= size.max() < 1e5 else "")
        )
    if any((low <= size).all() and (size < high).all() for low, high in _TICKS):
        raise DateError(f"dates such as {numbers[0]:.0f} look like ticks of 100 ns, not like time since 1970; {CURE}")
    name, scale = units[-1]
    moments = Moments(_scaled(numbers, scale), np.ones(len(numbers), bool), remark=f"dates are {name} since 1970")
    if len(units) == 1:
        return _utc(moments)
    mixed = np.zeros(len(numbers), np.int64)
    for _, low, high, each in _EPOCHS:
        there = (size >= low) & (size < high)
        mixed[there] = _scaled(numbers[there], each)
    names = " and ".join(name for name, _ in units)
    both = Moments(mixed, moments.known, remark=f"dates are {names} since 1970, each by its size")
    sound = [each for each in (moments, both) if is_monotonic(each.wall) and _largest_step(each.wall) < 0.5]
    if len(sound) != 1:
        raise DateError(f"dates are numbers of different sizes, such as {numbers[0]:g} and {numbers[-1]:g}; {CURE}")
    return _utc(sound[0])


def _scaled(numbers: Any, scale: float) -> Ints:
    if numbers.dtype.kind in "iu":
        whole = numbers.astype(np.int64)
        scaled: Ints = whole * int(scale) if scale >= 1 else whole // round(1 / scale)
        return scaled
    rounded: Ints = np.rint(numbers * scale).astype(np.int64)
    return rounded


def _largest_step(wall: Ints) -> float:
    """Return the largest step as a fraction of the whole time."""
    return float(np.abs(np.diff(wall)).max(initial=0) / max(abs(int(wall[-1]) - int(wall[0])), 1))


def _utc(moments: Moments) -> Moments:
    return replace(moments, offset=np.zeros_like(moments.wall), zoned=moments.known)
