"""The composition root: puts recorder, seeds and callbacks on any AlgorithmConfig, and starts the run's record."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import gymnasium as gym
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.tune.registry import ENV_CREATOR, _global_registry, register_env

from journal import Durability, RunMarker
from journal.write.writer import CHECKPOINT_EVERY_STEPS
from rsc import defaults
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.rllib.callbacks import CallbackSettings, callbacks_for
from rsc.rllib.seeds import IndependentSeeds, VectorIndependentSeeds

log = logging.getLogger("rsc")


@dataclass(frozen=True)
class _RecordedEnv:
    """Makes the user's env with its seeds and its recorder around it; picklable, for env runners elsewhere."""

    make: Any
    settings: JournalSettings

    def __call__(self, context: Any) -> gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]:
        worker_index = int(getattr(context, "worker_index", 0) or 0)
        env = _made(self.make, context)
        notes = {"worker_index": worker_index}
        if isinstance(env, gym.vector.VectorEnv):  # RLlib's context is a plain dict here: the callback tells the index
            return VectorRecorder(VectorIndependentSeeds(env, worker_index), self.settings, notes)
        return Recorder(IndependentSeeds(env, worker_index), self.settings, notes)


def _made(make: Any, context: Any) -> gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any]:
    if isinstance(make, str):
        return gym.make(make, **context)
    env: gym.Env[Any, Any] | gym.vector.VectorEnv[Any, Any, Any] = make(context)
    return env


class Run:
    """A run on record. As a context manager: `completed` at its end, `error` on an exception, `interrupted` on Ctrl-C."""

    def __init__(self, run_id: str, journal_root: Path, database_url: str, marker: RunMarker) -> None:
        self.run_id = run_id
        self.journal_root = journal_root
        self.database_url = database_url
        self._marker = marker

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
        """The driver's word on how the run ended; a database that is down is a warning. Lets go of the marker."""
        from sqlalchemy.exc import SQLAlchemyError

        from rsc.db import runs
        from rsc.db.session import DatabaseError, first_line, open_engine

        try:
            with open_engine(self.database_url).begin() as connection:
                runs.end_run(connection, self.run_id, status, datetime.now(UTC), notes)
        except (SQLAlchemyError, DatabaseError) as failure:
            log.warning("run %s: its end is not recorded: %s", self.run_id, first_line(failure))
        self._marker.close()


def new_run_id() -> str:
    """A run id that sorts by time."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def attach(
    config: AlgorithmConfig,
    *,
    run_id: str | None = None,
    journal_root: Path | str | None = None,
    database_url: str | None = None,
    durability: Durability = "process",
    checkpoint_every_steps: int = CHECKPOINT_EVERY_STEPS,
    on_error: Literal["warn", "raise"] = "warn",
    parameters: Mapping[str, Any] | None = None,
) -> Run:
    """Journal every episode of this config's env, and give each its row; all else in the config stays as it was.

    The env may be a class, a registered name, or a function of the env context, as long as it offers what
    `rsc.recording.recorder.Journaled` asks for. TradingEnv and its subclasses do. With RLlib's
    ``vector_entry_point`` it makes vector envs, which offer `rsc.recording.vector.VectorJournaled`, as
    TradingVectorEnv does. Call it last, before
    `build_algo`. Makes the run's marker, which this process holds until the run ends or the process does, and its row.
    Where a journal cannot be written, ``on_error`` says whether training goes on with a warning, or the env's step
    raises JournalWriteError.

    Raises JournalExistsError for a run id that is taken, rsc.db.session.DatabaseError, and ValueError for a config
    without an env, or with one that cannot be journaled.
    """
    _refuse_what_cannot_be_journaled(config)
    run_id = new_run_id() if run_id is None else run_id
    root = defaults.journal_root(journal_root)
    url = defaults.database_url(database_url)
    run = _start_run(run_id, root, url, dict(parameters or {}))
    settings = JournalSettings(str(root), run_id, durability, checkpoint_every_steps, on_error)
    name = f"recorded-{run_id}"
    register_env(name, _RecordedEnv(_maker_of(config.env), settings))
    config.environment(env=name)
    config.callbacks(callbacks_class=_callbacks_over(config.callbacks_class, CallbackSettings(str(root), run_id, url)))
    return run


def _refuse_what_cannot_be_journaled(config: AlgorithmConfig) -> None:
    """Here, and not by a traceback from each env runner."""
    if config.env is None:
        raise ValueError("the config has no env yet: call config.environment(...) first")
    env = config.env
    if isinstance(env, type) and not issubclass(env, gym.Wrapper) and not hasattr(env, "journal_about"):
        raise ValueError(f"{env.__name__} cannot be journaled: it lacks what rsc.recording.Journaled asks for")


def _start_run(run_id: str, root: Path, url: str, parameters: dict[str, Any]) -> Run:
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from journal import JournalExistsError
    from rsc.db import runs
    from rsc.db.hints import unusable
    from rsc.db.session import open_engine
    from rsc.db.upgrade import upgrade

    engine = open_engine(url)
    upgrade(engine)
    try:
        with engine.begin() as connection:
            runs.start_run(connection, run_id, parameters, str(root), datetime.now(UTC))
            # The row first: the marker of a run that is refused would vouch for a root that is not the run's.
            marker = RunMarker(root, run_id, parameters)
    except IntegrityError as error:
        raise JournalExistsError(
            f"run {run_id} exists already in the database", hint="choose another run id"
        ) from error
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error
    return Run(run_id, root, url, marker)


def _maker_of(env: Any) -> Any:
    if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
        creator: Callable[[Any], Any] = _global_registry.get(ENV_CREATOR, env)
        return creator
    return env


def _callbacks_over(given: Any, settings: CallbackSettings) -> Any:
    """Ours with the user's own: one class where he gave one or none, a longer list where he gave a list."""
    if isinstance(given, list | tuple):
        return [*given, callbacks_for(settings)]
    return callbacks_for(settings, given or RLlibCallback)
