"""RLlib's own algorithms, checkpoints and Tune, in one Ray session: what ended is on record without a reconcile."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.impala import IMPALAConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

import rsc
from rsc.trading.env import TradingEnv
from tests.rsc.rllib.world import RUN, World, config_of

pytestmark = [pytest.mark.rllib, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    """A Ray that runs already when `attach` is called, as in a notebook."""
    folder = Path(rsc.__file__).parent.parent
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    ray.init(
        address="local", num_cpus=8, include_dashboard=False, logging_level="ERROR",
        runtime_env={"env_vars": {"PYTHONPATH": path}},
    )  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def small(kind: Any, *, runners: int = 0) -> Any:
    """A config that trains in a second."""
    config = config_of(kind=kind, envs=2).env_runners(num_env_runners=runners, rollout_fragment_length="auto")
    if kind is PPOConfig:
        return config.training(train_batch_size_per_learner=100, minibatch_size=50, num_epochs=1)
    if kind in (IMPALAConfig, APPOConfig):
        config.env_runners(rollout_fragment_length=25).training(train_batch_size_per_learner=50)
        return config.reporting(min_sample_timesteps_per_iteration=100, min_time_s_per_iteration=0)
    config.env_runners(rollout_fragment_length=10).reporting(min_sample_timesteps_per_iteration=100)
    if kind is SACConfig:
        config.environment(TradingEnv, env_config={"episode_length": 20, "actions": "continuous"})
    return config.training(
        replay_buffer_config={"type": "EpisodeReplayBuffer", "capacity": 1000},
        num_steps_sampled_before_learning_starts=50, train_batch_size_per_learner=16,
    )  # fmt: skip


def assert_on_record(world: World, run_id: str = RUN, least: int = 1) -> list[Any]:
    """Every journal has its row, and every episode that ended by itself its metrics."""
    found, journals = world.rows(run_id), world.journals(run_id)
    assert {row.journal_id for row in found} == set(journals)
    for row in found:
        reason = journals[row.journal_id].end_reason
        assert (row.status == "started") == (reason in (None, "closed")), (row.status, reason)
        if row.status == "completed":
            assert row.total_steps == journals[row.journal_id].last_step == 20
    assert sum(row.status == "completed" for row in found) >= least
    return found


@pytest.mark.parametrize(
    ("kind", "runners"),
    [(PPOConfig, 0), (PPOConfig, 2), (DQNConfig, 0), (SACConfig, 0), (IMPALAConfig, 1), (APPOConfig, 1)],
    ids=["PPO", "PPO 2 runners", "DQN", "SAC", "IMPALA", "APPO"],
)
def test_train__algorithm_is_stopped__what_ended_is_on_record(world: World, kind: Any, runners: int) -> None:
    config = small(kind, runners=runners)
    with world.attach(config):
        algorithm = config.build_algo()
        for _ in range(2):
            algorithm.train()
        algorithm.stop()
        assert_on_record(world, least=2)


def test_train__evaluation_in_a_runner_of_its_own__both_are_on_record(world: World) -> None:
    config = small(PPOConfig).evaluation(
        evaluation_interval=1, evaluation_num_env_runners=1, evaluation_duration=2,
        evaluation_config=PPOConfig.overrides(env_config={"episode_length": 5}),
    )  # fmt: skip
    with world.attach(config):
        algorithm = config.build_algo()
        algorithm.train()
        algorithm.stop()
    found = world.rows()
    assert {(row.in_evaluation, row.total_steps) for row in found if row.status == "completed"} == {
        (False, 20),
        (True, 5),
    }


RESTORED = """
import json, logging, sys, ray
from ray.rllib.algorithms.algorithm import Algorithm
import rsc
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
checkpoint, root, url = sys.argv[1:]
algorithm = Algorithm.from_checkpoint(checkpoint)
before = algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"))
algorithm.train()
after = algorithm.metrics.peek(("env_runners", "num_env_steps_sampled_lifetime"))
config = algorithm.config.copy(copy_frozen=False)
algorithm.stop()
with rsc.attach(config, run_id="again", journal_root=root, database_url=url):
    algorithm = config.build_algo()
    algorithm.restore_from_path(checkpoint)
    algorithm.train()
    algorithm.stop()
