"""Compute the features of an observation: indicators of past bars, normalised by past bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import talib
from numpy.typing import NDArray

from rsc.trading.market import Floats, Market
from rsc.trading.prices import MarketError

CLIP = 5.0


def warmup_bars(features: tuple[str, ...]) -> int:
    """Return the number of bars before all features are defined. TA-Lib's longest here is MACD(12, 26, 9)."""
    return 40 if features else 1


def feature_matrix(market: Market, features: tuple[str, ...], normalise: int) -> NDArray[np.float32]:
    """Shape (bars, features), float32, each column a rolling z-score over its last ``normalise`` bars, clipped to +-5.

    Row t depends on bars up to t only. Undefined values are 0.
    """
    columns = [_z_score(_column(market, name), normalise) for name in features]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def _column(market: Market, name: str) -> Floats:
    """Return an indicator, or else a column of the user's own, which never replaces an indicator of the same name."""
    if name in _INDICATORS:
        return np.asarray(_INDICATORS[name](market), np.float64)
    if name in market.extra:
        return market.extra[name]
    own = f", and of its own columns {', '.join(market.extra)}" if market.extra else ""
    raise MarketError(f"{market.name} has no feature {name!r}; known are {', '.join(FEATURES)}{own}")


def _returns(market: Market) -> Floats:
    return np.concatenate(([0.0], np.diff(np.log(market.close))))


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


def _z_score(values: Floats, window: int) -> Floats:
    """Return (x - mean) / std over the last ``window`` values, the current one included; 0 where undefined."""
    known = np.isfinite(values)
    x = np.where(known, values, 0.0)
    count, total, squares = (_rolling_sum(part, window) for part in (known.astype(np.float64), x, x * x))
    with np.errstate(all="ignore"):
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        z = np.where(known & (count > 1) & (std > 1e-7 * np.abs(mean)), (x - mean) / std, 0.0)
    return np.asarray(np.clip(np.nan_to_num(z), -CLIP, CLIP))


def _rolling_sum(values: Floats, window: int) -> Floats:
    """Return sums of the last ``window`` values (fewer at the start), in linear time, without a running total's rounding.

    Each window is the end of one block of ``window`` values and the start of the next.
    """
    blocks = np.pad(values, (0, -len(values) % window)).reshape(-1, window)
    heads = np.cumsum(blocks, axis=1).reshape(-1)[: len(values)]
    tails = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1)
    sums = heads.copy()
    inside = np.arange(len(values)) % window != window - 1
    late = np.flatnonzero(inside & (np.arange(len(values)) >= window))
    sums[late] += tails[late - window + 1]
    return sums
