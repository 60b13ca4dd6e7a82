"""Random streams: no two sub-envs of a run share one, and no episode repeats another's, whatever RLlib seeds them with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np


class IndependentSeeds(gym.Wrapper[Any, Any, Any, Any]):
    """Mixes each seed that a reset is given with who asks: evaluation or training, worker, and number of the seeding.

    RLlib seeds sub-env i of worker w with seed + w + i, so neighbours collide, and in sampling by episodes it seeds
    each round alike. The pair (its seed, worker) is unique, and the number tells the rounds apart.
    """

    def __init__(self, env: gym.Env[Any, Any], worker_index: int) -> None:
        super().__init__(env)
        self.in_evaluation = False
        self._worker_index = worker_index
        self._seedings = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if seed is not None:
            seed = _mixed(seed, self.in_evaluation, self._worker_index, self._seedings)
            self._seedings += 1
        return self.env.reset(seed=seed, options=options)


class VectorIndependentSeeds(gym.vector.VectorWrapper):
    """What `IndependentSeeds` around each sub-env does, for a vector env; a single seed s means s + i for env i."""

    def __init__(self, env: gym.vector.VectorEnv[Any, Any, Any], worker_index: int) -> None:
        super().__init__(env)
        self.in_evaluation = False
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
