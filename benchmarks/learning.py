"""Does PPO, as `rsc train` configures it, learn on this env? Out of sample, beside random actions and buy-and-hold.

    python benchmarks/learning.py planted                a synthetic market whose returns can be foreseen in part
    python benchmarks/learning.py real --ticker MSFT     the bundled prices: trained to 2009, played from 2010 on

The planted signal is a drift that nobody sees but that lasts: it fades by 5 % a bar, so that past returns tell of it;
its mean is zero, and holding earns nothing on average. The policy trains on the first part of a series and then plays
the last part once, from its first bar to its end, by its likeliest actions and at the same fees. Buy-and-hold is the
action "long" in the same env; random actions are 200 accounts, of which the median and the best twentieth are shown.
"""

from __future__ import annotations

import argparse
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from harness import Table, parser_of, report
from numpy.typing import NDArray

from rsc.metrics import max_drawdown, returns, sharpe_ratio
from rsc.trading.market import Market
from rsc.trading.vector_env import TradingVectorEnv

Settings = dict[str, Any]
RANDOM_ACCOUNTS = 200
FLAT, LONG, SHORT = 0, 1, 2
_DAY_US = 86_400_000_000


@dataclass(frozen=True)
class Result:
    """One account's figures over the bars that nobody trained on."""

    total_return: float
    sharpe: float
    max_drawdown: float
    trades: int


def planted(seed: int, bars: int = 6000, drift: float = 0.004, noise: float = 0.01, lasting: float = 0.95) -> Market:
    """Daily bars whose mean return is an AR(1) process of standard deviation ``drift``."""
    random = np.random.default_rng(seed)
    shocks = random.normal(0.0, drift * np.sqrt(1.0 - lasting**2), bars)
    hidden = np.zeros(bars)
    for t in range(1, bars):
        hidden[t] = lasting * hidden[t - 1] + shocks[t]
    close = 100.0 * np.exp(np.cumsum(hidden + random.normal(0.0, noise, bars)))
    opened = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
    times = np.datetime64("2000-01-01", "us").astype(np.int64) + np.arange(bars, dtype=np.int64) * _DAY_US
    volume = random.uniform(1e6, 2e6, bars)
    return Market(f"planted {seed}", times, opened, high, low, close, volume, 252.0)


def play(settings: Settings, choose: Any, accounts: int = 1) -> list[Result]:
    """Play the test's bars once, in each account; ``choose`` makes a batch of actions of a batch of observations."""
    whole = {**settings, "random_start": False, "episode_length": None}
    env = TradingVectorEnv(whole, accounts)
    observations, _ = env.reset(seed=0)
    values: list[NDArray[np.float64]] = []
    trades = np.zeros(accounts, np.int64)
    alive = np.ones(accounts, np.bool_)
    while alive.any():
        observations, _, terminated, truncated, _ = env.step(choose(observations))
        closed = env.journal_trades()
        trades += [len(closed.get(lane, ())) if alive[lane] else 0 for lane in range(accounts)]
        value = env.journal_figures()[0].copy()
        values.append(np.where(alive, value, values[-1] if values else value))
        alive &= ~(terminated | truncated)
    capital = env.config.capital
    return [_result(column, capital, env.market.periods_per_year, int(count))
            for column, count in zip(np.array(values).T, trades, strict=True)]  # fmt: skip


def _result(values: NDArray[np.float64], capital: float, periods: float, trades: int) -> Result:
    sharpe = sharpe_ratio(returns(values, capital), periods)
    return Result(float(values[-1]) / capital - 1.0, float(sharpe), float(max_drawdown(values, capital)), trades)


def trained(settings: Settings, seed: int, iterations: int) -> Any:
    """A function from observations to the likeliest actions of a policy trained by `rsc train`'s configuration."""
    import torch

    from rsc.rllib.train import TrainingPlan, algorithm_config

    torch.set_num_threads(1)  # so small a network gains nothing by more
    plan = TrainingPlan(env_config=settings, num_env_runners=0, num_envs_per_env_runner=8, seed=seed)
    algorithm = algorithm_config(plan).build_algo()
    try:
        for number in range(iterations):
            result = algorithm.train()
            if (number + 1) % 5 == 0:
                print(
                    f"  iteration {number + 1}: mean return {result['env_runners']['episode_return_mean']:+.3f}",
                    flush=True,
                )
        module = algorithm.get_module()
        state = module.get_state()
        module = algorithm.config.get_rl_module_spec(
            spaces=algorithm.env_runner.get_spaces(), inference_only=True
        ).build()
        module.set_state(state)
    finally:
        algorithm.stop()

    def likeliest(observations: NDArray[np.float32]) -> NDArray[np.int64]:
        with torch.no_grad():
            given = module.forward_inference({"obs": torch.from_numpy(np.ascontiguousarray(observations))})
        actions: NDArray[np.int64] = given["action_dist_inputs"].argmax(-1).numpy()
        return actions

    return likeliest


def compare(train: Settings, test: Settings, seeds: list[int], iterations: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    chance = play(test, lambda observations: random.integers(0, 3, len(observations)), RANDOM_ACCOUNTS)
    by_return = sorted(chance, key=lambda result: result.total_return)
    found = {
        "buy and hold": play(test, lambda observations: np.full(len(observations), LONG))[0],
        "random, median": by_return[len(by_return) // 2],
        "random, best 5 %": by_return[int(len(by_return) * 0.95)],
    }
    for seed in seeds:
        begin = time.perf_counter()
        policy = trained(train, seed, iterations)
        found[f"PPO, seed {seed}, in sample"] = play(train, policy)[0]
        found[f"PPO, seed {seed}"] = play(test, policy)[0]
        print(f"  seed {seed} took {time.perf_counter() - begin:.0f} s", flush=True)
    return found


def parts(arguments: argparse.Namespace) -> tuple[Settings, Settings]:
    """The settings of training and of the test: the same game on an earlier and on a later part of one series."""
    costs = {"fee": arguments.fee, "slippage_bps": arguments.slippage_bps}
    if arguments.what == "real":
        game = {"ticker": arguments.ticker, **costs}
        return {**game, "end_date": "2009-12-31"}, {**game, "start_date": "2010-01-01"}
    game = {"market": planted(arguments.market_seed), **costs}
    return {**game, "end_date": "2011-12-31"}, {**game, "start_date": "2012-01-01"}


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=["planted", "real"])
    parser.add_argument("--ticker", default="MSFT")
    parser.add_argument("--seeds", default="1", help="of the training, separated by commas")
    parser.add_argument("--market-seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=25, help="of 3 000 steps each")
    parser.add_argument("--fee", type=float, default=0.001)
    parser.add_argument("--slippage-bps", type=float, default=2.0)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    import ray

    from rsc.rllib.train import quieten

    quieten()
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    train, test = parts(given)
    seeds = [int(each) for each in given.seeds.split(",")]
    table = Table(("out of sample, costs included", "return", "Sharpe", "drawdown", "trades"))
    for name, each in compare(train, test, seeds, 1 if given.quick else given.iterations).items():
        figures = (f"{each.total_return:.1%}", f"{each.sharpe:.2f}", f"{each.max_drawdown:.1%}", str(each.trades))
        table.rows.append((name, *figures))
    report("learning", [table], given)


if __name__ == "__main__":
    main()
