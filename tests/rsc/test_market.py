"""Prices: what loads, and the one line that each bad input gets."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from rsc.trading import price_sources as prices
from rsc.trading.market import Market, MarketError, load_market, market_from_columns


def columns_of(rows: int = 150, step: np.timedelta64 = np.timedelta64(1, "D")) -> dict[str, Any]:
    close = 100.0 + np.arange(rows) % 7
    return {
        "date": np.datetime64("2020-01-01") + np.arange(rows) * step,
        "open": close - 0.5,
        "high": close + 1.0,
        "low": close - 1.0,
        "close": close,
        "volume": np.full(rows, 1000.0),
    }


@pytest.mark.parametrize("ticker", ["AAPL", "GOOG", "IBM", "MSFT"])
def test_load_market__bundled_ticker__needs_no_network(ticker: str) -> None:
    market = load_market(ticker.lower())
    assert market.name == ticker
    assert len(market) == (2148 if ticker == "GOOG" else 3270)
    assert market.periods_per_year == 252


def test_load_market__bundled_dates__are_utc_microseconds() -> None:
    first, last = load_market("IBM").times_us[[0, -1]].view("datetime64[us]")
    assert (first, last) == (np.datetime64("2000-03-01"), np.datetime64("2013-03-01"))


@pytest.mark.parametrize("ticker", ["", " ", "../../etc", "A/B", "-x", "A" * 40])
def test_load_market__no_ticker_at_all__is_refused_before_any_file_or_network(ticker: str) -> None:
    """What is fetched is kept in a file of the ticker's name."""
    with pytest.raises(MarketError, match="is no ticker"):
        load_market(ticker)


@pytest.mark.parametrize("change", [str.title, str.upper, lambda name: f" {name} "])
def test_load_market__column_names_of_any_case__are_found(tmp_path: Path, change: Callable[[str], str]) -> None:
    path = tmp_path / "prices.csv"
    csv.write_csv(pa.table({change(key): values for key, values in columns_of().items()}), path)
    market = load_market(path=path)
    assert np.array_equal(market.close, columns_of()["close"])


def test_load_market__parquet__equals_csv(tmp_path: Path) -> None:
    table = pa.table(columns_of())
    csv.write_csv(table, tmp_path / "prices.csv")
    parquet.write_table(table, tmp_path / "prices.parquet")
    first, second = load_market(path=tmp_path / "prices.csv"), load_market(path=tmp_path / "prices.parquet")
    for column in ("times_us", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(first, column), getattr(second, column))


def test_load_market__file_that_changed__is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    csv.write_csv(pa.table(columns_of(150)), path)
    assert len(load_market(path=path)) == 150
    csv.write_csv(pa.table(columns_of(160)), path)
    assert len(load_market(path=path)) == 160


def test_market__adj_close__scales_all_four_prices() -> None:
    raw = columns_of()
    market = market_from_columns("x", {**raw, "Adj Close": raw["close"] / 4})
    for key in ("open", "high", "low", "close"):
        assert np.allclose(getattr(market, key), raw[key] / 4, rtol=1e-15)
    assert np.array_equal(market.volume, raw["volume"])
    assert not market.extra


def test_market__other_numeric_columns__are_kept() -> None:
    market = market_from_columns("x", {**columns_of(), "Sentiment": np.ones(150), "note": np.full(150, "a")})
    assert list(market.extra) == ["sentiment"]


def test_market__intraday_bars__ask_for_periods_per_year() -> None:
    columns = columns_of(step=np.timedelta64(5, "m"))
    with pytest.raises(MarketError, match=r"bars are intraday; say how many make a year with --periods-per-year"):
        market_from_columns("x", columns)
    assert market_from_columns("x", columns, 19_656).periods_per_year == 19_656


def test_market__weekly_bars__ask_for_periods_per_year() -> None:
    with pytest.raises(MarketError, match="7 days apart"):
        market_from_columns("x", columns_of(step=np.timedelta64(7, "D")))


