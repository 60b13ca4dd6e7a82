"""Prices: the bundled ones, a file of the user's own, or fetched. Every bad input gets one clear line."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.trading import price_sources as prices
from rsc.trading.price_sources import MarketError as MarketError

Floats = NDArray[np.float64]

DAILY_PERIODS_PER_YEAR = 252.0
MIN_BARS = 100
_DAY_US = 86_400_000_000
_PRICES = ("open", "high", "low", "close")
_COLUMNS = ("date", *_PRICES, "volume")
_DATE_NAMES = ("date", "datetime", "timestamp", "time")


@dataclass(frozen=True, eq=False)
class Market:
    """One asset's bars, oldest first. ``times_us`` are microseconds since the epoch, UTC; all arrays have shape (n,).

    ``extra`` holds the other numeric columns, by their names in lower case. Markets with the same content are equal.
    """

    name: str
    times_us: NDArray[np.int64]
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    periods_per_year: float
    extra: Mapping[str, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.close)

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """A digest of everything that an env can see."""
        digest = hashlib.blake2b(repr((self.name, self.periods_per_year, list(self.extra))).encode(), digest_size=16)
        for column in (self.times_us, self.open, self.high, self.low, self.close, self.volume, *self.extra.values()):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Market) and self.fingerprint == other.fingerprint)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __deepcopy__(self, memo: Any) -> Market:
        return self  # nobody changes it, and the copies of a config must not copy its prices


def load_market(
    ticker: str | None = None, path: Path | str | None = None, periods_per_year: float | None = None
) -> Market:
    """Bars of a bundled or fetched ticker, or of a CSV or Parquet file; exactly one of the two must be given.

    Raises MarketError, always with one line that says what to do.
    """
    if path is not None and ticker is None:
        return _from_file(Path(path), prices.version_of(Path(path)), periods_per_year)
    if ticker is not None and path is None:
        return _from_ticker(_symbol(ticker), periods_per_year)
    raise MarketError("give either a ticker or a data file")


def _symbol(ticker: Any) -> str:
    """As exchanges write it. It becomes part of a file's name, so nothing else may pass."""
    symbol = str(ticker).strip().upper()
    if not re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=-]{0,31}", symbol):
        raise MarketError(f"{ticker!r} is no ticker; use letters, digits and '.^=-', for example BRK-B")
    return symbol


@functools.lru_cache(maxsize=16)
def _from_file(path: Path, version: tuple[int, int], periods_per_year: float | None) -> Market:
    return market_from_columns(path.name, prices.read_file(path), periods_per_year)


@functools.lru_cache(maxsize=16)
def _from_ticker(ticker: str, periods_per_year: float | None) -> Market:
    columns = prices.bundled().get(ticker) or prices.fetched(ticker)
    return market_from_columns(ticker, columns, periods_per_year)


def market_from_columns(
    name: str, columns: Mapping[str, NDArray[Any]], periods_per_year: float | None = None
) -> Market:
    """Validate columns named date, open, high, low, close, volume (any case; adj_close scales the prices)."""
    found = _lower_case(name, columns)
    times = _times(name, found.pop("date"))
    numbers = {key: _floats(name, key, found.pop(key)) for key in _COLUMNS[1:]}
    _check_rows(name, times)
    _check_prices(name, numbers)
    if "adj_close" in found:
        adjusted = {"adj_close": _floats(name, "adj_close", found.pop("adj_close"))}
        _check_positive(name, adjusted)
        scale = adjusted["adj_close"] / numbers["close"]
        numbers.update({key: numbers[key] * scale for key in _PRICES})
    extra = {key: _floats(name, key, values) for key, values in found.items() if values.dtype.kind in "fiub"}
    return Market(
        name=name, times_us=times, periods_per_year=_periods(name, times, periods_per_year), extra=extra, **numbers
    )


def market_from_frame(frame: Any, periods_per_year: float | None = None) -> Market:
    """The bars of a pandas DataFrame: its columns, and its index as the date if no column is one."""
    columns = {str(key): frame[key].to_numpy() for key in frame.columns}
    if not any(key.strip().lower() in _DATE_NAMES for key in columns):
        columns["date"] = frame.index.to_numpy()
    return market_from_columns("data frame", columns, periods_per_year)


