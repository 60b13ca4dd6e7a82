"""Run the training of `rsc train`: RLlib, signals, progress, and a summary of the remaining episodes."""

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
from dataclasses import dataclass, replace
from typing import Any

import click

from journal.console import DATA_LOST, DONE, console, fail, remark
from journal.events import native_lines, write_event
from rsc import defaults
from rsc.defaults import DATABASE_VARIABLE
from rsc.policies.errors import PolicyError
from rsc.policies.module import versions
from rsc.policies.split import bars_after, has_same_prices, prices_changed, require_same_features, span_of
from rsc.policies.store import PolicyFacts, PolicyStore
from rsc.ray_address import AUTH_HINT, cluster_address
from rsc.rllib.configs import TrainingPlan, algorithm_config
from rsc.rllib.resuming import Parent, restore, resumed
from rsc.rllib.saving import Saver
from rsc.rllib.stderr import without_restart_warning
from rsc.rllib.stopping import Signals, Stopped
from rsc.runs import incomplete_journals, new_run_id
from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.game import Game

# Imports inside functions load modules that are slow to import and not always needed.

RECONCILE_TIMEOUT_S = 3600

_UNRECORDED = "unrecorded"


@dataclass
class Training:
    """The result of a training. ``stopped`` is the signal that stopped it, ``episodes`` RLlib's count of ended ones."""

    run: Any
    stopped: int = 0
    episodes: int = 0


def train(plan: TrainingPlan) -> int:
    """Train, and return the exit code.

    The exit code is 128 + the signal that stopped the training, else that of a failed `reconcile` if it was requested, 3
    if the journals are incomplete or the policy is not saved, 1 if the rows cannot be counted, or 0.
    """
    root = defaults.policy_root(plan.policy_root)
    plan, parent = resumed(plan, root) if plan.resume else (plan, None)
    if plan.ray:
        plan = replace(plan, ray=cluster_address(plan.ray, "is it running? without --ray, training starts its own Ray"))
    game = _try_game(plan)
    saver = Saver(plan, root, game, None if parent is None else parent.facts)
    if parent is not None:
        _require_same_market(parent.facts, game)
    _say_split(plan, game)
    plan = replace(plan, run_id=plan.run_id or new_run_id())
    if plan.save:
        PolicyStore(root, str(plan.run_id)).require_new()
    signals = Signals()
    try:
        with native_lines(), signals.held(), signals.believed():
            training = _train(plan, game, saver, parent, signals)
    except Stopped as early:
        name = signal.Signals(early.number).name
        remark(f"stopped by {name} before training began", "signal", signal=name)
        return 128 + early.number
    return _concluded(plan, training, saver)


def _concluded(plan: TrainingPlan, training: Training, saver: Saver) -> int:
    """Print what was saved and what remains, and return the exit code."""
    if saver.saved is not None:
        _answer(f"policy saved to {saver.saved}", "saved", path=str(saver.saved))
    counts = _counts(training.run)
    code = _summary(training.run, plan, counts)
    rows = sum(count for name, count in (counts or {}).items() if name != _UNRECORDED)
    known = 0 if plan.ray else max(rows, training.episodes)  # on a cluster each node has its own
    lost = incomplete_journals(training.run.journal_root, training.run.run_id, known)
    for line in [*lost, *filter(None, [saver.failed])]:
        remark(line, "incomplete", level="error")
    if training.stopped:
        return 128 + training.stopped
    return code or (DATA_LOST if lost or saver.failed else DONE)


