"""Env runners that record the episodes of the user's env. They only wrap the envs that `make_env` creates."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import NUM_ENV_STEPS_SAMPLED_LIFETIME
from ray.tune.registry import ENV_CREATOR, _global_registry

from journal.host.identity import boot_id
from rsc.db.urls import with_password
from rsc.defaults import NODE_NOTE
from rsc.mirroring import mirror_run
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.rllib import live, rows, trials
from rsc.rllib.callbacks import EpisodeCallbacks
from rsc.rllib.checks import VECTOR_MODE, UnfitError, is_vector_mode, require_made_env, require_single_agent
from rsc.rllib.nodes import this_node, this_node_or_none
from rsc.rllib.progress import Progress
from rsc.rllib.rows import RowWriter, TrialEntry
from rsc.rllib.seeds import IndependentSeeds, VectorIndependentSeeds
from rsc.rllib.settings import RecordingSettings

log = logging.getLogger("rsc")

_said: set[str] = set()


class Recording:
    """Mixin: a single-agent env runner records its episodes if `rsc.attach` was called on the config.

    For your own env runner class, write in a module that workers can import:

        class MyRecordedEnvRunner(rsc.rllib.Recording, MyEnvRunner): pass

    If the run has ended, for example with a config from a checkpoint, the runner logs one warning and does not record.
    """

    config: Any
    env: Any
    worker_index: int
    tune_trial_id: str | None
    _callbacks: list[RLlibCallback]
    _rows: RowWriter | None = None

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        require_single_agent(config)
        own_pace = getattr(config, "_dont_auto_sync_env_runner_states", False)
        self.progress = Progress(countable=not (own_pace or config.in_evaluation))
        if config.output and type(self) is RecordedEnvRunner:
            raise UnfitError("config.output was set after rsc.attach and would be ignored: call rsc.attach last")
        self._log_folder = kwargs.get("log_dir")
        base: Any = super()
        base.__init__(config=config, **kwargs)
        _warn_of_unrecorded_evaluation(config)
        self._record_trial()

    def make_env(self) -> None:
        """Create the envs as RLlib does, with a recorder around each."""
        base: Any = super()
        config, settings = self.config, RecordingSettings.of(self.config)
        run = None if settings is None else _live_run(settings)
        if settings is None or run is None or not config.env:
            base.make_env()
            return
        self._our_callbacks(settings, run)
        _mirror(settings)
        recorded = config.copy(
            copy_frozen=False
        )  # a copy: the runner's config is frozen, and the user's callbacks may read it
        recorded.env = RecordedEnvs.of(config, settings, self._notes(settings))
        self.config = recorded
        try:
            base.make_env()
        finally:
            self.config = config
        made = self.env.unwrapped
        if isinstance(made, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv):
            made.set_attr("env_index", list(range(made.num_envs)))

    def set_state(self, state: Any) -> None:
        """Apply the algorithm's state, and record the training's progress."""
        base: Any = super()
        base.set_state(state)
        env_steps = state.get(NUM_ENV_STEPS_SAMPLED_LIFETIME)
        if env_steps is not None:
            self.progress.note(int(env_steps))

    def stop(self) -> None:
        """Close the envs, and write the rows of all ended episodes. Waits `rows.DRAIN_S` seconds at most."""
        base: Any = super()
        try:
            base.stop()
        finally:
            for callbacks in self._callbacks:
                if isinstance(callbacks, EpisodeCallbacks):
                    callbacks.on_envs_closed()
            self._drain()

    def _drain(self) -> None:
        settings = RecordingSettings.of(self.config)
        left = 0 if self._rows is None else self._rows.drain(rows.DRAIN_S)
        if left and settings is not None:
            log.warning("%d rows of run %s are not written; `reconcile` records them", left, settings.run_id)

    def _row_writer(self, settings: RecordingSettings, run: live.LiveRun) -> RowWriter | None:
        """Return the writer of rows; None if the database is a file on another machine."""
        if settings.database_url.startswith("sqlite") and not _is_at_home(settings, run):
            _say(f"no rows are written here, because {settings.database_url} is a file on the driver's machine")
        else:
            self._rows = rows.writer_for(with_password(settings.database_url, run.secret))
        return self._rows

    def _our_callbacks(self, settings: RecordingSettings, run: live.LiveRun) -> None:
        """Add our callbacks once, since RLlib calls `make_env` again after an env failed."""
        ours = [callbacks for callbacks in self._callbacks if isinstance(callbacks, EpisodeCallbacks)]
        for callbacks in ours:
            callbacks.on_envs_closed()
        if not ours:
            writer = self._row_writer(settings, run)
            # Without RLlib's default object, whose methods do nothing, but are called for each step.
            users = [callbacks for callbacks in self._callbacks if type(callbacks) is not RLlibCallback]
            self._callbacks = [*users, EpisodeCallbacks(settings, writer, self._trial_id(settings))]

    def _notes(self, settings: RecordingSettings) -> dict[str, Any]:
        """Return facts for the header of each journal."""
        notes: dict[str, Any] = {
            "worker_index": int(self.worker_index or 0),
            "in_evaluation": bool(self.config.in_evaluation),
        }
        if node_id := this_node():
            notes[NODE_NOTE] = node_id
        trial_id = self._trial_id(settings)
        return notes if trial_id is None else {**notes, "trial_id": trial_id}

    def _trial_id(self, settings: RecordingSettings) -> str | None:
        return trials.of_algorithm(self.tune_trial_id, self._log_folder) or settings.trial_id or trials.current()

    def _record_trial(self) -> None:
        """Queue the parameters of this Tune trial. Only the algorithm's own runner does it."""
        settings = RecordingSettings.of(self.config)
        if settings is None or self.worker_index or self.config.in_evaluation:
            return
        trial_id, run = self._trial_id(settings), _live_run(settings)
        if trial_id is None or run is None:
            return
        try:
            parameters = trials.changed(settings.parameters, self.config)
            writer = self._row_writer(settings, run)
            if writer is not None:
                writer.put(TrialEntry(settings.run_id, trial_id, parameters))
        except Exception:
            log.exception("the parameters of trial %s are not recorded; training continues", trial_id)


