"""TradingEnv where others run it: gymnasium's vector envs, Stable-Baselines3."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rsc.trading.env import TradingEnv

CONFIG = {"episode_length": 20, "stop_loss": 0.02}


def make() -> TradingEnv:
    return TradingEnv(CONFIG)


@pytest.mark.parametrize("vector", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_vector__sub_envs__do_what_single_ones_do(vector: Any) -> None:
    """In one process and in forked ones, over the ends of episodes."""
    envs, singles = vector([make] * 3), [make() for _ in range(3)]
    try:
        observations, _ = envs.reset(seed=7)
        expected = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
        over = [False] * 3
        random = np.random.default_rng(0)
        for _ in range(50):
            assert np.array_equal(observations, np.stack(expected))
            actions = random.integers(0, 3, 3)
            observations, rewards, *_ = envs.step(actions)
            for i, env in enumerate(singles):
                if over[i]:
                    expected[i], reward, over[i] = env.reset()[0], 0.0, False
                else:
                    expected[i], reward, terminated, truncated, _ = env.step(actions[i])
                    over[i] = terminated or truncated
                assert rewards[i] == reward
    finally:
        envs.close()


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
def test_stable_baselines3__learns_on_it(actions: str) -> None:
    import stable_baselines3 as sb3
    from stable_baselines3.common.env_checker import check_env

    env = TradingEnv({**CONFIG, "actions": actions})
    check_env(env, warn=True)
    model = sb3.PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=1, device="cpu").learn(128)
    action, _ = model.predict(env.reset()[0])
    env.step(action)
