"""Find the times of a sheet's bars: which columns hold them, and in which time zone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from rsc.trading.prices.calendars import DAY_US, FIRST_US, LAST_US, DateError, Moments
from rsc.trading.prices.date_parts import Bools, Ints
from rsc.trading.prices.errors import MarketError, listed
from rsc.trading.prices.moments import moments_of, times_of_day
from rsc.trading.prices.names import CLOSING_TIMES, WEAK, is_unnamed, normalised, rank_of
from rsc.trading.prices.sheet import Column, Sheet

_DAILY = 0.95
"""Bars are daily if this fraction of them has no time of day. The last bar may be of a running session."""


@dataclass(frozen=True)
class Times:
    """Microseconds since 1970 of each row, valid where ``known``. ``columns`` are the source columns."""

    us: Ints
    known: Bools
    columns: tuple[Column, ...]


def times_of(sheet: Sheet, remarks: list[str]) -> Times:
    """Find the column of dates, join a column of times of day to it, and convert times with a zone to UTC.

    Raises:
        MarketError: if no column holds dates, or they can be read in two ways.
    """
    column, moments = _dates(sheet)
    clock, joined = _time_column(sheet, column, moments)
    used: tuple[Column, ...] = (column,)
    if clock is not None and joined is not None:
        dates, moments = moments, _joined(column, moments, joined, clock, remarks)
        used = (column,) if moments is dates else (column, joined)
    if moments.remark:
        remarks.append(moments.remark)
    if is_unnamed(column.name):
        remarks.append("the dates are in a column without a name")
    elif normalised(column.name) in WEAK or rank_of(column.name, "date") is None:
        remarks.append(f"the dates are in the column {column.title}")
    us = _utc_or_dates(moments, remarks)
    known = moments.known
    _check_years(us[known])
    return Times(us, known, used)


def _candidates(sheet: Sheet) -> list[list[Column]]:
    """Return groups of columns that may hold dates: columns with a known name, without a name, closing times."""
    ranked = [(rank, column) for column in sheet.columns if (rank := rank_of(column.name, "date")) is not None]
    named = [column for _, column in sorted(ranked, key=lambda pair: pair[0])]
    closing = [column for column in named if normalised(column.name) in CLOSING_TIMES]
    unnamed = [column for column in sheet.columns if is_unnamed(column.name)]
    return [[column for column in named if column not in closing], unnamed, closing]


def _dates(sheet: Sheet) -> tuple[Column, Moments]:
    """Return the first column that has a date for each bar, else the first that has any dates.

    Closing times are used only if there is no other column.
    """
    refusals: list[DateError] = []
    for columns in _candidates(sheet):
        if refusals and columns and normalised(columns[0].name) in CLOSING_TIMES:
            break
        readable: list[tuple[Column, Moments]] = []
        for column in columns:
            try:
                readable.append((column, moments_of(column.values)))
            except DateError as error:
                refusals.append(error)
                continue
            if _is_running(readable[-1][1]):
                return readable[-1]
        if readable:
            return readable[0]
    if others := _by_content(sheet):
        return others
    if refusals:
        raise refusals[0]
    raise MarketError(f"no column for date; it has {listed(column.name for column in sheet.columns)}")


def _by_content(sheet: Sheet) -> tuple[Column, Moments] | None:
    """Return the only column with a date for each bar, whatever its name is."""
    found = []
    for column in sheet.columns:
        if normalised(column.name) not in CLOSING_TIMES and (
            column.is_text or pa.types.is_temporal(column.values.type)
        ):
            try:
                moments = moments_of(column.values)
            except DateError:
                continue
            if _is_running(moments):
                found.append((column, moments))
    return found[0] if len(found) == 1 else None


def _is_running(moments: Moments) -> bool:
    steps = np.diff(moments.wall[moments.known])
    return bool(len(steps)) and bool((steps > 0).all() or (steps < 0).all())


def _time_column(sheet: Sheet, dates: Column, moments: Moments) -> tuple[Moments | None, Column | None]:
    """Return the times of day for dates without one, with their column."""
    if not moments.all_dates:
        return None, None
    for column in sheet.columns:
        if column is dates or rank_of(column.name, "time") is None:
            continue
        try:
            return times_of_day(column.values), column
        except DateError:
            continue
    return None, None


def _joined(column: Column, dates: Moments, time: Column, clock: Moments, remarks: list[str]) -> Moments:
    """Add times of day to dates, unless each date has only one bar."""
    both = dates.known & clock.known
    if _is_running(dates):
        if clock.wall[both].any():
            remarks.append(f"bars are daily: the column {time.title} is left out")
        return dates
    if not clock.known[dates.known].all():
        raise MarketError(
            f"the column {time.title} lacks {int((dates.known & ~clock.known).sum())} times of day; fill them in"
        )
    remarks.append(f"times are joined from the columns {column.title} and {time.title}")
    return replace(dates, wall=dates.wall + clock.wall, offset=clock.offset, zoned=clock.zoned)


def _utc_or_dates(moments: Moments, remarks: list[str]) -> Ints:
    """Return microseconds: the file's own date for daily bars, UTC for times of day with a zone."""
    wall, known = moments.wall, moments.known
    midnights = (wall[known] % DAY_US == 0).mean() if known.any() else 1.0
    if moments.offset is None or moments.zoned is None:
        if midnights < _DAILY and _is_intraday(wall[known]):
            remarks.append("times have no zone and are taken as UTC")
        return wall
    zoned = moments.zoned[known]
    if midnights >= _DAILY:
        return wall
    if not zoned.all() and moments.offset[known][zoned].any():
        raise MarketError("some times have a zone and some have none; write all in UTC")
    if not zoned.all():
        remarks.append("times without a zone are taken as UTC, as the others are")
    if moments.offset[known].any():
        remarks.append("times are turned to UTC")
    return wall - moments.offset


def _is_intraday(wall: Ints) -> bool:
    return len(wall) > 1 and float(np.median(np.abs(np.diff(wall)))) < 0.9 * DAY_US


def _check_years(us: Ints) -> None:
    if len(us) and not FIRST_US <= us.min() <= us.max() < LAST_US:
        years: Sequence[str] = [
            str(np.datetime64(int(each), "us").astype("datetime64[D]")) for each in (us.min(), us.max())
        ]
        raise MarketError(
            f"dates run from {years[0]} to {years[1]}, outside of 1700 to 2100; write dates as 2024-01-31"
        )
