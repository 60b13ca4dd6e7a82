"""Read the accounts of a vector env. Figures are arrays with one value for each env, with gymnasium's masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from journal import About
from rsc.recording.accounts import Account, AccountError, Before, Figure, SinceLast
from rsc.recording.figures import Unreadable, getter
from rsc.recording.reading import AccountState

Raws = Sequence[Any]
VectorGetter = Callable[[Mapping[str, Any]], Raws]


class VectorAccountReader:
    """`AccountState` of each env of a vector env. After `read`, ``states[index]`` has the values of env ``index``.

    Args:
        account: Where the vector env exposes its accounts. Keys of info are arrays with gymnasium's masks. Attributes and
            functions return arrays of length ``num_envs``.
        env: The vector env, with any wrappers.
        same_step: Whether `step` has already reset the finished envs. Then the last step's info is in
            ``info["final_info"]``, and attributes and functions would return the next episode's figures.

    Raises:
        AccountError: An attribute or a function with ``same_step``.
    """

    def __init__(self, account: Account, env: Any, *, same_step: bool = False) -> None:
        self.account = account
        self.states = [AccountState(account) for _ in range(env.num_envs)]
        self._name = type(env.unwrapped).__name__
        figures = list(self.states[0].figures)
        capital = account.capital
        self._find_capital: VectorGetter | None = None
        if capital is not None and not isinstance(capital, int | float):
            self._find_capital = _vector_getter(capital, env)
            figures.append(capital)
        if same_step and not all(map(_is_key, figures)):
            raise AccountError(
                "a vector env with autoreset mode SAME_STEP is reset when `step` returns, so only keys of info can be"
                " read; use keys, autoreset mode NEXT_STEP, or record each sub-env"
            )
        self._getters = [_vector_getter(figure, env) for figure in self.states[0].figures]

    def begin(self, lanes: Sequence[int], info: Mapping[str, Any]) -> list[About]:
        """Start an episode in each of these envs after their reset, and return their journals' headers.

        Raises:
            AccountError: Neither the value nor the capital can be read.
        """
        capitals: Raws = [self.account.capital] * len(self.states)
        if self._find_capital is not None:
            capitals = self._safely(self._find_capital, info)
        rows = self._rows(info)
        for lane in lanes:
            self.states[lane].start(rows[lane], capitals[lane], info)
        return [self.states[lane].about(self._name) for lane in lanes]

    def read(self, rewards: Raws, info: Mapping[str, Any], lanes: Sequence[int], final: Sequence[int] = ()) -> None:
        """Read these envs after a step. The values of envs in ``final`` are in ``info["final_info"]``.

        Raises:
            AccountError: The value cannot be read, and never could.
        """
        rows = self._rows(info)
        last = info.get("final_info", {}) if len(final) else info
        last_rows = self._rows(last) if len(final) else rows
        over = set(final)
        for lane in lanes:
            ended = lane in over
            self.states[lane].step(last_rows[lane] if ended else rows[lane], rewards[lane], last if ended else info)

    def _rows(self, info: Mapping[str, Any]) -> list[Raws]:
        """Return the raw figures by env."""
        if not self._getters:
            return [()] * len(self.states)
        columns = [self._safely(get, info) for get in self._getters]
        return list(zip(*columns, strict=True))

    def _safely(self, get: VectorGetter, info: Mapping[str, Any]) -> Raws:
        try:
            return get(info)
        except Exception as error:
            return [Unreadable(f"{type(error).__name__}: {error}")] * len(self.states)


def _is_key(figure: Figure) -> bool:
    plain = figure.figure if isinstance(figure, SinceLast | Before) else figure
    return isinstance(plain, str) and not plain.startswith(".")


def _vector_getter(figure: Figure, env: Any) -> VectorGetter:
    count = env.num_envs
    if isinstance(figure, SinceLast | Before):
        return _vector_getter(figure.figure, env)
    if not _is_key(figure):
        get = getter(figure, env)
        return lambda info: _by_env(get(info), None, count)
    assert isinstance(figure, str), "Invariant: a key is text"
    return _key(figure, count)


def _key(key: str, count: int) -> VectorGetter:
    *path, last = key.split(".")

    def get(info: Mapping[str, Any]) -> Raws:
        if key in info:
            return _by_env(info[key], info.get(f"_{key}"), count)
        found = info
        for part in path:
            found = found[part]
        return _by_env(found[last], found.get(f"_{last}"), count)

    return get


def _by_env(values: Any, mask: Any, count: int) -> Raws:
    """Return one value for each env. A value that the mask leaves out is not told."""
    numeric = isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "fiu"
    listed = values.tolist() if numeric else list(values)
    if len(listed) != count:
        raise ValueError(f"expected {count} values, one for each env, got {len(listed)}")
    if mask is None or np.all(mask):
        return listed
    return [value if told else Unreadable("info does not have it") for value, told in zip(listed, mask, strict=True)]