class RecordedEnvRunner(Recording, SingleAgentEnvRunner):
    """RLlib's single-agent env runner with recording."""


def require_known_runner(config: Any) -> None:
    """Check that `attach` would not replace an env runner class of the user.

    Raises:
        UnfitError: The config has its own env runner class, or `output`, for which RLlib uses another class.
    """
    own = config.env_runner_cls
    for each, where in ((own, "config"), (evaluation_runner(config), "config.evaluation_config")):
        if each is not None and not issubclass(each, Recording):
            raise UnfitError(_runner_hint(f"{where}.env_runner_cls is {each.__name__}", each.__name__))
    if config.output and own is None:
        raise UnfitError(
            _runner_hint("config.output needs an env runner that writes it", "OfflineSingleAgentEnvRunner")
        )


def _runner_hint(what: str, name: str) -> str:
    return (
        f"{what}: write `class My{name}(rsc.rllib.Recording, {name}): pass` in a module, and call"
        f" config.env_runners(env_runner_cls=My{name})"
    )


@dataclass(frozen=True)
class RecordedEnvs:
    """Creates the user's env like `SingleAgentEnvRunner.make_env`, with a recorder around it.

    Args:
        env: A class, a function of the env context, or the id of a gymnasium env.
        settings: The run.
        notes: Facts for the header of each journal.
        config: The config of the env runner.
    """

    env: Any
    settings: RecordingSettings
    notes: dict[str, Any]
    config: Any

    @classmethod
    def of(cls, config: Any, settings: RecordingSettings, notes: dict[str, Any]) -> RecordedEnvs:
        """Return the maker for a config. A registered name is resolved here, because that would hang in a forked sub-env."""
        env = config.env
        if isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env):
            env = _global_registry.get(ENV_CREATOR, env)
        return cls(env, settings, notes, config)

    def __call__(self, context: Any) -> Any:
        """Create one env, or one vector env, with a recorder around it."""
        made = self.bare(context)
        require_made_env(made, self.config)
        if self.settings.independent_seeds:
            kind = VectorIndependentSeeds if isinstance(made, gym.vector.VectorEnv) else IndependentSeeds
            made = kind(made, self.notes["worker_index"], self.notes["in_evaluation"])
        return self.recorder(made)

    def bare(self, context: Any) -> Any:
        """Create the user's env."""
        if not isinstance(self.env, str):
            return self.env(context)
        arguments = dict(context)
        if is_vector_mode(self.config):
            return gym.make_vec(self.env, vectorization_mode=VECTOR_MODE, **arguments)
        return gym.make(self.env, **arguments)

    def recorder(self, env: Any) -> Any:
        """Wrap an env into the recorder for its kind."""
        account, settings = self.settings.unpickled_account(), self.settings.journal_settings()
        arguments = {} if account is None else {"account": account}
        kind: Any = VectorRecorder if isinstance(env, gym.vector.VectorEnv) else Recorder
        return kind(env, settings, self.notes, **arguments)


def _mirror(settings: RecordingSettings) -> None:
    """Start to mirror this node's journals, if the run has a mirror. Does not wait, and never raises."""
    try:
        where = (settings.journal_root, settings.run_id, settings.mirror)
        mirror_run(*where, settings.mirror_every_s, this_node_or_none)
    except Exception as error:
        _say(f"run {settings.run_id} is not mirrored from this node: {error}")


def _live_run(settings: RecordingSettings) -> live.LiveRun | None:
    """Return the run if its driver keeps it open. Otherwise log one warning and return None."""
    try:
        run = live.find(settings.token)
    except Exception as error:
        _say(f"no episode is recorded, because Ray's key-value store does not answer ({error})")
        return None
    if run is None:
        _say(
            f"no episode is recorded, because run {settings.run_id} has ended; call rsc.attach on the config for a new run"
        )
    return run


def evaluation_runner(config: Any) -> Any:
    """Return the env runner class of the evaluation config; None without one, `Recording` if it uses the config's own."""
    evaluation = config.evaluation_config
    if evaluation is None:
        return Recording
    return evaluation.get("env_runner_cls", Recording)


def _warn_of_unrecorded_evaluation(config: Any) -> None:
    """Log a warning if evaluation is not recorded: a whole `evaluation_config` was set after `attach`."""
    own = evaluation_runner(config)
    if own is None or not issubclass(own, Recording):
        _say(
            "evaluation is not recorded, because config.evaluation(evaluation_config=...) was called after rsc.attach;"
            " call rsc.attach last"
        )


def _is_at_home(settings: RecordingSettings, run: live.LiveRun) -> bool:
    """Return True on the driver's machine. Containers of one host share its boot id, so Ray's node id counts as well."""
    other_node = run.driver_node_id and this_node() not in ("", run.driver_node_id)
    return settings.driver_boot_id == boot_id() and not other_node


def _say(message: str) -> None:
    """Log a warning once in each process."""
    if message not in _said:
        _said.add(message)
        log.warning("%s", message)
