"""What an observation shows of the market: indicators of past bars, normalised by past bars."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsc.market import Floats, Market, cached_per_market

FEATURES = ("return", "rsi", "macd", "bollinger", "volatility", "adx", "aroon", "atr", "volume")
NORMALISE_BARS = 252
_CLIP = 5.0


def warmup_bars(features: tuple[str, ...]) -> int:
    """Bars before the first one whose features are all defined; TA-Lib's longest here is MACD(12, 26, 9)."""
    return 40 if features else 1


@cached_per_market
def feature_matrix(market: Market, features: tuple[str, ...]) -> NDArray[np.float32]:
    """Shape (bars, features), float32, each column a rolling z-score over its last 252 bars, clipped to +-5.

    Row t depends on bars up to t only. Undefined rows at the start are 0.
    """
    columns = [_z_score(_indicator(market, name)) for name in features]
    return np.ascontiguousarray(np.stack(columns, axis=1), np.float32)


def _indicator(market: Market, name: str) -> Floats:
    import talib

    close, high, low = market.close, market.high, market.low
    if name == "return":
        return np.concatenate(([0.0], np.diff(np.log(close))))
    if name == "rsi":
        return talib.RSI(close, 14)
    if name == "macd":
        return talib.MACD(close, 12, 26, 9)[2] / close
    if name == "bollinger":
        upper, _, lower = talib.BBANDS(close, 20)
        return (close - lower) / np.where(upper > lower, upper - lower, np.nan)
    if name == "volatility":
        return talib.STDDEV(np.concatenate(([0.0], np.diff(np.log(close)))), 20)
    if name == "adx":
        return talib.ADX(high, low, close, 14)
    if name == "aroon":
        return talib.AROONOSC(high, low, 14)
    if name == "atr":
        return talib.ATR(high, low, close, 14) / close
    assert name == "volume", "Invariant: TradingConfig has checked the names"
    return np.log1p(np.maximum(market.volume, 0.0))


def _z_score(values: Floats) -> Floats:
    """(x - mean) / std over the last NORMALISE_BARS values up to and including this one; 0 where undefined."""
    known = np.isfinite(values)
    x = np.where(known, values, 0.0)
    count, total, squares = (_rolling_sum(part) for part in (known.astype(np.float64), x, x * x))
    with np.errstate(all="ignore"):
        mean = total / count
        std = np.sqrt(np.maximum(squares / count - mean * mean, 0.0))
        z = np.where(known & (count > 1) & (std > 1e-7 * np.abs(mean)), (x - mean) / std, 0.0)
    return np.clip(np.nan_to_num(z), -_CLIP, _CLIP)


def _rolling_sum(values: Floats) -> Floats:
    """Exact for each window, unlike a difference of running totals, whose rounding would leak between windows."""
    if len(values) <= NORMALISE_BARS:
        return np.cumsum(values)
    head = np.cumsum(values[: NORMALISE_BARS - 1])
    windows = np.lib.stride_tricks.sliding_window_view(values, NORMALISE_BARS)
    return np.concatenate((head, windows.sum(axis=1)))
