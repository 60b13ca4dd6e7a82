"""Files composed at random of what vendors do: each is read as its bars, or refused; never as other bars."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rsc.trading.prices import MarketError, read_file
from tests.rsc.trading.prices.series import EARLY, MONTHS, PENNY, WEEKS
from tests.rsc.trading.prices.shapes import COIN_DAYS, COIN_HOURS, DAYS, FX_HOURS, HALF_HOURS, Bar, comma, unix

DAILY = (
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y%m%d",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%d.%m.%Y",
    "%d-%m-%Y",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d %B %Y",
    "%m/%d/%y",
    "%d%b%Y",
    "%a %d %b %Y",
    "%Y-%m-%dT00:00:00+09:00",
    "%Y-%m-%d 00:00:00-05:00",
)
INTRADAY = (
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%dT%H:%M:%S.000+00:00",
    "%Y%m%d %H%M%S",
    "%d.%m.%Y %H:%M",
    "%m/%d/%Y %I:%M %p",
    "%d/%m/%Y %H:%M:%S",
    "%Y.%m.%d %H:%M",
    "%d-%b-%Y %H:%M",
    "%Y%m%d%H%M%S",
    "%Y-%m-%d %I:%M:%S %p",
)
TITLES = (
    "Date Open High Low Close Volume",
    "date open high low close volume",
    "timestamp o h l c v",
    "Datum Eröffnung Hoch Tief Schlusskurs Volumen",
    "TIME OPEN HIGH LOW LAST VOL",
    "日期 开盘 最高 最低 收盘 成交量",
    "<DATE> <OPEN> <HIGH> <LOW> <CLOSE> <TICKVOL>",
    "Trade_Date Open_Price High_Price Low_Price Close_Price Volume",
    "Дата Откр. Макс. Мин. Закр. Объём",
    "open_time px_open px_high px_low px_last px_volume",
)
EXTRAS: dict[str, Callable[[Bar], Any]] = {
    "rsi": lambda bar: 50.5,
    "Change %": lambda bar: "0.10%",
    "symbol": lambda bar: "AAPL",
    "Dividends": lambda bar: 0.0,
    "Stock Splits": lambda bar: 0.0,
    "note": lambda bar: "x",
    "Trades": lambda bar: bar.volume // 7,
    "close_time": lambda bar: unix(bar, 1000) + 59_999,
    "Unnamed: 9": lambda bar: "",
    "Market Cap": lambda bar: bar.close * 1e9,
    "prev_close": lambda bar: bar.open,
}
STYLES: dict[str, Callable[[float], str]] = {
    "point": lambda value: f"{value:.2f}",
    "float": repr,
    "comma": lambda value: comma(value).replace(".", ""),
    "thousands": lambda value: f"{value:,.2f}",
    "european": comma,
    "dollar": lambda value: f"${value:.2f}",
    "euro": lambda value: f"{comma(value)} €",
    "blanks": lambda value: comma(value).replace(".", "\u00a0"),
}


def composed(chance: random.Random) -> tuple[Sequence[Bar], bytes]:
    """Bars, and a file of them."""
    daily = chance.random() < 0.6
    bars = chance.choice(
        (DAYS, COIN_DAYS, PENNY, EARLY, WEEKS, MONTHS) if daily else (COIN_HOURS, FX_HOURS, HALF_HOURS)
    )
    style = chance.choice(list(STYLES.values()))
    prices: list[Callable[[Bar], Any]] = [lambda bar, at=at: style(bar.ohlc[at]) for at in range(4)]
    titles = chance.choice(TITLES).split()
    fields = list(zip(titles, (_moments(chance, daily), *prices, lambda bar: bar.volume), strict=True))
    headless = chance.random() < 0.05
    if not headless:
        fields += [(name, EXTRAS[name]) for name in chance.sample(list(EXTRAS), chance.randint(0, 3))]
        fields += [(name, prices[3]) for name in ("Adj Close", "vwap") if chance.random() < 0.1]
        if chance.random() < 0.5:
            chance.shuffle(fields)
        if chance.random() < 0.2:
            numbers = {id(bar): number for number, bar in enumerate(bars)}
            fields.insert(0, ("", lambda bar: numbers[id(bar)]))
    rows = [[make(bar) for _, make in fields] for bar in (bars[::-1] if chance.random() < 0.3 else bars)]
    if chance.random() < 0.2:
        rows.insert(len(rows) // 2, rows[len(rows) // 2])
    return bars, _written(chance, [] if headless else [name for name, _ in fields], rows)


def _moments(chance: random.Random, daily: bool) -> Callable[[Bar], Any]:
    if chance.random() < 0.2:
        unit = chance.choice((1, 1000, 10**6, 10**9))
        return lambda bar: unix(bar, unit)
    form = chance.choice(DAILY if daily else INTRADAY)
    return lambda bar: bar.time.strftime(form)


def _written(chance: random.Random, names: list[str], rows: list[list[Any]]) -> bytes:
    file = io.StringIO()
    quoting = chance.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    writer = csv.writer(
        file, delimiter=chance.choice(",;\t|"), quoting=quoting, lineterminator=chance.choice(("\n", "\r\n"))
    )
    if chance.random() < 0.2:
        file.write("Prices of a vendor, daily or not\n")
    if names:
        writer.writerow(names)
    for number, row in enumerate(rows):
        writer.writerow(row)
        if names and number == 50 and chance.random() < 0.1:
            writer.writerow(names)
    if chance.random() < 0.1:
        file.write("Downloaded from a vendor\n")
    content = file.getvalue().encode(chance.choice(("utf-8", "utf-8-sig", "utf-16")))
    return gzip.compress(content) if chance.random() < 0.1 else content


def outcome(path: Path, bars: Sequence[Bar], content: bytes) -> str:
    """'right', or why it was refused. Raises AssertionError for wrong bars."""
    path.write_bytes(content)
    try:
        read = read_file(path)
    except MarketError as error:
        return str(error)
    shifted = np.array([bar.time for bar in bars], "datetime64[us]").astype(np.int64)
    assert np.array_equal(read.times_us, shifted), content[:400]
    for name in ("open", "high", "low", "close"):
        wanted = np.array([getattr(bar, name) for bar in bars])
        assert np.allclose(getattr(read, name), wanted, rtol=1e-9), (name, content[:400])
    return "right"


@pytest.mark.parametrize("seed", range(10))
def test_read_file__composed_at_random__never_other_bars(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    outcomes = [outcome(tmp_path / "bars", *composed(chance)) for _ in range(20)]
    assert outcomes.count("right") >= 14, [each for each in outcomes if each != "right"]
