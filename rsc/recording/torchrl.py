"""Record an env of TorchRL: a transform that passes each step to a `Recorder`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from torchrl.envs import EnvBase, TransformedEnv
from torchrl.envs.transforms import Transform

from rsc.recording.accounts import Account
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder


def record_torchrl(
    env: EnvBase, settings: JournalSettings, account: Account | None, notes: Mapping[str, Any]
) -> TransformedEnv:
    """Return the env with a transform that records it. The transform does not change the env's output.

    Keys of an account's ``info`` are keys of the step's tensordict. Functions get the given env.

    Raises:
        TypeError: The env is a batch of envs.
    """
    if env.batch_size:
        raise TypeError(f"record each env before it becomes part of a batch of {tuple(env.batch_size)}")
    return TransformedEnv(env, RecordSteps(env, settings, account, notes))


class RecordSteps(Transform):  # type: ignore[misc]  # torchrl is untyped
    """Transform that records each step without changing it."""

    def __init__(
        self, env: EnvBase, settings: JournalSettings, account: Account | None, notes: Mapping[str, Any]
    ) -> None:
        super().__init__()
        self._env = [env]  # in a list, otherwise torch would register it as a submodule
        self._played = _Played(env)
        self.recorder = Recorder(self._played, settings, dict(notes), account)

    def _reset(self, tensordict: Any, tensordict_reset: Any) -> Any:
        self._played.given = (None, _Info(tensordict_reset))
        self.recorder.reset()
        return tensordict_reset

    def _step(self, tensordict: Any, next_tensordict: Any) -> Any:
        env = self._env[0]
        terminated = bool(next_tensordict.get("terminated", next_tensordict["done"]).item())
        truncated = bool(next_tensordict["done"].item()) and not terminated
        reward = next_tensordict[env.reward_key].item()
        self._played.given = (None, reward, terminated, truncated, _Info(next_tensordict))
        self.recorder.step(tensordict[env.action_key].detach().cpu().numpy())
        return next_tensordict

    def close(self) -> None:
        """Close the running episode's journal."""
        self.recorder.stop_recording()


class _Played(gym.Env[Any, Any]):
    """An env of gymnasium that returns the last step of the env of TorchRL to the recorder."""

    observation_space = gym.spaces.Discrete(1)

    def __init__(self, env: EnvBase) -> None:
        self._torchrl_env = env
        self.given: Any = None
        shape = tuple(env.action_spec.shape)
        discrete = not shape and hasattr(env.action_spec.space, "n")
        self.action_space = (
            gym.spaces.Discrete(int(env.action_spec.space.n))
            if discrete
            else gym.spaces.Box(-np.inf, np.inf, shape, np.float64)
        )

    @property
    def unwrapped(self) -> Any:
        """The env that functions of an account get."""
        return self._torchrl_env

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return self.given

    def step(self, action: Any) -> Any:
        return self.given

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "_torchrl_env":
            raise AttributeError(name)
        return getattr(self._torchrl_env, name)


class _Info(Mapping[str, Any]):
    """A tensordict with the interface of a step's info."""

    def __init__(self, tensordict: Any) -> None:
        self._tensordict = tensordict

    def __getitem__(self, key: str) -> Any:
        found = self._tensordict[key]
        return _Info(found) if hasattr(found, "batch_size") else found

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensordict.keys())

    def __len__(self) -> int:
        return len(self._tensordict.keys())
