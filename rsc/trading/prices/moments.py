"""Dates of any type and spelling as microseconds: one format for a whole column, refused where two fit."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.date_parts import Bools, Ints, Parts, parts_of, time_of_day
from rsc.trading.prices.errors import MarketError, first_line, quoted
from rsc.trading.prices.sheet import as_text, cast_or_none, is_text_type

DAY_US = 86_400_000_000
_HOUR_US = 3_600_000_000
FIRST_US = int(np.datetime64("1700-01-01", "us").astype(np.int64))
LAST_US = int(np.datetime64("2101-01-01", "us").astype(np.int64))
_NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+]?\d+)?$"
_CURE = "write dates as 2024-01-31"
# Unit, lowest and highest size of a number since 1970, microseconds of one unit.
_EPOCHS = (
    ("seconds", 1e8, 1e10, 1e6),
    ("milliseconds", 1e11, 1e13, 1e3),
    ("microseconds", 1e14, 1e16, 1.0),
    ("nanoseconds", 1e17, 1e19, 1e-3),
)
# Counts of 100 ns that have the size of nanoseconds since 1970: of .NET since the year 1, of Windows since 1601.
_TICKS = ((6.2e17, 6.6e17), (1.22e17, 1.36e17))
_ZONES = {"Z": 0, "UTC": 0, "GMT": 0, "EST": -5, "EDT": -4, "CET": 1, "CEST": 2}
_MONTHS = {
    name: number
    for number, names in enumerate(
        (
            "jan januar january janvier janv enero ene gennaio gen janeiro januari янв января",
            "feb februar february fevrier fevr fev febrero febbraio fevereiro februari фев февраля",
            "mar marz maerz mrz march mars marzo marco maart мар марта",
            "apr april avril avr abril abr aprile апр апреля",
            "may mai mayo maggio mag maio mei май мая маи",
            "jun juni june juin junio giugno giu junho июн июня",
            "jul juli july juillet juil julio luglio lug julho июл июля",
            "aug august aout agosto ago augustus авг августа",
            "sep sept september septembre septiembre settembre set setembro сен сентября",
            "oct october octobre octubre ottobre ott outubro out okt oktober окт октября",
            "nov november novembre noviembre novembro ноя ноября",
            "dec december decembre diciembre dic dicembre dezembro dez dezember дек декабря",
        ),
        1,
    )
    for name in names.split()
}


class DateError(MarketError):
    """A column that holds no dates, or dates that can be read in two ways."""


@dataclass(frozen=True)
class Moments:
    """Times of a column, shape (n,) each.

    ``wall`` are microseconds since 1970 by the clock of the file; ``offset``, where ``zoned``, how far that clock is ahead
    of UTC; ``known`` is False where there is no date; ``remark`` says how the dates were read if it is worth saying.
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


def moments_of(values: Any) -> Moments:
    """Read a column as dates.

    Raises:
        DateError: if it holds no dates, or dates that can be read in two ways.
    """
    kind = values.type
    if pa.types.is_timestamp(kind):
        return _of_timestamps(values)
    if pa.types.is_date(kind):
        return _of_timestamps(pc.cast(values, pa.timestamp("us")))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _of_numbers(values)
    if is_text_type(kind):
        return _of_text(as_text(values))
    raise DateError(f"dates of the type {kind} are not read; {_CURE}")


def _of_timestamps(values: Any) -> Moments:
    known = np.asarray(values.is_valid())
    wall, offset = values, None
    try:
        if values.type.tz is not None:
            wall = pc.local_timestamp(values)
            offset = _us(wall) - _us(values)
    except pa.ArrowInvalid as error:
        raise DateError(
            f"dates have the zone {values.type.tz}, which this system does not know ({first_line(error)}); "
            "convert them to UTC"
        ) from error
    return Moments(_us(wall), known, offset, None if offset is None else known)


