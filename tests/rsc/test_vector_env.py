"""TradingVectorEnv: bit for bit what as many single envs do in a SyncVectorEnv."""

from __future__ import annotations

import math
import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc.trading import vector_rewards
from rsc.trading.config import ConfigError
from rsc.trading.env import TradingEnv
from rsc.trading.market import Market
from rsc.trading.rewards import StepOutcome
from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.markets import random_market

N = 7
EVERYTHING: dict[str, Any] = {
    "fee": 0.001, "slippage_bps": 5.0, "borrow_rate": 0.1, "stop_loss": 0.03, "take_profit": 0.05, "sizing": "all_in",
    "episode_length": 25, "window": 3, "features": ("return", "rsi"),
}  # fmt: skip


def bits(value: Any) -> bytes:
    return np.asarray(value, np.float64).tobytes()


def assert_same(config: dict[str, Any], market: Market, seed: int = 0, steps: int = 80) -> dict[str, int]:
    """Step both forms with the same actions; count what happened, so that a test can tell that it tested something."""
    vector = TradingVectorEnv({**config, "num_envs": N}, market=market)
    single = gym.vector.SyncVectorEnv([lambda: TradingEnv(config, market=market)] * N)
    random = np.random.default_rng(seed)
    ours, theirs = vector.reset(seed=seed)[0], single.reset(seed=seed)[0]
    counts = {"trades": 0, "double": 0, "bankrupt": 0, "ended": 0}
    for _ in range(steps):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()
        assert vector.observation_space.contains(ours)
        actions = random.integers(0, 3, N)
        if config.get("actions") == "continuous":
            actions = random.uniform(-1, 1, (N, 1)).astype(np.float32)
        over = single._autoreset_envs.copy()
        ours, *our_rest = vector.step(actions)
        theirs, *their_rest = single.step(actions)
        for mine, other in zip(our_rest[:3], their_rest[:3], strict=True):
            assert mine.dtype == other.dtype
            assert mine.tobytes() == other.tobytes()
        assert our_rest[3] == their_rest[3] == {}
        assert np.array_equal(vector.journal_played, ~over)
        trades, extras = vector.journal_trades(), np.array(vector.journal_extras()).T.tolist()
        rows = zip(*(column.tolist() for column in vector.journal_figures()), strict=True)
        for i, (row, env) in enumerate(zip(rows, single.envs, strict=True)):
            assert bits(row) == bits(env.unwrapped.journal_row)
            if not over[i]:
                assert bits(tuple(extras[i])) == bits(env.unwrapped.journal_extra)
            closed = trades.get(i, ())
            assert closed == tuple(env.unwrapped.journal_trades)
            assert bits(closed) == bits(tuple(env.unwrapped.journal_trades))
            assert vector.journal_about(i) == env.unwrapped.journal_about()
        counts["trades"] += sum(map(len, trades.values()))
        counts["double"] += sum(len(each) > 1 for each in trades.values())
        counts["bankrupt"] += int(our_rest[1].sum())
        counts["ended"] += int(our_rest[2].sum())
    return counts


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize("fill", ["open", "close"])
def test_vector__all_features__same_bits(actions: str, fill: str) -> None:
    """Observations, rewards, ends, rows and trades, over resets; with reversals that are stopped on their first bar."""
    counts = assert_same({**EVERYTHING, "actions": actions, "fill": fill}, random_market(1, bars=300))
    assert counts["trades"] > 100
    assert counts["ended"] > 10
    assert counts["double"] > 0 or fill == "close"


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_vector__bankruptcies__same_bits(actions: str) -> None:
    config = {**EVERYTHING, "actions": actions, "stop_loss": None, "take_profit": None}
    assert assert_same(config, random_market(5, bars=300, jump=0.3))["bankrupt"] > 3


def gain_less_fees(outcome: StepOutcome) -> float:
    return outcome.value - outcome.value_before - outcome.fees - outcome.traded - outcome.drawdown


