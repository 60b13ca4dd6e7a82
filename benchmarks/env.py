"""Measure the speed of TradingEnv in steps a second, with gym-anytrading and gym-trading-env on the same prices.

    python benchmarks/env.py
    python benchmarks/env.py --rounds 15
    python benchmarks/env.py --bars 1000,1000000       only the speed by the market's length
    python benchmarks/env.py --memory                  only the memory of 64 envs on one market

All features of the env are on: stops, fees, slippage, borrow cost, fills at the next open, trades. Actions are random, and
episodes are 250 steps long, resets included. Times are CPU time of this thread. The envs take turns in each round. A
figure is the best round, and a ratio is the median of the ratios within a round. The other two envs have no stops, no
sizing and no ledger of trades, and in gym-anytrading short positions earn nothing.
"""

from __future__ import annotations

import gc
import statistics
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from harness import Table, between, parser_of, quartiles, report

from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.trading.env import TradingEnv
from rsc.trading.market import Market, load_market
from rsc.trading.vector_env import TradingVectorEnv

TICKER, EPISODE = "AAPL", 250
FEATURES_ON = {
    "stop_loss": 0.05, "take_profit": 0.1, "fee": 0.001, "slippage_bps": 2.0, "borrow_rate": 0.02, "episode_length": EPISODE,
}  # fmt: skip
REFERENCE = "gym-anytrading"


def frame() -> Any:
    import pandas as pd

    market = load_market(TICKER)
    columns = {key: getattr(market, key) for key in ("open", "high", "low", "close", "volume")}
    return pd.DataFrame(columns, index=pd.to_datetime(market.times_us, unit="us"))


def anytrading() -> Any:
    from gym_anytrading.envs import StocksEnv

    data = frame().rename(columns=str.capitalize)
    return StocksEnv(df=data, window_size=10, frame_bound=(50, 50 + EPISODE))


def trading_env() -> Any:
    import gym_trading_env  # noqa: F401 - the import registers the env

    data = frame()
    data["feature_close"] = data["close"].pct_change()
    return gym.make(
        "TradingEnv", df=data.dropna(), positions=[0, 1, -1], trading_fees=0.001, borrow_interest_rate=0.0001,
        windows=10, max_episode_duration=EPISODE, verbose=0, disable_env_checker=True,
    ).unwrapped  # fmt: skip


def journaled(root: str) -> Any:
    return Recorder(TradingEnv({"ticker": TICKER, **FEATURES_ON}), JournalSettings(root, "bench"))


def play_single(env: Any, steps: int) -> Callable[[], float]:
    actions = np.random.default_rng(0).integers(0, env.action_space.n, steps).tolist()

    def play() -> float:
        env.reset()
        step, reset, begin = env.step, env.reset, time.thread_time()
        for action in actions:
            _, _, terminated, truncated, _ = step(action)
            if terminated or truncated:
                reset()
        return steps / (time.thread_time() - begin)

    return play


def play_vector(n: int, steps: int, root: str | None = None) -> Callable[[], float]:
    env: Any = TradingVectorEnv({"ticker": TICKER, **FEATURES_ON}, n)
    if root is not None:
        env = VectorRecorder(env, JournalSettings(root, "bench-vector"))
    actions = np.random.default_rng(0).integers(0, 3, (steps, n))

    def play() -> float:
        env.reset()
        step, begin = env.step, time.thread_time()
        for action in actions:
            step(action)
        return steps * n / (time.thread_time() - begin)

    return play


def contestants(root: str) -> dict[str, Callable[[], float]]:
    plays = {
        "TradingEnv": play_single(TradingEnv({"ticker": TICKER, **FEATURES_ON}), 50_000),
        "TradingEnv, continuous": play_single_continuous(20_000),
        "TradingEnv, journal on": play_single(journaled(root), 20_000),
        "TradingVectorEnv, 64 envs": play_vector(64, 1_000),
        "TradingVectorEnv, 64, journal on": play_vector(64, 1_000, root),
        "TradingVectorEnv, 1024 envs": play_vector(1024, 200),
    }
    for name, make, steps in ((REFERENCE, anytrading, 50_000), ("gym-trading-env", trading_env, 5_000)):
        try:
            plays[name] = play_single(make(), steps)
        except ImportError as error:
            print(f"{name} is left out: {error}")
    return plays