def _us(values: Any) -> Ints:
    wide = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
    return np.asarray(pc.fill_null(pc.cast(wide, pa.int64()), 0))


def _of_numbers(values: Any) -> Moments:
    """Dates as 20240131, or as time since 1970 by the size of the numbers."""
    known = np.asarray(values.is_valid())
    whole = pa.types.is_integer(values.type)
    numbers = np.asarray(pc.fill_null(values if whole else pc.cast(values, pa.float64(), safe=False), 0))
    if not whole:
        known &= np.isfinite(numbers)
        numbers = np.where(known, numbers, 0.0)
    if not known.any():
        raise DateError(f"there are no dates; {_CURE}")
    shown = numbers[known]
    if (shown == np.rint(shown)).all() and shown.min() >= 0 and shown.max() < 1e14:
        digits = pc.cast(pa.array(shown.astype(np.int64)), pa.string())
        if (calendar := _of_digits(digits)) is not None:
            return _spread(calendar, known)
    return _spread(_of_epochs(shown), known)


def _spread(moments: Moments, known: Bools) -> Moments:
    """Give the moments of the known rows their places among all rows."""
    wall = np.zeros(len(known), np.int64)
    wall[known] = moments.wall
    return replace(moments, wall=wall, known=known)


def _of_digits(digits: Any) -> Moments | None:
    """Dates of digits only: 20240131, 31012024, 240131, and the first two with hours and minutes behind them."""
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
    if width == 6:
        orders = (
            ("year, month, day", _century(number(0, 2)), number(2, 4), number(4, 6)),
            ("day, month, year", _century(number(4, 6)), number(2, 4), number(0, 2)),
            ("month, day, year", _century(number(4, 6)), number(0, 2), number(2, 4)),
            ("year and month", number(0, 4), number(4, 6), np.ones(len(letters), np.int64)),
        )
    else:
        orders = (
            ("year, month, day", number(0, 4), number(4, 6), number(6, 8)),
            ("day, month, year", number(4, 8), number(2, 4), number(0, 2)),
            ("month, day, year", number(4, 8), number(0, 2), number(2, 4)),
        )
    return _only_order(orders, clock, np.ones(len(letters), bool), str(digits[0]))


def _only_order(orders: Any, clock: Ints, known: Bools, example: str) -> Moments | None:
    """Return the one order of year, month and day that fits all rows, by calendar first and by monotonic time then.

    Raises:
        DateError: if several do.
    """
    fits = []
    for name, *ymd in orders:
        wall = _calendar(*(part[known] for part in ymd))
        if wall is not None:
            fits.append((name, wall + clock[known]))
    if len(fits) > 1:
        running = [(name, wall) for name, wall in fits if _is_monotonic(wall)]
        if len(running) != 1:
            names = " or ".join(name for name, _ in running or fits)
            raise DateError(f"dates such as {quoted(example)} can be {names}; {_CURE}")
        fits = running
    if not fits:
        return None
    name, wall = fits[0]
    remark = "" if name == "year, month, day" and len(example) == 8 else f"dates such as {quoted(example)} are read as {name}"
    return _spread(Moments(wall, known, remark=remark), known)


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


def _is_monotonic(wall: Ints) -> bool:
    steps = np.diff(wall)
    return bool((steps >= 0).all() or (steps <= 0).all())


def _century(years: Ints) -> Ints:
    """Return the years of two digits as those that are not in the future."""
    this_year = datetime.now(UTC).year
    return np.where(years + 2000 > this_year + 1, years + 1900, years + 2000)


