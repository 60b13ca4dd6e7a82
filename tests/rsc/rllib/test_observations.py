"""`attach(observations=True)`: the env's observations are recorded, or the config is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from rsc.trading.vector_env import TradingVectorEnv
from tests.rsc.rllib.world import World, config_of, sample
from tests.support.walks import ACCOUNT, Walk


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_attach__observations__are_those_that_rllib_sees(world: World) -> None:
    """Each step's, and that of the reset in the header; the header describes both spaces."""
    with world.runner(config_of(), observations=True) as runner:
        played = [np.asarray(one.get_observations(), np.float64) for one in sample(runner, 30)]
    journals = [world.journals()[name] for name in sorted(world.journals())]
    first = journals[0]
    about, count = first.header.about, played[0].shape[1]
    columns = [f"observation_{place}" for place in range(count)]
    assert about.extra_columns[-count:] == tuple(columns)
    recorded = np.column_stack([first.steps()[name].to_numpy() for name in columns])
    assert np.array_equal(np.vstack([[about.notes["observations"]["first"]], recorded]), played[0])
    assert about.notes["actions"]["space"].startswith("Discrete")


class Speaker(Walk):
    """Its observations have no fixed number of numbers."""

    observation_space = gym.spaces.Text(10)

    def __init__(self, context: Any = None) -> None:
        super().__init__()


def test_attach__observations_that_cannot_be_recorded__are_refused_before_anything_is_made(world: World) -> None:
    with pytest.raises(ValueError, match="observations of Speaker cannot be recorded"):
        world.attach(config_of(Speaker), account=ACCOUNT, observations=True)
    vector = config_of(TradingVectorEnv).env_runners(gym_env_vectorize_mode="vector_entry_point")
    with pytest.raises(ValueError, match="observations of a vector env cannot be recorded"):
        world.attach(vector, observations=True)
    assert world.is_untouched()
