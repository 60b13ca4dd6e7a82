"""Find the only order of year, month and day that fits a column of dates; dates and times as `Moments`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np

from rsc.trading.prices.date_parts import Bools, Ints
from rsc.trading.prices.errors import MarketError, quoted

DAY_US = 86_400_000_000
FIRST_US = int(np.datetime64("1700-01-01", "us").astype(np.int64))
LAST_US = int(np.datetime64("2101-01-01", "us").astype(np.int64))
CURE = "write dates as 2024-01-31"
Order = tuple[str, Ints, Ints, Ints]
"""A name, then years, months and days."""


class DateError(MarketError):
    """A column has no dates, or its dates can be read in two ways."""


@dataclass(frozen=True)
class Moments:
    """Times of a column, shape (n,) each.

    ``wall`` is microseconds since 1970 by the file's clock. ``offset`` is the microseconds by which that clock is ahead of
    UTC, where ``zoned`` is True. ``known`` is False where there is no date. ``remark`` describes a notable way of reading.
    """

    wall: Ints
    known: Bools
    offset: Ints | None = None
    zoned: Bools | None = None
    remark: str = ""

    @property
    def all_dates(self) -> bool:
        """Return True if no value has a time of day."""
        return not (self.wall[self.known] % DAY_US).any()


def spread(moments: Moments, known: Bools) -> Moments:
    """Put the moments of the known rows at their places among all rows."""
    if known.all():
        return replace(moments, known=known)
    wall = np.zeros(len(known), np.int64)
    wall[known] = moments.wall
    if moments.offset is None:
        return replace(moments, wall=wall, known=known)
    offset = np.zeros(len(known), np.int64)
    offset[known] = moments.offset
    return replace(moments, wall=wall, known=known, offset=offset, zoned=known)


def only_order(orders: Iterable[Order], clock: Ints, known: Bools, example: str) -> Moments | None:
    """Return the only order of year, month and day that fits all rows: by the calendar, then by monotonic time.

    Raises:
        DateError: if several do.
    """
    fits = []
    for name, *ymd in orders:
        wall = _calendar(*(part[known] for part in ymd))
        if wall is not None:
            fits.append((name, wall + clock[known]))
    if len(fits) > 1:
        running = [(name, wall) for name, wall in fits if is_monotonic(wall)]
        if len(running) != 1:
            names = " or ".join(name for name, _ in running or fits)
            raise DateError(f"dates such as {quoted(example)} can be {names}; {CURE}")
        fits = running
    if not fits:
        return None
    name, wall = fits[0]
    remark = (
        ""
        if name == "year, month, day" and len(example) == 8
        else f"dates such as {quoted(example)} are read as {name}"
    )
    return spread(Moments(wall, known, remark=remark), known)


def _calendar(year: Ints, month: Ints, day: Ints) -> Ints | None:
    """Return microseconds since 1970, or None if a date is not in the calendar or the years are not plausible."""
    if not len(year) or month.min() < 1 or month.max() > 12 or day.min() < 1 or day.max() > 31:
        return None
    if year.min() < 1700 or year.max() > 2100:
        return None
    months = (year - 1970) * 12 + month - 1
    first = int(months.min())
    starts = np.arange(first, int(months.max()) + 2).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    months -= first
    if (day > np.diff(starts)[months]).any():
        return None
    wall: Ints = (starts[months] + day - 1) * DAY_US
    return wall


def is_monotonic(wall: Ints) -> bool:
    steps = np.diff(wall)
    return bool((steps >= 0).all() or (steps <= 0).all())


def century(years: Ints) -> Ints:
    """Return four-digit years for two-digit ones, so that none is in the future."""
    this_year = datetime.now(UTC).year
    return np.where(years + 2000 > this_year + 1, years + 1900, years + 2000)
