"""Files of trading platforms, brokers and FX vendors."""

from __future__ import annotations

from datetime import timedelta

from tests.rsc.trading.prices.series import FX_DAYS, MINUTE_STOCK, iso
from tests.rsc.trading.prices.shapes import COIN_HOURS, FX_HOURS, HALF_HOURS, Read, dated, plain, text, unix

PLATFORMS: dict[str, Read] = {
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
    "bitfinex: MTS": Read(
        lambda: text(
            "MTS,OPEN,CLOSE,HIGH,LOW,VOLUME",
            lambda b: [unix(b, 1000), b.open, b.close, b.high, b.low, b.volume],
            COIN_HOURS,
        ),
        COIN_HOURS,
        8766.0,
    ),
    "oanda: mid columns of pandas": Read(
        lambda: text(
            "time,volume,mid.o,mid.h,mid.l,mid.c,complete",
            lambda b: [f"{b.time:%Y-%m-%dT%H:%M:%S}.000000000Z", b.volume, *b.ohlc, True],
            FX_HOURS,
        ),
        FX_HOURS,
        6240.0,
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
}
