"""`attach`: record all episodes of an RLlib config in a new run."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext

from journal import Durability, RunMarker, list_journals
from journal.host.identity import boot_id
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc import defaults, mirroring
from rsc.db.urls import without_password
from rsc.provenance import provenance
from rsc.recording.accounts import Account, AccountError
from rsc.recording.episode import account_for
from rsc.rllib import checks, live, rows, trials
from rsc.rllib.nodes import this_node, this_node_or_none
from rsc.rllib.runner import RecordedEnvRunner, RecordedEnvs, evaluation_runner, require_known_runner
from rsc.rllib.settings import RecordingSettings, pickled
from rsc.runs import Run, new_run_id, register_run
from rsc.versions import warn_of_unsupported

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")


_begun: set[str] = set()
"""Tokens of the runs that this process started."""


class AttachedRun(Run):
    """A run of RLlib: its env runners write the rows of their episodes."""

    _HINT = "build the algorithm after rsc.attach, from the same config, and train inside the `with` block"

    def __init__(self, settings: RecordingSettings, database_url: str, marker: RunMarker) -> None:
        super().__init__(settings.journal_settings(), database_url, marker)
        self._token = settings.token
        self._only_on_this_node = False

    def _let_go_of_envs(self) -> None:
        self._only_on_this_node = live.end(self._token)
        rows.drain(self.database_url)
        super()._let_go_of_envs()

    def _settle(self, engine: Engine, deadline: float) -> tuple[int, int]:
        from rsc.db import runs

        with engine.connect() as connection:
            found = runs.has_episodes(connection, self.run_id)
        return int(found or any(list_journals(self.journal_root, self.run_id))), 0

    def _recorded_only_here(self) -> bool:
        return self._only_on_this_node and super()._recorded_only_here()


def attach(
    config: AlgorithmConfig,
    *,
    account: Account | None = None,
    run_id: str | None = None,
    journal_root: Path | str | None = None,
    database_url: str | None = None,
    durability: Durability = "process",
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
    on_error: Literal["warn", "raise"] = "warn",
    parameters: Mapping[str, Any] | None = None,
    independent_seeds: bool = False,
    observations: bool = False,
    parent_run_id: str | None = None,
    mirror: str | Path | None = None,
    mirror_every_s: float = defaults.MIRROR_EVERY_S,
) -> AttachedRun:
    """Record all episodes of a config's envs in a new run: a journal and a database row for each.

    Sets ``config.env_runner_cls`` and adds plain data to the config. Env, callbacks and all other settings are not changed,
    and you may change them afterwards. If a config is attached again, its episodes are recorded in the newer run.

    Args:
        config: A config of RLlib's new API stack, with an env of one agent.
        account: Where the env exposes value, position and costs. None for a known env, such as TradingEnv.
        run_id: None: made from the time.
        journal_root: Folder of the journals. None: $RSC_JOURNAL_ROOT, else rsc-data/journal.
        database_url: None: $RSC_DATABASE_URL, else the file rsc-data/rsc.db. Its password stays in this process and in
            the memory of the Ray cluster.
        durability: Which steps survive a power cut: see docs/reference.md.
        checkpoint_every_steps: Steps between the checkpoints in a journal.
        on_error: If a journal cannot be written: "warn" logs a warning, "raise" raises JournalWriteError from the env's
            step.
        parameters: Facts about the run for its row.
        independent_seeds: Change the seeds with which RLlib resets envs, so that no two envs and no two rounds of
            evaluation play the same episode.
        observations: Record the env's own observations as extra columns, `observation_0` and so on, before RLlib's
            connectors change them. `LoadedRun.to_minari` converts them to a dataset.
        parent_run_id: The run whose checkpoint this run continues from. None: the run of the config's checkpoint, if the
            config is from one.
        mirror: URL of an object store, or a folder. A background process on each node with env runners copies the node's
            journals to it while they are written: docs/how-to/mirror.md. None: $RSC_MIRROR, else no mirror; "": no
            mirror. Credentials come from the environment of each node.
        mirror_every_s: Seconds between two looks of a mirror.

    Returns:
        The run. End it with `Run.end`, or use it in a `with` statement around the training.

    Raises:
        TypeError, ValueError: The config cannot be recorded. Nothing was created.
        journal.mirror.MirrorError: The mirror cannot be written, or its URL holds secrets. Nothing was created.
        JournalExistsError: The run id is taken.
        rsc.db.session.DatabaseError: The database cannot be used.
    """
    checks.require_config(config)
    require_known_runner(config)
    warn_of_unsupported(("ray", "gymnasium"))
    root, url = defaults.journal_root(journal_root), defaults.database_url(database_url)
    checks.require_one_node(url, config)
    bare_url, secret = without_password(url)
    settings = RecordingSettings(
        run_id=new_run_id() if run_id is None else run_id,
        token=secrets.token_hex(16),
        journal_root=str(root),
        database_url=bare_url,
        driver_boot_id=boot_id(),
        durability=durability,
        checkpoint_every_steps=checkpoint_every_steps,
        on_error=on_error,
        account=pickled(account),
        independent_seeds=independent_seeds,
        observations=observations,
        trial_id=trials.current(),
        parameters=trials.plain_values(config),
        mirror=mirroring.usable_mirror(defaults.mirror(mirror), mirror_every_s),
        mirror_every_s=mirror_every_s,
    )
    _require_account(config, settings)
    facts = _facts(config, settings, parent_run_id or _parent_of(config))
    _, marker = register_run(settings.run_id, root, url, dict(parameters or {}), facts, node_id=this_node())
    _put_on(config, settings)
    live.begin(settings.token, secret, marker)
    _begun.add(settings.token)
    run = AttachedRun(settings, url, marker)
    run.mirror_to(settings.mirror, settings.mirror_every_s, this_node_or_none)
    return run


def _parent_of(config: AlgorithmConfig) -> str | None:
    """Return the run in which another process recorded this config, if the config is from a checkpoint; else None."""
    earlier = RecordingSettings.of(config)
    return None if earlier is None or earlier.token in _begun else earlier.run_id


def _put_on(config: AlgorithmConfig, settings: RecordingSettings) -> None:
    """Change the config. A whole config as evaluation config has its own env runner class, so change it too."""
    if config.env_runner_cls is None:
        config.env_runners(env_runner_cls=RecordedEnvRunner)
    settings.put_on(config)
    evaluation = config.evaluation_config
    own = evaluation_runner(config) or RecordedEnvRunner
    if isinstance(evaluation, AlgorithmConfig):
        evaluation.env_runner_cls = own
        settings.put_on(evaluation)
    elif evaluation is not None and "env_runner_cls" in evaluation:
        evaluation.update(env_runner_cls=own, **settings.as_overrides())


def _require_account(config: AlgorithmConfig, settings: RecordingSettings) -> None:
    """Check that account and observations of the env can be recorded. Creates the env if its class does not show it.

    An env that cannot be created here is accepted, because an env runner may be able to create it.

    Raises:
        ValueError: The env does not expose its account's value, or its observations cannot be recorded.
    """
    if settings.observations and checks.is_vector_mode(config):
        raise checks.UnfitError(
            "observations of a vector env cannot be recorded: use a single env, or attach without observations"
        )
    if not settings.observations and (settings.account is not None or hasattr(config.env, "journal_about")):
        return
    with _same_random_numbers():
        maker = RecordedEnvs.of(config, settings, {})
        context = EnvContext(config.env_config, worker_index=0)
        env = None
        try:
            env = maker.bare(context | {"num_envs": 1} if checks.is_vector_mode(config) else context)
            checks.require_made_env(env, config)
            if settings.observations:
                checks.require_observations(env)
            if settings.account is not None:
                return
            info = {} if hasattr(env.unwrapped, "journal_about") else env.reset()[1]
            account_for(env, None, info)
        except ValueError as error:
            if isinstance(error, AccountError | checks.UnfitError):
                raise
            log.debug("the env cannot be made or reset here: %s", error)
        except Exception as error:
            log.debug("the env cannot be made or reset here: %s", error)
        finally:
            _close(env)


def _close(env: Any) -> None:
    try:
        if env is not None:
            env.close()
    except Exception as error:
        log.debug("the env that was created to find its account cannot be closed: %s", error)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Restore the global random states afterwards, so that the block does not change the training."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _facts(config: AlgorithmConfig, settings: RecordingSettings, parent: str | None) -> dict[str, Any]:
    """Return the columns of the run's row that record the origin of its figures."""
    return {
        **provenance(),
        "algorithm": type(config).__name__.removesuffix("Config"),
        "config": settings.parameters,
        "seed": config.seed,
        "trial_id": settings.trial_id,
        "parent_run_id": parent,
        "mirror": settings.mirror or None,
    }
