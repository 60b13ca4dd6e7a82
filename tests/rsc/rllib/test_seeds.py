"""Random streams: the same seed gives the same episodes, and no two sub-envs share one."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import pytest

from rsc.rllib.seeds import IndependentSeeds


class Remembers(gym.Env[int, int]):
    """Keeps the seed of each reset."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(1)

    def __init__(self) -> None:
        self.seeds: list[int | None] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        self.seeds.append(seed)
        return 0, {}


def seeds(worker_index: int, given: list[int | None], in_evaluation: bool = False) -> list[int | None]:
    """What an env is reset with when its wrapper is reset with ``given``."""
    env = Remembers()
    wrapper = IndependentSeeds(env, worker_index)
    wrapper.in_evaluation = in_evaluation
    for seed in given:
        wrapper.reset(seed=seed)
    return env.seeds


def test_seeds__same_asked_twice__are_the_same() -> None:
    """The same run again."""
    assert seeds(1, [7, 7, 9]) == seeds(1, [7, 7, 9])


def test_seeds__as_rllib_gives_them__all_differ() -> None:
    """Two groups of 2 workers x 4 envs, three rounds each: RLlib's seeds are seed + worker + env, each round alike."""
    seen = []
    for in_evaluation, worker, env in itertools.product((False, True), (1, 2), range(4)):
        seen += seeds(worker, [7 + worker + env] * 3, in_evaluation)
    assert len(set(seen)) == len(seen) == 48


@pytest.mark.parametrize("given", [[None], [3, None]])
def test_seeds__none_given__goes_through(given: list[int | None]) -> None:
    """An env's own stream goes on."""
    assert seeds(1, given)[-1] is None
