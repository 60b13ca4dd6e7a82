"""Give each sub-env and each round of a run its own random stream. RLlib gives some of them the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np


class IndependentSeeds(gym.Wrapper[Any, Any, Any, Any]):
    """Wrapper that mixes each reset seed with evaluation or training, the worker, and the number of the reset.

    RLlib seeds sub-env i of worker w with seed + w + i, so neighbours get equal seeds. When it samples by episodes, it
    gives the same seeds in each round. The pair (seed, worker) is unique, and the number distinguishes the rounds.
    """

    def __init__(self, env: gym.Env[Any, Any], worker_index: int, in_evaluation: bool = False) -> None:
        super().__init__(env)
        self.in_evaluation = in_evaluation
        self._worker_index = worker_index
        self._seedings = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            seed = _mixed(seed, self.in_evaluation, self._worker_index, self._seedings)
            self._seedings += 1
        return self.env.reset(seed=seed, options=options)


class VectorIndependentSeeds(gym.vector.VectorWrapper):
    """The same for a vector env. A single seed s means s + i for env i."""

    def __init__(
        self, env: gym.vector.VectorEnv[Any, Any, Any], worker_index: int, in_evaluation: bool = False
    ) -> None:
        super().__init__(env)
        self.in_evaluation = in_evaluation
        self.worker_index = worker_index
        self._seedings = [0] * self.num_envs

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        mask = (options or {}).get("reset_mask")
        mixed: Any = None
        if seed is not None:
            given = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
            mixed = [self._mixed(lane, each, mask is None or mask[lane]) for lane, each in enumerate(given)]
        return self.env.reset(seed=mixed, options=options)

    def _mixed(self, lane: int, seed: int | None, is_reset: bool) -> int | None:
        if seed is None or not is_reset:
            return None
        number = self._seedings[lane]
        self._seedings[lane] += 1
        return _mixed(seed, self.in_evaluation, self.worker_index, number)


def _mixed(seed: int, in_evaluation: bool, worker_index: int, number: int) -> int:
    return int(np.random.SeedSequence((seed, int(in_evaluation), worker_index, number)).generate_state(1)[0])
