"""What an observation shows of the market: indicators of past bars, normalised by past bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.market import Floats, Market, cached_per_market

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
    return np.asarray(_INDICATORS[name](market), np.float64)


def _log_returns(market: Market) -> Floats:
    return np.concatenate(([0.0], np.diff(np.log(market.close))))


def _bollinger(market: Market) -> Floats:
    """Where the close stands between the lower (0) and the upper (1) band."""
    import talib

    upper, _, lower = talib.BBANDS(market.close, 20)
    return np.asarray((market.close - lower) / np.where(upper > lower, upper - lower, np.nan))


def _talib(call: Callable[[Any, Market], Any]) -> Callable[[Market], Any]:
    """TA-Lib is imported when the first indicator is computed: only those who train have it."""

    def compute(market: Market) -> Any:
        import talib

        return call(talib, market)

    return compute


_INDICATORS: dict[str, Callable[[Market], Any]] = {
    "return": _log_returns,
    "rsi": _talib(lambda ta, m: ta.RSI(m.close, 14)),
    "macd": _talib(lambda ta, m: ta.MACD(m.close, 12, 26, 9)[2] / m.close),
    "bollinger": _bollinger,
    "volatility": _talib(lambda ta, m: ta.STDDEV(_log_returns(m), 20)),
    "adx": _talib(lambda ta, m: ta.ADX(m.high, m.low, m.close, 14)),
    "aroon": _talib(lambda ta, m: ta.AROONOSC(m.high, m.low, 14)),
    "atr": _talib(lambda ta, m: ta.ATR(m.high, m.low, m.close, 14) / m.close),
    "volume": lambda m: np.log1p(np.maximum(m.volume, 0.0)),
}
FEATURES = tuple(_INDICATORS)


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
    return np.asarray(np.concatenate((head, windows.sum(axis=1))))