def _of_epochs(numbers: Any) -> Moments:
    """Time since 1970 in the unit that the size of the numbers shows."""
    size = np.abs(numbers.astype(np.float64))
    units = [(name, scale) for name, low, high, scale in _EPOCHS if ((size >= low) & (size < high)).any()]
    if not units or size.max() >= 1e19:
        raise DateError(
            f"dates are numbers such as {numbers[0]:g}, neither 20240131 nor time since 1970; {_CURE}"
            + ("; in a spreadsheet, format the column as dates" if 1e4 <= size.max() < 1e5 else "")
        )
    if any((low <= size).all() and (size < high).all() for low, high in _TICKS):
        raise DateError(f"dates such as {numbers[0]:.0f} look like ticks of 100 ns, not like time since 1970; {_CURE}")
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
    sound = [each for each in (moments, both) if _is_monotonic(each.wall) and _largest_step(each.wall) < 0.5]
    if len(sound) != 1:
        raise DateError(f"dates are numbers of different sizes, such as {numbers[0]:g} and {numbers[-1]:g}; {_CURE}")
    return _utc(sound[0])


def _scaled(numbers: Any, scale: float) -> Ints:
    if numbers.dtype.kind in "iu":
        whole = numbers.astype(np.int64)
        return whole * int(scale) if scale >= 1 else whole // round(1 / scale)
    return np.rint(numbers * scale).astype(np.int64)


def _largest_step(wall: Ints) -> float:
    """Return the largest step as a part of the whole time."""
    return float(np.abs(np.diff(wall)).max(initial=0) / max(abs(int(wall[-1]) - int(wall[0])), 1))


def _utc(moments: Moments) -> Moments:
    return replace(moments, offset=np.zeros_like(moments.wall), zoned=moments.known)


