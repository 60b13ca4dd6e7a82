"""One short training of each kind. tox runs it with the oldest and the newest versions of the trainers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
from gymnasium.vector import AutoresetMode

import rsc
from rsc.db import episodes
from rsc.db.session import open_engine
from tests.support.walks import ACCOUNT, Walk, register


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Any]:
    return {"journal_root": tmp_path / "journals", "database_url": f"sqlite:///{tmp_path / 'rsc.db'}"}


def ended_steps(places: dict[str, Any]) -> list[int]:
    """The lengths of the episodes that ended by their time limit."""
    found = episodes.episodes_of(open_engine(places["database_url"]), "r1")
    return [row.total_steps for row in found if row.end_reason == "time_limit"]


@pytest.mark.parametrize("mode", AutoresetMode, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_make_vec__each_autoreset_mode__episodes_are_on_record(
    kind: str, mode: AutoresetMode, places: dict[str, Any]
) -> None:
    register()
    with rsc.start_run("r1", **places) as run:
        makers = [run.recorded(Walk, ACCOUNT, length=10)] * 2
        vector: Any = gym.vector.SyncVectorEnv if kind == "sync" else gym.vector.AsyncVectorEnv
        envs = vector(makers, autoreset_mode=mode)
        envs.reset(seed=1)
        for _ in range(24):
            _, _, terminated, truncated, _ = envs.step(envs.action_space.sample())
            ended = terminated | truncated
            if mode is AutoresetMode.DISABLED and ended.any():
                envs.reset(options={"reset_mask": ended})
        envs.close()
    assert ended_steps(places) == [10] * 4


def test_stable_baselines3__short_training__is_on_record(places: dict[str, Any]) -> None:
    pytest.importorskip("stable_baselines3")
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    with rsc.start_run("r1", **places) as run:
        venv = make_vec_env(run.recorded(Walk, ACCOUNT), n_envs=2)
        PPO("MlpPolicy", venv, n_steps=50, batch_size=50, n_epochs=1, device="cpu").learn(100)
        venv.close()
    assert ended_steps(places) == [20] * 4


@pytest.fixture
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray")
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    yield
    ray.shutdown()


@pytest.mark.rllib
@pytest.mark.usefixtures("cluster")
def test_rllib__short_training_with_an_env_runner_of_its_own__is_on_record(places: dict[str, Any]) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    config = (
        PPOConfig()
        .environment(rsc.TradingEnv, env_config={"episode_length": 20})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=2)
        .training(train_batch_size_per_learner=100, minibatch_size=50, num_epochs=1)
    )
    with rsc.attach(config, run_id="r1", **places):
        algorithm = config.build_algo()
        algorithm.train()
        algorithm.stop()
    assert ended_steps(places) == [20] * 4
