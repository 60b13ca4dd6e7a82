"""Data frames of pandas and polars, in the shapes that packages return."""

from __future__ import annotations

import time
import warnings
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from rsc.trading.config import TradingConfig
from rsc.trading.game import Game
from rsc.trading.market import market_from_frame
from rsc.trading.prices import MarketError, read_frame
from tests.rsc.trading.prices.shapes import DAYS

NAMES = ("open", "high", "low", "close", "volume")
TIMES = [bar.time for bar in DAYS]


def frame(index: Any = None, **columns: Any) -> pd.DataFrame:
    """The days, with titles as yfinance writes them."""
    values = {name.title(): [getattr(bar, name) for bar in DAYS] for name in NAMES}
    return pd.DataFrame({**values, **columns}, pd.DatetimeIndex(TIMES) if index is None else index)


def side_by_side(*tickers: str, by_ticker: bool = False) -> pd.DataFrame:
    """What yfinance.download returns: columns of two levels."""
    order = ["Ticker", "Price"] if by_ticker else ["Price", "Ticker"]
    parts = {ticker: frame() * (number + 1) for number, ticker in enumerate(tickers)}
    joined = pd.concat(parts, axis=1, names=["Ticker", "Price"])
    return joined if by_ticker else joined.swaplevel(axis=1).reorder_levels(order, axis=1).sort_index(axis=1)


FRAMES: dict[str, Any] = {
    "index without a name": frame,
    "index of a name": lambda: frame().rename_axis("Date"),
    "descending": lambda: frame()[::-1],
    "date as a column": lambda: frame().rename_axis("Date").reset_index(),
    "date as text": lambda: frame([f"{each:%Y-%m-%d}" for each in TIMES]),
    "dates of Python": lambda: frame([each.date() for each in TIMES]),
    "zone": lambda: frame(pd.DatetimeIndex(TIMES).tz_localize("America/New_York")),
    "zone east of Greenwich": lambda: frame(pd.DatetimeIndex(TIMES).tz_localize("Australia/Sydney")),
    "periods": lambda: frame(pd.PeriodIndex(TIMES, freq="D")),
    "nanoseconds": lambda: frame(pd.DatetimeIndex(TIMES).as_unit("ns")),
    "index that counts, after sorting": lambda: frame().rename_axis("Date").reset_index().set_axis(range(10, 160)),
    "two levels, one ticker": lambda: side_by_side("AAPL"),
    "two levels by ticker": lambda: side_by_side("AAPL", by_ticker=True),
    "symbol and time as index": lambda: frame(
        pd.MultiIndex.from_product([["AAPL"], TIMES], names=["symbol", "timestamp"])
    ),
    "nullable numbers": lambda: frame().convert_dtypes(),
    "objects beside": lambda: frame(note=[{"a": 1}, "b", None] * 50),
    "categories beside": lambda: frame(symbol=pd.Categorical(["AAPL"] * 150)),
    "float32": lambda: frame().astype(np.float32).round(2).astype(np.float64),
    "polars": lambda: pl.from_pandas(frame().rename_axis("Date").reset_index()),
    "polars, lazy": lambda: pl.from_pandas(frame().rename_axis("Date").reset_index()).lazy(),
    "polars, zone": lambda: pl.from_pandas(
        frame(pd.DatetimeIndex(TIMES).tz_localize("Asia/Tokyo")).rename_axis("Date").reset_index()
    ),
    "arrow": lambda: pa.Table.from_pandas(frame()),
}


@pytest.mark.parametrize("case", FRAMES)
def test_read_frame__shape_of_a_package__gives_its_bars(case: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bars = read_frame(FRAMES[case]())
    assert np.array_equal(bars.times_us, np.array(TIMES, "datetime64[us]").astype(np.int64))
    for name in NAMES:
        assert np.allclose(getattr(bars, name), [getattr(bar, name) for bar in DAYS], rtol=1e-6), name


@pytest.mark.parametrize("by_ticker", [False, True])
def test_read_frame__two_tickers__need_a_symbol(by_ticker: bool) -> None:
    both = side_by_side("AAPL", "MSFT", by_ticker=by_ticker)
    with pytest.raises(MarketError, match=r"2 assets side by side \(AAPL, MSFT\)"):
        read_frame(both)
    assert np.allclose(read_frame(both, "MSFT").close, [2 * bar.close for bar in DAYS])


def test_read_frame__stacked_index__needs_a_symbol() -> None:
    index = pd.MultiIndex.from_product([["AAPL", "MSFT"], TIMES], names=["symbol", "timestamp"])
    both = pd.concat([frame(), frame() * 2]).set_axis(index)
    with pytest.raises(MarketError, match=r"column 'symbol': AAPL, MSFT"):
        read_frame(both)
    assert np.allclose(read_frame(both, "MSFT").close, [2 * bar.close for bar in DAYS])


@pytest.mark.parametrize(("given", "what"), [(7, "int"), ([1, 2], "list"), ({"a": 1}, "dict")])
def test_read_frame__no_frame__is_refused(given: Any, what: str) -> None:
    with pytest.raises(MarketError, match=f"must be a data frame of pandas or polars, got {what}"):
        read_frame(given)


def test_read_frame__a_million_bars_with_a_zone__no_slower_than_without() -> None:
    """One warning for each bar made a zone 80 times as slow."""
    size = 1_000_000
    index = pd.date_range("2015-01-01", periods=size, freq="min")
    close = 100 + np.sin(np.arange(size))
    plain = pd.DataFrame({"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1.0}, index)
    taken = {}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, each in (("plain", plain), ("zone", plain.tz_localize("UTC").tz_convert("Europe/Berlin"))):
            start = time.process_time()
            bars = read_frame(each)
            taken[name] = time.process_time() - start
            assert bars.times_us[0] == index[0].value // 1000
    assert taken["zone"] < 5 * taken["plain"] + 1


def test_market_from_frame__several_assets__names_the_argument_to_give() -> None:
    both = pd.concat([frame().assign(symbol="A"), frame().assign(symbol="B")])
    with pytest.raises(MarketError, match=r"^data frame: 2 assets in one file .*; choose one: symbol A$"):
        market_from_frame(both)
    assert len(market_from_frame(both, symbol="B")) == 150


@pytest.mark.parametrize("make", [frame, lambda: pl.from_pandas(frame().rename_axis("Date").reset_index())])
def test_game__frame_as_market__is_played(make: Any) -> None:
    game = Game(TradingConfig.of({"market": make(), "episode_length": 10}))
    assert len(game.market) == 150
    assert game.market.periods_per_year == 260


def test_game__periods_per_year__hold_for_a_market_and_a_tape() -> None:
    market = market_from_frame(frame())
    settings = {"episode_length": 10, "features": ("return",), "window": 3}
    tape = Game(TradingConfig.of({"market": market, **settings})).tape
    for given in (market, tape, frame()):
        game = Game(TradingConfig.of({"market": given, "periods_per_year": 365.25, **settings}))
        assert game.market.periods_per_year == 365.25
        assert game.about("x", 5).periods_per_year == 365.25
    assert Game(TradingConfig.of({"market": tape, **settings})).tape is tape
