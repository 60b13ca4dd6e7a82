"""Run the training of `rsc train`: RLlib, signals, progress, and a summary of the episodes that are left."""

from __future__ import annotations

import logging
import math
import os
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from journal.console import DATA_LOST, DONE, console, remark
from rsc.defaults import DATABASE_VARIABLE
from rsc.rllib.stopping import Signals, Stopped
from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.env import TradingEnv
from rsc.trading.game import Game
from rsc.trading.vector_env import TradingVectorEnv

RECONCILE_TIMEOUT_S = 3600
DQN_STEPS_PER_UPDATE = 8


@dataclass(frozen=True)
class TrainingPlan:
    """What to train; the options of `rsc train`."""

    algo: str = "ppo"
    iterations: int = 1
    num_env_runners: int = 2
    num_envs_per_env_runner: int = 4
    vectorised: bool = False
    train_batch_size: int = 3000
    evaluation_interval: int | None = None
    batch_mode: str = "truncate_episodes"
    env_config: dict[str, Any] = field(default_factory=dict)
    durability: str = "process"
    save_dir: Path | None = None
    seed: int | None = None
    run_id: str | None = None
    journal_root: Path | None = None
    database_url: str | None = None
    reconcile: bool = False

    def parameters(self) -> dict[str, Any]:
        """For the run's row."""
        hidden = {"database_url", "journal_root", "run_id", "reconcile"}
        return {key: value for key, value in vars(self).items() if key not in hidden}


_UNRECORDED = "unrecorded"


@dataclass
class Training:
    """A training that ended. ``stopped`` is the signal that stopped it, ``episodes`` how many RLlib says it finished."""

    run: Any
    stopped: int = 0
    episodes: int = 0


def train(plan: TrainingPlan) -> int:
    """Train, and return the exit code.

    128 + the signal that stopped the training, else that of `reconcile` if it was asked for and failed, 3 if the
    journals are incomplete, 1 if the rows cannot be counted, or 0.
    """
    prices = _try_game(plan).market.described()
    signals = Signals()
    try:
        with signals.held(), signals.believed():
            training = _train(plan, prices, signals)
    except Stopped as early:
        remark(f"stopped by {signal.Signals(early.number).name} before training began")
        return 128 + early.number
    counts = _counts(training.run)
    code = _summary(training.run, plan, counts)
    rows = sum(count for name, count in (counts or {}).items() if name != _UNRECORDED)
    lost = incomplete_journals(training.run.journal_root, training.run.run_id, max(rows, training.episodes))
    for line in lost:
        remark(line)
    if training.stopped:
        return 128 + training.stopped
    return code or (DATA_LOST if lost else DONE)


def incomplete_journals(root: Path, run_id: str, episodes: int) -> list[str]:
    """Return one line for each way in which a run's journals are incomplete.

    Args:
        root: The journal root.
        run_id: The run.
        episodes: How many episodes there were at least: rows of the database, those of evaluation among them, or
            what RLlib counted.
    """
    from journal import list_journals
    from journal.format.schema import FAILED_SUFFIX
    from journal.host.paths import run_dir

    lines = []
    failed = sum(1 for _ in run_dir(root, run_id).glob(f"*{FAILED_SUFFIX}"))
    if failed:
        lines.append(f"journals that lack their last steps, since a write failed: {failed:,}; is the disk full?")
    journals = sum(1 for _ in list_journals(root, run_id))
    if journals < episodes:
        lines.append(f"episodes without a journal: {episodes - journals:,} of {episodes:,}; is the disk full?")
    return lines


def _try_game(plan: TrainingPlan) -> Game:
    """Make the market and its settings before Ray starts and the run has a row, so that an error is one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        game = Game(TradingConfig.of(plan.env_config))
    for warning in caught:
        remark(f"warning: {warning.message}")
    if plan.algo == "dqn" and game.config.actions != "discrete":
        raise ConfigError(f"DQN chooses among discrete actions, got actions={game.config.actions!r}; use --algo ppo")
    return game


def _train(plan: TrainingPlan, prices: dict[str, Any], signals: Signals) -> Training:
    from rsc.rllib.attach import attach

    quieten()
    config = algorithm_config(plan)
    run = attach(
        config,
        run_id=plan.run_id,
        journal_root=plan.journal_root,
        database_url=plan.database_url,
        durability=plan.durability,  # type: ignore[arg-type]
        parameters={**plan.parameters(), "prices": prices},
        independent_seeds=True,
    )
    click.echo(f"run {run.run_id}")
    training = Training(run)
    try:
        with run, signals.believed(), _ray(plan, signals):
            _iterate(config, plan, signals, training)
    except Stopped as stop:
        training.stopped = stop.number
        remark(f"stopped by {signal.Signals(stop.number).name}")
    return training


def algorithm_config(plan: TrainingPlan) -> Any:
    """RLlib's config for the plan, on the new API stack."""
    from ray.rllib.algorithms.dqn import DQNConfig
    from ray.rllib.algorithms.ppo import PPOConfig

    config = PPOConfig() if plan.algo == "ppo" else DQNConfig()
    config.environment(TradingVectorEnv if plan.vectorised else TradingEnv, env_config=plan.env_config)
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
        # RLlib learns once a fragment, by default once a step of all envs: with a single env nearly all time goes there.
        envs = max(plan.num_env_runners, 1) * plan.num_envs_per_env_runner
        config.env_runners(rollout_fragment_length=math.ceil(DQN_STEPS_PER_UPDATE / envs))
    if plan.evaluation_interval:
        config.evaluation(evaluation_interval=plan.evaluation_interval, evaluation_duration=5)
    return config


