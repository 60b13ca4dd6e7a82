"""Parse dates that are text, with names of months and of time zones."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.calendars import CURE, DateError, Moments, Order, century, only_order
from rsc.trading.prices.date_numbers import moments_of_numbers
from rsc.trading.prices.date_parts import Ints, Parts, parts_of
from rsc.trading.prices.errors import first_line, quoted
from rsc.trading.prices.sheet import cast_or_none

_HOUR_US = 3_600_000_000
_NUMBER = r"^[+-]?\d+(?:\.\d*)?(?:[eE][+]?\d+)?$"
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


def moments_of_text(text: Any) -> Moments:
    """Read a column of text, as `as_text` returns it, as dates.

    Raises:
        DateError: if it holds no dates, or dates that can be read in two ways.
    """
    if (iso := _of_iso(text)) is not None:
        return iso
    if (whole := cast_or_none(text, pa.int64())) is not None and text.null_count < len(text):
        return moments_of_numbers(whole)
    sample = [value for value in text[:: max(1, len(text) // 100)].to_pylist() if value]
    if sum(bool(re.match(_NUMBER, value)) for value in sample) * 2 > len(sample):
        plain = pc.if_else(pc.match_substring_regex(text, _NUMBER), text, None)
        whole = cast_or_none(plain, pa.int64())
        return moments_of_numbers(pc.cast(plain, pa.float64()) if whole is None else whole)
    parts = parts_of(text)
    if parts is None:
        example = next((value for value in text.to_pylist() if value), "")
        raise DateError(
            f"dates such as {quoted(example)} are not understood; {CURE}" if example else f"there are no dates; {CURE}"
        )
    clock = clock_of(parts)
    moments = only_order(_orders(parts), clock, parts.known, parts.example)
    if moments is None:
        raise DateError(f"dates such as {quoted(parts.example)} are not all dates of a calendar; {CURE}")
    if "a" not in parts.numbers and not parts.two_digit_year:
        moments = replace(moments, remark="")  # other orders do not fit this layout
    return with_zones(moments, parts)


def _of_iso(text: Any) -> Moments | None:
    """Read text that is ISO 8601 without a zone throughout, which Arrow does fastest."""
    times = cast_or_none(text, pa.timestamp("us"))
    return (
        None
        if times is None or text.null_count == len(text)
        else Moments(microseconds(times), np.asarray(text.is_valid()))
    )


def microseconds(values: Any) -> Ints:
    """Return Arrow's timestamps in microseconds since 1970, null as 0."""
    wide = pc.cast(values, pa.timestamp("us", values.type.tz), safe=False)
    return np.asarray(pc.fill_null(pc.cast(wide, pa.int64()), 0))


def _orders(parts: Parts) -> Iterator[Order]:
    """Yield the orders of year, month and day that a layout allows."""
    numbers = parts.numbers
    if "a" in numbers:
        a, b, c = numbers["a"], numbers["b"], numbers["c"]
        year = century(c) if parts.two_digit_year else c
        yield "day, month, year", year, b, a
        if parts.layout != "dot":
            yield "month, day, year", year, a, b
        if parts.two_digit_year:
            yield "year, month, day", century(a), b, c
        return
    year = numbers["y"]
    if parts.two_digit_year:
        year = np.where(year < 100, century(year), year)
    month = _month_numbers(parts) if "mon" in parts.words else numbers["m"]
    if "d" not in numbers:
        words = "year and month"
    elif "mon" in parts.words and parts.two_digit_year:
        words = "day, month and a year of two digits"
    else:
        words = "year, month, day"
    yield words, year, month, numbers.get("d", np.ones_like(year))


def _month_numbers(parts: Parts) -> Ints:
    codes, names = parts.words["mon"]
    numbers = [_MONTHS.get(_plain(name), 0) for name in names]
    for name, number in zip(names, numbers, strict=True):
        if name and not number:
            raise DateError(f"{quoted(name)} is no name of a month that is understood; {CURE}")
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
        raise DateError(f"row {int(np.argmax(wrong & parts.known)) + 1} has a time of day that no clock shows; {CURE}")
    clock: Ints = ((hour * 60 + minute) * 60 + second) * 1_000_000 + micro
    return clock


def with_zones(moments: Moments, parts: Parts) -> Moments:
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
        raise DateError(
            f"the zone {quoted(name)} of the dates is not understood ({first_line(error)}); write times in UTC"
        ) from error
    ahead: Ints = wall - np.asarray(utc.cast(pa.int64()))
    return ahead
