"""The program of a process that trains: `tests.attacks.actor` with RLlib, and env runners that `rsc.attach` records.

An env runner plays in this process, without a cluster: what it samples is what a trainer sees.
"""

from __future__ import annotations

import logging
import time
from typing import Any

import actor
import gymnasium as gym
import numpy as np
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.examples.rl_modules.classes.random_rlm import RandomRLModule

import rsc
from rsc import TradingEnv

logging.getLogger("ray").setLevel(logging.ERROR)
__all__ = ["TradingEnv", "np", "rsc", "time"]


class AnyModule(RandomRLModule):
    """Takes every action space, and says of itself what an env runner asks of a module."""

    framework = "torch"

    def to(self, device: Any) -> AnyModule:
        return self


class AnyActions(TradingEnv):
    """TradingEnv behind an action space of any kind: whatever the action is, it buys and sells in turn."""

    space: gym.Space[Any] = gym.spaces.Discrete(3)
    reward_shape: tuple[int, ...] | None = None

    def __init__(self, config: dict[str, Any] | None = None) -> None:
        super().__init__(config)
        self.inner_space = self.action_space
        self.action_space = self.space
        self.turn = 0

    def step(self, action: Any) -> Any:
        assert self.space.contains(action), f"the trainer's action was changed: {action!r}"
        self.turn += 1
        observation, reward, terminated, truncated, info = super().step(self.turn % 3)
        given = reward if self.reward_shape is None else np.full(self.reward_shape, reward, np.float32)
        return observation, given, terminated, truncated, info


def actions_of(space: gym.Space[Any], **more: Any) -> type[AnyActions]:
    return type("Actions", (AnyActions,), {"space": space, **more})


def configured(env: Any, *, envs: int = 1, evaluation: bool = False, **env_config: Any) -> PPOConfig:
    """A config whose module acts at random, so that it takes every space; its env runner needs no cluster."""
    config = (
        PPOConfig()
        .environment(env, env_config={"episode_length": 20, **env_config})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=AnyModule))
        .debugging(seed=5)
    )
    config.in_evaluation = evaluation
    return config


def recorded(config: PPOConfig, root: str, url: str, run_id: str = "r1", **more: Any) -> tuple[Any, Any]:
    """The run, and an env runner of it."""
    run = rsc.attach(config, run_id=run_id, journal_root=root, database_url=url, **more)
    return run, runner_of(config)


def runner_of(config: PPOConfig) -> Any:
    return (config.env_runner_cls or SingleAgentEnvRunner)(config=config, worker_index=1)


def sample(runner: Any, episodes: int = 1) -> list[Any]:
    return list(runner.sample(num_episodes=episodes, random_actions=True))


def env_of(runner: Any, index: int = 0) -> Any:
    """A sub-env with all its wrappers, the recorder among them."""
    return runner.env.unwrapped.envs[index]


if __name__ == "__main__":
    vars(actor).update({name: value for name, value in globals().items() if not name.startswith("__")})
    actor.main()
