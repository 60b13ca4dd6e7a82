"""Files of crypto exchanges and their mirrors."""

from __future__ import annotations

from datetime import timedelta

from tests.rsc.trading.prices.series import HOURS_4, HOURS_36, NAMES, iso
from tests.rsc.trading.prices.shapes import COIN_DAYS, COIN_HOURS, Read, text, unix

CRYPTO: dict[str, Read] = {
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
            "timestamp,1a. open (USD),1b. open (USD),2a. high (USD),2b. high (USD),3a. low (USD),3b. low (USD),"
            "4a. close (USD),4b. close (USD),5. volume,6. market cap (USD)",
            lambda b: [f"{b.time:%Y-%m-%d}", *(x for p in b.ohlc for x in (p, p)), b.volume, 1],
            COIN_DAYS,
            newest_first=True,
        ),
        COIN_DAYS,
        365.25,
    ),
}
