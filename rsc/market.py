"""Prices: the bundled ones, a file of the user's own, or fetched. Every bad input gets one clear line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DAILY_PERIODS_PER_YEAR = 252.0
MIN_BARS = 100
_DAY_US = 86_400_000_000
_COLUMNS = ("date", "open", "high", "low", "close", "volume")
_BUNDLED = Path(__file__).with_name("data") / "wiki4_adj_ohlcv.csv.gz"


class MarketError(ValueError):
    """Prices that cannot be used, with the reason and what to do."""


@dataclass(frozen=True, eq=False)
class Market:
    """One asset's bars, oldest first. ``times_us`` are microseconds since the epoch, UTC; all arrays have shape (n,)."""

    name: str
    times_us: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    periods_per_year: float

    def __len__(self) -> int:
        return len(self.close)


def bundled_tickers() -> tuple[str, ...]:
    """Symbols that need no network."""
    return tuple(sorted(_bundled()))


def load_market(
    ticker: str | None = None, path: Path | str | None = None, periods_per_year: float | None = None
) -> Market:
    """Bars of a bundled or fetched ticker, or of a CSV or Parquet file; exactly one of the two must be given.

    Raises MarketError, always with one line that says what to do.
    """
    if (ticker is None) == (path is None):
        raise MarketError("give either a ticker or a data file")
    return _load(ticker, None if path is None else str(path), periods_per_year)


@functools.lru_cache(maxsize=16)
def _load(ticker: str | None, path: str | None, periods_per_year: float | None) -> Market:
    if path is not None:
        return market_from_columns(Path(path).name, _read_file(Path(path)), periods_per_year)
    assert ticker is not None
    columns = _bundled().get(ticker.upper()) or _fetch(ticker)
    return market_from_columns(ticker.upper(), columns, periods_per_year)


def market_from_columns(name: str, columns: dict[str, NDArray[Any]], periods_per_year: float | None = None) -> Market:
    """Validate columns named date, open, high, low, close, volume (any case; adj_close scales the prices)."""
    columns = {str(key).strip().lower().replace(" ", "_"): values for key, values in columns.items()}
    missing = [key for key in _COLUMNS if key not in columns]
    if missing:
        raise MarketError(f"{name}: column {', '.join(missing)} is missing; it has {', '.join(columns)}")
    times = _times(name, columns["date"])
    prices = {key: _floats(name, key, columns[key]) for key in _COLUMNS[1:]}
    if "adj_close" in columns:
        scale = _floats(name, "adj_close", columns["adj_close"]) / prices["close"]
        prices.update({key: prices[key] * scale for key in ("open", "high", "low", "close")})
    _check(name, times, prices)
    return Market(name=name, times_us=times, periods_per_year=_periods(name, times, periods_per_year), **prices)


def _times(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    try:
        times = np.asarray(values).astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise MarketError(f"{name}: column date holds something that is no date: {error}") from error
    if np.isnat(times).any():
        raise MarketError(f"{name}: row {int(np.argmax(np.isnat(times))) + 1} has no date")
    return times.astype("<i8")


def _floats(name: str, key: str, values: NDArray[Any]) -> Floats:
    try:
        return np.ascontiguousarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise MarketError(f"{name}: column {key} holds something that is no number: {error}") from error


def _check(name: str, times: NDArray[np.int64], prices: dict[str, Floats]) -> None:
    rows = len(times)
    if rows < MIN_BARS:
        raise MarketError(f"{name}: {rows} rows are too few, at least {MIN_BARS} are needed")
    steps = np.diff(times)
    if (steps == 0).any():
        raise MarketError(
            f"{name}: row {int(np.argmax(steps == 0)) + 2} repeats the date before it; remove one of them"
        )
    if (steps < 0).any():
        raise MarketError(f"{name}: dates are not sorted at row {int(np.argmax(steps < 0)) + 2}; sort the file by date")
    for key in ("open", "high", "low", "close"):
        bad = ~(np.isfinite(prices[key]) & (prices[key] > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise MarketError(f"{name}: row {row + 1} has {key} = {prices[key][row]}; prices must be positive numbers")
    if not np.isfinite(prices["volume"]).all():
        raise MarketError(f"{name}: row {int(np.argmin(np.isfinite(prices['volume']))) + 1} has no volume")
    spread = prices["high"] < np.maximum(prices["open"], prices["close"]) * (1 - 1e-9)
    spread |= prices["low"] > np.minimum(prices["open"], prices["close"]) * (1 + 1e-9)
    if spread.any():
        raise MarketError(f"{name}: row {int(np.argmax(spread)) + 1} has open or close outside of low to high")


def _periods(name: str, times: NDArray[np.int64], given: float | None) -> float:
    if given is not None:
        if not given > 0:
            raise MarketError(f"{name}: periods per year must be positive, got {given}")
        return float(given)
    if np.median(np.diff(times)) < 0.9 * _DAY_US:
        raise MarketError(f"{name}: bars are intraday; say how many make a year with --periods-per-year")
    return DAILY_PERIODS_PER_YEAR


def _read_file(path: Path) -> dict[str, NDArray[Any]]:
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        table = parquet.read_table(path) if path.suffix.lower() in (".parquet", ".pq") else csv.read_csv(path)
    except (OSError, pa.ArrowException) as error:
        raise MarketError(f"{path}: cannot be read as {path.suffix or 'CSV'}: {str(error).splitlines()[0]}") from error
    return {name: table.column(name).to_numpy() for name in table.column_names}


@functools.cache
def _bundled() -> dict[str, dict[str, NDArray[Any]]]:
    columns = _read_file(_BUNDLED)
    symbols = columns.pop("symbol")
    return {
        str(symbol): {key: values[symbols == symbol] for key, values in columns.items()}
        for symbol in np.unique(symbols.astype(str))
    }


def _fetch(ticker: str) -> dict[str, NDArray[Any]]:
    known = ", ".join(bundled_tickers())
    try:
        import yfinance
    except ImportError as error:
        raise MarketError(
            f"{ticker} is not bundled ({known} are); to fetch it: pip install 'reinforce-strategy-creator[market]'"
        ) from error
    try:
        frame: Any = yfinance.Ticker(ticker).history(period="max", auto_adjust=True)
    except Exception as error:  # yfinance raises whatever its transport does
        raise MarketError(f"{ticker} could not be fetched ({error}); use --data FILE, or one of {known}") from error
    if frame is None or not len(frame):
        raise MarketError(f"{ticker} could not be fetched: no prices came back; use --data FILE, or one of {known}")
    columns = {str(key): frame[key].to_numpy() for key in frame.columns}
    return {"date": frame.index.tz_localize(None).to_numpy(), **columns}


def cached_per_market(function: Callable[..., NDArray[Any]]) -> Callable[..., NDArray[Any]]:
    """Compute once for each market object and set of arguments of this process, and share the read-only result."""

    @functools.lru_cache(maxsize=32)
    def compute(market: Market, *arguments: Any) -> NDArray[Any]:
        result = function(market, *arguments)
        result.flags.writeable = False
        return result

    return compute
