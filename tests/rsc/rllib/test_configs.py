"""`attach` on configs as people have them: changed later, used twice, refused. All in this process, without a cluster."""

from __future__ import annotations

import functools
import logging
import pickle
import threading
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.classic_control import CartPoleEnv
from ray import cloudpickle
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import rsc
from rsc.db.session import open_engine
from rsc.rllib import RecordedEnvRunner, Recording
from rsc.rllib.settings import RecordingSettings
from rsc.trading.env import TradingEnv
from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.rllib.world import RUN, World, config_of, runner_of, sample


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr("rsc.rllib.runner._said", set())  # as in a process of its own
    return World(tmp_path)


class OwnRunner(SingleAgentEnvRunner):
    """A user's env runner."""


class OwnRecordedRunner(Recording, OwnRunner):
    """As the refusal tells to write it."""


class Counting(RLlibCallback):
    """A user's callback."""

    def __init__(self) -> None:
        super().__init__()
        self.ended = 0

    def on_episode_end(self, **kwargs: Any) -> None:
        self.ended += 1


class Agents(MultiAgentEnv):
    """Several agents."""


def with_policies(config: Any) -> Any:
    return config.multi_agent(policies={"a", "b"}, policy_mapping_fn=lambda *_, **__: "a")


def frozen(config: Any) -> Any:
    config.freeze()
    return config


REFUSED = {
    "plain dict": (lambda: {"env": TradingEnv}, "attach takes an AlgorithmConfig .* got dict; make one with"),
    "no config": (lambda: "PPO", "attach takes an AlgorithmConfig .* got str"),
    "frozen": (lambda: frozen(config_of()), r"attach to config.copy\(copy_frozen=False\)"),
    "no env": (PPOConfig, r"call config.environment\(\.\.\.\) first"),
    "multi-agent policies": (lambda: with_policies(config_of()), "multi-agent"),
    "multi-agent env": (lambda: config_of(Agents), "multi-agent"),
    "old API stack": (
        lambda: config_of().api_stack(enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False),
        "only RLlib's new API stack is recorded",
    ),
    "vector env with sync": (
        lambda: config_of(TradingVectorEnv),
        r"TradingVectorEnv is a vector env, .*gym_env_vectorize_mode='vector_entry_point'",
    ),
    "single env as vector entry point": (
        lambda: config_of().env_runners(gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT),
        "TradingEnv is a single env",
    ),
    "function that makes a vector env": (
        lambda: config_of(lambda context: TradingVectorEnv({**context, "num_envs": 1})),
        "TradingVectorEnv is a vector env",
    ),
    "own env runner": (
        lambda: config_of().env_runners(env_runner_cls=OwnRunner),
        r"class MyOwnRunner\(rsc.rllib.Recording, OwnRunner\): pass",
    ),
    "output": (lambda: config_of().offline_data(output="/tmp/out"), r"OfflineSingleAgentEnvRunner\): pass"),
    "env without an account": (lambda: config_of(CartPoleEnv), "CartPoleEnv does not tell the value of its account"),
    "gymnasium id without an account": (lambda: config_of("CartPole-v1"), "CartPoleEnv does not tell"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_attach__config_that_cannot_be_recorded__one_line_and_nothing_is_made(world: World, case: str) -> None:
    make, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=words) as raised:
        world.attach(make())
    assert "\n" not in str(raised.value)
    assert world.is_untouched()
    assert not list(world.root.parent.iterdir())


def test_attach__env_runner_class_made_as_the_refusal_says__is_recorded(world: World) -> None:
    config = config_of().env_runners(env_runner_cls=OwnRecordedRunner)
    with world.runner(config) as runner:
        assert isinstance(runner, OwnRunner)
        sample(runner, 25)
    assert [row.status for row in world.rows()] == ["completed", "started"]


def test_attach__account_that_cannot_be_pickled__nothing_is_made(world: World) -> None:
    lock = threading.Lock()
    with pytest.raises(ValueError, match="cannot be sent to env runners"):
        world.attach(config_of(CartPoleEnv), account=rsc.Account(value=lambda env, info: lock.locked()))
    assert world.is_untouched()


def test_attach__env_and_callbacks__are_left_alone(world: World) -> None:
    config = config_of().callbacks([Counting])
    with world.attach(config):
        assert config.env is TradingEnv
        assert config.callbacks_class == [Counting]


def test_attach__account_of_a_gymnasium_env__is_used(world: World) -> None:
    """An env that knows nothing of this package, by its id."""
    account = rsc.Account.from_rewards("money", capital=100.0)
    with world.runner(config_of("CartPole-v1"), account=account) as runner:
        sample(runner, 300)  # random actions may keep the pole up for 60 steps
    done = [row for row in world.rows() if row.status == "completed"]
    assert done
    assert all(row.final_portfolio_value == 100.0 + row.total_steps for row in done)
    assert {row.env_class for row in world.rows()} == {"CartPoleEnv"}


def test_attach__gymnasium_id__keeps_its_time_limit(world: World) -> None:
    """The recorder is around what `gym.make` makes."""
    account = rsc.Account.from_rewards("money")
    config = config_of("Pendulum-v1")
    with world.runner(config, account=account) as runner:
        sample(runner, 210)
    assert [row.end_reason for row in world.rows()] == ["time_limit", None]


def test_attach__again_on_the_same_config__the_newer_run_is_recorded(world: World) -> None:
    config = config_of()
    with world.attach(config):
        pass
    with world.runner(config, run_id="r2") as runner:
        sample(runner, 25)
    assert not world.rows()
    assert [row.status for row in world.rows("r2")] == ["completed", "started"]
    assert len([one for one in runner._callbacks if type(one).__module__.startswith("rsc.")]) == 1


@pytest.mark.parametrize("callbacks", [Counting, [Counting, Counting]], ids=["class", "list"])
def test_attach__notebook_cell_is_run_again__each_run_has_its_own_rows(world: World, callbacks: Any) -> None:
    for number in (1, 2):
        with world.runner(config_of().callbacks(callbacks), run_id=f"r{number}") as runner:
            sample(runner, 25)
    for number in (1, 2):
        assert [row.status for row in world.rows(f"r{number}")] == ["completed", "started"]


def test_attach__copies_of_an_attached_config__are_recorded_in_its_run(world: World) -> None:
    config = config_of()
    with world.attach(config):
        for copy in (config.copy(), PPOConfig.from_dict(config.to_dict()), pickle.loads(cloudpickle.dumps(config))):
            runner = runner_of(copy)
            sample(runner, 25)
            runner.stop()
    assert sorted(row.status for row in world.rows()) == ["completed"] * 3 + ["started"] * 3


def test_attach__env_and_callbacks_are_changed_afterwards__still_recorded(world: World) -> None:
    config = config_of()
    with world.attach(config):
        config.environment(TradingEnv, env_config={"episode_length": 10})
        config.callbacks(Counting)
        config.env_runners(num_envs_per_env_runner=2)
        runner = runner_of(config)
        sample(runner, 24)
        runner.stop()
    assert [row.total_steps for row in world.rows() if row.status == "completed"] == [10, 10]
    (counting,) = [one for one in runner._callbacks if isinstance(one, Counting)]
    assert counting.ended == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (with_policies, "multi-agent"),
        (
            lambda config: config.api_stack(
                enable_rl_module_and_learner=False, enable_env_runner_and_connector_v2=False
            ),
            "new API stack",
        ),
        (lambda config: config.offline_data(output="/tmp/out"), "call rsc.attach last"),
        (lambda config: config.environment(TradingVectorEnv), "is a vector env"),
    ],
    ids=["multi-agent", "old API stack", "output", "vector env"],
)
def test_attach__config_is_made_unrecordable_afterwards__the_env_runner_says_so(
    world: World, change: Any, words: str
) -> None:
    config = config_of()
    with world.attach(config):
        change(config)
        with pytest.raises(ValueError, match=words):
            runner_of(config)