def _of_text(text: Any) -> Moments:
    if (iso := _of_iso(text)) is not None:
        return iso
    if (whole := cast_or_none(text, pa.int64())) is not None and text.null_count < len(text):
        return _of_numbers(whole)
    sample = [value for value in text[:: max(1, len(text) // 100)].to_pylist() if value]
    if sum(bool(re.match(_NUMBER, value)) for value in sample) * 2 > len(sample):
        plain = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, None)
        whole = cast_or_none(plain, pa.int64())
        return _of_numbers(pc.cast(plain, pa.float64()) if whole is None else whole)
    parts = parts_of(text)
    if parts is None:
        example = next((value for value in text.to_pylist() if value), "")
        raise DateError(f"dates such as {quoted(example)} are not understood; {_CURE}" if example else f"there are no dates; {_CURE}")
    clock = clock_of(parts)
    moments = _only_order(_orders(parts), clock, parts.known, parts.example)
    if moments is None:
        raise DateError(f"dates such as {quoted(parts.example)} are not all dates of a calendar; {_CURE}")
    if "a" not in parts.numbers and not parts.two_digit_year:
        moments = replace(moments, remark="")  # nothing else could be meant
    return _zoned(moments, parts)


def _of_iso(text: Any) -> Moments | None:
    """Read text that is ISO 8601 without a zone throughout, which Arrow does fastest."""
    times = cast_or_none(text, pa.timestamp("us"))
    return None if times is None or text.null_count == len(text) else Moments(_us(times), np.asarray(text.is_valid()))


def _orders(parts: Parts) -> Iterator[tuple[str, Ints, Ints, Ints]]:
    """Yield the orders of year, month and day that a layout allows."""
    numbers = parts.numbers
    if "a" in numbers:
        a, b, c = numbers["a"], numbers["b"], numbers["c"]
        year = _century(c) if parts.two_digit_year else c
        yield "day, month, year", year, b, a
        if parts.layout != "dot":
            yield "month, day, year", year, a, b
        if parts.two_digit_year:
            yield "year, month, day", _century(a), b, c
        return
    year = numbers["y"]
    if parts.two_digit_year:
        year = np.where(year < 100, _century(year), year)
    month = _month_numbers(parts) if "mon" in parts.words else numbers["m"]
    yield ("year and month" if "d" not in numbers else "year, month, day"), year, month, numbers.get("d", np.ones_like(year))


def _month_numbers(parts: Parts) -> Ints:
    codes, names = parts.words["mon"]
    numbers = [_MONTHS.get(_plain(name), 0) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if name and not number:
            raise DateError(f"{quoted(name)} is no name of a month that is understood; {_CURE}")
    return np.array(numbers, np.int64)[codes]


def _plain(word: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKD", word.lower()) if unicodedata.category(c) != "Mn").strip(".")


def clock_of(parts: Parts) -> Ints:
    """Return the time of day in microseconds.

    Raises:
        DateError: if an hour, minute or second is out of its range.
    """
    size = len(parts.known)
    hour, minute, second, micro = (parts.numbers.get(key, np.zeros(size, np.int64)) for key in "HMSF")
    if "P" in parts.numbers:
        wrong = parts.has["P"] & ((hour < 1) | (hour > 12))
        hour = np.where(parts.has["P"], hour % 12 + 12 * parts.numbers["P"], hour)
    else:
        wrong = np.zeros(size, bool)
    wrong |= (hour > 24) | (minute > 59) | (second > 59) | ((hour == 24) & ((minute > 0) | (second > 0)))
    if (wrong & parts.known).any():
        raise DateError(f"row {int(np.argmax(wrong & parts.known)) + 1} has a time of day that no clock shows; {_CURE}")
    clock: Ints = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
    return clock


def _zoned(moments: Moments, parts: Parts) -> Moments:
    """Add the offsets from UTC that the text gives as +02:00, as UTC, or as a name such as Europe/Berlin."""
    numeric = parts.has.get("ZS", np.zeros(len(parts.known), bool))
    offset = np.where(numeric, parts.numbers.get("Z", np.int64(0)), 0)
    named = parts.has.get("ZN", np.zeros(len(parts.known), bool)) & ~numeric
    if not (numeric | named).any():
        return moments
    codes, names = parts.words.get("ZN", (np.int64(0), []))
    for code, name in enumerate(names):
        rows = named & (codes == code)
        if rows.any():
            offset[rows] = _offset_of_name(name, moments.wall[rows])
    return replace(moments, offset=offset, zoned=(numeric | named) & parts.known)


def _offset_of_name(name: str, wall: Ints) -> Ints:
    if name.upper() in _ZONES:
        return np.full(len(wall), _ZONES[name.upper()] * _HOUR_US)
    try:
        utc = pc.assume_timezone(pa.array(wall).cast(pa.timestamp("us")), name)
    except pa.ArrowInvalid as error:
        raise DateError(f"the zone {quoted(name)} of the dates is not understood ({first_line(error)}); write times in UTC") from error
    return wall - np.asarray(utc.cast(pa.int64()))


def times_of_day(values: Any) -> Moments:
    """Read a column as times of day; ``wall`` is microseconds after midnight.

    Raises:
        DateError: if it holds no times of day.
    """
    kind = values.type
    if pa.types.is_time(kind):
        micro = pc.cast(pc.cast(values, pa.time64("us"), safe=False), pa.int64())
        return Moments(np.asarray(pc.fill_null(micro, 0)), np.asarray(values.is_valid()))
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        values = pc.cast(pc.cast(values, pa.int64(), safe=False), pa.string())
    if not is_text_type(values.type):
        raise DateError(f"times of the type {kind} are not read; write them as 09:30:00")
    text = as_text(values)
    if pc.all(pc.match_substring_regex(text, r"^\d{1,6}$")).as_py():  # 930, 0930 or 93000: leading zeros may be lost
        widest = int(pc.max(pc.binary_length(text)).as_py() or 0)
        text = pc.utf8_lpad(text, 6 if widest > 4 else 4, "0")
    parts = time_of_day(text)
    if parts is None:
        example = next((value for value in itertools.islice(text.to_pylist(), 1000) if value), "")
        raise DateError(f"times such as {quoted(example)} are not understood; write them as 09:30:00")
    return _zoned(Moments(clock_of(parts), parts.known), parts)
