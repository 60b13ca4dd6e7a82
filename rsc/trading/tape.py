"""Prepare a market for envs: prices by bar and the observation of each bar, built once per process."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.trading.indicators import feature_matrix, first_warm_bar
from rsc.trading.market import Market

ACCOUNT_COLUMNS = 4
_DAY_US = 86_400_000_000
Bar = tuple[float, float, float, float, int, float, float]


class Tape:
    """The bars and observations of one market for one choice of features; `tape_of` shares them in a process.

    ``windows[t]``, shape (width + ACCOUNT_COLUMNS,), is a read-only view of the observation at bar t: ``width = window
    * features`` float32, oldest bar first, then space for the account. ``first`` is the first bar whose
    whole window has its features. ``days[t]`` is the number of calendar days from
    bar t - 1 to bar t, ``nights[t]`` the close of bar t - 1 times these days, and ``carry[t]`` the sum of ``nights`` up to
    bar t: see rsc.trading.ledger.

    A pickled tape includes its features, and is shared within the process that unpickles it.
    """

    def __init__(
        self,
        market: Market,
        features: tuple[str, ...],
        window: int,
        normalise: int,
        flat: NDArray[np.float32] | None = None,
    ) -> None:
        self.market = market
        self.features = features
        self.window = window
        self.normalise = normalise
        self.width = window * len(features)
        self.first = first_warm_bar(market, features) + window - 1
        self.days = np.concatenate(([0.0], np.diff(market.times_us) / _DAY_US))
        self.nights = np.concatenate(([0.0], market.close[:-1])) * self.days
        self.carry = np.cumsum(self.nights)
        self._flat = _flattened(feature_matrix(market, features, normalise), window) if flat is None else flat
        self.windows = _overlapping(self._flat, len(market), len(features), self.width + ACCOUNT_COLUMNS)

    @functools.cached_property
    def bars(self) -> Sequence[Bar]:
        """For each bar: open, high, low, close, time in us, carry, night. These are Python numbers, because reading an
        element of a numpy array takes longer than the arithmetic on it.
        """
        market = self.market
        columns = (market.open, market.high, market.low, market.close, market.times_us, self.carry, self.nights)
        return list(zip(*(column.tolist() for column in columns), strict=True))

    @functools.cached_property
    def prices(self) -> NDArray[np.float64]:
        """Open, high, low, close, carry, night and days, shape (7, bars)."""
        market = self.market
        return np.stack((market.open, market.high, market.low, market.close, self.carry, self.nights, self.days))

    @functools.cached_property
    def rows(self) -> Sequence[NDArray[np.float32]]:
        """`windows` as a list of arrays, because indexing a list is faster."""
        return list(self.windows)

    def of_market(self, market: Market) -> Tape:
        """Return the tape for a market with the same bars, for example with other periods per year."""
        return (
            self if market is self.market else _shared(market, self.features, self.window, self.normalise, self._flat)
        )

    def __reduce__(self) -> Any:
        return _shared, (self.market, self.features, self.window, self.normalise, self._flat)

    def __deepcopy__(self, memo: Any) -> Tape:
        return self


_MAX_TAPES = 16
_tapes: dict[tuple[Any, ...], Tape] = {}


def tape_of(market: Market, features: tuple[str, ...], window: int, normalise: int) -> Tape:
    """Return this process's tape for these arguments. Raises MarketError for an unknown feature."""
    return _shared(market, features, window, normalise, None)


def _shared(
    market: Market, features: tuple[str, ...], window: int, normalise: int, flat: NDArray[np.float32] | None
) -> Tape:
    key = (market, features, window, normalise)
    if key not in _tapes:
        if len(_tapes) >= _MAX_TAPES:
            del _tapes[next(iter(_tapes))]
        _tapes[key] = Tape(*key, flat)
    return _tapes[key]


def _flattened(matrix: NDArray[np.float32], window: int) -> NDArray[np.float32]:
    """Return all features in one row, with zeros before the first bar and space after the last."""
    before = (window - 1) * matrix.shape[1]
    flat = np.zeros(before + matrix.size + ACCOUNT_COLUMNS, np.float32)
    flat[before : before + matrix.size] = matrix.reshape(-1)
    return flat


def _overlapping(flat: NDArray[np.float32], bars: int, features: int, width: int) -> NDArray[np.float32]:
    strides = (features * flat.itemsize, flat.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (bars, width), strides, writeable=False)
