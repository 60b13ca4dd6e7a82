"""Spellings of dates, and how often bars come."""

from __future__ import annotations

from datetime import UTC, timedelta

from tests.rsc.trading.prices.series import (
    BERLIN,
    EARLY,
    FUTURES_HOURS,
    MONTH_ENDS,
    MONTHS,
    NAMES,
    NEW_YORK,
    OLD,
    QUARTERS,
    SIX_DAYS,
    SMALL_DAYS,
    SUMMER_END,
    TEL_AVIV,
    WEEKS,
    YEARS,
    iso,
)
from tests.rsc.trading.prices.shapes import (
    COIN_HOURS,
    COIN_MINUTES,
    DAYS,
    HALF_HOURS,
    Read,
    dated,
    plain,
    quoted,
    text,
    unix,
)

SHORT = {"Jan": "янв", "Feb": "фев", "Mar": "мар", "Apr": "апр", "May": "мая", "Jun": "июн", "Jul": "июл", "Aug": "авг"}
GERMAN = ("Jan", "Feb", "Mrz", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez")

DATES: dict[str, Read] = {
    "date: yyyymmdd": Read(lambda: text(NAMES, dated("%Y%m%d"))),
    "date: ddmmyyyy": Read(lambda: text(NAMES, dated("%d%m%Y")), remarks=("day, month, year",)),
    "date: mmddyyyy": Read(lambda: text(NAMES, dated("%m%d%Y")), remarks=("month, day, year",)),
    "date: yymmdd": Read(lambda: text(NAMES, dated("%y%m%d")), remarks=("year, month, day",)),
    "date: yyyymmddHHMM": Read(lambda: text(NAMES, dated("%Y%m%d%H%M"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: yyyymmddHHMMSS": Read(lambda: text(NAMES, dated("%Y%m%d%H%M%S"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: yyyy/mm/dd": Read(lambda: text(NAMES, dated("%Y/%m/%d"))),
    "date: yyyy.mm.dd": Read(lambda: text(NAMES, dated("%Y.%m.%d"))),
    "date: m/d/yyyy": Read(
        lambda: text(NAMES, lambda b: [f"{b.time.month}/{b.time.day}/{b.time.year}", *plain(b)[1:]]),
        remarks=("month, day, year",),
    ),
    "date: m/d/yyyy H:MM": Read(
        lambda: text(
            NAMES,
            lambda b: [f"{b.time.month}/{b.time.day}/{b.time.year} {b.time.hour}:{b.time.minute:02}", *plain(b)[1:]],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "date: m/d/yy h:mm AM": Read(
        lambda: text(
            NAMES,
            lambda b: [f"{b.time.month}/{b.time.day}/{b.time:%y} {int(f'{b.time:%I}')}:{b.time:%M %p}", *plain(b)[1:]],
            COIN_HOURS,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "date: dd/mm/yyyy HH:MM:SS": Read(lambda: text(NAMES, dated("%d/%m/%Y %H:%M:%S"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: mm/dd/yyyy, all days small": Read(lambda: text(NAMES, dated("%m/%d/%Y"), SMALL_DAYS), SMALL_DAYS, None),
    "cut short in a row": Read(
        lambda: text(NAMES, plain)[:-25], DAYS[:-1], remarks=("1 line behind the table left out",)
    ),
    "date: dd-mm-yyyy": Read(lambda: text(NAMES, dated("%d-%m-%Y")), remarks=("day, month, year",)),
    "date: dd.mm.yy": Read(lambda: text(NAMES, dated("%d.%m.%y"))),
    "date: dd-Mon-yy": Read(
        lambda: text(NAMES, dated("%d-%b-%y")), remarks=("read as day, month and a year of two digits",)
    ),
    "date: dd Month yyyy": Read(lambda: text(NAMES, dated("%d %B %Y"))),
    "date: ddMONyyyy": Read(lambda: text(NAMES, lambda b: [f"{b.time:%d%b%Y}".upper(), *plain(b)[1:]])),
    "date: SAS datetime": Read(
        lambda: text(NAMES, lambda b: [f"{b.time:%d%b%Y:%H:%M:%S}".upper(), *plain(b)[1:]], COIN_HOURS),
        COIN_HOURS,
        8766.0,
    ),
    "date: Month d, yyyy": Read(
        lambda: quoted([NAMES.split(","), *([f"{b.time:%B} {b.time.day}, {b.time.year}", *plain(b)[1:]] for b in DAYS)])
    ),
    "date: weekday first": Read(
        lambda: quoted([NAMES.split(","), *([f"{b.time:%a, %d %b %Y}", *plain(b)[1:]] for b in DAYS)])
    ),
    "date: RFC 2822": Read(
        lambda: quoted(
            [NAMES.split(","), *([f"{b.time:%a, %d %b %Y %H:%M:%S} GMT", *plain(b)[1:]] for b in COIN_HOURS)]
        ),
        COIN_HOURS,
        8766.0,
    ),
    "date: JavaScript": Read(
        lambda: text(NAMES, dated("%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)"), COIN_HOURS),
        COIN_HOURS,
        8766.0,
    ),
    "date: Russian months": Read(
        lambda: text(NAMES, lambda b: [f"{b.time.day} {SHORT[f'{b.time:%b}']} {b.time.year}", *plain(b)[1:]])
    ),
    "date: German months": Read(
        lambda: text(
            NAMES.replace(",", ";"),
            lambda b: [f"{b.time.day}. {GERMAN[b.time.month - 1]}. {b.time.year}", *plain(b)[1:]],
            separator=";",
        )
    ),
    "date: year before the month's name": Read(lambda: text(NAMES, dated("%Y-%b-%d"))),
    "date: ISO with T and Z": Read(lambda: text(NAMES, dated("%Y-%m-%dT%H:%M:%SZ"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: ISO basic": Read(lambda: text(NAMES, dated("%Y%m%dT%H%M%SZ"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: ISO with microseconds": Read(
        lambda: text(NAMES, dated("%Y-%m-%d %H:%M:%S.000000"), COIN_HOURS), COIN_HOURS, 8766.0
    ),
    "date: offset and UTC behind": Read(
        lambda: text(NAMES, dated("%Y-%m-%d %H:%M:%S +0000 UTC"), COIN_HOURS), COIN_HOURS, 8766.0
    ),
    "date: UTC behind": Read(lambda: text(NAMES, dated("%Y-%m-%d %H:%M:%S UTC"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: some with offsets": Read(
        lambda: text(
            NAMES,
            lambda b: [f"{b.time:%Y-%m-%d}" + ("" if b.time < DAYS[80].time else " 00:00:00-04:00"), *plain(b)[1:]],
        )
    ),
    "date: hours without minutes": Read(lambda: text(NAMES, dated("%Y-%m-%d %H"), COIN_HOURS), COIN_HOURS, 8766.0),
    "date: EST and EDT": Read(
        lambda: text(
            NAMES,
            lambda b: [b.time.replace(tzinfo=NEW_YORK).strftime("%Y-%m-%d %H:%M:%S %Z"), *plain(b)[1:]],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        shift=timedelta(hours=5),
    ),
    "date: seconds": Read(lambda: text(NAMES, lambda b: [unix(b), *plain(b)[1:]]), remarks=("seconds since 1970",)),
    "date: seconds before 1970 too": Read(lambda: text(NAMES, lambda b: [unix(b), *plain(b)[1:]], EARLY), EARLY, 260.0),
    "date: milliseconds before 1970 too": Read(
        lambda: text(NAMES, lambda b: [unix(b, 1000), *plain(b)[1:]], EARLY), EARLY, 260.0
    ),
    "date: seconds as floats": Read(lambda: text(NAMES, lambda b: [f"{unix(b)}.0", *plain(b)[1:]])),
    "date: nanoseconds": Read(lambda: text(NAMES, lambda b: [unix(b, 10**9), *plain(b)[1:]])),
    "date: two digits over the turn of the century": Read(lambda: text(NAMES, dated("%m/%d/%y"), OLD), OLD),
    "date: before 1970": Read(lambda: text(NAMES, plain, EARLY), EARLY, 260.0),
    "date: in a column of another name": Read(
        lambda: text("session,open,high,low,close,volume", plain), remarks=("the column 'session'",)
    ),
    "date: whole time in time, day in date": Read(
        lambda: text(
            "date,timestamp,open,high,low,close,volume",
            lambda b: [f"{b.time:%Y-%m-%d}", unix(b), *b.ohlc, b.volume],
            COIN_HOURS,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "date: ambiguous, but unix beside it": Read(
        lambda: text(
            "date,unix,open,high,low,close,volume", lambda b: [f"{b.time:%d/%m/%Y}", unix(b), *b.ohlc, b.volume], MONTHS
        ),
        MONTHS,
        12.0,
    ),
    "date and time, 12-hour": Read(
        lambda: text(
            "Date,Time,Open,High,Low,Close,Volume",
            lambda b: [f"{b.time:%d/%m/%Y}", f"{b.time:%I:%M:%S %p}", *b.ohlc, b.volume],
            COIN_HOURS,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "daily, date and a time that is the same": Read(
        lambda: text(
            "Date,Time,Open,High,Low,Close,Volume", lambda b: [f"{b.time:%Y-%m-%d}", "16:00", *b.ohlc, b.volume]
        ),
        remarks=("'Time' is left out",),
    ),
    "months: yyyy-mm": Read(lambda: text(NAMES, dated("%Y-%m"), MONTHS), MONTHS, 12.0),
    "months: Mon yyyy": Read(lambda: text(NAMES, dated("%b %Y"), MONTHS), MONTHS, 12.0),
    "month ends": Read(lambda: text(NAMES, plain, MONTH_ENDS), MONTH_ENDS, 12.0),
    "weeks": Read(lambda: text(NAMES, plain, WEEKS), WEEKS, 52.0),
    "quarters": Read(lambda: text(NAMES, plain, QUARTERS), QUARTERS, 4.0),
    "years": Read(lambda: text(NAMES, plain, YEARS), YEARS, 1.0),
    "Tel Aviv: Sunday to Thursday": Read(lambda: text(NAMES, plain, TEL_AVIV), TEL_AVIV, 260.0),
    "six days a week": Read(lambda: text(NAMES, plain, SIX_DAYS), SIX_DAYS, 313.0),
    "futures round the clock": Read(lambda: text(NAMES, iso, FUTURES_HOURS), FUTURES_HOURS, None),
    "half a day of minutes, periods unknown": Read(lambda: text(NAMES, iso, COIN_MINUTES), COIN_MINUTES, None),
    "clocks change: zone given": Read(
        lambda: text(
            NAMES, lambda b: [b.time.replace(tzinfo=UTC).astimezone(BERLIN).isoformat(), *plain(b)[1:]], SUMMER_END
        ),
        SUMMER_END,
        8766.0,
        remarks=("turned to UTC",),
    ),
}
