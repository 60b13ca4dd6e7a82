"""Compare two journals: the first different step, and how many rows differ per column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journal.read.reader import Journal

Columns = dict[str, NDArray[Any]]
Value = float | int | bool


@dataclass
class Difference:
    """``first`` maps each column that differs in ``first_step`` to both values. ``counts`` is rows that differ, by column.

    ``only_left`` and ``only_right`` count steps that only one has; ``columns_left`` and ``columns_right`` name columns.
    """

    steps_compared: int = 0
    first_step: int | None = None
    first: dict[str, tuple[Value, Value]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    only_left: int = 0
    only_right: int = 0
    columns_left: tuple[str, ...] = ()
    columns_right: tuple[str, ...] = ()
    trades_differ: int = 0

    @property
    def same(self) -> bool:
        """True if no difference was found."""
        sides = self.only_left or self.only_right or self.columns_left or self.columns_right
        return self.first_step is None and not sides and not self.trades_differ


def diff(left: Journal, right: Journal, *, tolerance: float = 0.0, wall_time: bool = False) -> Difference:
    """Compare steps and trades by their numbers. NaN equals NaN; numbers within ``tolerance`` are equal.

    ``wall_time`` is the writer's clock, so it is compared only on request.
    """
    ignored = () if wall_time else ("wall_time",)
    mine, theirs = _names(left, ignored), _names(right, ignored)
    found = Difference(
        columns_left=tuple(name for name in mine if name not in theirs),
        columns_right=tuple(name for name in theirs if name not in mine),
    )
    shared = [name for name in mine if name in theirs and name != "step"]
    for ours, others in _aligned(left, right, found):
        _compare(ours, others, shared, tolerance, found)
    found.trades_differ = _trades_differ(left, right, tolerance)
    return found


def _names(journal: Journal, ignored: tuple[str, ...]) -> list[str]:
    from journal.format.frames import arrow_schema

    names = arrow_schema(journal.header.about.extra_columns).names
    return [name for name in names if name != "trades" and name not in ignored]


def _aligned(left: Journal, right: Journal, found: Difference) -> Iterator[tuple[Columns, Columns]]:
    """Yield blocks of rows with equal step numbers. Memory is bounded by one block of each journal."""
    lefts, rights = _Rows(left), _Rows(right)
    while lefts.more() and rights.more():
        upto = min(lefts.last, rights.last)
        ours, others = lefts.take(upto), rights.take(upto)
        _, at_left, at_right = np.intersect1d(ours["step"], others["step"], assume_unique=True, return_indices=True)
        found.only_left += len(ours["step"]) - len(at_left)
        found.only_right += len(others["step"]) - len(at_right)
        if len(at_left):
            yield (
                {name: values[at_left] for name, values in ours.items()},
                {name: values[at_right] for name, values in others.items()},
            )
    found.only_left += lefts.rest()
    found.only_right += rights.rest()


class _Rows:
    """Take a journal's rows from the front, up to a step."""

    def __init__(self, journal: Journal) -> None:
        self._blocks = journal.blocks()
        self._held: Columns | None = None

    def more(self) -> bool:
        while self._held is None or not len(self._held["step"]):
            block = next(self._blocks, None)
            if block is None:
                return False
            self._held = dict(block[0])
        return True

    @property
    def last(self) -> int:
        assert self._held is not None
        return int(self._held["step"][-1])

    def take(self, upto: int) -> Columns:
        assert self._held is not None
        count = int(np.searchsorted(self._held["step"], upto, side="right"))
        taken = {name: values[:count] for name, values in self._held.items()}
        self._held = {name: values[count:] for name, values in self._held.items()}
        return taken

    def rest(self) -> int:
        """Consume the remaining rows and return their number."""
        count = 0
        while self.more() and self._held is not None:
            count += len(self._held["step"])
            self._held = None
        return count


def _compare(ours: Columns, others: Columns, shared: list[str], tolerance: float, found: Difference) -> None:
    masks = {name: _differs(ours[name], others[name], tolerance) for name in shared}
    found.steps_compared += len(ours["step"])
    for name, mask in masks.items():
        if mask.any():
            found.counts[name] = found.counts.get(name, 0) + int(np.count_nonzero(mask))
    if found.first_step is None and any(mask.any() for mask in masks.values()):
        at = min(int(np.argmax(mask)) for mask in masks.values() if mask.any())
        found.first_step = int(ours["step"][at])
        found.first = {
            name: (ours[name][at].item(), others[name][at].item()) for name, mask in masks.items() if mask[at]
        }


def _differs(ours: NDArray[Any], others: NDArray[Any], tolerance: float) -> NDArray[np.bool_]:
    if ours.dtype.kind != "f":
        return np.asarray(ours != others)
    with np.errstate(invalid="ignore"):
        near = (ours == others) | (np.abs(ours - others) <= tolerance)
    return np.asarray(~(near | (np.isnan(ours) & np.isnan(others))))


def _trades_differ(left: Journal, right: Journal, tolerance: float) -> int:
    """Count the trades that differ or that only one journal has."""
    mine = {row[0]: np.array(row, float) for row in left.trade_rows()}
    theirs = {row[0]: np.array(row, float) for row in right.trade_rows()}
    both = mine.keys() & theirs.keys()
    different = sum(bool(_differs(mine[number], theirs[number], tolerance).any()) for number in both)
    return different + len(mine.keys() ^ theirs.keys())