def play_single_continuous(steps: int) -> Callable[[], float]:
    env = TradingEnv({"ticker": TICKER, **FEATURES_ON, "actions": "continuous"})
    actions = list(np.random.default_rng(0).uniform(-1, 1, (steps, 1)).astype(np.float32))

    def play() -> float:
        env.reset()
        begin = time.thread_time()
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()
        return steps / (time.thread_time() - begin)

    return play


def race(plays: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the steps a second by env and round. An additional first round warms up."""
    speeds: dict[str, list[float]] = {name: [] for name in plays}
    for number in range(rounds + 1):
        for name, play in plays.items():
            gc.collect()
            speed = play()
            if number:
                speeds[name].append(speed)
    return speeds


def synthetic(bars: int) -> Market:
    random = np.random.default_rng(bars)
    close = 100.0 * np.exp(np.cumsum(random.normal(0, 0.01, bars)) * 0.1)
    opened = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(opened, close) * 1.005, np.minimum(opened, close) * 0.995
    times = np.arange(bars, dtype=np.int64) * 60_000_000
    return Market(f"{bars} bars", times, opened, high, low, close, np.ones(bars), 98_280.0)


def by_length(lengths: list[int], rounds: int) -> dict[str, list[float]]:
    plays = {f"{bars:,} bars": play_single(TradingEnv(FEATURES_ON, market=synthetic(bars)), 20_000) for bars in lengths}
    return race(plays, rounds)


def memory() -> dict[str, float]:
    """Return the memory of envs in KiB: of the first env, and of each further one."""
    load_market(TICKER)
    tracemalloc.start()
    envs = [TradingEnv({"ticker": TICKER, **FEATURES_ON})]
    envs[0].reset()
    first, _ = tracemalloc.get_traced_memory()
    for _ in range(63):
        envs.append(TradingEnv({"ticker": TICKER, **FEATURES_ON}))
        envs[-1].reset()
    all_, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    features = envs[0]._game.tape._flat.nbytes
    return {"features": features / 1024, "first env": first / 1024, "each further env": (all_ - first) / 63 / 1024}


def table_of(title: str, speeds: dict[str, list[float]], reference: str) -> Table:
    table = Table(("env", "best, steps/s of CPU", "median", f"x {reference}", "quartiles"), title=title)
    for name, each in speeds.items():
        unit = speeds.get(reference, [float("nan")] * len(each))
        lower, middle, upper = quartiles([a / b for a, b in zip(each, unit, strict=True)])
        table.rows.append((name, max(each), statistics.median(each), middle, between(lower, upper)))
    return table


def main() -> None:
    parser = parser_of(__doc__, rounds=7)
    parser.add_argument("--bars", help="lengths of markets, separated by commas; only these are measured")
    parser.add_argument("--memory", action="store_true", help="only the memory")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lengths = [int(each) for each in (given.bars or "1000,10000,100000,1000000").split(",")]
    rounds = 1 if given.quick else given.rounds
    tables = []
    if not given.bars and not given.memory:
        with tempfile.TemporaryDirectory() as root:
            speeds = race(contestants(str(Path(root))), rounds)
        tables.append(table_of(f"{TICKER}, random actions", speeds, REFERENCE))
    if not given.memory:
        by_bars = by_length(lengths[:2] if given.quick else lengths, rounds)
        tables.append(table_of("TradingEnv by the length of its market", by_bars, next(iter(by_bars))))
    if not given.bars:
        held = [(what, f"{kib:,.1f}") for what, kib in memory().items()]
        tables.append(Table(("memory of 64 envs on one market", "KiB"), held))
    report("env", tables, given)


if __name__ == "__main__":
    main()
