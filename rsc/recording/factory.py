"""Put a recorder around an env, or around the envs of a function. Imports no database, for worker processes."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gymnasium as gym
from gymnasium.envs.registration import EnvSpec

from rsc.recording.accounts import Account
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder

R = TypeVar("R", Recorder, VectorRecorder)
_recorders: weakref.WeakKeyDictionary[Any, JournalSettings] = weakref.WeakKeyDictionary()

MakeEnv = str | EnvSpec | type[gym.Env[Any, Any]] | Callable[..., Any]


def record_env(
    env: Any, settings: JournalSettings, account: Account | None = None, notes: Mapping[str, Any] | None = None
) -> Any:
    """Return an env of gymnasium or TorchRL with a recorder around it.

    Raises:
        TypeError: ``env`` is not such an env, or is recorded already. The message says what to do.
    """
    layer = env
    while isinstance(layer, gym.Wrapper | gym.vector.VectorWrapper):
        if isinstance(layer, Recorder | VectorRecorder):
            raise TypeError(f"{env} is recorded already")
        layer = layer.env
    if isinstance(env, gym.Env):
        return _remembered(Recorder(env, settings, dict(notes or {}), account), settings)
    if isinstance(env, gym.vector.SyncVectorEnv | gym.vector.AsyncVectorEnv) and account is None:
        raise TypeError(
            f"record each env of a {type(env).__name__}: make_vec(..., wrappers=[run.record]), or make it of"
            " run.recorded(...) functions"
        )
    if isinstance(env, gym.vector.VectorEnv):
        return _remembered(VectorRecorder(env, settings, dict(notes or {}), account), settings)
    if any(cls.__module__.startswith("torchrl.") for cls in type(env).__mro__):
        from rsc.recording.torchrl import record_torchrl  # torchrl is not a requirement of this package

        recorded = record_torchrl(env, settings, account, dict(notes or {}))
        _remembered(recorded.transform.recorder, settings)
        return recorded
    if hasattr(env, "step_async"):  # a VecEnv of Stable-Baselines3
        raise TypeError(
            f"record each env of a {type(env).__name__}: make_vec_env(run.recorded(...), n_envs=...), or make it of"
            " run.recorded(...) functions"
        )
    raise TypeError(
        f"expected an env of gymnasium, got {type(env).__name__}; for a function that makes envs, call run.recorded(...)"
    )


def recorders_of(settings: JournalSettings) -> list[Recorder | VectorRecorder]:
    """Return the recorders in this process that have these settings and are still in use."""
    return [recorder for recorder, own in list(_recorders.items()) if own == settings]


def _remembered(recorder: R, settings: JournalSettings) -> R:
    _recorders[recorder] = settings
    return recorder


@dataclass(frozen=True)
class RecordedMaker:
    """Creates recorded envs. It can be pickled for other processes, by cloudpickle if account or function need it.

    Args:
        make: An env's id or spec, its class, or a function that returns it.
        settings: Where and how to journal.
        account: Where the env exposes value, position and costs.
        notes: Facts for each journal's header.
        kwargs: Arguments for each env.
    """

    make: MakeEnv
    settings: JournalSettings
    account: Account | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.make, str):  # another process may not have imported the module that registers the id
            object.__setattr__(self, "make", gym.spec(self.make))
        elif not callable(self.make) and not isinstance(self.make, EnvSpec):
            raise TypeError(f"expected an env's id, its class, or a function that makes it, got {self.make!r}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = {**self.kwargs, **kwargs}
        env = gym.make(self.make, **given) if isinstance(self.make, EnvSpec) else self.make(*args, **given)  # type: ignore[operator]
        return record_env(env, self.settings, self.account, self.notes)
