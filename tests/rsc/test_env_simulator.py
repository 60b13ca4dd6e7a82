"""TradingEnv and TradingVectorEnv against a simulator that was written from docs/environment.md alone."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rsc.trading.market import Market
from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.markets import env_of, random_market
from tests.support.simulator import Simulator, Step

CHOICES: dict[str, list[Any]] = {
    "actions": ["discrete", "continuous"],
    "fill": ["open", "close"],
    "sizing": ["all_in", "fixed_fractional"],
    "fraction": [0.95, 0.5, 1.0],
    "fee": [0.0, 0.001, 0.05],
    "fee_per_share": [0.0, 0.0, 0.07],
    "fee_minimum": [0.0, 0.0, 11.0],
    "slippage_bps": [0.0, 5.0, 200.0],
    "borrow_rate": [0.0, 0.05, 3.0],
    "cash_rate": [0.0, 0.0, 0.3],
    "maintenance_margin": [None, None, 0.3, 0.8],
    "stop_loss": [None, 0.02, 0.2],
    "take_profit": [None, 0.03, 0.4],
    "rebalance_band": [0.05, 0.0, 0.3],
    "whole_shares": [False, False, True],
    "reward": ["log", "simple", "sharpe"],
    "sharpe_window": [5],
    "trade_penalty": [0.0, 0.01],
    "drawdown_penalty": [0.0, 0.5],
}
TAKEN = dict.fromkeys(("trades", "liquidated", "bankrupt", "several lots", "steps"), 0)


def with_gaps(market: Market, random: np.random.Generator) -> Market:
    """The market with days left out: nights, weekends, holidays."""
    steps = random.choice([1 / 24, 1.0, 1.0, 1.0, 3.0, 4.0], len(market))
    return dataclasses.replace(market, times_us=(np.cumsum(steps) * 86_400_000_000).astype(np.int64))


def drawn(seed: int, bars: int) -> tuple[Market, dict[str, Any], list[Any]]:
    random = np.random.default_rng(seed)
    market = with_gaps(random_market(seed, bars=bars, jump=random.choice([0.005, 0.03, 0.15, 0.4])), random)
    settings = {name: choices[random.integers(len(choices))] for name, choices in CHOICES.items()}
    settings["capital"] = 100.0 * float(market.high.max()) if settings["whole_shares"] else 1e4
    settings["fee_minimum"] *= settings["capital"] / 1e4
    if settings["actions"] == "discrete":
        return market, settings, random.integers(0, 3, bars).tolist()
    targets = np.where(random.random(bars) < 0.1, 0.0, random.uniform(-1.2, 1.2, bars))
    held = random.random(bars) < 0.3  # the target before again, so that positions drift
    for i in range(1, bars):
        targets[i] = targets[i - 1] if held[i] else targets[i]
    return market, settings, [np.array([each]) for each in targets]


def near(found: Any, expected: Any, scale: float, digits: float = 1e-9) -> None:
    """Assert that numbers are equal within this part of ``scale``, or of themselves."""
    for one, other in zip(found, expected, strict=True):
        assert abs(one - float(other)) <= digits * max(scale, abs(float(other))), (found, expected)


def compare(env: Any, theirs: Step, given: tuple[Any, ...], scale: float) -> None:
    """Everything that a step tells, within 1e-9 of the money that moved."""
    observation, reward, terminated, _, _ = given
    value, price, cash, position, fees, unrealized, _ = env.journal_row
    near((value, cash, fees, unrealized), (theirs.value, theirs.cash, theirs.fees, theirs.unrealized), scale)
    near((position * price,), (theirs.position * price,), scale)
    for trade, other in zip(env.journal_trades, theirs.trades, strict=True):
        direction, quantity, entry_step, entry_price, exit_price, pnl, costs = other
        assert (trade.direction, trade.entry_step) == (direction, entry_step)
        near((trade.entry_price, trade.exit_price), (entry_price, exit_price), 0.0)
        near((trade.quantity * trade.entry_price, trade.pnl, trade.costs), (quantity * entry_price, pnl, costs), scale)
    extra = dict(zip(env.journal_about().extra_columns, env.journal_extra, strict=True))
    assert extra["fill_price"] == float(theirs.fill_price)
    told = (extra["exit_costs"], extra.get("costs", fees), extra.get("interest", 0.0))
    near(told, (theirs.exit_costs, theirs.costs, theirs.interest), scale)
    assert extra.get("liquidated", 0.0) == theirs.liquidated
    assert terminated == theirs.terminated
    if abs(value) > 1e-6 * scale:  # ratios to next to nothing are rounding
        near((reward, *observation[-4:].tolist()), (theirs.reward, *theirs.account), 1.0, 1e-5)


def run(seed: int, bars: int = 120, number: Any = float) -> None:
    """Play one random configuration in both."""
    market, settings, actions = drawn(seed, bars)
    env = env_of(market, **settings)
    env.reset(seed=0)
    start = env._t
    prices = list(
        zip(*(getattr(market, key)[start:].tolist() for key in ("open", "high", "low", "close")), strict=True)
    )
    days = np.diff(market.times_us[start - 1 :]) / 86_400_000_000
    simulator = Simulator(prices, days.tolist(), settings, number)
    scale = float(settings["capital"])
    for action in actions:
        given = env.step(action)
        theirs = simulator.step(float(np.ravel(action)[0]))
        scale += abs(float(theirs.position)) * float(simulator.bars[simulator.t][3])
        compare(env, theirs, given, scale)
        TAKEN["trades"] += len(theirs.trades)
        TAKEN["liquidated"] += theirs.liquidated
        TAKEN["bankrupt"] += theirs.terminated
        TAKEN["several lots"] += len(simulator.lots) > 1
        if given[2] or given[3]:
            break
    TAKEN["steps"] += simulator.t


def test_env__random_configurations__are_the_simulator_s() -> None:
    for seed in range(300):
        run(seed)
    assert TAKEN["steps"] > 12_000
    assert TAKEN["trades"] > 3_000
    assert min(TAKEN["liquidated"], TAKEN["bankrupt"], TAKEN["several lots"]) > 10


@pytest.mark.parametrize("seed", range(1000, 1040))
def test_env__small_cases__are_exact_rational_arithmetic(seed: int) -> None:
    run(seed, bars=52, number=Fraction)


@pytest.mark.parametrize("seed", range(2000, 2030))
def test_vector_env__random_configurations__are_the_simulator_s(seed: int) -> None:
    market, settings, actions = drawn(seed, 100)
    config = {**settings, "random_start": False, "episode_length": None, "features": ("return",), "window": 1}
    env = TradingVectorEnv(config, 3, market=market)
    env.reset(seed=0)
    start = int(env._t[0])
    prices = list(
        zip(*(getattr(market, key)[start:].tolist() for key in ("open", "high", "low", "close")), strict=True)
    )
    days = np.diff(market.times_us[start - 1 :]) / 86_400_000_000
    simulator = Simulator(prices, days.tolist(), settings)
    for action in actions:
        _, rewards, terminated, truncated, _ = env.step(np.stack([action] * 3))
        theirs = simulator.step(float(np.ravel(action)[0]))
        assert env.journal_figures()[0][1] == pytest.approx(theirs.value, rel=1e-9, abs=1e-9 * settings["capital"])
        if abs(theirs.value) > 1e-6 * settings["capital"]:
            assert rewards[1] == pytest.approx(theirs.reward, rel=1e-6, abs=1e-6)
        assert len(env.journal_trades().get(1, ())) == len(theirs.trades)
        assert bool(terminated[1]) == theirs.terminated
        if terminated[1] or truncated[1]:
            break