def test_attach__evaluation_config_is_a_config__is_recorded_too(world: World) -> None:
    own = PPOConfig().environment(TradingEnv, env_config={"episode_length": 5}).callbacks(Counting)
    config = config_of().evaluation(evaluation_interval=1, evaluation_config=own)
    with world.attach(config):
        evaluation = config.get_evaluation_config_object()
        assert evaluation.env_runner_cls is RecordedEnvRunner
        runner = runner_of(evaluation)
        sample(runner, 7)
        runner.stop()
    first, second = world.rows()
    assert (first.total_steps, first.in_evaluation, second.in_evaluation) == (5, True, True)
    assert {journal.header.about.in_evaluation for journal in world.journals().values()} == {True}


def test_attach__evaluation_config_is_a_dict_with_its_own_env__is_recorded(world: World) -> None:
    overrides = PPOConfig.overrides(env=TradingEnv, env_config={"episode_length": 5}, callbacks_class=Counting)
    config = config_of()
    with world.attach(config):
        config.evaluation(evaluation_interval=1, evaluation_config=overrides)
        runner = runner_of(config.get_evaluation_config_object())
        sample(runner, 7)
        runner.stop()
    first = world.rows()[0]
    assert (first.total_steps, first.in_evaluation) == (5, True)


def test_attach__evaluation_config_object_comes_afterwards__the_env_runner_warns(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of()
    with world.attach(config), caplog.at_level(logging.WARNING, "rsc"):
        config.evaluation(evaluation_interval=1, evaluation_config=PPOConfig().environment(TradingEnv))
        runner_of(config).stop()
    assert "evaluation is not recorded" in caplog.text


def test_runner__its_run_is_over__trains_without_a_record_and_warns_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    config = config_of(envs=2)
    with world.attach(config):
        pass
    caplog.clear()
    with caplog.at_level(logging.WARNING, "rsc"):
        for _ in range(2):
            runner = runner_of(config)
            assert sample(runner, 25)
            runner.stop()
    warnings = [record.getMessage() for record in caplog.records if record.name == "rsc"]
    assert warnings == [
        f"no episode is recorded, because run {RUN} has ended; call rsc.attach on the config for a new run"
    ]
    assert not world.journals()


def test_run__with_block_that_recorded_nothing__says_so(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "rsc"), world.attach(config_of()):
        pass
    assert f"run {RUN} recorded no episode" in caplog.text
    assert world.run_row().status == "completed"


def test_attach__same_seed_as_the_bare_config__plays_the_same_episodes(world: World) -> None:
    """The record changes nothing that the trainer sees."""

    def played(config: Any, kind: Any) -> list[Any]:
        runner = kind(config=config, worker_index=1)
        runner.env.action_space.seed(5)
        episodes = sample(runner, 50)
        runner.stop()
        return [np.asarray(episode.get_observations()) for episode in episodes]

    bare = played(config_of(envs=2), SingleAgentEnvRunner)
    config = config_of(envs=2)
    with world.attach(config):
        recorded = played(config, config.env_runner_cls)
    assert len(bare) == len(recorded) >= 2
    for one, other in zip(bare, recorded, strict=True):
        np.testing.assert_array_equal(one, other)


def test_attach__probing_the_env__leaves_the_global_random_numbers(world: World) -> None:
    class Noisy(TradingEnv):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            np.random.rand()

    np.random.seed(1)
    expected = np.random.RandomState(1).rand()
    with world.attach(config_of(functools.partial(Noisy))):
        assert np.random.rand() == expected


SECRET = "s3cr/t@"


def test_attach__password_in_the_url__is_nowhere_on_the_config(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Configs are stored in checkpoints."""
    monkeypatch.setattr("rsc.db.session.open_engine", lambda url, *_, **__: open_engine(world.url))
    given = "postgresql://me:s3cr%2Ft%40@localhost/trading?sslmode=require"
    config = config_of()
    with caplog.at_level(logging.DEBUG), world.attach(config, database_url=given) as run:
        settings = RecordingSettings.of(config)
        assert settings is not None
        assert settings.database_url == "postgresql://me@localhost/trading?sslmode=require"
        stored = cloudpickle.dumps(config) + repr(config.to_dict()).encode() + repr(run).encode()
    for secret in (SECRET, "s3cr%2Ft%40"):
        assert secret.encode() not in stored
        assert secret not in caplog.text


def test_attach__sub_envs_are_made_again_after_an_error__each_has_a_row(world: World) -> None:
    """RLlib closes and makes the whole vector env anew; our callbacks are there once."""

    class Fragile(TradingEnv):
        steps = 0

        def step(self, action: Any) -> Any:
            Fragile.steps += 1
            if Fragile.steps == 30:
                raise RuntimeError("fragile")
            return super().step(action)

    config = config_of(functools.partial(Fragile), envs=2)
    config.environment(env_config={"episode_length": 20})
    config.fault_tolerance(restart_failed_sub_environments=True)
    with world.runner(config) as runner:
        sample(runner, 60)
        assert len([one for one in runner._callbacks if type(one).__module__.startswith("rsc.")]) == 1
    rows = world.rows()
    assert {row.journal_id for row in rows} == set(world.journals())
    assert "error" in {row.status for row in rows}


def variants() -> dict[str, Any]:
    def connector(*_: Any, **__: Any) -> Any:
        from ray.rllib.connectors.env_to_module import MeanStdFilter

        return MeanStdFilter()

    return {
        "LSTM": lambda config: config.rl_module(model_config={"use_lstm": True, "lstm_cell_size": 8}),
        "connector": lambda config: config.env_runners(env_to_module_connector=connector),
        "async": lambda config: config.env_runners(gym_env_vectorize_mode="async"),
        "complete episodes": lambda config: config.env_runners(batch_mode="complete_episodes"),
    }


@pytest.mark.parametrize("variant", variants())
def test_attach__config_variant__is_recorded(world: World, variant: str) -> None:
    config: AlgorithmConfig = variants()[variant](config_of(envs=2))
    with world.runner(config) as runner:
        episodes = runner.sample(num_timesteps=50)
    assert episodes
    done = [row for row in world.rows() if row.status == "completed"]
    assert len(done) == 2
    journals = world.journals()
    assert all(row.total_steps == journals[row.journal_id].last_step == 20 for row in done)
