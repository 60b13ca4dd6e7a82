"""The metrics of an episode: textbook functions, their incremental form, and their values in journals and rows."""

from rsc.metrics.episode import METRIC_NAMES, figures, metrics_from, metrics_of, stored
from rsc.metrics.running import NOISE, EpisodeMetrics, RunningMetrics, StateError
from rsc.metrics.textbook import (
    annual_return,
    calmar_ratio,
    max_drawdown,
    profit_factor,
    returns,
    sharpe_ratio,
    sortino_ratio,
    time_in_market,
    total_return,
    volatility,
    win_rate,
)

__all__ = [
    "METRIC_NAMES",
    "NOISE",
    "EpisodeMetrics",
    "RunningMetrics",
    "StateError",
    "annual_return",
    "calmar_ratio",
    "figures",
    "max_drawdown",
    "metrics_from",
    "metrics_of",
    "profit_factor",
    "returns",
    "sharpe_ratio",
    "sortino_ratio",
    "stored",
    "time_in_market",
    "total_return",
    "volatility",
    "win_rate",
]
