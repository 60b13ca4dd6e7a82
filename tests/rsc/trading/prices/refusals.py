"""Files that have no single sound reading, and what the message says of each."""

from __future__ import annotations

import gzip
import io
import json
import pickle
import tarfile
from datetime import timedelta

import numpy as np
import pyarrow as pa

from tests.rsc.trading.prices.series import NAMES, iso
from tests.rsc.trading.prices.shapes import (
    COIN_HOURS,
    DAYS,
    HALF_HOURS,
    Refused,
    arrow,
    as_feather,
    as_parquet,
    as_zip,
    comma,
    dated,
    day,
    plain,
    text,
    unix,
    walk,
)

ONES = walk([day(2005 + i // 12, i % 12 + 1) for i in range(120)])


def tar() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        content = text(NAMES, plain)
        info = tarfile.TarInfo("prices.csv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


def changed(row: int, column: int, value: object):
    """A plain file with one other value."""

    def make() -> bytes:
        rows = [plain(bar) for bar in DAYS]
        rows[row][column] = value
        return "\n".join([NAMES, *(",".join(map(str, each)) for each in rows), ""]).encode()

    return make


REFUSED: dict[str, Refused] = {
    # Several assets
    "stacked": Refused(
        lambda: text(NAMES + ",symbol", lambda b: [*plain(b), "A"]) + text(None, lambda b: [*plain(b), "B"]),
        r"2 assets in one file \(column 'symbol': A, B\); choose one: --symbol A",
    ),
    "stacked by permno": Refused(
        lambda: text(
            "permno,date,openprc,askhi,bidlo,prc,vol", lambda b: [10107 if b.time.day % 2 else 14593, *plain(b)]
        ),
        "2 assets in one file",
    ),
    "stacked by a column of another kind": Refused(
        lambda: text(NAMES + ",Venue", lambda b: [*plain(b), "XNYS"]) + text(None, lambda b: [*plain(b), "XLON"]),
        r"column 'Venue': XNYS, XLON",
    ),
    "stacked without a column": Refused(
        lambda: text(NAMES, plain) + text(None, lambda b: [f"{b.time:%Y-%m-%d}", *(p * 3 for p in b.ohlc), 1]),
        "is before the row before it.*one asset",
    ),
    "interleaved without a column": Refused(
        lambda: text(
            NAMES,
            lambda b: "\n".join(
                ",".join(map(str, [f"{b.time:%Y-%m-%d}", *(p * k for p in b.ohlc), 1])) for k in (1, 3)
            ),
        ),
        "repeats the time of the row before it",
    ),
    "wide": Refused(
        lambda: text(
            "date," + ",".join(f"{a}_{n}" for a in ("BTC", "ETH") for n in ("open", "high", "low", "close")),
            lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, *b.ohlc],
        ),
        r"2 assets side by side \(BTC, ETH\); choose one: --symbol BTC",
    ),
    "bid and ask": Refused(
        lambda: text(
            "DateTime,BidOpen,BidHigh,BidLow,BidClose,AskOpen,AskHigh,AskLow,AskClose,Volume",
            lambda b: [*plain(b)[:5], *b.ohlc, 1],
        ),
        r"side by side \(Bid, Ask\)",
    ),
    "multiindex of two": Refused(
        lambda: as_parquet(
            pa.table(
                {
                    f"('{n}', '{a}')": [getattr(b, n.lower()) for b in DAYS]
                    for n in ("Open", "High", "Low", "Close")
                    for a in ("A", "B")
                }
                | {"Date": [b.time for b in DAYS]}
            )
        ),
        "2 assets side by side",
    ),
    "symbol that is not there": Refused(
        lambda: text(NAMES + ",symbol", lambda b: [*plain(b), "A"]), "no asset 'MSFT'; it has A", symbol="MSFT"
    ),
    "symbol without a column": Refused(
        lambda: text(NAMES, plain), "no column names assets.*leave --symbol out", symbol="MSFT"
    ),
    "closes only": Refused(
        lambda: text("Date,AAPL,MSFT,XOM", lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc[:3]]),
        "no columns for open, high, low, close; it has Date, AAPL, MSFT, XOM",
    ),
    "one price": Refused(
        lambda: text("date,price", lambda b: [f"{b.time:%Y-%m-%d}", b.close]),
        "bars need date, open, high, low and close",
    ),
    "ticks": Refused(
        lambda: text("timestamp,bid,ask", lambda b: [unix(b), b.close, b.open]), "no columns for open, high, low, close"
    ),
    "no close": Refused(lambda: text("date,open,high,low,volume", lambda b: [*plain(b)[:4], 1]), "no column for close"),
    "two tickers whose names are lost": Refused(
        lambda: text(
            "Date," + ",".join(f"{name},{name}.1" for name in ("Open", "High", "Low", "Close", "Volume")),
            lambda b: [f"{b.time:%Y-%m-%d}", *(x for p in (*b.ohlc, b.volume) for x in (p, p * 3))],
        ),
        "two columns are named 'Open' and differ",
    ),
    "last and settlement price": Refused(
        lambda: text("Date,Open,High,Low,Last,Settle,Volume", lambda b: [*plain(b)[:5], b.close - 0.01, 1]),
        "close can be the column 'Last' or 'Settle'; name one of them close",
    ),
    # Dates
    "dates that fit two orders": Refused(
        lambda: text(NAMES, dated("%d/%m/%Y"), ONES),
        "can be day, month, year or month, day, year; write dates as 2024-01-31",
    ),
    "serial numbers of a spreadsheet": Refused(
        lambda: text(NAMES, lambda b: [(b.time - day(1899, 12, 30)).days, *plain(b)[1:]]),
        "numbers such as 44200, .*format the column as dates",
    ),
    "counts of rows for dates": Refused(
        lambda: text(NAMES, lambda b: [DAYS.index(b), *plain(b)[1:]]), "neither 20240131 nor time since 1970"
    ),
    ".NET ticks": Refused(
        lambda: text(NAMES, lambda b: [(b.time - day(1)) // timedelta(microseconds=1) * 10, *plain(b)[1:]]),
        "ticks of 100 ns",
    ),
    "epochs that lost their digits": Refused(
        lambda: text(NAMES, lambda b: [f"{unix(b, 1000):.3E}", *plain(b)[1:]], COIN_HOURS), "repeats the time"
    ),
    "dates of several formats": Refused(
        lambda: text(
            NAMES, lambda b: [f"{b.time:%Y-%m-%d}" if b.time < DAYS[100].time else f"{b.time:%m/%d/%Y}", *plain(b)[1:]]
        ),
        "row 101 has the date '05/24/2021', unlike the others",
    ),
    "no dates": Refused(lambda: text("open,high,low,close,volume", lambda b: plain(b)[1:]), "no column for date"),
    "words for dates": Refused(
        lambda: text(NAMES, lambda b: ["soon", *plain(b)[1:]]), "dates such as 'soon' are not understood"
    ),
    "a date missing": Refused(changed(20, 0, ""), "row 21 has no date"),
    "a date that no calendar has": Refused(lambda: text(NAMES, dated("%Y-02-30")), "not all dates of a calendar"),
    "a year with a digit too many": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time.year + 1000}-{b.time:%m-%d}", *plain(b)[1:]]),
        "outside of 1700 to 2100|not all dates",
    ),
    "a month of no language": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time.day} Foo {b.time.year}", *plain(b)[1:]]), "'Foo' is no name of a month"
    ),
    "a zone of no place": Refused(
        lambda: text(NAMES, dated("%Y-%m-%d %H:%M:%S XYZ"), HALF_HOURS), "zone 'XYZ'.* write times in UTC"
    ),
    "a zone on some times only": Refused(
        lambda: text(
            NAMES,
            lambda b: (
                iso(b)[:1] + plain(b)[1:]
                if b.time < HALF_HOURS[80].time
                else [f"{b.time.isoformat()}-05:00", *plain(b)[1:]]
            ),
            HALF_HOURS,
        ),
        "some times have a zone and some have none",
    ),
    "an hour of no clock": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d} 25:00:00", *plain(b)[1:]]),
        "time of day that no clock shows|not understood",
    ),
    "not in order": Refused(
        lambda: text(NAMES, plain, [*DAYS[:50], *DAYS[60:], *DAYS[50:60]]), "is before the row before it"
    ),
    "a time twice with different prices": Refused(
        lambda: text(NAMES, plain, [*DAYS, walk([DAYS[-1].time], 90.0, 7)[0]]), "repeats the time of the row before it"
    ),
    "summer time ends": Refused(
        lambda: text(NAMES, iso, [*COIN_HOURS[:100], *walk([COIN_HOURS[99].time], 30_000.0, 3), *COIN_HOURS[100:]]),
        "end of summer time; write times in UTC",
    ),
    "opening times that fit two orders beside closing times": Refused(
        lambda: text(
            "open_time,open,high,low,close,close_time",
            lambda b: [f"{b.time:%d/%m/%Y}", *b.ohlc, unix(b, 1000) + 59_999],
            ONES,
        ),
        "can be day, month, year or month, day, year",
    ),
    # Numbers
    "zero price": Refused(changed(3, 1, 0), r"row 4 has open = 0 \(1 such rows\); prices must be positive numbers"),
    "negative price": Refused(changed(3, 4, -37.63), "row 4 has close = -37.63"),
    "price missing": Refused(changed(3, 4, ""), "row 4 has close = nan"),
    "infinite price": Refused(changed(3, 2, "inf"), "row 4 has high = inf"),
    "word for a price": Refused(changed(3, 2, "closed"), "column 'high' holds 'closed', which is no number"),
    "negative volume": Refused(changed(3, 5, -7), "row 4 has volume = -7; use 0"),
    "low above high": Refused(changed(3, 3, 1000), "row 4 has low = 1000 above high"),
    "open far above high": Refused(changed(3, 1, 500), "outside of low to high"),
    "close in another unit": Refused(
        lambda: text(NAMES, lambda b: [*plain(b)[:4], b.close * 100, 1]), "outside of low to high"
    ),
    "adjusted close missing": Refused(
        lambda: text(NAMES + ",Adj Close", lambda b: [*plain(b), "" if b is DAYS[4] else b.close]),
        "row 5 has adj_close = nan",
    ),
    "two columns of close that differ": Refused(
        lambda: text(NAMES + ",Close", lambda b: [*plain(b), b.close + 1]),
        "two columns are named 'close' and differ|'Close'",
    ),
    "empty column": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", "", *plain(b)[2:]]), "the column of open is empty"
    ),
    "most rows empty": Refused(
        lambda: text(
            NAMES,
            lambda b: [f"{b.time:%Y-%m-%d %H:%M:%S}", *(("",) * 5 if b.time.hour % 2 else (*b.ohlc, 1))],
            COIN_HOURS,
        ),
        "rows have no prices",
    ),
    "99 bars": Refused(lambda: text(NAMES, plain, DAYS[:99]), "99 rows are too few, at least 100 are needed"),
    "decimal commas without quotes": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *(comma(p) for p in b.ohlc), b.volume]),
        "rows have 10 fields .* decimal comma",
    ),
    "two decimal marks": Refused(
        lambda: text(
            NAMES.replace(",", ";"),
            lambda b: [f"{b.time:%Y-%m-%d}", comma(b.open), b.high, b.low, b.close, b.volume],
            separator=";",
        ),
        "different decimal marks",
    ),
    "thousands or decimals": Refused(
        lambda: text(
            "date;open;high;low;close",
            lambda b: [f"{b.time:%Y-%m-%d}", *(f"{p:.0f},125" for p in b.ohlc)],
            separator=";",
        ),
        "decimal comma or thousands",
    ),
    "fractions of bonds": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *(f"{p:.0f}'{p % 1 * 32:02.0f}" for p in b.ohlc), 1]),
        "holds .* which is no number",
    ),
    "fractions of bonds, to a quarter": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *(f"{p:.0f}'{p % 1 * 32:02.0f}5" for p in b.ohlc), 1]),
        "holds .* which is no number",
    ),
    "fractions of old shares": Refused(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *(f"{p:.0f} 1/8" for p in b.ohlc), 1]),
        "holds .* which is no number",
    ),
    # Files
    "pickle": Refused(lambda: pickle.dumps({"a": 1}), "a pickle, which can run code"),
    "xlsx": Refused(
        lambda: as_zip(**{"[Content_Types].xml": b"<x/>", "xl/workbook.xml": b"<x/>"}),
        "an Excel workbook.*save the table as CSV",
    ),
    "xls": Refused(lambda: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "an old Excel workbook"),
    "ods": Refused(
        lambda: as_zip(mimetype=b"application/vnd.oasis.opendocument.spreadsheet", **{"content.xml": b"<x/>"}),
        "OpenDocument",
    ),
    "hdf5": Refused(lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
    "sqlite": Refused(lambda: b"SQLite format 3\x00" + bytes(100), "SQLite"),
    "numpy": Refused(array, "NumPy"),
    "tar": Refused(tar, "tar archive"),
    "zip of two": Refused(
        lambda: as_zip(a__csv=b"x", b__csv=b"y"), r"holds 2 files \(a.csv, b.csv\); unpack it and name one"
    ),
    "pdf": Refused(lambda: b"%PDF-1.7\n", "PDF"),
    "noise": Refused(lambda: bytes(range(256)) * 20, "binary|NUL"),
    "json": Refused(lambda: json.dumps([{"date": "2021-01-04", "open": 1}]).encode(), "JSON, which is not read"),
    "json lines": Refused(
        lambda: b'{"date": "2021-01-04", "open": 1}\n{"date": "2021-01-05", "open": 1}\n', "JSON, which is not read"
    ),
    "json error": Refused(lambda: b'{"Note": "Thank you for using this API"}', "Thank you for using this API"),
    "html table": Refused(lambda: b"<table><tr><td>Date</td></tr></table>", "a web page"),
    "html": Refused(lambda: b"\n<!DOCTYPE html><html><body>Too Many Requests</body></html>", "a web page"),
    "git lfs": Refused(
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 12\n", "git lfs pull"
    ),
    "error in a sentence": Refused(lambda: b"Edge: Not Found", "no table of prices: it begins with 'Edge: Not Found'"),
    "quota in a sentence": Refused(lambda: b"Exceeded the daily hits limit", "no table of prices"),
    "empty": Refused(lambda: b"", "the file is empty"),
    "blank": Refused(lambda: b"\n \n", "the file is empty"),
    "names only": Refused(lambda: NAMES.encode() + b"\n", "a line of names and no row"),
    "zeros at the end": Refused(lambda: text(NAMES, plain) + bytes(4096), "NUL bytes"),
    "gzip cut short": Refused(lambda: gzip.compress(text(NAMES, plain))[:-300], "damaged or cut short"),
    "parquet cut short": Refused(lambda: as_parquet(arrow())[:-300], "damaged or cut short"),
    "feather cut short": Refused(lambda: as_feather(arrow())[:-300], "damaged or cut short"),
    "zip cut short": Refused(lambda: as_zip(a__csv=text(NAMES, plain))[:-50], "damaged or cut short"),
    "a row with too many fields": Refused(changed(20, 5, "1,2"), "line 22 has 7 fields, the others 6"),
    "a text cell with a price's name twice": Refused(
        lambda: text("date,open,high,low,close,close", lambda b: [*plain(b)[:5], b.close * 2]),
        "two columns are named 'close'",
    ),
    "rows above the line of names": Refused(
        lambda: text(None, plain, DAYS[:20]) + text(NAMES, plain, DAYS[20:]), "line 1 looks like a row"
    ),
    # No line of names
    "no names, other order": Refused(
        lambda: text(None, lambda b: [f"{b.time:%Y-%m-%d}", b.close, b.open, b.volume, b.high, b.low]),
        "no line of names",
    ),
    "no names, close before open": Refused(
        lambda: text(None, lambda b: [f"{b.time:%Y-%m-%d}", b.close, b.high, b.low, b.open, b.volume]),
        "which column is open and which is close is not clear",
    ),
    "no names, an adjusted close": Refused(
        lambda: text(None, lambda b: [*plain(b)[:5], round(b.close * 0.8, 2), b.volume]), "may be an adjusted close"
    ),
    "no names, volume before close": Refused(
        lambda: text(None, lambda b: [f"{b.time:%Y-%m-%d}", b.open, b.high, b.low, b.volume, b.close]), "is no price"
    ),
    "no names, one price": Refused(
        lambda: text(None, lambda b: [f"{b.time:%Y-%m-%d}", b.close]), "too few for bars|no line of names"
    ),
    "no names, ticks": Refused(
        lambda: text(None, lambda b: [f"{b.time:%Y%m%d %H%M%S}", b.close, b.close + 1, 0], COIN_HOURS),
        "too few for bars",
    ),
}