print(json.dumps([before, after]))
"""


def test_from_checkpoint__in_a_new_process__trains_on_unrecorded_and_is_recorded_if_attached_again(
    world: World, tmp_path: Path
) -> None:
    config = small(PPOConfig)
    with world.attach(config):
        algorithm = config.build_algo()
        algorithm.train()
        checkpoint = algorithm.save_to_path(tmp_path / "checkpoint")
        algorithm.stop()
    done = subprocess.run(
        [sys.executable, "-c", RESTORED, str(checkpoint), str(world.root), world.url],
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout.splitlines()[-1])
    assert after - before >= 100
    assert done.stderr.count(f"no episode is recorded, because run {RUN} has ended") == 1
    assert_on_record(world, RUN, least=2)
    assert_on_record(world, "again", least=2)


def trials_of(world: World) -> dict[str, Any]:
    """The parameters of each start of each trial, as the run's row has them."""
    recorded: dict[str, Any] = world.run_row().parameters["trials"]
    return {trial: [start["parameters"] for start in starts] for trial, starts in recorded.items()}


def tuned(world: World, config: Any, tmp_path: Path, **settings: Any) -> Any:
    """Run a sweep of the config."""
    with world.attach(config):
        return tune.Tuner(
            "PPO", param_space=config, tune_config=tune.TuneConfig(metric="training_iteration", mode="max", **settings),
            run_config=tune.RunConfig(
                stop={"training_iteration": 2}, storage_path=str(tmp_path / "tune"), verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
            ),
        ).fit()  # fmt: skip


def test_tune__grid_with_asha__each_episode_knows_its_trial_and_each_trial_its_parameters(
    world: World, tmp_path: Path
) -> None:
    config = small(PPOConfig, runners=1).training(lr=tune.grid_search([0.001, 0.002]))
    results = tuned(world, config, tmp_path, scheduler=tune.schedulers.ASHAScheduler())
    assert not results.errors
    expected = {result.metrics["trial_id"]: [{"lr": result.config["lr"]}] for result in results}
    assert len(expected) == 2
    assert trials_of(world) == expected
    assert {row.trial_id for row in assert_on_record(world, least=2)} == set(expected)
    assert {journal.header.about.trial_id for journal in world.journals().values()} == set(expected)


def test_tune__population_based_training__the_changed_parameters_are_on_record(world: World, tmp_path: Path) -> None:
    config = small(PPOConfig).training(lr=tune.uniform(0.001, 0.002))
    scheduler = tune.schedulers.PopulationBasedTraining(
        time_attr="training_iteration", perturbation_interval=1, hyperparam_mutations={"lr": [0.01, 0.02]},
        quantile_fraction=0.5,
    )  # fmt: skip
    results = tuned(world, config, tmp_path, num_samples=2, scheduler=scheduler)
    assert not results.errors
    recorded = trials_of(world)
    assert set(recorded) == {result.metrics["trial_id"] for result in results}
    assert all(list(start) == ["lr"] for starts in recorded.values() for start in starts)
    assert {row.trial_id for row in assert_on_record(world, least=2)} == set(recorded)


def test_tune__function_trainable__trials_are_known_with_attach_outside_or_inside(world: World, tmp_path: Path) -> None:
    outside = small(PPOConfig)

    def train(parameters: dict[str, Any]) -> None:
        config = outside.copy(copy_frozen=False).training(lr=parameters["lr"])
        algorithm = config.build_algo()
        algorithm.train()
        algorithm.stop()
        tune.report({"done": True})

    with world.attach(outside):
        results = tune.Tuner(
            train, param_space={"lr": tune.grid_search([0.001, 0.002])},
            run_config=tune.RunConfig(storage_path=str(tmp_path / "tune"), verbose=0),
        ).fit()  # fmt: skip
    assert not results.errors
    recorded = trials_of(world)
    assert sorted(start["lr"] for (start,) in recorded.values()) == [0.001, 0.002]
    assert {row.trial_id for row in assert_on_record(world, least=2)} == set(recorded)


def test_docs__how_to_page__its_code_runs_and_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = Path(__file__).parents[3] / "docs" / "how-to" / "rllib.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RSC_DATABASE_URL", raising=False)
    monkeypatch.delenv("RSC_JOURNAL_ROOT", raising=False)
    exec("\n".join(blocks), {"__name__": "__main__"})
    world = World(tmp_path / "rsc-data")
    world.root = tmp_path / "rsc-data" / "journal"
    for run_id in ("first", "own", "continued", "sweep"):
        found = world.rows(run_id)
        assert {row.journal_id for row in found} == set(world.journals(run_id))
        assert sum(row.status == "completed" for row in found) >= 2
    assert all(row.final_portfolio_value != 100.0 for row in world.rows("own") if row.status == "completed")
    assert len({row.trial_id for row in world.rows("sweep")}) == 2
