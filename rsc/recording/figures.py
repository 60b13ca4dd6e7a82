"""Read a figure of an account: find it in an env and its info, and convert it for a journal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from operator import itemgetter
from typing import Any

import gymnasium as gym
import numpy as np

from journal.format.header import microseconds
from rsc.recording.accounts import Before, Figure, SinceLast

NAN = float("nan")
_MICROSECONDS = np.dtype("datetime64[us]")
_REAL = (float, int)  # a tuple: `float | int` would create a new object in each call

Getter = Callable[[Mapping[str, Any]], Any]
_MOST_KEYS = 12


class Unreadable:
    """Placeholder for a figure that could not be found, with the reason."""

    def __init__(self, why: str) -> None:
        self.why = why


def number(raw: Any) -> float:
    """Convert a number of any type, or an array of one number, to float. Truth values are 0 and 1.

    Raises:
        TypeError: ``raw`` is not a number, for example text.
        ValueError: It is an array of several numbers.
    """
    if isinstance(raw, _REAL):
        return float(raw)
    if hasattr(raw, "item"):  # numpy, torch and jax, scalars and arrays
        raw = raw.item()
    if isinstance(raw, Unreadable):
        raise TypeError(raw.why)
    if raw is None or isinstance(raw, str | bytes):
        raise TypeError(f"expected a number, got {raw!r}")
    return float(raw)


def time_us(raw: Any) -> int:
    """Convert a time to microseconds since 1970, UTC; a time without a zone is taken as UTC.

    Raises:
        TypeError: ``raw`` is not a time. Numbers are refused, since their unit and origin are unknown.
        ValueError: It is text that is not ISO 8601.
    """
    if isinstance(raw, np.datetime64):
        return int(raw.astype(_MICROSECONDS).view(np.int64))
    if isinstance(raw, str):
        raw = datetime.fromisoformat(raw)
    if isinstance(raw, date) and raw == raw:  # a pandas NaT is a datetime that differs from itself
        time = raw if isinstance(raw, datetime) else datetime(raw.year, raw.month, raw.day)  # noqa: DTZ001
        return microseconds(time if time.tzinfo is not None else time.replace(tzinfo=UTC))
    if isinstance(raw, Unreadable):
        raise TypeError(raw.why)
    raise TypeError(f"expected a datetime, numpy.datetime64 or ISO text, got {raw!r}")


def getter(figure: Figure, env: gym.Env[Any, Any]) -> Getter:
    """Return a function of info that finds a figure in this env. It may raise any exception if the figure is missing."""
    if isinstance(figure, SinceLast | Before):
        return getter(figure.figure, env)
    if callable(figure):
        unwrapped, function = env.unwrapped, figure
        return lambda info: function(unwrapped, info)
    assert isinstance(figure, str), "Invariant: accounts are validated when they are created"
    if figure.startswith("."):
        return _attribute(env, figure[1:].split("."))
    return _key(figure)


def reader(figures: Sequence[Figure], env: gym.Env[Any, Any]) -> Callable[[Mapping[str, Any]], Sequence[Any]]:
    """Return a function of info that finds all figures. It returns an `Unreadable` for each missing one."""
    getters = [getter(figure, env) for figure in figures]
    keys = [figure for figure in figures if isinstance(figure, str) and "." not in figure]
    fast: Callable[[Mapping[str, Any]], Sequence[Any]]
    if len(keys) == len(getters) > 1:  # one call for all, the usual case
        fast = itemgetter(*keys)
    else:

        def fast(info: Mapping[str, Any]) -> Sequence[Any]:
            return [get(info) for get in getters]

    def read(info: Mapping[str, Any]) -> Sequence[Any]:
        try:
            return fast(info)
        except Exception:
            return [_safely(get, info) for get in getters]

    return read


def _safely(get: Getter, info: Mapping[str, Any]) -> Any:
    try:
        return get(info)
    except Exception as error:
        return Unreadable(f"{type(error).__name__}: {error}")


def _key(key: str) -> Getter:
    if "." not in key:
        return itemgetter(key)
    parts = key.split(".")

    def descend(info: Mapping[str, Any]) -> Any:
        if key in info:
            return info[key]
        found: Any = info
        for part in parts:
            found = _part_of(found, part)
        return found

    return descend


def _attribute(env: gym.Env[Any, Any], parts: list[str]) -> Getter:
    """Return a function that reads an attribute. Only its wrapper is cached, since an env may replace the attribute."""
    name, rest = parts[0], parts[1:]
    owner: Any = None

    def get(info: Mapping[str, Any]) -> Any:
        nonlocal owner
        if owner is None:
            owner = _owner(env, name)
        found = getattr(owner, name)
        for part in rest:
            found = _part_of(found, part)
        return found

    return get


def _owner(env: gym.Env[Any, Any], name: str) -> Any:
    """Return the outermost wrapper, or the env, that has the attribute."""
    layer: Any = env
    while not hasattr(layer, name):
        if not isinstance(layer, gym.Wrapper):
            raise AttributeError(f"neither the env nor a wrapper has an attribute {name!r}")
        layer = layer.env
    return layer


def _part_of(found: Any, part: str) -> Any:
    """Return an item of a mapping or a sequence, or an attribute."""
    if isinstance(found, Mapping):
        return found[part]
    return found[int(part)] if part.lstrip("-").isdigit() else getattr(found, part)


def keys_seen(info: Mapping[str, Any]) -> str:
    """Return the keys of an info as text, so that a typo is visible in a message."""
    keys = sorted(map(str, info))
    if not keys:
        return "info is empty"
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return f"info has {', '.join(keys[:_MOST_KEYS])}{more}"
