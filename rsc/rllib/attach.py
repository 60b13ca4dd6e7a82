"""`attach`: record all episodes of an RLlib config in a new run."""

from __future__ import annotations

import logging
import random
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.env.env_context import EnvContext

from journal import Durability, RunMarker, list_journals
from journal.host.identity import boot_id
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc import defaults
from rsc.db.urls import without_password
from rsc.provenance import provenance
from rsc.recording.accounts import Account, AccountError
from rsc.recording.episode import account_for
from rsc.rllib import checks, live, rows, trials
from rsc.rllib.runner import RecordedEnvRunner, RecordedEnvs, evaluation_runner, require_known_runner
from rsc.rllib.settings import RecordingSettings, pickled

log = logging.getLogger("rsc")


class Run:
    """A run on record.

    As a context manager it ends as `completed`, as `error` on an exception, and as `interrupted` on Ctrl-C.
    """

    def __init__(self, run_id: str, journal_root: Path, database_url: str, marker: RunMarker, token: str) -> None:
        self.run_id = run_id
        self.journal_root = journal_root
        self.database_url = database_url
        self._marker = marker
        self._token = token

    def __enter__(self) -> Run:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self.end("completed")
        elif issubclass(kind, Exception):
            self.end("error", f"{kind.__name__}: {error}")
        else:
            self.end("interrupted")

    def end(self, status: str, notes: str | None = None) -> None:
        """Record the run's final status, and let no further env record it. If the database is down, log a warning."""
        from sqlalchemy.exc import SQLAlchemyError

        from rsc.db import runs
        from rsc.db.session import DatabaseError, first_line, open_engine

        live.end(self._token)
        rows.drain(self.database_url)
        try:
            with open_engine(self.database_url).begin() as connection:
                runs.end_run(connection, self.run_id, status, datetime.now(UTC), notes)
                recorded = runs.has_episodes(connection, self.run_id)
        except (SQLAlchemyError, DatabaseError) as failure:
            log.warning("run %s: its end is not recorded: %s", self.run_id, first_line(failure))
            recorded = True  # not known
        if status == "completed" and not recorded and not any(list_journals(self.journal_root, self.run_id)):
            log.warning(
                "run %s recorded nothing: no episode began; build the algorithm after rsc.attach, from the same config,"
                " and train inside the `with` block",
                self.run_id,
            )
        self._marker.close()


def new_run_id() -> str:
    """A run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


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
) -> Run:
    """Record all episodes of a config's envs in a new run: a journal and a database row for each.

    Sets ``config.env_runner_cls`` and adds plain data to the config. Env, callbacks and all else stay as they are, and
    may be changed afterwards. A config that is attached again is recorded in the newer run.

    Args:
        config: A config of RLlib's new API stack, with an env of one agent.
        account: Where the env tells what its account is worth. None: the env is known, as TradingEnv is.
        run_id: None: made from the time.
        journal_root: Folder of the journals. None: $RSC_JOURNAL_ROOT, else rsc-data/journal.
        database_url: None: $RSC_DATABASE_URL, else the file rsc-data/rsc.db. Its password stays in this process and in
            the memory of the Ray cluster.
        durability: What survives a power cut: see docs/reference.md.
        checkpoint_every_steps: Steps between the checkpoints in a journal.
        on_error: What a journal that cannot be written does: a warning, or JournalWriteError from the env's step.
        parameters: Facts about the run for its row.
        independent_seeds: Change the seeds that RLlib resets envs with, so that no two envs and no two rounds of
            evaluation play the same episode.

    Returns:
        The run. End it with `Run.end`, or use it in a `with` statement around the training.

    Raises:
        TypeError, ValueError: The config cannot be recorded. Nothing was made.
        JournalExistsError: The run id is taken.
        rsc.db.session.DatabaseError: The database cannot be used.
    """
    checks.require_config(config)
    require_known_runner(config)
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
        trial_id=trials.current(),
        parameters=trials.plain_values(config),
    )
    _require_account(config, settings)
    run = _start_run(settings, root, url, dict(parameters or {}), _facts(config, settings))
    _put_on(config, settings)
    live.begin(settings.token, secret)
    return run


def _put_on(config: AlgorithmConfig, settings: RecordingSettings) -> None:
    """Change the config. An evaluation config that is a whole config has an env runner class of its own: change it too."""
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
    """Make the env once, unless its class shows that it can be recorded, and look for its account.

    An env that cannot be made here is not refused: an env runner may be able to make it.

    Raises:
        ValueError: The env does not tell what its account is worth.
    """
    if settings.account is not None or hasattr(config.env, "journal_about"):
        return
    with _same_random_numbers():
        maker = RecordedEnvs.of(config, settings, {})
        context = EnvContext(config.env_config, worker_index=0)
        env = None
        try:
            env = maker.bare(context | {"num_envs": 1} if checks.is_vector_mode(config) else context)
            checks.require_made_env(env, config)
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
        log.debug("the env that was made to find its account does not close: %s", error)


@contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Give training the same global random numbers, whatever happens inside."""
    of_python, of_numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(of_python)
        np.random.set_state(of_numpy)


def _facts(config: AlgorithmConfig, settings: RecordingSettings) -> dict[str, Any]:
    """Return what the run's row says about where its figures come from."""
    return {
        **provenance(),
        "algorithm": type(config).__name__.removesuffix("Config"),
        "config": settings.parameters,
        "seed": config.seed,
        "trial_id": settings.trial_id,
    }


def _start_run(
    settings: RecordingSettings, root: Path, url: str, parameters: dict[str, Any], facts: dict[str, Any]
) -> Run:
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from journal import JournalExistsError
    from rsc.db import runs
    from rsc.db.hints import unusable
    from rsc.db.session import open_engine
    from rsc.db.upgrade import upgrade

    run_id = settings.run_id
    engine = open_engine(url)
    upgrade(engine)
    try:
        with engine.begin() as connection:
            runs.start_run(connection, run_id, parameters, str(root), datetime.now(UTC), facts)
            # The row first: the marker of a run that is refused would vouch for a root that is not the run's.
            marker = RunMarker(root, run_id, parameters)
    except IntegrityError as error:
        raise JournalExistsError(
            f"run {run_id} exists already in the database", hint="choose another run id"
        ) from error
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error
    return Run(run_id, root, url, marker, settings.token)
