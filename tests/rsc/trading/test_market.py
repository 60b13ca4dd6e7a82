"""Prices: what loads, and the one line that each bad input gets."""

from __future__ import annotations

import copy
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import csv, parquet

from rsc.trading import price_sources
from rsc.trading.indicators import feature_matrix
from rsc.trading.market import Market, load_market, market_from_columns
from rsc.trading.prices import MarketError


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


def test_market__less_than_a_week_of_intraday_bars__asks_for_periods_per_year() -> None:
    columns = columns_of(step=np.timedelta64(5, "m"))
    with pytest.raises(
        MarketError, match=r"bars 5 min apart, .*less than a whole week of them: give --periods-per-year"
    ):
        market_from_columns("x", columns)
    assert market_from_columns("x", columns, 19_656).periods_per_year == 19_656


@pytest.mark.parametrize(("days", "periods"), [(1, 365.25), (7, 52), (2, 182.625)])
def test_market__bars_of_seven_days_a_week__estimated_with_a_remark(days: int, periods: float) -> None:
    market = market_from_columns("x", columns_of(step=np.timedelta64(days, "D")))
    assert market.periods_per_year == periods
    assert market.remarks[0].startswith(f"periods per year: {periods:.6g}, from ")


@pytest.mark.parametrize(("given", "doubted"), [(252.0, False), (100.0, True), (8766.0, True)])
def test_market__periods_given__taken_and_doubted_beyond_twice(given: float, doubted: bool) -> None:
    market = market_from_columns("x", columns_of(), given)
    assert market.periods_per_year == given
    assert (
        any("is given, but daily bars on seven days a week make about 365.25" in each for each in market.remarks)
        is doubted
    )


@pytest.mark.parametrize("given", [0.0, -1.0, float("inf"), float("nan")])
def test_market__impossible_periods__are_refused(given: float) -> None:
    with pytest.raises(MarketError, match="periods per year must be positive"):
        market_from_columns("x", columns_of(), given)


def test_market__two_own_columns_of_one_feature_name__are_refused() -> None:
    columns = {**columns_of(), "RSI": np.ones(150), "own_rsi": np.zeros(150)}
    with pytest.raises(MarketError, match="mine: the columns 'rsi' and 'own_rsi' have the same name as a feature"):
        market_from_columns("mine", columns)


def test_market__own_column_named_like_a_built_in_feature__gets_another_name() -> None:
    """A label column `return` with the next bar's return must not become the built-in feature of that name."""
    market = market_from_columns(
        "x", {**columns_of(), "Return": np.ones(150), "rsi": np.ones(150), "mood": np.ones(150)}
    )
    assert list(market.extra) == ["own_return", "own_rsi", "mood"]
    assert (
        "the column 'return' is named like a built-in feature: its own name as a feature is 'own_return'"
        in market.remarks
    )
    built_in = feature_matrix(market, ("return", "rsi"), 50)
    assert np.array_equal(built_in, feature_matrix(market_from_columns("x", columns_of()), ("return", "rsi"), 50))
    assert not feature_matrix(market, ("own_return",), 50).any()  # a constant has no spread


