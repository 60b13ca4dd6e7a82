"""What `rsc.rllib` relies on in RLlib. Each test has the name of one fact, and fails if a version of Ray changes it."""

from __future__ import annotations

import inspect
import pickle
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import ray
from ray import cloudpickle, tune
from ray.experimental import internal_kv
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.tune.registry import ENV_CREATOR, _global_registry, register_env
from ray.tune.trainable.trainable_fn_utils import _in_tune_session

from rsc.rllib import trials

ALGORITHMS = [PPOConfig, DQNConfig, SACConfig, IMPALAConfig, APPOConfig]
FACTS = {"id": "a text", "nested": {"number": 7}}


class Ten(gym.Env[Any, Any]):
    """Episodes of ten steps that a time limit ends. The info of a reset holds facts."""

    observation_space = gym.spaces.Box(0, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    contexts: ClassVar[list[Any]] = []
    closed: ClassVar[list[bool]] = []

    def __init__(self, context: Any) -> None:
        self.contexts.append(context)
        self.steps = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {"facts": FACTS}

    def step(self, action: Any) -> Any:
        self.steps += 1
        return np.array([self.steps], np.float32), 1.0, False, self.steps == 10, {"step": self.steps}

    def close(self) -> None:
        self.closed.append(True)


class Listening(RLlibCallback):
    """Keeps what the callbacks receive."""

    started: ClassVar[list[dict[str, Any]]] = []
    ended: ClassVar[list[dict[str, Any]]] = []

    def on_episode_start(self, **kwargs: Any) -> None:
        episode, runner = kwargs["episode"], kwargs["env_runner"]
        self.started.append({
            **kwargs, "id": episode.id_, "info": episode.get_infos(0),
            "steps": getattr(runner, "num_env_steps_sampled_lifetime", None),
        })  # fmt: skip

    def on_episode_end(self, **kwargs: Any) -> None:
        episode = kwargs["episode"]
        self.ended.append({
            "id": episode.id_, "info": episode.get_infos(-1), "truncated": episode.is_truncated,
            "terminated": episode.is_terminated,
        })  # fmt: skip


class Own(SingleAgentEnvRunner):
    """An env runner of a user."""


@pytest.fixture(autouse=True)
def nothing_kept() -> None:
    for kept in (Ten.contexts, Ten.closed, Listening.started, Listening.ended):
        kept.clear()  # type: ignore[attr-defined]


def config_of(envs: int = 1, env: Any = Ten) -> Any:
    config = PPOConfig().environment(env).env_runners(num_env_runners=0, num_envs_per_env_runner=envs)
    return config.callbacks(Listening).debugging(seed=3, log_level="ERROR")


def runner_of(config: Any) -> Any:
    return SingleAgentEnvRunner(config=config, worker_index=1)


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_config__no_algorithm_sets_an_env_runner_class(kind: Any) -> None:
    assert kind().env_runner_cls is None


@pytest.mark.parametrize("kind", ALGORITHMS)
def test_config__the_new_api_stack_is_the_default(kind: Any) -> None:
    assert kind().enable_env_runner_and_connector_v2
    assert kind().enable_rl_module_and_learner


def test_config__env_runner_class_is_stored_by_env_runners() -> None:
    assert config_of().env_runners(env_runner_cls=Own).env_runner_cls is Own


def test_config__an_attribute_that_rllib_does_not_know_survives_every_copy() -> None:
    config = config_of()
    config.rsc_recording = {"run_id": "r1"}
    copies = {
        "copy": config.copy(copy_frozen=False),
        "dict": PPOConfig.from_dict(config.to_dict()),
        "state": AlgorithmConfig.from_state(config.get_state()),
        "pickle": pickle.loads(cloudpickle.dumps(config)),
        "evaluation": config.evaluation(evaluation_config={"explore": False}).get_evaluation_config_object(),
    }
    assert {name: copy.rsc_recording for name, copy in copies.items()} == {name: {"run_id": "r1"} for name in copies}


def test_config__a_whole_config_for_evaluation_has_an_env_runner_class_of_its_own() -> None:
    config = config_of().env_runners(env_runner_cls=Own).evaluation(evaluation_config=PPOConfig().environment(Ten))
    assert config.get_evaluation_config_object().env_runner_cls is None
    assert config.evaluation_config.get("env_runner_cls", Own) is None


def test_config__is_frozen_is_an_attribute_and_a_frozen_config_refuses_changes() -> None:
    config = config_of()
    assert config._is_frozen is False
    config.freeze()
    assert config._is_frozen is True
    with pytest.raises(AttributeError):
        config.env_runners(env_runner_cls=Own)


def test_config__policies_make_it_multi_agent() -> None:
    assert not config_of().is_multi_agent
    several = config_of().multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda *_, **__: "a")
    assert several.is_multi_agent


def test_config__names_that_attach_reads_exist() -> None:
    names = (
        "env", "env_config", "output", "gym_env_vectorize_mode", "num_env_runners", "evaluation_num_env_runners",
        "in_evaluation", "seed", "callbacks_class", "evaluation_config",
    )  # fmt: skip
    assert [name for name in names if not hasattr(config_of(), name)] == []


