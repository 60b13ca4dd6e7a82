"""Markets made for tests: bars written by hand, and random ones with gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rsc.trading.env import TradingEnv
from rsc.trading.market import Market

WARM_BARS = 40  # before the first bar that an episode may start at
START_PRICE = 100.0
_DAY_US = 86_400_000_000

Bar = tuple[float, float, float, float]


def market_of(bars: Sequence[Bar], name: str = "TEST") -> Market:
    """Quiet bars at 100, then these (open, high, low, close); with `play`, the first of them is the first step."""
    rows = np.array([(START_PRICE,) * 4] * WARM_BARS + list(bars), np.float64)
    times = np.arange(len(rows), dtype=np.int64) * _DAY_US
    columns = {key: np.ascontiguousarray(rows[:, i]) for i, key in enumerate(("open", "high", "low", "close"))}
    return Market(name=name, times_us=times, volume=np.ones(len(rows)), periods_per_year=252.0, **columns)


def flat_bars(*prices: float) -> list[Bar]:
    """Bars that open, trade and close at one price."""
    return [(price,) * 4 for price in prices]


def random_market(seed: int, bars: int = 120, jump: float = 0.02, whole_cents: bool = False) -> Market:
    """A random walk whose opens gap from the close before; ``jump`` is the spread of each move's logarithm."""
    random = np.random.default_rng(seed)
    moves = np.exp(random.standard_t(3, (2, bars)) * jump).clip(0.2, 5.0)
    close = START_PRICE * np.cumprod(moves[0] * moves[1])
    opened = np.concatenate(([START_PRICE], close[:-1])) * moves[1]
    high = np.maximum(opened, close) * np.exp(np.abs(random.normal(0, jump, bars)))
    low = np.minimum(opened, close) * np.exp(-np.abs(random.normal(0, jump, bars)))
    if whole_cents:
        opened, high, low, close = (np.maximum(np.round(each, 2), 0.01) for each in (opened, high, low, close))
    times = np.arange(bars, dtype=np.int64) * _DAY_US
    volume = random.integers(1, 1_000_000, bars).astype(np.float64)
    return Market("RANDOM", times, opened, high, low, close, volume, 252.0)


QUIET: dict[str, Any] = {
    "random_start": False,
    "episode_length": None,
    "features": ("return",),
    "window": 1,
    "fee": 0.0,
    "capital": 1000.0,
    "sizing": "all_in",
}


def env_of(market: Market, **settings: Any) -> TradingEnv:
    """An env that starts at its market's first possible bar, without costs unless they are given."""
    return TradingEnv({**QUIET, **settings}, market=market)


def play(env: TradingEnv, actions: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Reset and step; of each step (journal_row, journal_trades, reward, terminated, truncated, observation)."""
    env.reset(seed=0)
    played: list[tuple[Any, ...]] = []
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        played.append((env.journal_row, tuple(env.journal_trades), reward, terminated, truncated, observation))
        if terminated or truncated:
            break
    return played
