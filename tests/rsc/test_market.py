"""Prices: the bundled ones, files in any form, and one clear line for each bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from rsc.market import MarketError, bundled_tickers, load_market, market_from_columns


def columns(rows: int = 150, **changes: Any) -> dict[str, Any]:
    price = np.linspace(100.0, 120.0, rows)
    made = {"Date": np.datetime64("2020-01-01") + np.arange(rows), "Open": price, "HIGH": price, "low": price}
    return {**made, "Close": price, "volume": np.ones(rows), **changes}


def test_bundled__every_ticker__loads() -> None:
    """Real prices, daily, without gaps in the columns."""
    assert bundled_tickers() == ("AAPL", "GOOG", "IBM", "MSFT")
    for ticker in bundled_tickers():
        market = load_market(ticker.lower())
        assert len(market) > 2000
        assert market.periods_per_year == 252.0


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_file__any_case__loads(tmp_path: Path, suffix: str) -> None:
    """CSV and Parquet."""
    table, path = pa.table(columns()), tmp_path / f"prices{suffix}"
    pa.csv.write_csv(table, path) if suffix == ".csv" else pa.parquet.write_table(table, path)
    market = load_market(path=path)
    assert len(market) == 150
    assert market.close[-1] == 120.0


def test_adj_close__scales_all_four_prices() -> None:
    """A split halves open, high, low and close alike."""
    market = market_from_columns("x", columns(adj_close=np.linspace(100.0, 120.0, 150) / 2))
    assert np.allclose(market.open, np.linspace(50.0, 60.0, 150))
    assert np.allclose(market.high, market.low)


def broken(name: str, row: int, value: Any) -> dict[str, Any]:
    made = columns()
    made[name] = made[name].copy()
    made[name][row] = value
    return made


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({key: value for key, value in columns().items() if key != "low"}, "column low is missing"),
        (broken("Close", 7, np.nan), "row 8 has close = nan"),
        (broken("Open", 3, -1.0), "row 4 has open = -1"),
        (broken("Date", 5, np.datetime64("2020-01-05")), "row 6 repeats the date"),
        (broken("Date", 5, np.datetime64("2019-01-05")), "not sorted at row 6"),
        (columns(rows=20), "20 rows are too few"),
        (broken("low", 9, 200.0), "row 10 has open or close outside"),
        (columns(Date=np.datetime64("2020-01-01T00:00") + np.arange(150)), "intraday"),
        (columns(Close=np.array(["x"] * 150)), "no number"),
    ],
)
def test_bad_prices__one_clear_line(data: dict[str, Any], message: str) -> None:
    """What is wrong, and in which row."""
    with pytest.raises(MarketError, match=message) as raised:
        market_from_columns("x", data)
    assert "\n" not in str(raised.value)


def test_intraday__with_periods_per_year__loads() -> None:
    """The caller says how many bars make a year."""
    minutes = np.datetime64("2020-01-01T00:00") + np.arange(150)
    assert market_from_columns("x", columns(Date=minutes), 98_280).periods_per_year == 98_280


def test_file__not_a_table__one_clear_line(tmp_path: Path) -> None:
    """Neither a traceback nor Arrow's paragraphs."""
    path = tmp_path / "x.parquet"
    path.write_bytes(b"no parquet")
    with pytest.raises(MarketError, match="cannot be read"):
        load_market(path=path)