def test_env_runner__init_calls_make_env_and_reads_env_from_its_config() -> None:
    class Swapping(SingleAgentEnvRunner):
        def make_env(self) -> None:
            config = self.config
            self.config = config.copy(copy_frozen=False)
            self.config.env = made
            super().make_env()
            self.config = config

    calls: list[Any] = []

    def made(context: Any) -> Ten:
        calls.append(context)
        return Ten(context)

    config = config_of()
    config.freeze()
    runner = Swapping(config=config, worker_index=1)
    assert calls
    assert runner.config.env is Ten


def test_env_runner__callbacks_are_a_list_that_may_grow_in_make_env() -> None:
    runner = runner_of(config_of())
    assert [type(one) for one in runner._callbacks] == [Listening]
    runner._callbacks = [*runner._callbacks, Listening()]
    runner.sample(num_timesteps=10, random_actions=True)
    assert len(Listening.ended) == 2


def test_env_runner__has_the_facts_of_a_row() -> None:
    runner = runner_of(config_of())
    runner.sample(num_timesteps=12, random_actions=True)
    assert runner.worker_index == 1
    assert runner.config.in_evaluation is False
    assert hasattr(runner, "tune_trial_id")
    runner.set_state({"num_env_steps_sampled_lifetime": 700})  # as the algorithm does after each of its iterations
    runner.sample(num_timesteps=10, random_actions=True)
    assert [one["steps"] for one in Listening.started] == [0, 0, 700]


def test_env_runner__log_dir_is_an_argument_that_the_algorithm_passes() -> None:
    from ray.rllib.env.env_runner_group import EnvRunnerGroup

    assert "log_dir" in inspect.getsource(EnvRunnerGroup)
    assert "self.logdir" in inspect.getsource(Algorithm.setup)


def test_env_runner__all_sub_envs_share_one_context() -> None:
    runner_of(config_of(envs=3))
    assert len({id(context) for context in Ten.contexts}) <= 2  # that of RLlib's own probe, and one for all
    assert {context.worker_index for context in Ten.contexts} == {1}


def test_env_runner__vector_env_resets_in_the_next_step() -> None:
    runner = runner_of(config_of(envs=2))
    assert runner.env.metadata["autoreset_mode"] == gym.vector.AutoresetMode.NEXT_STEP
    assert isinstance(runner.env.unwrapped, gym.vector.SyncVectorEnv)


def test_env_runner__stop_closes_the_envs_and_calls_no_callback() -> None:
    runner = runner_of(config_of())
    runner.sample(num_timesteps=5, random_actions=True)
    Ten.closed.clear()
    runner.stop()
    assert Ten.closed
    assert not Listening.ended


def test_env_runner__rounds_by_episodes_reset_running_episodes_without_a_callback() -> None:
    runner = runner_of(config_of(envs=2).env_runners(batch_mode="complete_episodes"))
    for _ in range(3):
        runner.sample(num_episodes=1, random_actions=True)
    assert len(Listening.started) > len(Listening.ended) + 1


def test_callbacks__start_receives_what_a_row_needs() -> None:
    runner = runner_of(config_of(envs=2))
    runner.sample(num_timesteps=4, random_actions=True)
    assert [one["env_index"] for one in Listening.started] == [0, 1]
    assert {one["env_runner"] for one in Listening.started} == {runner}


def test_callbacks__reset_info_keeps_texts_and_nested_dicts() -> None:
    runner_of(config_of()).sample(num_timesteps=4, random_actions=True)
    facts = Listening.started[0]["info"]["facts"]
    assert (facts["id"], int(facts["nested"]["number"])) == ("a text", 7)


def test_callbacks__end_knows_the_id_the_last_info_and_whether_it_is_truncated() -> None:
    runner_of(config_of()).sample(num_timesteps=12, random_actions=True)
    (ended,) = Listening.ended
    assert ended["id"] == Listening.started[0]["id"]
    assert (int(ended["info"]["step"]), ended["truncated"], ended["terminated"]) == (10, True, False)


def test_callbacks__are_made_without_arguments_and_an_exception_in_one_leaves_sample() -> None:
    class Failing(RLlibCallback):
        def on_episode_start(self, **kwargs: Any) -> None:
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        runner_of(config_of().callbacks(Failing)).sample(num_timesteps=2, random_actions=True)


def test_registry__a_registered_env_is_found_by_its_name() -> None:
    register_env("ten-by-name", Ten)
    assert _global_registry.contains(ENV_CREATOR, "ten-by-name")
    assert isinstance(_global_registry.get(ENV_CREATOR, "ten-by-name")({}), Ten)


def test_ray__calls_hooks_after_init_and_has_a_key_value_store() -> None:
    """`rsc.rllib.live` publishes open runs with them."""
    assert isinstance(ray._private.worker._post_init_hooks, list)
    for name in ("_internal_kv_put", "_internal_kv_get", "_internal_kv_del"):
        assert "namespace" in inspect.signature(getattr(internal_kv, name)).parameters


def test_tune__a_process_outside_of_a_trial_has_no_session() -> None:
    assert not _in_tune_session()
    assert callable(tune.get_context)
    assert trials.current() is None