def _try_game(plan: TrainingPlan) -> Game:
    """Create the training bars before Ray starts and the run has a row, so that an error is one line."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        game = Game(TradingConfig.of(plan.split.training(plan.env_config)))
    for warning in caught:
        remark(f"warning: {warning.message}")
    if plan.algo == "dqn" and game.config.actions != "discrete":
        raise ConfigError(f"DQN chooses among discrete actions, got actions={game.config.actions!r}; use --algo ppo")
    return game


def _require_same_market(facts: PolicyFacts, game: Game) -> None:
    if not has_same_prices(game.market, facts):
        raise PolicyError(prices_changed(facts))
    require_same_features(facts, game.market, versions())


def _say_split(plan: TrainingPlan, game: Game) -> None:
    """Print which bars train, which select, and whether any remain for evaluation."""
    span, market = span_of(game), game.market
    parts = [f"training on {span.bars:,} bars of {market.name}, {span.first[:10]} to {span.last[:10]}"]
    validation = plan.split.validation(plan.env_config)
    seen = span.last
    if validation is not None:
        seen = (other := span_of(Game(TradingConfig.of(validation), market))).last
        parts.append(f"validation on {other.bars:,} bars to {seen[:10]}")
    left = bars_after(market, seen)
    parts.append(
        f"{left:,} later bars unseen" if left else "no later bars are left to evaluate on (--train-until leaves some)"
    )
    remark("; ".join(parts))
    if plan.evaluation_interval and validation is None:
        remark("evaluation episodes are IN SAMPLE: they play the training bars; --validate-until gives them others")


def _train(plan: TrainingPlan, game: Game, saver: Saver, parent: Parent | None, signals: Signals) -> Training:
    remark("loading RLlib")
    from rsc.rllib.attach import attach

    quieten()
    config = algorithm_config(plan)
    run = attach(
        config,
        run_id=plan.run_id,
        journal_root=plan.journal_root,
        database_url=plan.database_url,
        durability=plan.durability,  # type: ignore[arg-type]
        parameters={**plan.parameters(), "prices": game.market.described()},
        independent_seeds=True,
        parent_run_id=None if parent is None else parent.facts.run_id,
        mirror=plan.mirror,
        mirror_every_s=plan.mirror_every,
    )
    _answer(f"run {run.run_id}", "run", run_id=run.run_id)
    if run.mirror:
        remark(f"mirroring its journals to {run.mirror}")
    training = Training(run)
    saver.begin(run.run_id)
    try:
        remark("starting Ray")
        with run, signals.believed(), _ray(plan, signals):
            _iterate(config, plan, signals, training, saver, parent)
    except Stopped as stop:
        training.stopped = stop.number
        name = signal.Signals(stop.number).name
        remark(f"stopped by {name}", "signal", signal=name)
    return training


def _iterate(
    config: Any, plan: TrainingPlan, signals: Signals, training: Training, saver: Saver, parent: Parent | None
) -> None:
    with without_restart_warning():
        algorithm = config.build_algo()
    try:
        if parent is not None:
            restore(algorithm, parent)
        start = int(algorithm.iteration)
        with _progress(start, plan.iterations) as advance:
            for done in range(1, plan.iterations + 1):
                result = algorithm.train()
                # Not RLlib's lifetime count: a resumed training restores it with the episodes of its parent.
                training.episodes += int(result.get("env_runners", {}).get("num_episodes", 0))
                advance(result)
                signals.check()
                if saver.due(done):
                    saver.save(algorithm)
        saver.save(algorithm)
    except BaseException:
        if signals.asked is not None and algorithm.iteration:
            saver.save(algorithm)
        raise
    finally:
        algorithm.stop()


@contextmanager
def _progress(start: int, iterations: int) -> Iterator[Any]:
    """Show a progress bar on a terminal, and one line for each iteration elsewhere."""
    if sys.stderr.isatty():
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, TextColumn("{task.description}"), console=console()) as bar:
            task = bar.add_task("", total=iterations)
            yield lambda result: bar.update(task, advance=1, description=_in_words(result))
        return
    done = iter(range(start + 1, start + iterations + 1))

    def tell(result: dict[str, Any]) -> None:
        iteration, runners = next(done), result.get("env_runners", {})
        remark(
            f"iteration {iteration} of {start + iterations}: {_in_words(result)}",
            "iteration",
            iteration=iteration,
            iterations=start + iterations,
            env_steps=int(runners.get("num_env_steps_sampled_lifetime", 0)),
            mean_return=float(runners.get("episode_return_mean", math.nan)),
        )

    yield tell


def _answer(text: str, event: str, **fields: Any) -> None:
    """Print a line of the result on stdout. With `--log-format json`, write an event instead."""
    if not write_event(text, event, "info", fields):
        click.echo(text)


def _in_words(result: dict[str, Any]) -> str:
    runners = result.get("env_runners", {})
    steps = runners.get("num_env_steps_sampled_lifetime", 0)
    mean = runners.get("episode_return_mean", math.nan)  # RLlib's NaN: no episode ended lately
    return f"{int(steps)} steps" + ("" if math.isnan(mean) else f", mean return {mean:+.4f}")


def quieten() -> None:
    """Silence the warnings of Ray in this process. Called in the driver and in each worker."""
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    warnings.filterwarnings("ignore", message="env_config ", category=UserWarning)  # `_try_game` prints it once
    # `_try_game` also prints the market's warnings.
    for name in ("ray", "ray.rllib", "ray.tune", "ray._common.deprecation", "rsc.trading.market"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _ray(plan: TrainingPlan, signals: Signals) -> Iterator[None]:
    """Start a local Ray that logs only errors, or join a cluster. Shut Ray down, or leave the cluster, afterwards."""
    import ray

    if not sys.stderr.isatty() or os.environ.get("NO_COLOR"):
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    evaluators = 0 if plan.evaluation_interval is None else 1
    own: dict[str, Any] = {
        "address": "local",
        "num_cpus": max(os.cpu_count() or 1, plan.num_env_runners + evaluators + 1),
        "include_dashboard": False,
    }
    hook = {"worker_process_setup_hook": "rsc.rllib.train.quieten"}
    try:
        ray.init(**({"address": plan.ray} if plan.ray else own), logging_level="ERROR", runtime_env=hook)
    except ConnectionError as error:
        if not plan.ray:
            raise
        fail(f"the Ray cluster at {plan.ray} cannot be joined: {str(error).splitlines()[0]}", AUTH_HINT)
    signals.take()  # again, since ray.init installs a handler for SIGTERM that aborts the process
    try:
        yield
    finally:
        ray.shutdown()


def _summary(run: Any, plan: TrainingPlan, counts: Mapping[str, int] | None) -> int:
    """Print the number of remaining episodes, and the command that ends them, or run it.

    Args:
        run: The run.
        plan: The options of the training.
        counts: The result of `_counts`.

    Returns:
        The exit code of that command if it was run. Else 0, or another code if the record is known to be incomplete.
    """
    from rsc.db.urls import without_password  # SQLAlchemy, which `--help` does not need

    if counts is not None:
        left, unrecorded = counts.get("started", 0), counts[_UNRECORDED]
        finished = {name: count for name, count in counts.items() if name not in ("started", _UNRECORDED)}
        ended = ", ".join(f"{count} {status}" for status, count in sorted(finished.items())) or "none ended"
        without = f"; {unrecorded} without a row, because the database did not accept them" if unrecorded else ""
        words = f"episodes: {ended}; {left} left running by RLlib{without}"
        _answer(words, "episodes", ended=finished, started=left, without_row=unrecorded)
        if not (left + unrecorded or (plan.ray and plan.reconcile)):  # other nodes may have journals without a row
            return 0
    arguments = ["--run-id", run.run_id, *(("--ray", plan.ray) if plan.ray else ())]
    if plan.reconcile:
        # No grace period: this process has closed its journals, and no callback will follow. Env
        # runners that were asked to end may still take long on a busy machine, since Ray lowers their priority.
        reconcile = [sys.executable, "-m", "reconciler", *arguments, "--grace", "0s", "--wait", "60s"]
        # By environment variable, since every user of the machine can read the arguments of a process.
        environment = {**os.environ, DATABASE_VARIABLE: run.database_url}
        with native_lines():
            return subprocess.run(reconcile, check=False, timeout=RECONCILE_TIMEOUT_S, env=environment).returncode
    if plan.database_url:
        arguments += ["--database-url", without_password(plan.database_url)[0]]
    command = shlex.join(["reconcile", *arguments])
    _answer(f"to end them: {command}", "next", command=command)
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
        remark(f"episodes: unknown, because the database does not answer ({first_line(error)})")
        return None
    journals = sum(1 for _ in list_journals(run.journal_root, run.run_id))
    return {**counts, _UNRECORDED: max(0, journals - sum(counts.values()))}