def put(key: str, row: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda columns: columns[key].__setitem__(row, value)


BAD_INPUTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing column": (lambda c: c.pop("volume"), r"column volume missing; it has date, open, high, low, close$"),
    "missing columns": (lambda c: (c.pop("low"), c.pop("high")), "columns high, low missing"),
    "no date": (lambda c: c.pop("date"), "column date missing"),
    "column twice": (lambda c: c.update(Close=c["close"]), "column close is there twice, in different case"),
    "unsorted": (lambda c: c.update(date=c["date"][::-1]), "not sorted at row 2; sort the file by date"),
    "repeated date": (lambda c: c["date"].__setitem__(7, c["date"][6]), "row 8 repeats the date before it"),
    "no such date": (put("date", 3, np.datetime64("NaT")), "row 4 has no date"),
    "dates as numbers": (lambda c: c.update(date=np.arange(150)), "holds numbers .* write dates as 2024-01-31"),
    "dates of another style": (lambda c: c.update(date=np.full(150, "31/01/24")), "holds no ISO date"),
    "NaN price": (put("close", 9, np.nan), "row 10 has close = nan; prices must be positive numbers"),
    "infinite price": (put("high", 9, np.inf), "row 10 has high = inf"),
    "zero price": (put("low", 0, 0.0), "row 1 has low = 0.0"),
    "negative price": (put("open", 149, -3.0), "row 150 has open = -3.0"),
    "low above high": (put("low", 5, 1000.0), "row 6 has low = 1000.0 above high"),
    "open outside": (put("open", 5, 50.0), "row 6 has open or close outside of low to high"),
    "NaN volume": (put("volume", 5, np.nan), "row 6 has volume = nan; use 0 where it is unknown"),
    "NaN adj_close": (lambda c: c.update(adj_close=np.full(150, np.nan)), "row 1 has adj_close = nan"),
    "text price": (lambda c: c.update(close=np.full(150, "n/a")), "column close holds something that is no number"),
    "too few rows": (lambda c: c.update({k: v[:99] for k, v in c.items()}), "99 rows are too few, at least 100"),
}


@pytest.mark.parametrize("case", BAD_INPUTS)
def test_market__bad_input__one_clear_line(case: str) -> None:
    spoil, message = BAD_INPUTS[case]
    columns = columns_of()
    spoil(columns)
    with pytest.raises(MarketError, match=message) as caught:
        market_from_columns("FILE.csv", columns)
    assert str(caught.value).startswith("FILE.csv: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "cannot be read: No such file"),
        ("empty.csv", b"", "cannot be read as CSV"),
        ("noise.parquet", b"PAR0", "cannot be read as Parquet"),
    ],
)
def test_load_market__unreadable_file__one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(MarketError, match=message) as caught:
        load_market(path=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_load_market__neither_or_both__is_refused() -> None:
    with pytest.raises(MarketError, match="give either a ticker or a data file"):
        load_market()
    with pytest.raises(MarketError, match="give either a ticker or a data file"):
        load_market("AAPL", "x.csv")


def test_load_market__fetch_that_fails__says_what_is_bundled(tmp_path: Path, monkeypatch: Any) -> None:
    """Whether yfinance is missing or the network is: one line, and a way out."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setitem(__import__("sys").modules, "yfinance", None)
    with pytest.raises(MarketError, match=r"NOSUCH is not bundled \(AAPL, GOOG, IBM, MSFT are\).*\[market\]"):
        load_market("NOSUCH")


def test_fetched__second_process_of_the_day__reads_what_the_first_kept(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prices, "_download", lambda ticker: columns_of())
    first = prices.fetched("KEPT")
    monkeypatch.setattr(prices, "_download", lambda ticker: pytest.fail("fetched again"))
    assert np.array_equal(prices.fetched("KEPT")["close"], first["close"])


def test_market__same_content__is_equal_wherever_it_came_from() -> None:
    market = load_market("AAPL")
    again: Market = pickle.loads(pickle.dumps(market))
    assert again == market
    assert hash(again) == hash(market)
    assert copy.deepcopy(market) is market
    assert load_market("IBM") != market