def put(key: str, row: int, value: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda columns: columns[key].__setitem__(row, value)


BAD_INPUTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "missing columns": (lambda c: (c.pop("low"), c.pop("high")), "no columns for high, low; it has date, open, close"),
    "no date": (lambda c: c.pop("date"), "no column for date"),
    "column twice": (lambda c: c.update(Close=c["close"] + 1), "two columns are named 'close' and differ"),
    "unsorted": (
        put("date", 9, np.datetime64("2019-01-01")),
        "row 10, 2019-01-01 00:00:00, is before the row before it",
    ),
    "repeated date": (put("date", 7, np.datetime64("2020-01-07")), "row 8, .* repeats the time of the row before it"),
    "no such date": (put("date", 3, np.datetime64("NaT")), "row 4 has no date"),
    "dates as numbers": (lambda c: c.update(date=np.arange(150)), "numbers such as 0, .* write dates as 2024-01-31"),
    "dates of no style": (lambda c: c.update(date=np.full(150, "soon")), "dates such as 'soon' are not understood"),
    "NaN price": (put("close", 9, np.nan), "row 10 has close = nan .*; prices must be positive numbers"),
    "infinite price": (put("high", 9, np.inf), "row 10 has high = inf"),
    "zero price": (put("low", 0, 0.0), "row 1 has low = 0 "),
    "negative price": (put("open", 149, -3.0), "row 150 has open = -3 "),
    "low above high": (put("low", 5, 1000.0), "row 6 has low = 1000 above high"),
    "open outside": (put("open", 5, 50.0), "row 6 has open or close outside of low to high"),
    "negative volume": (put("volume", 5, -5.0), "row 6 has volume = -5; use 0 where it is unknown"),
    "NaN adj_close": (lambda c: c.update(adj_close=np.where(np.arange(150), 1.0, np.nan)), "row 1 has adj_close = nan"),
    "text price": (lambda c: c.update(close=np.full(150, "high")), "column 'close' holds 'high', which is no number"),
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
        ("empty.csv", b"", "the file is empty"),
        ("noise.parquet", b"PAR1PAR1", "damaged or cut short"),
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
    monkeypatch.setattr(price_sources, "_download", lambda ticker: columns_of())
    first = price_sources.fetched("KEPT")
    monkeypatch.setattr(price_sources, "_download", lambda ticker: pytest.fail("fetched again"))
    assert np.array_equal(price_sources.fetched("KEPT").close, first.close)


def test_market__same_content__is_equal_wherever_it_came_from() -> None:
    market = load_market("AAPL")
    again: Market = pickle.loads(pickle.dumps(market))
    assert again == market
    assert hash(again) == hash(market)
    assert copy.deepcopy(market) is market
    assert load_market("IBM") != market


def test_load_market__fetched_and_exported__agree(tmp_path: Path, monkeypatch: Any) -> None:
    """`--ticker` and `--data` with the same prices are the same bars, east of Greenwich too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    days = pd.date_range("2020-01-06", periods=150, freq="B", tz="Asia/Tokyo", name="Date")
    columns = columns_of()
    frame = pd.DataFrame({key.title(): columns[key] for key in ("open", "high", "low", "close", "volume")}, days)
    frame[["Dividends", "Stock Splits"]] = 0.0
    module = ModuleType("yfinance")
    module.Ticker = lambda ticker: SimpleNamespace(history=lambda **_: frame)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "yfinance", module)
    frame.to_csv(tmp_path / "7203.csv")
    frame.to_parquet(tmp_path / "7203.parquet")
    fetched = load_market("7203.T")
    assert fetched.times_us[0] == np.datetime64("2020-01-06", "us").astype(np.int64)
    for name in ("7203.csv", "7203.parquet"):
        read = load_market(path=tmp_path / name)
        assert read.periods_per_year == fetched.periods_per_year == 260
        for column in ("times_us", "open", "high", "low", "close", "volume"):
            assert np.array_equal(getattr(read, column), getattr(fetched, column))


def test_load_market__bundled_prices_exported__are_the_same_market(tmp_path: Path) -> None:
    bundled = load_market("IBM")
    columns = {key: getattr(bundled, key) for key in ("open", "high", "low", "close", "volume")}
    csv.write_csv(pa.table({"Date": bundled.times_us.view("datetime64[us]"), **columns}), tmp_path / "IBM")
    assert load_market(path=tmp_path / "IBM") == bundled


def test_load_market__remarks__are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "newest_first.csv"
    columns = {key: values[::-1] for key, values in columns_of().items()}
    csv.write_csv(pa.table(columns), path)
    with caplog.at_level(logging.WARNING, logger="rsc.trading.market"):  # which another test's training turned off
        market = load_market(path=path)
        load_market(path=path)
    assert market.remarks[0] == "the newest bar comes first: turned round"
    assert [each.getMessage() for each in caplog.records].count(f"newest_first.csv: {market.remarks[0]}") == 1
    assert market.described()["remarks"] == list(market.remarks)


def test_load_market__symbol__chooses_an_asset(tmp_path: Path) -> None:
    path = tmp_path / "two.csv"
    columns = columns_of()
    both = {
        key: np.concatenate((values, values * (2 if key in ("open", "high", "low", "close") else 1)))
        if key != "date"
        else np.concatenate((values, values))
        for key, values in columns.items()
    }
    csv.write_csv(pa.table({**both, "symbol": ["A"] * 150 + ["B"] * 150}), path)
    assert load_market(path=path, symbol="B").close[0] == 2 * columns["close"][0]
    assert load_market(path=path, symbol="B").name == "two.csv B"
    with pytest.raises(MarketError, match=r"2 assets in one file .*choose one: --symbol A"):
        load_market(path=path)
    with pytest.raises(MarketError, match="a ticker is one asset"):
        load_market("IBM", symbol="B")
