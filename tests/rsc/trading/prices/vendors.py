"""What each vendor's file is read as. Each case stands for a kind of file, which its name tells."""

from __future__ import annotations

import bz2
import gzip
import lzma
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from tests.rsc.trading.prices.shapes import (
    COIN_DAYS,
    COIN_HOURS,
    COIN_MINUTES,
    DAYS,
    FX_HOURS,
    HALF_HOURS,
    Bar,
    Read,
    arrow,
    as_feather,
    as_parquet,
    as_zip,
    comma,
    dated,
    in_session,
    on_weekdays,
    plain,
    quoted,
    text,
    times_from,
    unix,
    walk,
)

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


SHORT = {"Jan": "янв", "Feb": "фев", "Mar": "мар", "Apr": "апр", "May": "мая", "Jun": "июн", "Jul": "июл", "Aug": "авг"}
GERMAN = ("Jan", "Feb", "Mrz", "Apr", "Mai", "Jun", "Jul", "Aug", "Sep", "Okt", "Nov", "Dez")


def with_split(
    names: str,
    *,
    adjusted: bool = False,
    column: bool = False,
    volume: bool = False,
    noted: str = "4.0",
    no: str = "1.0",
):
    """A file of raw prices with a split of 4:1 in it, and what tells of it."""

    def row(bar: Bar) -> list[Any]:
        raw = raw_before_split(bar)
        fields: list[Any] = [f"{bar.time:%Y-%m-%d}", *(f"{price * raw:.2f}" for price in bar.ohlc), bar.volume / raw]
        fields += [bar.close] if adjusted else []
        fields += [bar.volume] if volume else []
        fields += [noted if bar is DAYS[80] else no] if column else []
        return fields

    return lambda: text(names, row)


