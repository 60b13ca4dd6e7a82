"""Estimate the number of bars in a year from the times of the bars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rsc.trading.prices.calendars import DAY_US
from rsc.trading.prices.date_parts import Ints

_WEEK_DAYS = 7
_YEAR_DAYS = 365.25
_WEEKS = _YEAR_DAYS / _WEEK_DAYS
_EXCHANGE_WEEKS = 50.4  # 252 days / 5
_FIXED = (
    (6.5, 7.5, 52.0, "weekly"),
    (27.0, 32.0, 12.0, "monthly"),
    (88.0, 93.0, 4.0, "quarterly"),
    (360.0, 372.0, 1.0, "yearly"),
)
_DAILY = (0.9, 1.1)
_USUAL = (252.0, 260.0)
_SNAP = 0.02
_LONGER = 1.5
_LONG_WEEKEND_DAYS = 4.5
_GAP = 10
"""A step longer than this many usual steps is a gap, and does not count for the estimate."""


@dataclass(frozen=True)
class Rhythm:
    """The frequency of bars: ``periods`` a year, None if it cannot be estimated; ``words`` explain it."""

    periods: float | None
    words: str


def rhythm_of(times_us: Ints) -> Rhythm:
    """Estimate the number of bars in a year from the times of bars, in microseconds and ascending."""
    steps = np.diff(times_us)
    if not len(steps):
        return Rhythm(None, "one bar")
    days = float(np.median(steps)) / DAY_US
    if days < _DAILY[0]:
        return _intraday(times_us, days)
    for low, high, periods, word in _FIXED:
        if low <= days <= high:
            return Rhythm(periods, f"{word} bars")
    counted, weekdays = _counted(steps), _weekdays(times_us)
    if not _DAILY[0] <= days <= _DAILY[1]:
        return Rhythm(_YEAR_DAYS / days if weekdays == _WEEK_DAYS else counted, f"bars {days:g} days apart")
    if weekdays == _WEEK_DAYS:
        return Rhythm(_YEAR_DAYS, "daily bars on seven days a week")
    if weekdays == 6:
        return Rhythm(313.0, "daily bars on six days a week")
    usual = min(_USUAL, key=lambda each: abs(each - counted))
    return Rhythm(usual if abs(counted / usual - 1) <= _SNAP else counted, "daily bars on the days of an exchange")


def gaps_of(times_us: Ints) -> list[tuple[int, int]]:
    """Return the bars before and after each gap, longest first.

    A gap is a step that is longer than usual and than a long weekend; in a market that trades every day, any missing
    bar is one.
    """
    steps = np.diff(times_us)
    longest = _LONGER * float(np.median(steps))
    if _weekdays(times_us) < _WEEK_DAYS:
        longest = max(longest, _LONG_WEEKEND_DAYS * DAY_US)
    at = np.flatnonzero(steps > longest)
    at = at[np.argsort(-steps[at], kind="stable")]
    return [(int(times_us[i]), int(times_us[i + 1])) for i in at]


def _counted(steps: Ints) -> float:
    """Return bars a year, gaps not counted."""
    close = steps[steps <= _GAP * np.median(steps)]
    return len(close) / (float(close.sum()) / DAY_US / _YEAR_DAYS)


def _weekdays(times_us: Ints) -> int:
    """Return the number of weekdays that usually have about as many bars as the others."""
    days = times_us // DAY_US
    bars = np.bincount(days % _WEEK_DAYS, minlength=_WEEK_DAYS)
    occurrences = np.bincount(np.arange(days[0], days[-1] + 1) % _WEEK_DAYS, minlength=_WEEK_DAYS)
    rates = bars / np.maximum(occurrences, 1)
    return int((rates * 2 > np.median(rates[rates > 0])).sum())


def _intraday(times_us: Ints, days: float) -> Rhythm:
    """Count the bars of whole weeks."""
    words = f"bars {_step_in_words(days)} apart"
    week = _WEEK_DAYS * DAY_US
    weeks = int((int(times_us[-1]) - int(times_us[0]) + round(days * DAY_US)) // week)
    if not weeks:
        return Rhythm(None, words)
    edges = int(times_us[0]) + np.arange(weeks + 1) * week
    counts = np.diff(np.searchsorted(times_us, edges))
    bars = float(np.median(counts[counts > 0]))
    if _weekdays(times_us) == _WEEK_DAYS:
        return Rhythm(bars * _WEEKS, f"{words}, {bars:g} in a week of seven days")
    if _session_days(times_us, days) >= 20 / 24:
        return Rhythm(bars * 52, f"{words}, {bars:g} in a week of sessions round the clock")
    return Rhythm(bars * _EXCHANGE_WEEKS, f"{words}, {bars:g} in a week of an exchange's sessions")


def _session_days(times_us: Ints, days: float) -> float:
    """Return the fraction of a day that usually has bars."""
    step = max(round(days * DAY_US), 1_000_000)
    counts = np.bincount((times_us % DAY_US) // step)
    return float((counts * 10 > counts.max()).sum()) * step / DAY_US


def _step_in_words(days: float) -> str:
    seconds = days * 86_400
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"
