"""Flatten actions and observations of any space to the numbers that a journal records."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from journal import About
from journal.format.schema import MAX_EXTRA_COLUMNS

NAN = float("nan")
Flatten = Callable[[Any], list[float]]


class ActionColumns:
    """Converts the actions of a space to columns of a journal.

    Discrete, MultiDiscrete, MultiBinary, Box, Tuple and Dict give their numbers in the order of `gymnasium.spaces`, arrays
    by rows. OneOf gives the number of the chosen space, then the numbers of all spaces, with those of the others unknown.
    For Text, Graph, Sequence and spaces with more numbers than a journal has columns, `action` is unknown (NaN).

    Attributes:
        names: Names of the extra columns: `action_1` and so on; `action` is a column of every journal.
        described: The space and the meaning of each column, or why it is unknown, for the journal's header.
        one_number: Converts an action fast, for Discrete and for a Box of one number. It raises if the action is invalid.
    """

    def __init__(self, space: gym.Space[Any], *, taken: int = 0) -> None:
        """``taken`` is how many extra columns the journal has already."""
        labels, self._flatten = _columns_of(space, "")
        why = f"a {type(space).__name__} has no fixed number of numbers" if not labels else None
        most = MAX_EXTRA_COLUMNS - taken + 1
        if len(labels) > most:
            labels, why = [], f"{len(labels)} numbers are more than the {most} that a journal can record"
        self.known = bool(labels)
        self.names = tuple(f"action_{place}" for place in range(1, len(labels)))
        self.one_number = _one_number_of(space)
        self.described: dict[str, Any] = {"space": _text(space)}
        if why is not None:
            self.described["unknown"] = why
        elif labels != [""]:
            self.described["columns"] = labels
        self._unknown = [NAN] * max(len(labels), 1)

    def in_about(self, about: About) -> About:
        """Return the journal's header with these columns."""
        columns = (*about.extra_columns, *self.names)
        unknown = about.unknown if self.known else ("action", *about.unknown)
        notes = {**about.notes, "actions": self.described}
        return replace(about, extra_columns=columns, unknown=unknown, notes=notes)

    def numbers(self, action: Any) -> list[float]:
        """Return the action's numbers; all NaN if the action is not in the space. Never raises."""
        if not self.known:
            return self._unknown
        try:
            numbers = self._flatten(action)
        except Exception:
            return self._unknown
        return numbers if len(numbers) == len(self._unknown) else self._unknown


class ObservationColumns:
    """Converts the observations of a space to columns, flattened like actions: `observation_0`, `observation_1`, ...

    Attributes:
        names: Names of the extra columns; empty for a space without a fixed, small number of values.
        described: The space and the meaning of each column, for the journal's header.
    """

    def __init__(self, space: gym.Space[Any], *, taken: int = 0) -> None:
        """``taken`` is how many extra columns the journal has already."""
        labels, self._flatten = _columns_of(space, "")
        self.described: dict[str, Any] = {"space": _text(space)}
        if not labels or len(labels) > MAX_EXTRA_COLUMNS - taken:
            self.described["unknown"] = f"a journal has room for 1 to {MAX_EXTRA_COLUMNS - taken} numbers"
            labels = []
        elif labels != [""]:
            self.described["columns"] = labels
        self.names = tuple(f"observation_{place}" for place in range(len(labels)))
        self._unknown = [NAN] * len(labels)

    def numbers(self, observation: Any) -> list[float]:
        """Return the observation's numbers; all NaN if it is not in the space. Never raises."""
        if not self.names:
            return self._unknown
        try:
            numbers = self._flatten(observation)
        except Exception:
            return self._unknown
        return numbers if len(numbers) == len(self.names) else self._unknown

    def in_about(self, about: About, first: Any) -> About:
        """Return the journal's header with these columns, and with the observation of the reset."""
        notes = {**about.notes, "observations": {**self.described, "first": self.numbers(first)}}
        return replace(about, extra_columns=(*about.extra_columns, *self.names), notes=notes)


def _columns_of(space: gym.Space[Any], label: str) -> tuple[list[str], Flatten]:
    """Return a label for each number, and a function that flattens an element to its numbers."""
    if isinstance(space, spaces.Discrete):
        return [label], lambda action: [float(np.asarray(action).item())]
    if isinstance(space, spaces.Box | spaces.MultiDiscrete | spaces.MultiBinary):
        return _labels(label, space.shape or ()), _array_numbers
    if isinstance(space, spaces.Tuple):
        return _joined([(str(place), place, part) for place, part in enumerate(space.spaces)], label)
    if isinstance(space, spaces.Dict):
        return _joined([(str(key), key, part) for key, part in space.spaces.items()], label)
    if isinstance(space, spaces.OneOf):
        return _one_of(space, label)
    return [], lambda action: []


def _array_numbers(action: Any) -> list[float]:
    numbers: list[float] = np.asarray(action, np.float64).ravel().tolist()
    return numbers


def _labels(label: str, shape: tuple[int, ...]) -> list[str]:
    if not shape:
        return [label]
    if math.prod(shape) > MAX_EXTRA_COLUMNS + 1:  # only the count of labels matters
        return [label] * math.prod(shape)
    return [f"{label}[{','.join(map(str, place))}]" for place in np.ndindex(*shape)]


def _joined(parts: list[tuple[str, Any, gym.Space[Any]]], label: str) -> tuple[list[str], Flatten]:
    labels: list[str] = []
    flattens: list[tuple[Any, Flatten]] = []
    for name, key, part in parts:
        ours, flatten = _columns_of(part, f"{label}.{name}" if label else name)
        labels += ours
        flattens.append((key, flatten))

    def flatten_all(action: Any) -> list[float]:
        return [one for key, flatten in flattens for one in flatten(action[key])]

    return labels, flatten_all


def _one_of(space: spaces.OneOf, label: str) -> tuple[list[str], Flatten]:
    parts = [_columns_of(part, f"{label}|{place}") for place, part in enumerate(space.spaces)]

    def flatten(action: Any) -> list[float]:
        chosen, value = action
        chosen = int(chosen)
        numbers = [float(chosen)]
        for place, (labels, flatten_one) in enumerate(parts):
            numbers += flatten_one(value) if place == chosen else [NAN] * len(labels)
        return numbers

    return [label, *(one for labels, _ in parts for one in labels)], flatten


def _one_number_of(space: gym.Space[Any]) -> Callable[[Any], float] | None:
    if isinstance(space, spaces.Discrete):
        return float
    return _first_number if isinstance(space, spaces.Box) and space.shape == (1,) else None


def _first_number(action: Any) -> float:
    return float(action[0])


def _text(space: gym.Space[Any]) -> str:
    text = repr(space)
    return text if len(text) <= 1000 else f"{text[:1000]}..."