@pytest.mark.parametrize("penalty", [0.0, 0.01])
@pytest.mark.parametrize("reward", ["log", "simple", "sharpe", gain_less_fees])
@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_vector__every_reward__same_bits(reward: Any, penalty: float, actions: str) -> None:
    config = {**EVERYTHING, "reward": reward, "sharpe_window": 5, "actions": actions}
    assert_same({**config, "trade_penalty": penalty, "drawdown_penalty": penalty}, random_market(2, bars=300))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    jump=st.sampled_from([0.01, 0.1, 0.4]),
    actions=st.sampled_from(["discrete", "continuous"]),
    fill=st.sampled_from(["open", "close"]),
    fee=st.sampled_from([0.0, 0.001, 0.3]),
    slippage_bps=st.sampled_from([0.0, 5.0]),
    borrow_rate=st.sampled_from([0.0, 0.05, 5.0]),
    stop_loss=st.sampled_from([None, 0.02, 0.3]),
    take_profit=st.sampled_from([None, 0.02, 0.3]),
    sizing=st.sampled_from(["all_in", "fixed_fractional"]),
    random_start=st.booleans(),
    episode_length=st.sampled_from([1, 2, 30, None]),
    whole_shares=st.booleans(),
    fee_per_share=st.sampled_from([0.0, 0.0, 0.5]),
    fee_minimum=st.sampled_from([0.0, 0.0, 20.0]),
    cash_rate=st.sampled_from([0.0, 0.0, 0.5]),
    maintenance_margin=st.sampled_from([None, None, 0.3, 0.9]),
)
def test_vector__any_config__same_bits(seed: int, jump: float, **config: Any) -> None:
    market = random_market(seed, jump=jump)
    capital = 100.0 * market.high.max() if config["whole_shares"] else 3333.3
    settings = {**config, "capital": capital, "window": 2, "features": ("return",)}
    assert_same(settings, market, seed, steps=40)


def test_vector__reset_mask__starts_those_envs_only() -> None:
    market = random_market(3, bars=300)
    vector = TradingVectorEnv(EVERYTHING, N, market=market)
    single = gym.vector.SyncVectorEnv([lambda: TradingEnv(EVERYTHING, market=market)] * N)
    mask = np.arange(N) % 2 == 0
    for env in (vector, single):
        env.reset(seed=1)
        env.step(np.ones(N, np.int64))
    ours, theirs = (env.reset(options={"reset_mask": mask.copy()})[0] for env in (vector, single))
    assert ours[mask].tobytes() == theirs[mask].tobytes()
    ours, theirs = (env.step(np.full(N, 2))[0] for env in (vector, single))
    assert ours.tobytes() == theirs.tobytes()


def test_vector__observations__are_not_overwritten_later() -> None:
    vector = TradingVectorEnv({"episode_length": 30}, 4)
    kept = [vector.reset(seed=1)[0], *(vector.step(np.ones(4, np.int64))[0] for _ in range(10))]
    copies = [each.copy() for each in kept]
    vector.step(np.full(4, 2))
    assert all(np.array_equal(each, other) for each, other in zip(kept, copies, strict=True))


@pytest.mark.parametrize("actions", [[0, 1, 3], [0, -1, 1], [0, 1, 99], [0.5, 1, 2]])
def test_vector__actions_that_are_none__are_refused(actions: list[int]) -> None:
    vector = TradingVectorEnv({}, 3)
    vector.reset(seed=1)
    with pytest.raises(ValueError, match=r"expected actions of 0 \(flat\), 1 \(long\) or 2 \(short\)"):
        vector.step(np.array(actions))


def test_vector__before_reset__is_refused() -> None:
    with pytest.raises(ResetNeeded, match="call reset"):
        TradingVectorEnv({}, 3).step(np.zeros(3, np.int64))


@pytest.mark.parametrize("n", [0, -1])
def test_vector__no_envs__is_refused(n: int) -> None:
    with pytest.raises(ConfigError, match="num_envs must be at least 1"):
        TradingVectorEnv({"num_envs": n})


def test_vector__wrong_number_of_seeds__is_refused() -> None:
    with pytest.raises(ValueError, match="expected 3 seeds, got 2"):
        TradingVectorEnv({}, 3).reset(seed=[1, 2])


def test_vector__pickled__goes_on_alike() -> None:
    vector = TradingVectorEnv({**EVERYTHING, "reward": "sharpe"}, 5)
    vector.reset(seed=1)
    vector.step(np.ones(5, np.int64))
    twin = pickle.loads(pickle.dumps(vector))
    for actions in np.random.default_rng(0).integers(0, 3, (60, 5)):
        for ours, theirs in zip(vector.step(actions)[:4], twin.step(actions)[:4], strict=True):
            assert np.array_equal(ours, theirs)


def test_vector__config__is_never_changed() -> None:
    given = {"num_envs": 2, "ticker": "IBM"}
    assert TradingVectorEnv(given).num_envs == 2
    assert given == {"num_envs": 2, "ticker": "IBM"}


@pytest.mark.parametrize("candidate", [vector_rewards.logarithms, vector_rewards._one_by_one])
def test_logarithms__have_the_bits_of_math_log(candidate: Any) -> None:
    values = np.concatenate((np.exp(np.random.default_rng(3).normal(0, 0.1, 50_000)), [1e-4, 1.0, 1e9]))
    assert candidate(values).tobytes() == np.array([math.log(each) for each in values]).tobytes()
