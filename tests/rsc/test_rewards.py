"""Rewards: each formula, by hand and in an env."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rsc.metrics.kernels import NOISE
from rsc.trading.rewards import LOG_FLOOR, Reward, RollingSharpe, StepOutcome, simple_return
from tests.rsc.markets import env_of, flat_bars, market_of, play, random_market

LONG, SHORT = 1, 2


def rewards_of(actions: list[int], *prices: float, **config: Any) -> list[float]:
    return [each[2] for each in play(env_of(market_of(flat_bars(*prices)), **config), actions)]


def outcome(before: float, value: float, drawdown: float = 0.0, traded: bool = False) -> StepOutcome:
    return StepOutcome(before, value, 0.0, drawdown, 0.0, traded)


def test_reward__log__is_the_logarithm_of_the_ratio() -> None:
    assert rewards_of([LONG, LONG], 100, 110) == [0.0, math.log(1.1)]


def test_reward__log__general_form_has_the_same_bits_as_the_env_s_short_cut() -> None:
    """Without penalties the env computes it inline."""
    actions = list(np.random.default_rng(0).integers(0, 3, 100))
    inline, general = (
        [each[2] for each in play(env_of(random_market(0), reward=reward, fee=0.001), actions)]
        for reward in ("log", Reward("log", 2, 0.0, 0.0)._earned)
    )
    assert inline == general


@pytest.mark.parametrize("value", [1e-9, 0.0, -5.0])
def test_reward__log_of_next_to_nothing__has_a_floor(value: float) -> None:
    assert Reward("log", 2, 0.0, 0.0)(outcome(1.0, value)) == math.log(LOG_FLOOR)


def test_reward__simple__is_the_return() -> None:
    assert rewards_of([LONG, LONG], 100, 110, reward="simple") == [0.0, pytest.approx(0.1)]


def test_reward__sharpe__is_mean_over_spread_of_the_last_returns() -> None:
    window = 5
    returns = np.random.default_rng(1).normal(0.001, 0.02, 200)
    sharpe = RollingSharpe(window)
    for i, r in enumerate(returns):
        recent = returns[max(0, i - window + 1) : i + 1]
        expected = recent.mean() / recent.std(ddof=1) if i else 0.0
        assert sharpe(outcome(1.0, 1.0 + r)) == pytest.approx(expected, rel=1e-9, abs=1e-11)


def test_reward__sharpe__is_exact_after_any_outlier_and_bounded() -> None:
    """Calm after a crash, and spreads down to the bound that the metrics have, too."""
    random = np.random.default_rng(2)
    for spread in (1e-2, 1e-6, 1e-10, 3e-14, 1e-16, 0.0):
        sharpe, window = RollingSharpe(8), []
        values = np.concatenate(([-0.9, 3.0], random.normal(0.0, spread, 40), [0.5], random.normal(0.0, spread, 40)))
        for i, r in enumerate(values):
            window = [*window, simple_return(outcome(1.0, 1.0 + r))][-8:]
            exact = [Fraction(each) for each in window]
            mean = sum(exact) / len(exact)
            std = math.sqrt(sum((each - mean) ** 2 for each in exact) / max(len(exact) - 1, 1))
            expected = float(mean) / std if std > NOISE * (1 + abs(float(mean))) else 0.0
            found = sharpe(outcome(1.0, 1.0 + r))
            assert found == pytest.approx(min(max(expected, -10.0), 10.0), rel=1e-6, abs=1e-9), (spread, i)


def test_reward__sharpe_of_almost_constant_growth__is_bounded() -> None:
    sharpe = RollingSharpe(20)
    found = [sharpe(outcome(1.0, 1.01 + 1e-12 * (i % 2))) for i in range(30)]
    assert found[1:] == [10.0] * 29


def test_reward__sharpe_of_constant_growth__is_zero_not_huge() -> None:
    sharpe = RollingSharpe(20)
    assert {sharpe(outcome(1.0, 1.0 + 1e-3)) for _ in range(1000)} == {0.0}


def test_reward__sharpe__forgets_between_episodes() -> None:
    env = env_of(market_of(flat_bars(100, 110, 105, 120)), reward="sharpe")
    assert play(env, [LONG] * 4)[-1][2] == play(env, [LONG] * 4)[-1][2]


def test_reward__trade_penalty__is_charged_in_each_step_that_trades() -> None:
    """Opened, held, closed, flat; also where no fee tells."""
    assert rewards_of([LONG, LONG, 0, 0], *[100.0] * 4, reward="simple", trade_penalty=0.5) == [-0.5, 0.0, -0.5, 0.0]


def test_reward__trade_penalty__a_stop_trades_too() -> None:
    env = env_of(market_of([*flat_bars(100), (100, 100, 90, 95)]), stop_loss=0.05, trade_penalty=0.5, reward="simple")
    assert [each[2] for each in play(env, [LONG, LONG])] == [-0.5, pytest.approx(-0.05 - 0.5)]


def test_reward__drawdown_penalty__grows_with_the_fall_from_the_peak() -> None:
    found = rewards_of([LONG] * 3, 100, 80, 90, reward="simple", drawdown_penalty=2.0)
    assert found == [0.0, pytest.approx(-0.2 - 0.4), pytest.approx(0.125 - 0.2)]


def test_reward__function__sees_the_step_and_pays_the_penalties() -> None:
    seen: list[StepOutcome] = []

    def mine(step: StepOutcome) -> float:
        seen.append(step)
        return 7.0

    found = rewards_of([LONG, LONG], 100, 80, reward=mine, drawdown_penalty=1.0, fee=0.25, trade_penalty=1.0)
    assert found == [pytest.approx(7.0 - 0.2 - 1.0), pytest.approx(7.0 - 0.36)]
    assert seen[0] == StepOutcome(1000.0, 800.0, 800.0, pytest.approx(0.2), 200.0, True)
    assert seen[1] == StepOutcome(800.0, 640.0, 640.0, pytest.approx(0.36), 0.0, False)
