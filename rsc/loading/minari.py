"""Write the episodes of a run as a Minari dataset, for offline reinforcement learning."""

from __future__ import annotations

import logging
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from journal import Journal, JournalError, read_journal

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")

_BOX = re.compile(r"Box\((.+), (.+), (\([\d, ]*\)), (\w+)\)")
_DISCRETE = re.compile(r"Discrete\((\d+)(?:, start=(-?\d+))?\)")
_HINT = "record with rsc.start_run(..., observations=True) or rsc.attach(..., observations=True)"


class _UnfitError(Exception):
    """An episode cannot be part of the dataset. The message is the reason."""


@dataclass(frozen=True)
class _Columns:
    """The columns that hold a space's numbers. ``space`` is the text of the space in the header."""

    names: tuple[str, ...]
    space: str

    def made(self) -> Any:
        """Return the space: Box and Discrete unchanged, others as a Box of their numbers."""
        from gymnasium import spaces

        if found := _DISCRETE.fullmatch(self.space):
            return spaces.Discrete(int(found[1]), start=int(found[2] or 0))
        found = _BOX.fullmatch(self.space)
        shape = tuple(int(size) for size in re.findall(r"\d+", found[3])) if found else ()
        if found is None or math.prod(shape) != len(self.names):
            return spaces.Box(-np.inf, np.inf, (len(self.names),), np.float64)
        dtype = np.dtype(found[4])
        return spaces.Box(_bound(found[1], dtype, -1), _bound(found[2], dtype, 1), shape, dtype.type)

    def values(self, steps: Any, space: Any, first: Any = None) -> Any:
        """Return the numbers of all steps as elements of the space; shape (steps, *space.shape)."""
        from gymnasium import spaces

        numbers = np.column_stack([steps[name].to_numpy() for name in self.names])
        if first is not None:
            numbers = np.vstack([np.asarray(first, np.float64)[None], numbers])
        if np.isnan(numbers).any():
            raise _UnfitError("an action or an observation is unknown")
        if isinstance(space, spaces.Discrete):
            return numbers[:, 0].astype(np.int64)
        return numbers.reshape(len(numbers), *space.shape).astype(space.dtype)


def _bound(text: str, dtype: Any, sign: int) -> Any:
    """Return the bound of a Box if it is the same for all its numbers, else the widest one of the type."""
    try:
        return dtype.type(float(text))
    except (ValueError, OverflowError):
        return (
            dtype.type(sign * np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, 0, np.iinfo(dtype).max)[sign + 1]
        )


def to_minari(run_id: str, paths: Iterable[str], dataset_id: str, **options: Any) -> Any:
    """Write the episodes of these journals as a local Minari dataset; see `LoadedRun.to_minari`."""
    try:
        import minari
    except ImportError as error:
        raise ImportError("Minari is not installed: pip install minari") from error
    left_out: Counter[str] = Counter()
    paths = list(paths)
    columns = _first_columns(run_id, paths, left_out)
    observations, actions = (one.made() for one in columns)
    options.setdefault("data_format", "hdf5" if find_spec("h5py") else "arrow")
    dataset = minari.create_dataset_from_buffers(
        dataset_id,
        _buffers(paths, columns, (observations, actions), left_out),
        observation_space=observations,
        action_space=actions,
        **options,
    )
    for why, count in left_out.items():
        log.warning("run %s: %d episodes are not in %s: %s", run_id, count, dataset_id, why)
    return dataset


def _columns_of(journal: Journal) -> tuple[_Columns, _Columns]:
    """Return the columns of observations and of actions."""
    about = journal.header.about
    found, actions = about.notes.get("observations"), about.notes.get("actions")
    if not found or not actions or "first" not in found:
        raise _UnfitError("their observations are not recorded")
    names = {
        kind: tuple(one for one in about.extra_columns if re.fullmatch(rf"{kind}_\d+", one))
        for kind in ("observation", "action")
    }
    if not names["observation"] or "action" in about.unknown:
        raise _UnfitError("their space does not have a fixed, small number of values")
    return _Columns(names["observation"], found["space"]), _Columns(("action", *names["action"]), actions["space"])


def _first_columns(run_id: str, paths: list[str], left_out: Counter[str]) -> tuple[_Columns, _Columns]:
    for path in paths:
        try:
            return _columns_of(read_journal(path))
        except (JournalError, _UnfitError) as error:
            left_out[_words(error)] += 1
    why = "; ".join(left_out) or "it has no episodes"
    raise JournalError(f"run {run_id} has no observations ({why}); {_HINT}")


def _buffers(
    paths: list[str], columns: tuple[_Columns, _Columns], spaces: tuple[Any, Any], left_out: Counter[str]
) -> Iterator[Any]:
    left_out.clear()
    for path in paths:
        try:
            yield _buffer(read_journal(path), columns, spaces)
        except (JournalError, _UnfitError) as error:
            left_out[_words(error)] += 1


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, _UnfitError) else "their journal cannot be read"


def _buffer(journal: Journal, columns: tuple[_Columns, _Columns], spaces: tuple[Any, Any]) -> Any:
    """Return an episode up to the first lost step. Its last step is `truncated` if the env did not end it."""
    from minari.data_collector import EpisodeBuffer

    if _columns_of(journal) != columns:
        raise _UnfitError("their spaces differ from those of the first episode")
    steps = journal.steps()
    steps = steps.slice(0, _until_hole(steps["step"].to_numpy()))
    if not steps.num_rows:
        raise _UnfitError("they have no steps")
    first = journal.header.about.notes["observations"]["first"]
    rewards, over = steps["reward"].to_numpy(), [steps[name].to_numpy().copy() for name in ("terminated", "truncated")]
    if np.isnan(rewards).any():
        raise _UnfitError("a reward is unknown")
    over[1][-1] |= not over[0][-1]
    return EpisodeBuffer(
        seed=None if journal.header.about.seed is None else int(journal.header.about.seed),
        observations=columns[0].values(steps, spaces[0], first),
        actions=columns[1].values(steps, spaces[1]),
        rewards=rewards,
        terminations=over[0],
        truncations=over[1],
    )


def _until_hole(numbers: Any) -> int:
    """Return the number of steps before the first lost one."""
    holes = np.flatnonzero(numbers != np.arange(1, len(numbers) + 1))
    return int(holes[0]) if len(holes) else len(numbers)
