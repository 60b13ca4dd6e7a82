"""Random streams: no two sub-envs of a run share one, and no episode repeats another's, whatever RLlib seeds them with."""

from __future__ import annotations

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
            parts = (seed, int(self.in_evaluation), self._worker_index, self._seedings)
            seed = int(np.random.SeedSequence(parts).generate_state(1)[0])
            self._seedings += 1
        return self.env.reset(seed=seed, options=options)
