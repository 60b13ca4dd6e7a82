"""Files of vendors of stocks and funds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from tests.rsc.trading.prices.series import PENNY
from tests.rsc.trading.prices.shapes import DAYS, HALF_HOURS, Bar, Read, comma, dated, plain, quoted, text, unix


def _english(bar: Bar) -> list[str]:
    return [f"{price:,.2f}" for price in (bar.close, bar.open, bar.high, bar.low)] + [
        f"{bar.volume / 1e6:.6f}M",
        "0.10%",
    ]


def _european(bar: Bar) -> list[str]:
    prices = [comma(price) for price in (bar.close, bar.open, bar.high, bar.low)]
    return [*prices, f"{comma(bar.volume / 1e3, 3)}K", "0,10%"]


# Investing.com writes names, dates and numbers by the language of its reader.
_INVESTING: dict[str, tuple[str, str, Callable[[Bar], list[str]]]] = {
    "English": ("Date|Price|Open|High|Low|Vol.|Change %", "%m/%d/%Y", _english),
    "English, old": ("Date|Price|Open|High|Low|Vol.|Change %", "%b %d, %Y", _english),
    "German": ("Datum|Zuletzt|Eröffn.|Hoch|Tief|Vol.|+/- %", "%d.%m.%Y", _european),
    "French": ("Date|Dernier|Ouv.| Plus Haut|Plus Bas|Vol.|Variation %", "%d/%m/%Y", _european),
    "Spanish": ("Fecha|Último|Apertura|Máximo|Mínimo|Vol.|% var.", "%d.%m.%Y", _european),
    "Italian": ("Data|Ultimo|Apertura|Massimo|Minimo|Vol.|Var. %", "%d.%m.%Y", _european),
    "Portuguese": ("Data|Último|Abertura|Máxima|Mínima|Vol.|Var%", "%d.%m.%Y", _european),
    "Dutch": ("Datum|Laatste|Open|Hoog|Laag|Vol.|Var. %", "%d-%m-%Y", _european),
    "Russian": ("Дата|Цена|Откр.|Макс.|Мин.|Объём|Изм. %", "%d.%m.%Y", _european),
    "Turkish": ("Tarih|Şimdi|Açılış|Yüksek|Düşük|Hac.|Fark %", "%d.%m.%Y", _european),
    "Japanese": ("日付け|終値|始値|高値|安値|出来高|変化率 %", "%Y年%m月%d日", _english),
    "Korean": ("날짜|종가|시가|고가|저가|거래량|변동 %", "%Y- %m- %d", _english),
    "Chinese": ("日期|收盘|开盘|高|低|交易量|涨跌幅", "%Y-%m-%d", _english),
}


def _investing(names: str, form: str, numbers: Callable[[Bar], list[str]]) -> bytes:
    return quoted([names.split("|"), *([bar.time.strftime(form), *numbers(bar)] for bar in PENNY[::-1])])


STOCKS: dict[str, Read] = {
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
    **{
        f"investing.com: {language}": Read(partial(_investing, *table), PENNY) for language, table in _INVESTING.items()
    },
}
