"""Actions of every space of gymnasium, flattened to the columns of a journal."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from rsc.recording.actions import ActionColumns

NAN = float("nan")
NESTED = spaces.Dict(
    {"side": spaces.Discrete(3), "size": spaces.Box(0, 1, (2,)), "legs": spaces.Tuple([spaces.MultiBinary(2)])}
)

KNOWN = [
    (spaces.Discrete(3), 2, [2.0]),
    (spaces.Discrete(3, start=-1), np.int64(-1), [-1.0]),
    (spaces.Discrete(3), np.array([1]), [1.0]),
    (spaces.MultiDiscrete([3, 4]), np.array([2, 3]), [2.0, 3.0]),
    (spaces.MultiDiscrete([[3, 4], [5, 6]]), np.array([[0, 1], [2, 3]]), [0.0, 1.0, 2.0, 3.0]),
    (spaces.MultiBinary((2, 2)), np.array([[1, 0], [0, 1]], np.int8), [1.0, 0.0, 0.0, 1.0]),
    (spaces.Box(-1, 1, (1,)), np.array([0.5], np.float32), [0.5]),
    (spaces.Box(-1, 1, (1,)), [0.5], [0.5]),
    (spaces.Box(-1, 1, ()), np.array(0.5), [0.5]),
    (spaces.Box(-1, 1, ()), 0.5, [0.5]),
    (spaces.Box(-1, 1, (2, 2)), np.array([[1, 2], [3, 4]]), [1.0, 2.0, 3.0, 4.0]),
    (spaces.Tuple([spaces.Discrete(2), spaces.Box(0, 1, (2,))]), (1, np.array([0.25, 0.5])), [1.0, 0.25, 0.5]),
    (
        NESTED,
        OrderedDict(side=1, size=np.array([0.5, 0.25]), legs=(np.array([1, 0]),)),
        [1.0, 0.5, 0.25, 1.0, 0.0],
    ),
    (spaces.OneOf([spaces.Discrete(3), spaces.Box(0, 1, (2,))]), (1, np.array([0.5, 1])), [1.0, NAN, 0.5, 1.0]),
]


@pytest.mark.parametrize(("space", "action", "expected"), KNOWN, ids=lambda case: str(case)[:40])
def test_numbers__action_of_the_space__are_all_its_numbers(space: Any, action: Any, expected: list[float]) -> None:
    columns = ActionColumns(space)
    by_key = sorted if isinstance(space, spaces.Dict) else list  # a Dict orders its keys as its space does
    assert by_key(columns.numbers(action)) == pytest.approx(by_key(expected), nan_ok=True)
    assert columns.names == tuple(f"action_{place}" for place in range(1, len(expected)))
    assert columns.known
    if columns.one_number is not None and len(np.shape(action)) == len(space.shape):
        assert columns.one_number(action) == expected[0]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(5),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Discrete(2), spaces.Discrete(2)),
        spaces.Box(0, 1, (0,)),
        spaces.Box(0, 255, (84, 84, 3), np.uint8),
    ],
    ids=str,
)
def test_numbers__space_without_a_fixed_few_numbers__are_unknown_and_said(space: Any) -> None:
    columns = ActionColumns(space)
    assert not columns.known
    assert columns.names == ()
    (number,) = columns.numbers(space.sample())
    assert math.isnan(number)
    assert columns.described["unknown"]


@pytest.mark.parametrize("action", [None, "buy", {}, [], np.zeros(7), object()])
@pytest.mark.parametrize("space", [space for space, _, _ in KNOWN], ids=lambda space: str(space)[:40])
def test_numbers__no_action_of_the_space__are_unknown(space: Any, action: Any) -> None:
    columns = ActionColumns(space)
    numbers = columns.numbers(action)
    assert len(numbers) == 1 + len(columns.names)
    assert all(math.isnan(number) for number in numbers)


def test_described__nested_space__names_each_column() -> None:
    described = ActionColumns(NESTED).described
    assert described["columns"] == ["legs.0[0]", "legs.0[1]", "side", "size[0]", "size[1]"]
    assert described["space"].startswith("Dict(")


def test_names__account_with_columns__all_fit_into_a_journal() -> None:
    assert len(ActionColumns(spaces.Box(0, 1, (1025,))).names) == 1024
    assert ActionColumns(spaces.Box(0, 1, (1025,)), taken=1).names == ()


@pytest.mark.parametrize("seed", range(20))
def test_numbers__sample_of_a_random_space__flatten_like_gymnasium(seed: int) -> None:
    """For spaces of arrays, `gymnasium.spaces.flatten` gives the same numbers in the same order."""
    rng = np.random.default_rng(seed)
    space = random_space(rng, 3)
    space.seed(seed)
    action = space.sample()
    columns = ActionColumns(space)
    expected = gym.spaces.flatten(space, action)
    numbers = columns.numbers(action)
    assert numbers == pytest.approx(list(expected))


def random_space(rng: np.random.Generator, depth: int) -> spaces.Space[Any]:
    kind = rng.integers(4 if depth else 2)
    if kind == 0:
        return spaces.Box(-1, 1, tuple(rng.integers(1, 4, rng.integers(0, 3))), np.float64)
    if kind == 1:
        return spaces.MultiBinary(int(rng.integers(1, 4)))
    parts = [random_space(rng, depth - 1) for _ in range(rng.integers(1, 4))]
    return spaces.Tuple(parts) if kind == 2 else spaces.Dict({f"k{place}": part for place, part in enumerate(parts)})
