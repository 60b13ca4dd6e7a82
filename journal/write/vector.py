"""Append a step to each of several journals at once: numpy packs their slots, which is faster than `append` for each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journal.format.schema import STEP_FLOATS, UNKNOWN_TIME, Trade
from journal.format.slots import STEP, TRUNCATED, layout_of
from journal.write.writer import JournalWriter


class VectorAppender:
    """Appends one step to each of ``count`` journals that have the same extra columns.

    Args:
        count: The number of journals.
        extra_columns: The names of their extra columns.
    """

    def __init__(self, count: int, extra_columns: tuple[str, ...]) -> None:
        self.extra_columns = extra_columns
        layout = layout_of(extra_columns)
        self._slots = np.zeros(count, layout.dtype)
        self._slots["kind"] = STEP
        self._columns = len(STEP_FLOATS) + len(extra_columns)

    def append(
        self,
        writers: Sequence[JournalWriter | None],
        columns: Sequence[Any],
        market_time: NDArray[np.int64],
        terminated: NDArray[np.bool_],
        truncated: NDArray[np.bool_],
        trades: Mapping[int, Sequence[Trade]],
    ) -> None:
        """Append a step to each journal. All get the same wall time.

        Args:
            writers: The open journals; None for an env without one.
            columns: Numbers of each journal, shape (n,): the columns of STEP_FLOATS in order, then the extra ones.
            market_time: Market times in microseconds, shape (n,).
            terminated: Whether each env reached a terminal state, shape (n,).
            truncated: Whether each env ended its episode otherwise, shape (n,).
            trades: The trades that the step closed, by journal; journals without any may be left out.

        Raises:
            JournalWriteError: A write failed, and ``on_error`` of its writer is "raise".
            ValueError: A writer is closed, or belongs to the parent process; or a column has another shape.
        """
        slots = self._slots
        slots["wall_time_ns"] = time.time_ns()
        slots["market_time"] = market_time
        floats = slots.view("<f8").reshape(len(slots), -1)[:, 2 : 2 + self._columns].T
        for place, column in zip(floats, columns, strict=True):
            place[:] = column
        slots["step"] = [0 if writer is None else writer.steps + 1 for writer in writers]
        slots["flags"] = terminated + TRUNCATED * truncated
        slots["trades"] = 0
        for index, closed in trades.items():
            slots["trades"][index] = len(closed)
        packed, size = slots.tobytes(), slots.itemsize
        for index, writer in enumerate(writers):
            if writer is not None:
                closed = trades.get(index, ())
                writer._append_packed(packed, index * size, closed, int(market_time[index]) if closed else UNKNOWN_TIME)
