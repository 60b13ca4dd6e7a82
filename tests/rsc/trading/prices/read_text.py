"""Spreadsheets, encodings, separators and numbers of text files."""

from __future__ import annotations

from datetime import timedelta

from tests.rsc.trading.prices.series import NAMES, PENNY, iso
from tests.rsc.trading.prices.shapes import COIN_HOURS, DAYS, Read, comma, dated, plain, quoted, text

TEXT: dict[str, Read] = {
    "excel: sep line": Read(lambda: text("Date;Open;High;Low;Close;Volume", plain, separator=";", before="sep=;\n")),
    "excel: German": Read(
        lambda: text(
            "Datum;Eröffnung;Hoch;Tief;Schluss;Volumen",
            lambda b: [f"{b.time:%d.%m.%Y}", *(comma(p) for p in b.ohlc), comma(b.volume, 0)],
            PENNY,
            separator=";",
            encoding="cp1252",
            newline="\r\n",
        ),
        PENNY,
        remarks=("read as cp1252",),
    ),
    "excel: French, narrow blanks between thousands": Read(
        lambda: text(
            "Date;Ouverture;Haut;Bas;Clôture;Volume",
            lambda b: [f"{b.time:%d/%m/%Y}", *(comma(p).replace(".", "\u202f") for p in b.ohlc), b.volume],
            PENNY,
            separator=";",
        ),
        PENNY,
    ),
    "excel: Swiss apostrophes": Read(
        lambda: text(
            "Date;Open;High;Low;Close;Volume",
            lambda b: [f"{b.time:%d.%m.%Y}", *(f"{p:,.2f}".replace(",", "’") for p in b.ohlc), b.volume],
            PENNY,
            separator=";",
        ),
        PENNY,
    ),
    "excel: rows of commas": Read(
        lambda: text(NAMES, plain, after=",,,,,\n,,,,,\n"), remarks=("2 rows without a date left out",)
    ),
    "excel: numbers with codes of currencies": Read(
        lambda: text(
            "Date,Open,High,Low,Close,Volume", lambda b: [f"{b.time:%Y-%m-%d}", *(f"{p} USD" for p in b.ohlc), b.volume]
        )
    ),
    "excel: euro signs behind": Read(
        lambda: text(
            "Date;Open;High;Low;Close;Volume",
            lambda b: [f"{b.time:%Y-%m-%d}", *(f"{comma(p)} €" for p in b.ohlc), b.volume],
            separator=";",
        )
    ),
    "indian thousands": Read(
        lambda: text(
            NAMES,
            lambda b: [
                f"{b.time:%Y-%m-%d}",
                *b.ohlc,
                f'"{b.volume // 100_000},{b.volume // 1000 % 100:02d},{b.volume % 1000:03d}"',
            ],
        )
    ),
    "byte order mark and quotes": Read(lambda: b"\xef\xbb\xbf" + quoted([NAMES.split(","), *map(plain, DAYS)])),
    "utf-16 without a mark": Read(lambda: text(NAMES, plain, encoding="utf-16-le")),
    "utf-32": Read(lambda: text(NAMES, plain, encoding="utf-32")),
    "GB18030": Read(lambda: text("日期,开盘,最高,最低,收盘,成交量", plain, encoding="gb18030"), remarks=("gb18030",)),
    "Shift JIS": Read(
        lambda: text("日付,始値,高値,安値,終値,出来高", dated("%Y/%m/%d"), encoding="shift_jis"), remarks=("shift_jis",)
    ),
    "cp1251": Read(
        lambda: text("Дата,Откр,Макс,Мин,Закр,Объем", dated("%d.%m.%Y"), encoding="cp1251"), remarks=("cp1251",)
    ),
    "carriage returns alone": Read(lambda: text(NAMES, plain, newline="\r")),
    "no newline at the end": Read(lambda: text(NAMES, plain).rstrip(b"\n")),
    "empty lines between": Read(lambda: text(NAMES, plain, newline="\n\n")),
    "comment lines": Read(
        lambda: text(NAMES, plain, before="# source: somewhere\n# adjusted: no\n"), remarks=("2 lines before",)
    ),
    "commented names": Read(lambda: text("#" + NAMES, plain)),
    "comments inside": Read(
        lambda: text(NAMES, lambda b: ",".join(map(str, plain(b))) + ("\n# half" if b is DAYS[75] else "")),
        remarks=("1 lines of comments",),
    ),
    "names repeated inside": Read(
        lambda: text(NAMES, lambda b: ",".join(map(str, plain(b))) + (f"\n{NAMES}" if b is DAYS[75] else "")),
        remarks=("1 repeated line of names",),
    ),
    "separator at the end of rows": Read(lambda: text(NAMES, lambda b: ",".join(map(str, plain(b))) + ",")),
    "separator at the end of all lines": Read(lambda: text(NAMES + ",", lambda b: ",".join(map(str, plain(b))) + ",")),
    "pipes": Read(lambda: text(NAMES.replace(",", "|"), plain, separator="|")),
    "blanks": Read(lambda: text(NAMES.replace(",", "   "), lambda b: "  ".join(map(str, plain(b))))),
    "blanks, with times": Read(
        lambda: text("date open high low close volume", lambda b: " ".join(map(str, iso(b))), COIN_HOURS),
        COIN_HOURS,
        8766.0,
    ),
    "comma and blank": Read(
        lambda: text("Date, Open, High, Low, Close, Volume", lambda b: ", ".join(map(str, plain(b))))
    ),
    "footer with a sum": Read(
        lambda: text(NAMES, plain, after="Average,100,101,99,100,5000\n"), remarks=("1 row without a date left out",)
    ),
    "line of units": Read(lambda: text(NAMES + "\n,USD,USD,USD,USD,shares", plain)),
    "volume with K, M and B": Read(
        lambda: text(
            NAMES,
            lambda b: [
                f"{b.time:%Y-%m-%d}",
                *b.ohlc,
                f"{b.volume / 1000:.3f}K" if b.time.day % 2 else f"{b.volume / 1e6:.6f}M",
            ],
        )
    ),
    "volume as a float in scientific notation": Read(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, f"{b.volume:.6E}"])
    ),
    "volume missing in places": Read(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, "" if b.time.day == 5 else b.volume]),
        volume=False,
        remarks=("without volume",),
    ),
    "rows of holidays without prices": Read(
        lambda: text(
            NAMES,
            lambda b: (
                ",".join(map(str, plain(b)))
                + (f"\n{b.time + timedelta(days=1):%Y-%m-%d},,,,," if b.time.weekday() == 4 else "")
            ),
        )
    ),
    "rows repeated": Read(
        lambda: text(NAMES, lambda b: "\n".join([",".join(map(str, plain(b)))] * (2 if b.time.day == 5 else 1))),
        remarks=("repeated row",),
    ),
    "a column whose name stands twice": Read(lambda: text(NAMES + ",rsi,rsi", lambda b: [*plain(b), 1, 2])),
    "close twice with the same values": Read(lambda: text(NAMES + ",close", lambda b: [*plain(b), b.close])),
    "integers": Read(
        lambda: text(NAMES, lambda b: [f"{b.time:%Y-%m-%d}", *(round(p * 100) for p in b.ohlc), b.volume]), scale=100.0
    ),
    "open above high by rounding": Read(
        lambda: text(
            NAMES,
            lambda b: [
                f"{b.time:%Y-%m-%d}",
                b.open,
                max(b.open, b.close) - (0.01 if b.time.day == 5 else 0),
                b.low,
                b.close,
                b.volume,
            ],
        ),
        remarks=("range is widened",),
    ),
}