def _lower_case(name: str, columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for original, values in columns.items():
        key = str(original).strip().lower().replace(" ", "_")
        if key in found:
            raise MarketError(f"{name}: column {key} is there twice, in different case; remove one of them")
        found[key] = np.asarray(values)
    for alias in _DATE_NAMES:
        if alias in found and "date" not in found:
            found["date"] = found.pop(alias)
    missing = [key for key in _COLUMNS if key not in found]
    if missing:
        noun = "column" if len(missing) == 1 else "columns"
        raise MarketError(f"{name}: {noun} {', '.join(missing)} missing; it has {', '.join(found) or 'none'}")
    return found


def _times(name: str, values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind in "fiub":
        raise MarketError(f"{name}: column date holds numbers ({values[:1].tolist()}); write dates as 2024-01-31")
    try:
        times = values.astype("datetime64[us]")
    except (ValueError, TypeError) as error:
        raise MarketError(f"{name}: column date holds no ISO date: {error}; write dates as 2024-01-31") from error
    if np.isnat(times).any():
        raise MarketError(f"{name}: row {int(np.argmax(np.isnat(times))) + 1} has no date")
    return times.astype("<i8")


def _floats(name: str, key: str, values: NDArray[Any]) -> Floats:
    try:
        return np.ascontiguousarray(values, np.float64)
    except (ValueError, TypeError) as error:
        raise MarketError(f"{name}: column {key} holds something that is no number: {error}") from error


def _check_rows(name: str, times: NDArray[np.int64]) -> None:
    if len(times) < MIN_BARS:
        raise MarketError(f"{name}: {len(times)} rows are too few, at least {MIN_BARS} are needed")
    steps = np.diff(times)
    if (steps < 0).any():
        raise MarketError(f"{name}: dates are not sorted at row {int(np.argmax(steps < 0)) + 2}; sort the file by date")
    if (steps == 0).any():
        raise MarketError(
            f"{name}: row {int(np.argmax(steps == 0)) + 2} repeats the date before it; remove one of them"
        )


def _check_prices(name: str, numbers: Mapping[str, Floats]) -> None:
    _check_positive(name, {key: numbers[key] for key in _PRICES})
    volume = numbers["volume"]
    bad = ~(np.isfinite(volume) & (volume >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise MarketError(f"{name}: row {row + 1} has volume = {volume[row]}; use 0 where it is unknown")
    if (numbers["low"] > numbers["high"]).any():
        row = int(np.argmax(numbers["low"] > numbers["high"]))
        raise MarketError(f"{name}: row {row + 1} has low = {numbers['low'][row]} above high = {numbers['high'][row]}")
    outside = numbers["high"] < np.maximum(numbers["open"], numbers["close"]) * (1 - 1e-9)
    outside |= numbers["low"] > np.minimum(numbers["open"], numbers["close"]) * (1 + 1e-9)
    if outside.any():
        raise MarketError(f"{name}: row {int(np.argmax(outside)) + 1} has open or close outside of low to high")


def _check_positive(name: str, numbers: Mapping[str, Floats]) -> None:
    for key, values in numbers.items():
        bad = ~(np.isfinite(values) & (values > 0))
        if bad.any():
            row = int(np.argmax(bad))
            raise MarketError(f"{name}: row {row + 1} has {key} = {values[row]}; prices must be positive numbers")


def _periods(name: str, times: NDArray[np.int64], given: float | None) -> float:
    if given is not None:
        if not 0 < given < float("inf"):
            raise MarketError(f"{name}: periods per year must be positive, got {given}")
        return float(given)
    days = float(np.median(np.diff(times))) / _DAY_US
    if not 0.9 <= days <= 2:
        what = "intraday" if days < 0.9 else f"{days:g} days apart"
        raise MarketError(f"{name}: bars are {what}; say how many make a year with --periods-per-year")
    return DAILY_PERIODS_PER_YEAR
