"""Create a market, one asset's bars, from a ticker, a file, or a data frame."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.trading import price_sources
from rsc.trading.config import DEFAULT_FEATURES
from rsc.trading.prices import Bars, MarketError, read_columns, read_file, read_frame, rhythm_of

Floats = NDArray[np.float64]

OWN = "own_"
"""Prefix for a user's column with the name of a built-in feature."""
_USUAL_PERIODS = 252.0
_DOUBTFUL = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Market:
    """One asset's bars, oldest first. Markets with the same bars, name and periods are equal.

    Args:
        name: The name of the market.
        times_us: Times of the bars in microseconds since 1970, UTC, shape (n,), as are all arrays.
        open: Opening prices.
        high: Highest prices.
        low: Lowest prices.
        close: Closing prices.
        volume: Traded volumes.
        periods_per_year: Bars in a year.
        extra: Further numeric columns, by their names in lower case.
        remarks: One line for each assumption that was made when the bars were read.
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
    remarks: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.close)

    @functools.cached_property
    def fingerprint(self) -> bytes:
        """A digest of all values that an env can see."""
        digest = hashlib.blake2b(repr((self.name, self.periods_per_year, list(self.extra))).encode(), digest_size=16)
        for column in (self.times_us, self.open, self.high, self.low, self.close, self.volume, *self.extra.values()):
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Market) and self.fingerprint == other.fingerprint)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __deepcopy__(self, memo: Any) -> Market:
        return self  # it never changes, and copies of a config must not copy its prices

    def described(self) -> dict[str, Any]:
        """Return the facts about the prices for a run's record, as plain JSON."""
        first, last = (str(np.datetime64(int(time), "us").astype("datetime64[s]")) for time in self.times_us[[0, -1]])
        return {
            "name": self.name,
            "bars": len(self),
            "first": first,
            "last": last,
            "periods_per_year": self.periods_per_year,
            "remarks": list(self.remarks),
        }


def load_market(
    ticker: str | None = None,
    path: Path | str | None = None,
    periods_per_year: float | None = None,
    symbol: str | None = None,
) -> Market:
    """Return the bars of a ticker or of a file.

    Args:
        ticker: A bundled symbol, or one to fetch from the network.
        path: A file, see docs/how-to/prices.md. Exactly one of ``ticker`` and ``path`` must be given.
        periods_per_year: Bars in a year; by default estimated from the times of the bars.
        symbol: The asset to read, if the file holds several.

    Returns:
        The market. Its ``remarks`` list the assumptions.

    Raises:
        MarketError: The bars cannot be read, or can be read in two ways. The message is one line that says what to do.
    """
    if path is not None and ticker is None:
        market = _from_file(Path(path), price_sources.version_of(Path(path)), periods_per_year, symbol)
        _say(market)
        return market
    if ticker is not None and path is None:
        if symbol is not None:
            raise MarketError(f"symbol={symbol!r} chooses an asset of a file; a ticker is one asset")
        return _from_ticker(_symbol(ticker), periods_per_year)
    raise MarketError("give either a ticker or a data file")


def market_from_frame(frame: Any, periods_per_year: float | None = None, symbol: str | None = None) -> Market:
    """Return the bars of a data frame of pandas or polars, or of an Arrow table.

    The columns may have the same names as in files. The index of pandas is read like a column.

    Args:
        frame: The data frame.
        periods_per_year: Bars in a year; by default estimated from the times of the bars.
        symbol: The asset to read, if the frame holds several.

    Returns:
        The market. Its ``remarks`` list the assumptions.

    Raises:
        MarketError: The bars cannot be read, or can be read in two ways. The message is one line that says what to do.
    """
    try:
        market = market_from_bars("data frame", read_frame(frame, symbol), periods_per_year)
    except MarketError as error:
        words = str(error).replace("--symbol", "symbol").replace("--periods-per-year", "periods_per_year")
        raise MarketError(f"data frame: {words}") from error  # a frame comes from Python, which has no options
    _say(market)
    return market


def market_from_columns(name: str, columns: Mapping[str, Any], periods_per_year: float | None = None) -> Market:
    """Return the bars of arrays by name.

    Raises:
        MarketError: if the bars cannot be read in one sound way.
    """
    try:
        return market_from_bars(name, read_columns(columns), periods_per_year)
    except MarketError as error:
        raise MarketError(f"{name}: {error}") from error