FUTURE = times_from("2021-01-01", timedelta(days=1), 150)
MONTHS = walk([datetime(2005 + i // 12, i % 12 + 1, 1) for i in range(150)])
SMALL_DAYS = walk(times_from("2021-01-01", timedelta(days=1), 400, lambda t: t.day <= 12))
MONTH_ENDS = walk([datetime(2005 + (i + 1) // 12, (i + 1) % 12 + 1, 1) - timedelta(days=1) for i in range(150)])
QUARTERS = walk([datetime(1980 + i // 4, i % 4 * 3 + 1, 1) for i in range(120)])
YEARS = walk([datetime(1880 + i, 1, 1) for i in range(120)])
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

READ: dict[str, Read] = {
    # Yahoo and its packages
    "yahoo: null rows": Read(
        lambda: text(
            "Date,Open,High,Low,Close,Adj Close,Volume",
            lambda b: [f"{b.time:%Y-%m-%d}", *((*b.ohlc, b.close, b.volume))],
            after="2021-12-30,null,null,null,null,null,null\n",
        ),
        remarks=("1 row without prices left out",),
    ),
    "yfinance: three lines of names, one ticker": Read(
        lambda: text("Price,Close,High,Low,Open,Volume\nTicker,MSFT,MSFT,MSFT,MSFT,MSFT\nDate,,,,,", hlc_first),
        remarks=("those of 'MSFT'",),
    ),
    "yfinance: by ticker": Read(
        lambda: text("Ticker,MSFT,MSFT,MSFT,MSFT,MSFT\nPrice,Open,High,Low,Close,Volume\nDate,,,,,", plain),
        remarks=("those of 'MSFT'",),
    ),
    "yfinance: lines of names without a word in front": Read(
        lambda: text(",Open,High,Low,Close,Volume\n,MSFT,MSFT,MSFT,MSFT,MSFT\nDate,,,,,", plain)
    ),
    "pandas-datareader: attributes and symbols": Read(
        lambda: text(
            "Attributes,Open,High,Low,Close,Volume\nSymbols,0700.HK,0700.HK,0700.HK,0700.HK,0700.HK\nDate,,,,,", plain
        )
    ),
    "yfinance: two tickers, one chosen": Read(
        lambda: text(
            "Price,Open,Open,High,High,Low,Low,Close,Close,Volume,Volume\nTicker,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT,AAPL,MSFT\nDate,,,,,,,,,,",
            lambda b: [f"{b.time:%Y-%m-%d}", *(x for p in (*b.ohlc, b.volume) for x in (p, p * 3))],
        ),
        symbol="aapl",
    ),
    "yfinance: multiindex without Adj Close of one": Read(
        lambda: text(
            "Ticker,AAPL,AAPL,AAPL,AAPL,AAPL,MSFT\nPrice,Open,High,Low,Close,Volume,Close\nDate,,,,,,",
            lambda b: [*plain(b), 7],
        )
    ),
    "yfinance: intraday New York over the change of clocks": Read(
        lambda: text(
            "Datetime,Open,High,Low,Close,Volume",
            lambda b: iso(b, b.time.replace(tzinfo=NEW_YORK).strftime("%z")),
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        shift=timedelta(hours=5),
        remarks=("turned to UTC",),
    ),
    "yfinance: daily Sydney": Read(lambda: text("Date,Open,High,Low,Close,Volume", lambda b: iso(b, "+11:00"))),
    "yfinance: the last bar is of a running session": Read(
        lambda: text(
            "Date,Open,High,Low,Close,Volume",
            lambda b: [f"{b.time:%Y-%m-%d} {'15:31:07' if b is DAYS[-1] else '00:00:00'}-05:00", *b.ohlc, b.volume],
        ),
        [*DAYS[:-1], Bar(DAYS[-1].time.replace(hour=15, minute=31, second=7), *DAYS[-1].ohlc, DAYS[-1].volume)],
    ),
    "pandas: flattened names": Read(
        lambda: text("Date,Open_AAPL,High_AAPL,Low_AAPL,Close_AAPL,Volume_AAPL", plain), remarks=("those of 'AAPL'",)
    ),
    "pandas: tuples for names": Read(
        lambda: text(
            "Date," + ",".join(f"\"('{n}', 'AAPL')\"" for n in ("Open", "High", "Low", "Close", "Volume")), plain
        )
    ),
    "quantmod": Read(
        lambda: text(
            '"Index","AAPL.Open","AAPL.High","AAPL.Low","AAPL.Close","AAPL.Volume","AAPL.Adjusted"',
            lambda b: [*plain(b), b.close / 2],
        ),
        scale=0.5,
        remarks=("adjusted close",),
    ),
    "R: write.table without a name for the rows": Read(
        lambda: text('"open","high","low","close","volume"', lambda b: [f'"{b.time:%Y-%m-%d}"', *plain(b)[1:]])
    ),
    "R: numbers of rows first": Read(
        lambda: text('"","Index","open","high","low","close","volume"', lambda b: [f'"{DAYS.index(b) + 1}"', *plain(b)])
    ),
    "tidyquant: symbol first": Read(
        lambda: text("symbol,date,open,high,low,close,volume,adjusted", lambda b: ["AAPL", *plain(b), b.close])
    ),
    # Adjusted prices under their many names
    **{
        f"adjusted close as {name!r}": Read(
            with_split(f"date,open,high,low,close,volume,{name}", adjusted=True),
            remarks=("scaled by the adjusted close", "volume is scaled by 1 split"),
        )
        for name in (
            "Adj Close",
            "adj_close",
            "adjClose",
            "AdjClose",
            "Adj. Close",
            "adjusted_close",
            "Adjusted Close",
            "adjusted close",
            "close_adj",
            "Close (adj.)"[:5] + "_adj",
            "closeadj",
            "Adj Close**",
            "5. adjusted close",
            "ADJ_CLOSE",
            "adjclose",
        )
    },
    "quandl WIKI": Read(
        lambda: text(
            "Date,Open,High,Low,Close,Volume,Ex-Dividend,Split Ratio,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume",
            lambda b: [*plain(b), 0, 1, *(p / 2 for p in b.ohlc), b.volume * 3],
        ),
        scale=0.5,
        volume=False,
    ),
    "only adjusted prices": Read(
        lambda: text("Date,Adj. Open,Adj. High,Adj. Low,Adj. Close,Adj. Volume", plain),
        remarks=("the prices are the adjusted ones",),
        volume=False,
    ),
    "tiingo: adjVolume": Read(
        with_split(
            "date,open,high,low,close,volume,adjClose,adjVolume,splitFactor", adjusted=True, volume=True, column=True
        )
    ),
    "split column beside raw prices": Read(
        with_split("date,open,high,low,close,volume,split", column=True), remarks=("scaled by the column of splits",)
    ),
    "split column that the prices reflect": Read(
        lambda: text(
            "Date,Open,High,Low,Close,Volume,Dividends,Stock Splits",
            lambda b: [*plain(b), 0.0, 4.0 if b is DAYS[80] else 0.0],
        )
    ),
    # Crypto
    "binance: header, milliseconds": Read(
        lambda: text(
            "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore",
            lambda b: [unix(b, 1000), *b.ohlc, b.volume, unix(b, 1000) + 86_399_999, 1, 2, 3, 4, 0],
            COIN_DAYS,
        ),
        COIN_DAYS,
        365.25,
        remarks=("milliseconds since 1970",),
    ),
    "binance: no header, milliseconds": Read(
        lambda: text(
            None, lambda b: [unix(b, 1000), *b.ohlc, b.volume, unix(b, 1000) + 3_599_999, 1, 2, 3, 4, 0], COIN_HOURS
        ),
        COIN_HOURS,
        8766.0,
        remarks=("no line of names",),
    ),
    "binance: milliseconds that become microseconds": Read(
        lambda: text(
            None,
            lambda b: [
                unix(b, 1000 if b.time < COIN_DAYS[90].time else 1_000_000),
                *b.ohlc,
                b.volume,
                0,
                1,
                2,
                3,
                4,
                0,
            ],
            COIN_DAYS,
        ),
        COIN_DAYS,
        365.25,
        remarks=("milliseconds and microseconds",),
    ),
    "binance: Open time from python-binance": Read(
        lambda: text(
            "Open time,Open,High,Low,Close,Volume,Close time,Quote asset volume,Number of trades",
            lambda b: [f"{b.time:%Y-%m-%d %H:%M:%S}", *b.ohlc, b.volume, f"{b.time:%Y-%m-%d} 23:59:59.999000", 1, 2],
            COIN_DAYS,
        ),
        COIN_DAYS,
        365.25,
    ),
    "bitfinex: close before high, no header": Read(
        lambda: text(
            None, lambda b: [unix(b, 1000), b.open, b.close, b.high, b.low, b.volume], COIN_DAYS, newest_first=True
        ),
        COIN_DAYS,
        365.25,
    ),
    "coinbase: low and high first, no header": Read(
        lambda: text(None, lambda b: [unix(b), b.low, b.high, b.open, b.close, b.volume], COIN_DAYS, newest_first=True),
        COIN_DAYS,
        365.25,
    ),
    "coinbase: header": Read(
        lambda: text(
            "time,low,high,open,close,volume", lambda b: [unix(b), b.low, b.high, b.open, b.close, b.volume], COIN_DAYS
        ),
        COIN_DAYS,
        365.25,
    ),
    "kraken API: an average price before the volume": Read(
        lambda: text(None, lambda b: [unix(b), *b.ohlc, round((b.high + b.low) / 2, 2), b.volume, 12], COIN_DAYS),
        COIN_DAYS,
        365.25,
        remarks=("average, volume",),
    ),
    "kucoin: seconds as text, newest first": Read(
        lambda: text(
            "time,open,close,high,low,volume,turnover",
            lambda b: [f'"{unix(b)}"', b.open, b.close, b.high, b.low, b.volume, 1],
            COIN_DAYS,
            newest_first=True,
        ),
        COIN_DAYS,
        365.25,
    ),
    "okx: ts in milliseconds": Read(
        lambda: text(
            "ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm",
            lambda b: [unix(b, 1000), *b.ohlc, b.volume, 1, 2, 1],
            COIN_DAYS,
        ),
        COIN_DAYS,
        365.25,
    ),
    "cryptodatadownload: seconds that become milliseconds": Read(
        lambda: text(
            "https://www.CryptoDataDownload.com\nunix,date,symbol,open,high,low,close,Volume BTC,Volume USD",
            lambda b: [
                unix(b, 1 if b.time < COIN_DAYS[70].time else 1000),
                f"{b.time:%Y-%m-%d %H:%M:%S}",
                "BTC/USD",
                *b.ohlc,
                b.volume,
                1,
            ],
            COIN_DAYS,
            newest_first=True,
        ),
        COIN_DAYS,
        365.25,
    ),
    "cryptocompare": Read(
        lambda: text(
            "time,high,low,open,volumefrom,volumeto,close,conversionType",
            lambda b: [unix(b), b.high, b.low, b.open, b.volume, 1, b.close, "direct"],
            COIN_DAYS,
        ),
        COIN_DAYS,
        365.25,
    ),
    "coinapi": Read(
        lambda: text(
            "time_period_start;time_period_end;time_open;time_close;price_open;price_high;price_low;price_close;volume_traded;trades_count",
            lambda b: [
                f"{b.time:%Y-%m-%dT%H:%M:%S}.0000000Z",
                f"{b.time + timedelta(days=1):%Y-%m-%dT%H:%M:%S}.0000000Z",
                f"{b.time:%Y-%m-%d}T00:00:07.5100000Z",
                f"{b.time:%Y-%m-%d}T23:59:53.0000000Z",
                *b.ohlc,
                b.volume,
                9,
            ],
            COIN_DAYS,
            separator=";",
        ),
        COIN_DAYS,
        365.25,
    ),
    "kaggle bitstamp: rows without trades": Read(
        lambda: text(
            "Timestamp,Open,High,Low,Close,Volume_(BTC),Volume_(Currency),Weighted_Price",
            lambda b: [unix(b), *(("NaN",) * 7 if b.time.hour % 4 == 3 else (*b.ohlc, b.volume, 1, b.close))],
            COIN_HOURS,
        ),
        [b for b in COIN_HOURS if b.time.hour % 4 != 3],
        126 * 365.25 / 7,
        remarks=("rows without prices left out", "'Volume_(BTC)'"),
    ),
    "gemini: unix and date": Read(
        lambda: text(
            "Unix Timestamp,Date,Symbol,Open,High,Low,Close,Volume",
            lambda b: [unix(b, 1000), f"{b.time:%Y-%m-%d %H:%M:%S}", "BTCUSD", *b.ohlc, b.volume],
            COIN_HOURS,
            newest_first=True,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "36-hour bars": Read(lambda: text(NAMES, iso, HOURS_36), HOURS_36, 243.5),
    "4-hour bars": Read(lambda: text(NAMES, iso, HOURS_4), HOURS_4, 2191.5),
    "alpha vantage crypto": Read(
        lambda: text(
            "timestamp,1a. open (USD),1b. open (USD),2a. high (USD),2b. high (USD),3a. low (USD),3b. low (USD),4a. close (USD),4b. close (USD),5. volume,6. market cap (USD)",
            lambda b: [f"{b.time:%Y-%m-%d}", *(x for p in b.ohlc for x in (p, p)), b.volume, 1],
            COIN_DAYS,
            newest_first=True,
        ),
        COIN_DAYS,
        365.25,
    ),
    # FX and platforms
    "MT4: no header": Read(
        lambda: text(None, lambda b: [f"{b.time:%Y.%m.%d,%H:%M}", *b.ohlc, b.volume], FX_HOURS),
        FX_HOURS,
        6240.0,
        remarks=("date, time, open, high, low, close, volume",),
    ),
    "MT5: tabs and angle brackets": Read(
        lambda: text(
            "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
            lambda b: [f"{b.time:%Y.%m.%d}", f"{b.time:%H:%M:%S}", *b.ohlc, b.volume, 0, 3],
            FX_HOURS,
            separator="\t",
        ),
        FX_HOURS,
        6240.0,
    ),
    "MT5: daily": Read(
        lambda: text(
            "<DATE>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>",
            lambda b: [f"{b.time:%Y.%m.%d}", *b.ohlc, b.volume, 0, 3],
            separator="\t",
        )
    ),
    "MT5: utf-16": Read(
        lambda: text(
            "<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<TICKVOL>",
            lambda b: [f"{b.time:%Y.%m.%d}", f"{b.time:%H:%M}", *b.ohlc, b.volume],
            FX_HOURS,
            encoding="utf-16",
            newline="\r\n",
        ),
        FX_HOURS,
        6240.0,
    ),
    "histdata: generic ascii": Read(
        lambda: text(None, lambda b: [f"{b.time:%Y%m%d %H%M%S}", *b.ohlc, 0], FX_HOURS, separator=";"),
        FX_HOURS,
        6240.0,
        volume=False,
    ),
    "histdata: metatrader": Read(
        lambda: text(None, lambda b: [f"{b.time:%Y.%m.%d}", f"{b.time:%H:%M}", *b.ohlc, 0], FX_HOURS),
        FX_HOURS,
        6240.0,
        volume=False,
    ),
    "dukascopy: GMT": Read(
        lambda: text("Gmt time,Open,High,Low,Close,Volume", dated("%d.%m.%Y %H:%M:%S.000"), FX_HOURS), FX_HOURS, 6240.0
    ),
    "dukascopy: local time with its offset": Read(
        lambda: text("Local time,Open,High,Low,Close,Volume", dated("%d.%m.%Y %H:%M:%S.000 GMT+0100"), FX_HOURS),
        FX_HOURS,
        6240.0,
        shift=-timedelta(hours=1),
        remarks=("turned to UTC",),
    ),
    "dukascopy: daily in local time": Read(
        lambda: text("Local time,Open,High,Low,Close,Volume", dated("%d.%m.%Y 00:00:00.000 GMT+0200"))
    ),
    "jforex: two formats of numbers": Read(
        lambda: text("Time (EET),Open,High,Low,Close,Volume ", dated("%Y.%m.%d %H:%M:%S"), FX_HOURS), FX_HOURS, 6240.0
    ),
    "fxcm: bid alone": Read(
        lambda: text(
            "Date,Time,OpenBid,HighBid,LowBid,CloseBid,Total Ticks",
            lambda b: [f"{b.time:%m/%d/%Y}", f"{b.time:%H:%M:%S}", *b.ohlc, b.volume],
            FX_HOURS,
        ),
        FX_HOURS,
        6240.0,
        volume=False,
    ),
    "oanda: mid columns": Read(
        lambda: text(
            "time,mid.o,mid.h,mid.l,mid.c,volume".replace("mid.o", "o")
            .replace("mid.h", "h")
            .replace("mid.l", "l")
            .replace("mid.c", "c"),
            dated("%Y-%m-%dT%H:%M:%S.000000000Z"),
            FX_HOURS,
        ),
        FX_HOURS,
        6240.0,
    ),
    "oanda: daily at 22:00": Read(
        lambda: text("time,open,high,low,close,volume", dated("%Y-%m-%dT%H:%M:%S.000000000Z"), FX_DAYS), FX_DAYS, 260.0
    ),
    "metastock": Read(
        lambda: text(
            "<TICKER>,<PER>,<DTYYYYMMDD>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            lambda b: ["EURUSD", "D", f"{b.time:%Y%m%d}", "000000", *b.ohlc, b.volume, 0],
        )
    ),
    "stooq: bulk file of 5 minutes": Read(
        lambda: text(
            "<TICKER>,<PER>,<DATE>,<TIME>,<OPEN>,<HIGH>,<LOW>,<CLOSE>,<VOL>,<OPENINT>",
            lambda b: ["AAPL.US", "5", f"{b.time:%Y%m%d}", f"{b.time:%H%M%S}", *b.ohlc, b.volume, 0],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "stooq: no header": Read(
        lambda: text(None, lambda b: ["AAPL.US", "D", f"{b.time:%Y%m%d}", "000000", *b.ohlc, b.volume, 0])
    ),
    "finam": Read(
        lambda: text(
            "<TICKER>;<PER>;<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<VOL>",
            lambda b: ["SBER", "60", f"{b.time:%Y%m%d}", f"{b.time:%H%M%S}", *b.ohlc, b.volume],
            HALF_HOURS,
            separator=";",
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "ninjatrader": Read(
        lambda: text(None, lambda b: [f"{b.time:%Y%m%d %H%M%S}", *b.ohlc, b.volume], HALF_HOURS, separator=";"),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "tradestation": Read(
        lambda: text(
            '"Date","Time","Open","High","Low","Close","Up","Down"',
            lambda b: [f"{b.time:%m/%d/%Y}", f"{b.time:%H:%M}", *b.ohlc, b.volume, 3],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        volume=False,
    ),
    "quantquote: minutes without leading zeros": Read(
        lambda: text(
            None,
            lambda b: [f"{b.time:%Y%m%d}", b.time.hour * 100 + b.time.minute, *b.ohlc, b.volume, 1, 0, 0],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "times as HHMMSS without leading zeros": Read(
        lambda: text(
            "date,time,open,high,low,close,volume",
            lambda b: [f"{b.time:%Y%m%d}", int(f"{b.time:%H%M%S}"), *b.ohlc, b.volume],
            COIN_HOURS,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "firstrate: minutes": Read(lambda: text(None, iso, MINUTE_STOCK), MINUTE_STOCK, 390 * 5 * 50.4),
    "kibot: 12-hour clock": Read(
        lambda: text(
            "Date,Time,Open,High,Low,Close,Volume",
            lambda b: [f"{b.time:%m/%d/%Y}", f"{b.time:%I:%M %p}", *b.ohlc, b.volume],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "eoddata: symbol first, no header": Read(
        lambda: text(None, lambda b: ["AAPL", f"{b.time:%d-%b-%Y}", *b.ohlc, b.volume])
    ),
    "interactive brokers: two blanks": Read(
        lambda: text(
            "date,open,high,low,close,volume,barCount,average",
            lambda b: [f"{b.time:%Y%m%d  %H:%M:%S}", *b.ohlc, b.volume, 1, b.close],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "interactive brokers: name of the zone": Read(
        lambda: text("date,open,high,low,close,volume", dated("%Y%m%d %H:%M:%S US/Eastern"), HALF_HOURS),
        HALF_HOURS,
        13 * 5 * 50.4,
        shift=timedelta(hours=5),
    ),
    "interactive brokers: UTC with a dash": Read(
        lambda: text("date,open,high,low,close,volume", dated("%Y%m%d-%H:%M:%S"), HALF_HOURS), HALF_HOURS, 13 * 5 * 50.4
    ),
    "interactive brokers: volume -1": Read(
        lambda: text("date,open,high,low,close,volume", lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, -1]),
        volume=False,
        remarks=("150 bars without volume",),
    ),
    "tradingview: epoch": Read(
        lambda: text(
            "time,open,high,low,close,Volume,Volume MA", lambda b: [unix(b), *b.ohlc, b.volume, "NaN"], HALF_HOURS
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "tradingview: no volume": Read(
        lambda: text("time,open,high,low,close", lambda b: [unix(b), *b.ohlc]),
        volume=False,
        remarks=("there is no volume",),
    ),
    "thinkorswim: title lines": Read(
        lambda: text("Date,Open,High,Low,Close,Volume", plain, before="AAPL Daily\nExported by a platform\n\n"),
        remarks=("2 lines before the table left out",),
    ),
    # Vendors of stocks
    "alpha vantage: package": Read(
        lambda: text(
            "date,1. open,2. high,3. low,4. close,5. adjusted close,6. volume,7. dividend amount,8. split coefficient",
            lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, b.close, b.volume, 0, 1],
            newest_first=True,
        )
    ),
    "polygon: flat file": Read(
        lambda: text(
            "ticker,volume,open,close,high,low,window_start,transactions",
            lambda b: ["AAPL", b.volume, b.open, b.close, b.high, b.low, unix(b, 10**9), 5],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        remarks=("nanoseconds",),
    ),
    "alpaca": Read(
        lambda: text(
            "symbol,timestamp,open,high,low,close,volume,trade_count,vwap",
            lambda b: ["AAPL", f"{b.time:%Y-%m-%d} 05:00:00+00:00", *b.ohlc, b.volume, 1, b.close],
        ),
        shift=timedelta(hours=5),
    ),
    "databento": Read(
        lambda: text(
            "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume,symbol",
            lambda b: [f"{b.time:%Y-%m-%dT%H:%M:%S}.000000000Z", 33, 2, 38, *b.ohlc, b.volume, "AAPL"],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
    ),
    "nasdaq.com": Read(
        lambda: text(
            "Date,Close/Last,Volume,Open,High,Low",
            lambda b: [
                f"{b.time:%m/%d/%Y}",
                f"${b.close:.2f}",
                b.volume,
                f"${b.open:.2f}",
                f"${b.high:.2f}",
                f"${b.low:.2f}",
            ],
            newest_first=True,
        )
    ),
    "investing.com: English, old": Read(
        lambda: quoted(
            [
                ["Date", "Price", "Open", "High", "Low", "Vol.", "Change %"],
                *(
                    [
                        f"{b.time:%b %d, %Y}",
                        f"{b.close:,.2f}",
                        f"{b.open:,.2f}",
                        f"{b.high:,.2f}",
                        f"{b.low:,.2f}",
                        f"{b.volume / 1e6:.6f}M",
                        "0.10%",
                    ]
                    for b in PENNY[::-1]
                ),
            ]
        ),
        PENNY,
    ),
    "investing.com: German": Read(
        lambda: quoted(
            [
                ["Datum", "Zuletzt", "Eröffn.", "Hoch", "Tief", "Vol.", "+/- %"],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e6, 6)}M",
                        "0,10%",
                    ]
                    for b in PENNY[::-1]
                ),
            ]
        ),
        PENNY,
    ),
    "investing.com: Portuguese": Read(
        lambda: quoted(
            [
                ["Data", "Último", "Abertura", "Máxima", "Mínima", "Vol.", "Var%"],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e3, 3)}K",
                        "0,10%",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: French": Read(
        lambda: quoted(
            [
                ["Date", "Dernier", "Ouv.", " Plus Haut", "Plus Bas", "Vol.", "Variation %"],
                *(
                    [f"{b.time:%d/%m/%Y}", comma(b.close), comma(b.open), comma(b.high), comma(b.low), "", "0,10%"]
                    for b in DAYS[::-1]
                ),
            ]
        ),
        volume=False,
    ),
    "investing.com: Spanish": Read(
        lambda: quoted(
            [
                ["Fecha", "Último", "Apertura", "Máximo", "Mínimo", "Vol.", "% var."],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e6, 6)}M",
                        "0,10%",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Italian": Read(
        lambda: quoted(
            [
                ["Data", "Ultimo", "Apertura", "Massimo", "Minimo", "Vol.", "Var. %"],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e6, 6)}M",
                        "0,10%",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Russian": Read(
        lambda: quoted(
            [
                ["Дата", "Цена", "Откр.", "Макс.", "Мин.", "Объём", "Изм. %"],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e6, 6)}M",
                        "0,10%",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Japanese": Read(
        lambda: quoted(
            [
                ["日付け", "終値", "始値", "高値", "安値", "出来高", "変化率 %"],
                *(
                    [f"{b.time:%Y年%m月%d日}", b.close, b.open, b.high, b.low, f"{b.volume / 1e6:.6f}M", "0.10%"]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Korean": Read(
        lambda: quoted(
            [
                ["날짜", "종가", "시가", "고가", "저가", "거래량", "변동 %"],
                *(
                    [f"{b.time:%Y- %m- %d}", b.close, b.open, b.high, b.low, f"{b.volume / 1e6:.6f}M", "0.10%"]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Chinese": Read(
        lambda: quoted(
            [
                ["日期", "收盘", "开盘", "高", "低", "交易量", "涨跌幅"],
                *(
                    [
                        f"{b.time.year}-{b.time.month}-{b.time.day}",
                        b.close,
                        b.open,
                        b.high,
                        b.low,
                        f"{b.volume / 1e6:.6f}M",
                        "0.10%",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "investing.com: Turkish": Read(
        lambda: quoted(
            [
                ["Tarih", "Şimdi", "Açılış", "Yüksek", "Düşük", "Hac.", "Fark %"],
                *(
                    [
                        f"{b.time:%d.%m.%Y}",
                        comma(b.close),
                        comma(b.open),
                        comma(b.high),
                        comma(b.low),
                        f"{comma(b.volume / 1e6, 6)}M",
                        "%0,10",
                    ]
                    for b in DAYS[::-1]
                ),
            ]
        )
    ),
    "stooq: Polish": Read(lambda: text("Data,Otwarcie,Najwyzszy,Najnizszy,Zamkniecie,Wolumen", plain)),
    "NSE India": Read(
        lambda: quoted(
            [
                [
                    "Date ",
                    "series ",
                    "OPEN ",
                    "HIGH ",
                    "LOW ",
                    "PREV. CLOSE ",
                    "ltp ",
                    "close ",
                    "vwap ",
                    "52W H",
                    "52W L ",
                    "VOLUME ",
                    "VALUE ",
                    "No of trades ",
                ],
                *(
                    [
                        f"{b.time:%d-%b-%Y}",
                        "EQ",
                        f"{b.open:,.2f}",
                        f"{b.high:,.2f}",
                        f"{b.low:,.2f}",
                        f"{b.close:,.2f}",
                        f"{b.close + 1:,.2f}",
                        f"{b.close:,.2f}",
                        f"{b.close:,.2f}",
                        "9,999.00",
                        "1.00",
                        f"{b.volume:,}",
                        "1",
                        "2",
                    ]
                    for b in PENNY[::-1]
                ),
            ]
        ),
        PENNY,
    ),
    "BSE India": Read(
        lambda: text(
            "Date,Open Price,High Price,Low Price,Close Price,WAP,No.of Shares,No. of Trades,Total Turnover (Rs.),",
            lambda b: [f"{b.time.day}-{b.time:%B-%Y}", *b.ohlc, b.close, b.volume, 5, 6, ""],
            newest_first=True,
        )
    ),
    "bloomberg": Read(
        lambda: text(
            "Dates,PX_OPEN,PX_HIGH,PX_LOW,PX_LAST,PX_VOLUME",
            dated("%m/%d/%Y"),
            before="Security,AAPL US Equity,,,,\nStart Date,01/04/2021,,,,\n,,,,,\n",
        )
    ),
    "refinitiv": Read(
        lambda: text(
            "#RIC,Domain,Date-Time,GMT Offset,Type,Open,High,Low,Last,Volume",
            lambda b: [
                "AAPL.O",
                "Market Price",
                f"{b.time:%Y-%m-%dT%H:%M:%S}.000000000Z",
                -5,
                "Intraday 30Min",
                *b.ohlc,
                b.volume,
            ],
            HALF_HOURS,
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        remarks=("close is the column 'Last'",),
    ),
    "barchart: footer": Read(
        lambda: text(
            "Time,Open,High,Low,Last,Change,%Chg,Volume",
            lambda b: [f"{b.time:%m/%d/%Y}", *b.ohlc, 0.1, "0.10%", b.volume],
            newest_first=True,
            after='"Downloaded from a site as of 08-01-2021 09:00am CDT"\n',
        ),
        remarks=("1 line behind the table left out",),
    ),
    "cboe: upper case, no volume": Read(
        lambda: text("DATE,OPEN,HIGH,LOW,CLOSE", lambda b: [f"{b.time:%m/%d/%Y}", *b.ohlc]), volume=False
    ),
    "crsp: positive prices": Read(
        lambda: text(
            "PERMNO,date,TICKER,PRC,VOL,RET,BIDLO,ASKHI,OPENPRC",
            lambda b: [14593, f"{b.time:%Y%m%d}", "AAPL", b.close, b.volume, 0.01, b.low, b.high, b.open],
        ),
        remarks=("close is the column 'PRC'",),
    ),
    "finrl: one asset": Read(
        lambda: text(",date,open,high,low,close,volume,tic,day", lambda b: [0, *plain(b), "AAPL", b.time.weekday()])
    ),
    "kaggle: one of several, chosen": Read(
        lambda: (
            text("date,open,high,low,close,volume,Name", lambda b: [*plain(b), "AAL"])
            + text(None, lambda b: [*plain(b), "ZZZ"])
        ),
        symbol="ZZZ",
    ),
    "stacked by date, one chosen": Read(
        lambda: text(
            "date,tic,open,high,low,close,volume",
            lambda b: "\n".join(
                ",".join(map(str, [f"{b.time:%Y-%m-%d}", tic, *(p * k for p in b.ohlc), b.volume]))
                for tic, k in (("A", 1), ("B", 3))
            ),
        ),
        symbol="A",
    ),
    "wide, one chosen": Read(
        lambda: text(
            "date," + ",".join(f"{a}_{n}" for a in ("BTC", "ETH") for n in ("open", "high", "low", "close", "volume")),
            lambda b: [f"{b.time:%Y-%m-%d}", *b.ohlc, b.volume, *(p * 9 for p in b.ohlc), 4],
        ),
        symbol="BTC",
    ),
    "wide, chosen before it was listed": Read(
        lambda: text(
            "date," + ",".join(f"{a}:{n}" for a in ("BTC", "ETH") for n in ("open", "high", "low", "close", "volume")),
            lambda b: [
                f"{b.time:%Y-%m-%d}",
                *b.ohlc,
                b.volume,
                *(("",) * 5 if b.time < DAYS[40].time else (*b.ohlc, b.volume)),
            ],
        ),
        DAYS[40:],
        symbol="ETH",
        remarks=("40 rows without prices",),
    ),
    # Spreadsheets and text
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
    # Dates
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
    "date: dd-Mon-yy": Read(lambda: text(NAMES, dated("%d-%b-%y"))),
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
    # Containers
    "gzip": Read(lambda: gzip.compress(text(NAMES, plain))),
    "bzip2": Read(lambda: bz2.compress(text(NAMES, plain))),
    "xz": Read(lambda: lzma.compress(text(NAMES, plain))),
    "zstandard": Read(lambda: pa.Codec("zstd").compress(text(NAMES, plain), asbytes=True)),
    "lz4": Read(lambda: pa.Codec("lz4").compress(text(NAMES, plain), asbytes=True)),
    "zip": Read(lambda: as_zip(prices__csv=text(NAMES, plain))),
    "zip with a Mac's shadow": Read(lambda: as_zip(**{"prices__csv": text(NAMES, plain), "__MACOSX/._prices": b"x"})),
    "gzip of utf-16": Read(lambda: gzip.compress(text(NAMES, plain, encoding="utf-16"))),
    "parquet": Read(lambda: as_parquet(arrow())),
    "parquet: zone": Read(
        lambda: as_parquet(
            arrow(date=pa.array([b.time.replace(tzinfo=TOKYO) for b in DAYS], pa.timestamp("us", "Asia/Tokyo")))
        )
    ),
    "parquet: intraday with a zone": Read(
        lambda: as_parquet(
            arrow(
                HALF_HOURS,
                date=pa.array(
                    [b.time.replace(tzinfo=NEW_YORK) for b in HALF_HOURS], pa.timestamp("ns", "America/New_York")
                ),
            )
        ),
        HALF_HOURS,
        13 * 5 * 50.4,
        shift=timedelta(hours=5),
    ),
    "parquet: date32": Read(lambda: as_parquet(arrow(date=pa.array([b.time.date() for b in DAYS], pa.date32())))),
    "parquet: milliseconds as integers": Read(lambda: as_parquet(arrow(date=pa.array([unix(b, 1000) for b in DAYS])))),
    "parquet: yyyymmdd as integers": Read(
        lambda: as_parquet(arrow(date=pa.array([int(f"{b.time:%Y%m%d}") for b in DAYS])))
    ),
    "parquet: prices as text": Read(lambda: as_parquet(arrow(close=pa.array([f"{b.close:,.2f}" for b in DAYS])))),
    "parquet: dictionary of symbols": Read(
        lambda: as_parquet(arrow(symbol=pa.array(["AAPL"] * len(DAYS)).dictionary_encode()))
    ),
    "parquet: lists beside": Read(lambda: as_parquet(arrow(news=pa.array([[1, 2]] * len(DAYS))))),
    "parquet: large strings": Read(
        lambda: as_parquet(arrow(date=pa.array([f"{b.time:%Y-%m-%d}" for b in DAYS], pa.large_string())))
    ),
    "parquet: symbol in an index": Read(lambda: as_parquet(arrow(__index_level_0__=pa.array(["AAPL"] * len(DAYS))))),
    "feather": Read(lambda: as_feather(arrow())),
    "feather: zstandard": Read(lambda: as_feather(arrow(), "zstd")),
}
