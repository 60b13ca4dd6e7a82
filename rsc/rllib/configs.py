"""The options of `rsc train` as a plan, and RLlib's config for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsc import defaults
from rsc.policies.dates import Split
from rsc.trading.env import TradingEnv
from rsc.trading.vector_env import TradingVectorEnv

# Imports inside functions load modules that are slow to import and not always needed.

DQN_STEPS_PER_UPDATE = 8
_PLACES = {*defaults.OF_EACH_TRAINING, "resume", "changes"}


@dataclass(frozen=True)
class TrainingPlan:
    """The options of `rsc train`. ``changes`` are the options that replace those of the run to resume."""

    algo: str = "ppo"
    iterations: int = 1
    num_env_runners: int = 2
    num_envs_per_env_runner: int = 4
    vectorised: bool = False
    train_batch_size: int = 3000
    evaluation_interval: int | None = None
    batch_mode: str = "truncate_episodes"
    env_config: dict[str, Any] = field(default_factory=dict)
    train_until: str | None = None
    validate_until: str | None = None
    durability: str = "process"
    save: bool = True
    save_every: int = defaults.SAVE_EVERY_ITERATIONS
    seed: int | None = None
    run_id: str | None = None
    resume: str | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    journal_root: Path | None = None
    policy_root: Path | None = None
    database_url: str | None = None
    reconcile: bool = False
    mirror: str | None = None
    mirror_every: float = defaults.MIRROR_EVERY_S
    ray: str | None = None

    @property
    def split(self) -> Split:
        return Split(self.train_until, self.validate_until)

    def parameters(self) -> dict[str, Any]:
        """Return the parameters that the run's row and the policy's description store."""
        return {key: value for key, value in vars(self).items() if key not in _PLACES}


def algorithm_config(plan: TrainingPlan) -> Any:
    """Return RLlib's config for the plan, on the new API stack."""
    from ray.rllib.algorithms.dqn import DQNConfig
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig() if plan.algo == "ppo" else DQNConfig()
    settings = plan.split.training(plan.env_config)
    config.environment(TradingVectorEnv if plan.vectorised else TradingEnv, env_config=settings)
    config.env_runners(
        gym_env_vectorize_mode="vector_entry_point" if plan.vectorised else "sync",
        num_env_runners=plan.num_env_runners,
        num_envs_per_env_runner=plan.num_envs_per_env_runner,
        batch_mode=plan.batch_mode,
    )
    config.debugging(seed=plan.seed, log_level="ERROR")
    if plan.algo == "ppo":
        config.training(
            train_batch_size_per_learner=plan.train_batch_size,
            minibatch_size=min(256, plan.train_batch_size),
            num_epochs=10,
        )
    else:
        config.reporting(min_sample_timesteps_per_iteration=plan.train_batch_size)
        config.training(replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 50_000})
        # RLlib learns once per fragment, by default one step of all envs. With a single env, learning would take most time.
        envs = max(plan.num_env_runners, 1) * plan.num_envs_per_env_runner
        config.env_runners(rollout_fragment_length=math.ceil(DQN_STEPS_PER_UPDATE / envs))
    if plan.evaluation_interval:
        evaluated = plan.split.validation(plan.env_config)
        config.evaluation(
            evaluation_interval=plan.evaluation_interval,
            evaluation_duration=5,
            evaluation_config=None if evaluated is None else {"env_config": evaluated},
        )
    return config