def with_periods(market: Market, periods_per_year: float | None) -> Market:
    """Return the market with another number of periods per year; itself if None or the same."""
    if periods_per_year is None or periods_per_year == market.periods_per_year:
        return market
    periods, remark = _periods(market.times_us, periods_per_year)
    changed = dataclasses.replace(market, periods_per_year=periods, remarks=market.remarks + remark)
    _say(changed)
    return changed


def market_from_bars(name: str, bars: Bars, periods_per_year: float | None = None) -> Market:
    """Return bars as a market.

    Raises:
        MarketError: if ``periods_per_year`` is invalid, or is None and cannot be estimated; or if two of the user's
            columns have the same name as a feature.
    """
    periods, remark = _periods(bars.times_us, periods_per_year)
    renamed = {key: f"{OWN}{key}" for key in bars.extra if key in DEFAULT_FEATURES}
    taken = [key for key, own in renamed.items() if own in bars.extra]
    if taken:
        raise MarketError(
            f"the columns {taken[0]!r} and {OWN + taken[0]!r} have the same name as a feature; rename one"
        )
    renames = tuple(
        f"the column {key!r} is named like a built-in feature: its own name as a feature is {own!r}"
        for key, own in renamed.items()
    )
    return Market(
        name,
        bars.times_us,
        bars.open,
        bars.high,
        bars.low,
        bars.close,
        bars.volume,
        periods,
        {renamed.get(key, key): values for key, values in bars.extra.items()},
        bars.remarks + renames + remark,
    )


def _periods(times_us: NDArray[np.int64], given: float | None) -> tuple[float, tuple[str, ...]]:
    """Return the number of periods per year, and a remark if it is a guess or doubtful."""
    rhythm = rhythm_of(times_us)
    if given is None:
        if rhythm.periods is None:
            raise MarketError(f"{rhythm.words}, but less than a whole week of them: give --periods-per-year")
        remark = f"periods per year: {rhythm.periods:.6g}, from {rhythm.words}; --periods-per-year overrides"
        return rhythm.periods, () if rhythm.periods == _USUAL_PERIODS else (remark,)
    if not 0 < given < float("inf"):
        raise MarketError(f"periods per year must be positive, got {given}")
    if rhythm.periods is not None and not 1 / _DOUBTFUL <= given / rhythm.periods <= _DOUBTFUL:
        doubt = f"periods per year: {given:g} is given, but {rhythm.words} make about {rhythm.periods:.6g}"
        return float(given), (doubt,)
    return float(given), ()


def _say(market: Market) -> None:
    for remark in market.remarks:
        _say_once(f"{market.name}: {remark}")


@functools.lru_cache(maxsize=1024)
def _say_once(text: str) -> None:
    """Log a line once in a process, even if many envs load the same market."""
    _log.warning("%s", text)


def _symbol(ticker: Any) -> str:
    """Return a ticker in upper case. Refuse other characters, since it becomes part of a file's name."""
    symbol = str(ticker).strip().upper()
    if not re.fullmatch(r"[A-Z0-9^][A-Z0-9.^=-]{0,31}", symbol):
        raise MarketError(f"{ticker!r} is no ticker; use letters, digits and '.^=-', for example BRK-B")
    return symbol


@functools.lru_cache(maxsize=16)
def _from_file(path: Path, version: tuple[int, int], periods_per_year: float | None, symbol: str | None) -> Market:
    bars = read_file(path, symbol)
    try:
        return market_from_bars(path.name if symbol is None else f"{path.name} {symbol}", bars, periods_per_year)
    except MarketError as error:
        raise MarketError(f"{path}: {error}") from error


@functools.lru_cache(maxsize=16)
def _from_ticker(ticker: str, periods_per_year: float | None) -> Market:
    columns = price_sources.bundled().get(ticker)
    bars = price_sources.fetched(ticker) if columns is None else read_columns(columns)
    if columns is not None:
        bars = dataclasses.replace(bars, remarks=())  # these prices are known
    market = market_from_bars(ticker, bars, periods_per_year)
    _say(market)
    return market
