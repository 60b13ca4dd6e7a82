"""Compute the features of an observation: indicators of past bars, normalised by past bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import talib
from numpy.typing import NDArray

from rsc.trading.market import Floats, Market
from rsc.trading.prices import MarketError

Flags = NDArray[np.bool_]
Integers = NDArray[np.int64]

CLIP = 5.0
_LEAST = 2


_WARM_UP = 39
_NOISE_OF_BUILT_IN = 1e-7
_NOISE_OF_OWN = 64 * float(np.finfo(np.float64).eps)
_DIGITS_LOST = 1e6  # a variance smaller than the squared mean by this factor is recomputed
_CHUNK = 1 << 20


def first_warm_bar(market: Market, features: tuple[str, ...]) -> int:
    """Return the index of the first bar that has all of its features.

    Built-in features have several values before the 40th bar: the longest warm-up is TA-Lib's MACD(12, 26, 9), with 33
    bars. A user's column needs two values, because a single one has no z-score.

    Raises:
        MarketError: if a feature is unknown, or has no two values.
    """
    first = _WARM_UP
    for name in features:
        if name not in _INDICATORS:
            known = np.flatnonzero(np.isfinite(_column(market, name)))
            if len(known) < _LEAST:
                raise MarketError(f"{market.name}: the column {name!r} has {len(known)} values, too few for a feature")
            first = max(first, int(known[_LEAST - 1]))
    return first


def feature_matrix(market: Market, features: tuple[str, ...], normalise: int) -> NDArray[np.float32]:
    """Return the features as float32, shape (bars, features).

    Each column is a rolling z-score over its last ``normalise`` bars, clipped to +-5. Row t depends only on bars up to t.
    Undefined values are 0.
    """
    columns = [
        _z_score(_column(market, name), normalise, _NOISE_OF_BUILT_IN if name in _INDICATORS else _NOISE_OF_OWN)
        for name in features
    ]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def _column(market: Market, name: str) -> Floats:
    """Return an indicator or a user's column. An indicator has precedence over a column of the same name."""
    if name in _INDICATORS:
        return np.asarray(_INDICATORS[name](market), np.float64)
    if name in market.extra:
        return market.extra[name]
    own = f", and of its own columns {', '.join(market.extra)}" if market.extra else ""
    raise MarketError(f"{market.name} has no feature {name!r}; known are {', '.join(FEATURES)}{own}")


def _returns(market: Market) -> Floats:
    return np.concatenate(([np.nan], np.diff(np.log(market.close))))


def _bollinger(market: Market) -> Any:
    """Return the position of the close between the bands: 0 at the lower, 1 at the upper one."""
    upper, _, lower = talib.BBANDS(market.close, 20)
    return (market.close - lower) / np.where(upper > lower, upper - lower, np.nan)


_INDICATORS: dict[str, Callable[[Market], Any]] = {
    "return": _returns,
    "rsi": lambda m: talib.RSI(m.close, 14),
    "macd": lambda m: talib.MACD(m.close, 12, 26, 9)[2] / m.close,
    "bollinger": _bollinger,
    "volatility": lambda m: talib.STDDEV(_returns(m), 20),
    "adx": lambda m: talib.ADX(m.high, m.low, m.close, 14),
    "aroon": lambda m: talib.AROONOSC(m.high, m.low, 14),
    "atr": lambda m: talib.ATR(m.high, m.low, m.close, 14) / m.close,
    "volume": lambda m: np.log1p(m.volume),
}
FEATURES = tuple(_INDICATORS)


def _z_score(values: Floats, window: int, noise: float) -> Floats:
    """Return (x - mean) / std over the last ``window`` values, the current one included; 0 where undefined.

    Args:
        values: Shape (n,); missing values are not finite.
        window: The number of values; fewer at the start.
        noise: A spread of at most this fraction of the mean counts as 0.
    """
    known = np.isfinite(values)
    moments = _rolling_moments(values, known, window)
    with np.errstate(all="ignore"):
        std = np.sqrt(np.maximum(moments.variance, 0.0))
        level = np.abs(moments.shift + moments.mean)
        z = np.where(
            known & (moments.counts > 1) & (std > noise * level), (values - moments.shift - moments.mean) / std, 0.0
        )
    return np.asarray(np.clip(np.nan_to_num(z), -CLIP, CLIP))


class _Moments(NamedTuple):
    """For each window: the number of known values, their mean minus ``shift``, and their variance (ddof 0)."""

    counts: Floats
    mean: Floats
    variance: Floats
    shift: Floats


def _rolling_moments(values: Floats, known: Flags, window: int) -> _Moments:
    """Return the moments of the last ``window`` values of each position, in linear time.

    The values are cut into blocks of ``window``. Each window is the end of one block and the start of the next, so its
    sums are two cumulative sums, without the rounding of a running total. The values of a window are shifted by the last
    value before its second block, so that a large mean loses no digits. Only earlier values are used.
    """
    n = len(values)
    blocks = np.pad(np.where(known, values, 0.0), (0, -n % window)).reshape(-1, window)
    told = np.pad(known, (0, -n % window)).reshape(-1, window)
    shifts = _values_before_blocks(values, known, window, len(blocks))[:, None]
    starts = np.where(told, blocks - shifts, 0.0)
    ends = np.where(told[:-1], blocks[:-1] - shifts[1:], 0.0)
    count = _joined(told.astype(np.float64), told[:-1].astype(np.float64), n)
    total, squares = _joined(starts, ends, n), _joined(starts * starts, ends * ends, n)
    shift = np.repeat(shifts, window)[:n]
    with np.errstate(all="ignore"):
        mean = total / count
        variance = squares / count - mean * mean
        lost = np.flatnonzero((count > 1) & (mean * mean > _DIGITS_LOST * variance))
    _compute_anew(lost, values, known, window, _Moments(count, mean, variance, shift))
    return _Moments(count, mean, variance, shift)


def _joined(starts: Floats, ends: Floats, n: int) -> Floats:
    """Return the sum of each window, shape (n,), from its part in the first and its part in the second block."""
    sums = np.cumsum(starts, axis=1)
    sums[1:, :-1] += np.cumsum(ends[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return np.asarray(sums.reshape(-1)[:n])


def _values_before_blocks(values: Floats, known: Flags, window: int, blocks: int) -> Floats:
    """Return the last known value before each block; before there is any, the first known one."""
    if not known.any():
        return np.zeros(blocks)
    latest = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    before = np.concatenate(([-1], latest[window - 1 : -1 : window]))[:blocks]
    return np.asarray(values[np.where(before < 0, int(known.argmax()), before)])


def _compute_anew(rows: Integers, values: Floats, known: Flags, window: int, moments: _Moments) -> None:
    """Recompute the moments of windows that end at these rows, because their large mean makes the variance inexact."""
    step = max(_CHUNK // window, 1)
    for i in range(0, len(rows), step):
        some = rows[i : i + step]
        places = some[:, None] - np.arange(window)
        told = (places >= 0) & known[places]
        count = moments.counts[some]
        x = np.where(told, values[places] - moments.shift[some, None], 0.0)
        mean = x.sum(axis=1) / count
        deviations = np.where(told, x - mean[:, None], 0.0)
        moments.mean[some] = mean
        moments.variance[some] = (deviations * deviations).sum(axis=1) / count
