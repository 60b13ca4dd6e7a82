"""Files of Yahoo and its packages, and adjusted closes under their many names."""

from __future__ import annotations

from datetime import timedelta

from tests.rsc.trading.prices.series import NEW_YORK, hlc_first, iso, with_split
from tests.rsc.trading.prices.shapes import DAYS, HALF_HOURS, Bar, Read, plain, text

YAHOO: dict[str, Read] = {
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
    **{
        f"adjusted close as {name!r}": Read(
            with_split(f"date,open,high,low,close,volume,{name}", adjusted=True),
            remarks=("scaled by the adjusted close", "volume is scaled by 1 split"),
        )
        for name in (
            "Adj Close",
            "Close (adj)",
            "close [Adjusted]",
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
}
