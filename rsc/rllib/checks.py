"""Refuse configs and envs that cannot be recorded, with one line that says what to do."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv

from rsc.db.urls import is_file
from rsc.recording.actions import ObservationColumns

# Imports inside functions load modules that are slow to import and not always needed.

VECTOR_MODE = "vector_entry_point"


class UnfitError(ValueError):
    """A config or an env that cannot be recorded. The message says what to do."""


def require_config(config: Any) -> None:
    """Check that `attach` can use a config.

    Raises:
        TypeError: ``config`` is not an AlgorithmConfig.
        UnfitError: It cannot be recorded, or cannot be changed.
    """
    if not isinstance(config, AlgorithmConfig):
        hint = "; make one with PPOConfig().update_from_dict(config)" if isinstance(config, dict) else ""
        raise TypeError(f"attach takes an AlgorithmConfig such as PPOConfig(), got {type(config).__name__}{hint}")
    if config._is_frozen:
        raise UnfitError(
            "the config is frozen, because an algorithm was built from it: attach to config.copy(copy_frozen=False)"
        )
    if config.env is None:
        raise UnfitError("the config has no env yet: call config.environment(...) first")
    require_single_agent(config)
    require_env_class(config.env, config)


def require_single_agent(config: Any) -> None:
    """Check that a config uses the new API stack with one agent.

    Raises:
        UnfitError: It uses the old API stack, or several agents.
    """
    if not config.enable_env_runner_and_connector_v2:
        raise UnfitError(
            "only RLlib's new API stack is recorded: call config.api_stack(enable_rl_module_and_learner=True,"
            " enable_env_runner_and_connector_v2=True)"
        )
    if config.is_multi_agent or _is_multi_agent(config.env):
        raise UnfitError("multi-agent configs cannot be recorded, because an episode is one account")


def require_env_class(env: Any, config: Any) -> None:
    """Check that an env class fits the way in which RLlib creates vector envs. Names and functions pass.

    Raises:
        UnfitError: It is a vector env where RLlib needs a single env, or the reverse.
    """
    if isinstance(env, type):
        require_fit(issubclass(env, gym.vector.VectorEnv), env.__name__, config)


def require_fit(is_vector: bool, name: str, config: Any) -> None:
    """Check that a vector env is used where RLlib needs one, and a single env where RLlib needs one.

    Raises:
        UnfitError: It is a vector env where RLlib needs a single env, or the reverse.
    """
    mode = _vectorize_mode(config)
    if is_vector and mode != VECTOR_MODE:
        raise UnfitError(
            f"{name} is a vector env, and gym_env_vectorize_mode is {mode!r}: call"
            f" config.env_runners(gym_env_vectorize_mode={VECTOR_MODE!r})"
        )
    if not is_vector and mode == VECTOR_MODE:
        raise UnfitError(
            f"{name} is a single env, and gym_env_vectorize_mode is {VECTOR_MODE!r}: give a vector env, or call"
            " config.env_runners(gym_env_vectorize_mode='sync')"
        )


def require_made_env(env: Any, config: Any) -> None:
    """Check an env that was created from a name or by a function.

    Raises:
        UnfitError: It has several agents, or does not fit the way in which RLlib creates vector envs.
    """
    if isinstance(env, MultiAgentEnv):
        raise UnfitError(
            f"{type(env).__name__} is a multi-agent env, which cannot be recorded: an episode must be one account"
        )
    require_fit(isinstance(env, gym.vector.VectorEnv), type(env.unwrapped).__name__, config)


def require_observations(env: Any) -> None:
    """Check that the observations of an env can be columns of a journal.

    Raises:
        UnfitError: Their space has no fixed number of numbers, or more than a journal has columns.
    """
    columns = ObservationColumns(env.observation_space)
    if not columns.names:
        raise UnfitError(
            f"observations of {type(env.unwrapped).__name__} cannot be recorded: {columns.described['unknown']}, and"
            f" the space is {columns.described['space']}; attach without observations"
        )


def is_vector_mode(config: Any) -> bool:
    """Return whether RLlib expects a whole vector env from the env's function."""
    return _vectorize_mode(config) == VECTOR_MODE


def _vectorize_mode(config: Any) -> str:
    mode = config.gym_env_vectorize_mode
    return str(getattr(mode, "value", mode))


def _is_multi_agent(env: Any) -> bool:
    return isinstance(env, type) and issubclass(env, MultiAgentEnv)


def require_one_node(database_url: str, config: Any) -> None:
    """Check that no env runner on another node needs to write into a SQLite file.

    Raises:
        UnfitError: The Ray cluster has several nodes, and the config has remote env runners.
    """
    import ray

    if not is_file(database_url) or not ray.is_initialized():
        return
    if not (config.num_env_runners or config.evaluation_num_env_runners):
        return
    nodes = [node for node in ray.nodes() if node["Alive"]]
    if len(nodes) > 1:
        raise UnfitError(
            f"the database {database_url} is a SQLite file, and the Ray cluster has {len(nodes)} nodes: give the"
            " database_url of a PostgreSQL server that all nodes reach"
        )
