"""Play bars once with a policy in this process, and with baseline accounts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.metrics import max_drawdown, returns, sharpe_ratio
from rsc.trading.game import Game
from rsc.trading.vector_env import TradingVectorEnv

Floats = NDArray[np.float64]
Choose = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Maps observations of shape (n, observation size) to actions of shape (n,) or (n, 1)."""
FLAT, LONG = 0, 1


@dataclass(frozen=True)
class Result:
    """The result of an account over one or several periods. Each starts with fresh capital; returns are chained.

    ``sharpe_ratio`` is NaN if it is undefined.
    """

    total_return: float
    sharpe_ratio: float
    max_drawdown: float
    trades: int
    steps: int
    total_reward: float


@dataclass(frozen=True)
class Played:
    """One episode of one account, with its value after each step."""

    capital: float
    values: Floats
    trades: int
    rewards: float


def play_once(env: Any, choose: Choose, seed: int = 0) -> Played:
    """Play one episode of a TradingEnv, which may be wrapped into a recorder."""
    observation, _ = env.reset(seed=seed)
    inner = env.unwrapped
    values, trades, rewards, over = [], 0, 0.0, False
    while not over:
        observation, reward, terminated, truncated, _ = env.step(choose(observation[None])[0])
        values.append(inner.journal_row[0])
        trades += len(inner.journal_trades)
        rewards += float(reward)
        over = terminated or truncated
    return Played(float(inner.config.capital), np.array(values), trades, rewards)


def play_accounts(game: Game, settings: dict[str, Any], choose: Choose, accounts: int) -> list[Played]:
    """Play one episode in each of many accounts at once."""
    env = TradingVectorEnv(settings, accounts, market=game.market)
    observations, _ = env.reset(seed=0)
    values: list[Floats] = []
    trades, lengths = np.zeros(accounts, np.int64), np.zeros(accounts, np.int64)
    rewards, alive = np.zeros(accounts), np.ones(accounts, np.bool_)
    while alive.any():
        observations, reward, terminated, truncated, _ = env.step(choose(observations))
        closed = env.journal_trades()
        trades += [len(closed.get(lane, ())) if alive[lane] else 0 for lane in range(accounts)]
        lengths += alive
        rewards += np.where(alive, reward, 0.0)
        values.append(env.journal_figures()[0].copy())
        alive &= ~(terminated | truncated)
    return [
        Played(float(env.config.capital), column[:length], int(count), float(earned))
        for column, length, count, earned in zip(np.array(values).T, lengths, trades, rewards, strict=True)
    ]


def chained(periods: Sequence[Played], periods_per_year: float) -> Result:
    """Return the result of one account over consecutive periods."""
    curve, level = [], 1.0
    for one in periods:
        curve.append(one.values / one.capital * level)
        level = float(curve[-1][-1])
    values = np.concatenate(curve)
    earned = np.concatenate([returns(one.values, one.capital) for one in periods])
    return Result(
        total_return=level - 1.0,
        sharpe_ratio=float(sharpe_ratio(earned, periods_per_year)),
        max_drawdown=float(max_drawdown(values, 1.0)),
        trades=sum(one.trades for one in periods),
        steps=len(values),
        total_reward=sum(one.rewards for one in periods),
    )


def constant(discrete: bool, side: int) -> Choose:
    """Return a function that always chooses flat (0) or long (1)."""
    value: Any = side if discrete else [float(side)]
    return lambda observations: np.array([value] * len(observations), np.int64 if discrete else np.float32)


def at_random(discrete: bool, seed: int) -> Choose:
    """Return a function that chooses uniformly among all actions."""
    random = np.random.default_rng(seed)
    if discrete:
        return lambda observations: random.integers(0, 3, len(observations))
    return lambda observations: random.uniform(-1.0, 1.0, (len(observations), 1)).astype(np.float32)


@dataclass(frozen=True)
class Baselines:
    """Results of baseline accounts at the same costs. ``random`` has one result for each seed."""

    buy_and_hold: Result
    flat: Result
    random: list[Result]

    @property
    def random_median(self) -> Result:
        """The random account with the median return."""
        return sorted(self.random, key=lambda one: one.total_return)[len(self.random) // 2]


def baselines(games: Iterable[tuple[Game, dict[str, Any]]], seeds: int) -> Baselines:
    """Play the periods with buy-and-hold, with an account that never trades, and with random actions.

    Args:
        games: Game and settings of each period.
        seeds: The number of random accounts.
    """
    long, flat, chance, periods_per_year = [], [], [], 252.0
    for number, (game, settings) in enumerate(games):
        discrete = game.config.actions == "discrete"
        periods_per_year = game.market.periods_per_year
        long.append(play_accounts(game, settings, constant(discrete, LONG), 1)[0])
        flat.append(play_accounts(game, settings, constant(discrete, FLAT), 1)[0])
        chance.append(play_accounts(game, settings, at_random(discrete, number), seeds))
    return Baselines(
        chained(long, periods_per_year),
        chained(flat, periods_per_year),
        [chained(lane, periods_per_year) for lane in zip(*chance, strict=True)],
    )
