"""Series of bars by how often they come, and rows that several vendors share."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.rsc.trading.prices.shapes import DAYS, Bar, day, in_session, on_weekdays, text, times_from, walk

NAMES = "date,open,high,low,close,volume"
NEW_YORK, BERLIN, TOKYO = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Tokyo")


def iso(bar: Bar, rest: str = "") -> list[Any]:
    return [bar.time.isoformat(sep=" ") + rest, *bar.ohlc, bar.volume]


def hlc_first(bar: Bar) -> list[Any]:
    """Yahoo's order since 2024: close, high, low, open."""
    return [f"{bar.time:%Y-%m-%d}", bar.close, bar.high, bar.low, bar.open, bar.volume]


def raw_before_split(bar: Bar, ratio: int = 4, at: int = 80) -> float:
    """By how much prices before bar ``at`` are larger than today's."""
    return ratio if bar.time < DAYS[at].time else 1


def with_split(
    names: str,
    *,
    adjusted: bool = False,
    column: bool = False,
    volume: bool = False,
    noted: str = "4.0",
    no: str = "1.0",
) -> Callable[[], bytes]:
    """A file of raw prices with a split of 4:1 in it, and what tells of it."""

    def row(bar: Bar) -> list[Any]:
        raw = raw_before_split(bar)
        fields: list[Any] = [f"{bar.time:%Y-%m-%d}", *(f"{price * raw:.2f}" for price in bar.ohlc), bar.volume / raw]
        fields += [bar.close] if adjusted else []
        fields += [bar.volume] if volume else []
        fields += [noted if bar is DAYS[80] else no] if column else []
        return fields

    return lambda: text(names, row)


MONTHS = walk([day(2005 + i // 12, i % 12 + 1) for i in range(150)])
SMALL_DAYS = walk(times_from("2021-01-01", timedelta(days=1), 400, lambda t: t.day <= 12))
MONTH_ENDS = walk([day(2005 + (i + 1) // 12, (i + 1) % 12 + 1) - timedelta(days=1) for i in range(150)])
QUARTERS = walk([day(1980 + i // 4, i % 4 * 3 + 1) for i in range(120)])
YEARS = walk([day(1880 + i) for i in range(120)])
WEEKS = walk(times_from("2018-01-05", timedelta(days=7), 150))
HOURS_36 = walk(times_from("2021-01-04", timedelta(hours=36), 150))
HOURS_4 = walk(times_from("2021-01-04", timedelta(hours=4), 200))
TEL_AVIV = walk(times_from("2021-01-03", timedelta(days=1), 300, lambda t: t.weekday() in (6, 0, 1, 2, 3)))
FX_DAYS = walk(times_from("2021-01-04T22:00", timedelta(days=1), 300, lambda t: t.weekday() in (6, 0, 1, 2, 3)))
SIX_DAYS = walk(times_from("2021-01-03", timedelta(days=1), 300, lambda t: t.weekday() != 5))
MINUTE_STOCK = walk(times_from("2021-01-04T09:30", timedelta(minutes=1), 390 * 12, in_session))
FUTURES_HOURS = walk(
    times_from(
        "2021-01-03T23:00",
        timedelta(hours=1),
        600,
        lambda t: (
            (t.weekday() < 5 or (t.weekday() == 6 and t.hour >= 23))
            and t.hour != 22
            and not (t.weekday() == 4 and t.hour > 22)
        ),
    )
)
EARLY = walk(times_from("1962-01-02", timedelta(days=1), 3000, on_weekdays))
OLD = walk(times_from("1999-09-01", timedelta(days=1), 150, on_weekdays))
SUMMER_END = walk(times_from("2021-10-25T00:00", timedelta(hours=1), 24 * 14))
PENNY = walk(times_from("2021-01-04", timedelta(days=1), 150, on_weekdays), 5000.0)