def _iterate(config: Any, plan: TrainingPlan, signals: Signals, training: Training) -> None:
    algorithm = config.build_algo()
    try:
        with _progress(plan.iterations) as advance:
            for _ in range(plan.iterations):
                result = algorithm.train()
                training.episodes = int(result.get("env_runners", {}).get("num_episodes_lifetime", 0))
                advance(result)
                signals.check()
        if plan.save_dir is not None:
            algorithm.save_to_path(plan.save_dir.absolute())
            click.echo(f"policy saved to {plan.save_dir}")
    finally:
        algorithm.stop()


@contextmanager
def _progress(iterations: int) -> Iterator[Any]:
    """Show a progress bar on a terminal, and one line for each iteration elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=console()) as bar:
            task = bar.add_task("", total=iterations)
            yield lambda result: bar.update(task, advance=1, description=_in_words(result))
        return
    done = iter(range(1, iterations + 1))
    yield lambda result: remark(f"iteration {next(done)} of {iterations}: {_in_words(result)}")


def _in_words(result: dict[str, Any]) -> str:
    runners = result.get("env_runners", {})
    steps = runners.get("num_env_steps_sampled_lifetime", 0)
    mean = runners.get("episode_return_mean", math.nan)  # RLlib's NaN: no episode ended lately
    return f"{int(steps)} steps" + ("" if math.isnan(mean) else f", mean return {mean:+.4f}")


def quieten() -> None:
    """Silence the warnings of Ray in this process. Called in the driver and in each worker."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="env_config ", category=UserWarning)  # said once, by `_try_game`
    # The market's remarks, too, are said by `_try_game`.
    for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation", "rsc.trading.market"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _ray(plan: TrainingPlan, signals: Signals) -> Iterator[None]:
    """Start a local Ray that logs errors only, and shut it down afterwards."""
    import ray

    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    evaluators = 0 if plan.evaluation_interval is None else 1
    ray.init(
        address="local",
        num_cpus=max(os.cpu_count() or 1, plan.num_env_runners + evaluators + 1),
        include_dashboard=False,
        logging_level="ERROR",
        runtime_env={"worker_process_setup_hook": "rsc.rllib.train.quieten"},
    )
    signals.take()  # again: Ray's own handler for SIGTERM, installed by its init, aborts the process
    try:
        yield
    finally:
        ray.shutdown()


def _summary(run: Any, plan: TrainingPlan, counts: Mapping[str, int] | None) -> int:
    """Print how many episodes are left, and the command that ends them, or run it.

    Args:
        run: The run.
        plan: What was asked for.
        counts: As `_counts` returns them.

    Returns:
        The exit code of that command if it was run. Else 0, or another code if the record is known to be incomplete.
    """
    from rsc.db.urls import without_password  # SQLAlchemy, which `--help` does not need

    if counts is not None:
        left, unrecorded = counts.get("started", 0), counts[_UNRECORDED]
        finished = {name: count for name, count in counts.items() if name not in ("started", _UNRECORDED)}
        ended = ", ".join(f"{count} {status}" for status, count in sorted(finished.items())) or "none ended"
        without = f"; {unrecorded} without a row, which the database did not take" if unrecorded else ""
        click.echo(f"episodes: {ended}; {left} left running by RLlib{without}")
        if not left + unrecorded:
            return 0
    arguments = ["--run-id", run.run_id]
    if plan.reconcile:
        # No grace: envs of this very process closed their journals just now, and no callback comes any more. Env
        # runners that were told to end still may take long on a busy machine, since Ray makes them nice.
        command = [sys.executable, "-m", "reconciler", *arguments, "--grace", "0s", "--wait", "60s"]
        # By the environment, since every user of the machine can read the arguments of a process.
        environment = {**os.environ, DATABASE_VARIABLE: run.database_url}
        return subprocess.run(command, check=False, timeout=RECONCILE_TIMEOUT_S, env=environment).returncode
    if plan.database_url:
        arguments += ["--database-url", without_password(plan.database_url)[0]]
    click.echo(f"to end them: {shlex.join(['reconcile', *arguments])}")
    return int(counts is None)


def _counts(run: Any) -> dict[str, int] | None:
    """Count episodes by status, and journals without a row as ``unrecorded``. None: the database does not answer."""
    from sqlalchemy.exc import SQLAlchemyError

    from journal import list_journals
    from rsc.db.episodes import status_counts
    from rsc.db.session import first_line, open_engine, reading

    try:
        with reading(open_engine(run.database_url)) as connection:
            counts = status_counts(connection, run.run_id)
    except SQLAlchemyError as error:
        remark(f"episodes: not known, the database does not answer ({first_line(error)})")
        return None
    journals = sum(1 for _ in list_journals(run.journal_root, run.run_id))
    return {**counts, _UNRECORDED: max(0, journals - sum(counts.values()))}
