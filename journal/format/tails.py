"""Verify and decode the tails of many journals at once.

Most killed episodes leave a short tail without any damage. numpy then needs more time for its calls than for their work, so
the calls work on the slots of many tails. Each other tail is left to `journal.format.scan`, which explains damage.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.format.checksum import generation_seed, journal_seed
from journal.format.slots import STEP, TRADE, Columns, SlotLayout, no_trades

Buffer = bytes | bytearray
_ZEROS = memoryview(bytes(1 << 20))
MOST_BYTES = len(_ZEROS)
"""Longer tails are not for this module."""


class Rows(NamedTuple):
    """The rows of a tail.

    Attributes:
        steps: Its steps by column: 1, 2, 3 and so on.
        trades: Their trades by column.
        stated_trades: How many trades the steps say that they closed.
    """

    steps: Columns
    trades: Columns
    stated_trades: int


def used_bytes(tail: Buffer, length: int, layout: SlotLayout) -> int:
    """Return how many bytes of a tail hold slots; 0 if it holds none, or if anything is written behind them.

    Args:
        tail: Starts with the tail.
        length: Length of the tail, at most `MOST_BYTES`.
        layout: Its layout.
    """
    size = layout.size
    used = len(tail[size - 8 : length // size * size : size].rstrip(b"\0")) * size
    return used if tail.endswith(_ZEROS[: length - used], 0, length) else 0


def decode_tails(tails: Sequence[bytes], layout: SlotLayout, journal_ids: Sequence[str]) -> list[Rows | None]:
    """Return the rows of each tail; None for a tail that `scan_tail` must look at.

    Rows are returned where each slot verifies, and the steps are 1, 2, 3 and so on. The result is that of `scan_tail` and
    `SlotLayout.columns`.

    Args:
        tails: The used slots of each tail: `used_bytes` of it, at least one slot.
        layout: The layout of all.
        journal_ids: The journal of each tail.
    """
    slots = np.frombuffer(b"".join(tails), layout.dtype)
    ends = np.cumsum([len(tail) // layout.size for tail in tails])
    starts = np.concatenate(([0], ends[:-1]))
    words = layout.words(slots)
    numbers, kinds = words[-2], words[-1] & 0xFF
    is_step = kinds == STEP
    orderly = _orderly(numbers, is_step, kinds == TRADE, starts, ends)
    sound = [fits and found for fits, found in zip(orderly, _verify(slots, layout, journal_ids, ends), strict=True)]
    steps = layout.step_columns(np.take(words, np.flatnonzero(is_step), axis=1))
    trades = layout.trade_columns(np.take(words, np.flatnonzero(~is_step), axis=1))
    step_borders = _borders(is_step, starts)
    trade_borders = _borders(~is_step, starts)
    closed = np.add.reduceat(np.where(is_step, words[-1] >> 16 & 0xFFFF, 0), starts).tolist()
    return [
        Rows(
            _part(steps, *own_steps),
            _part(trades, *own_trades) if own_trades[0] < own_trades[1] else no_trades(),
            count,
        )
        if fits
        else None
        for fits, own_steps, own_trades, count in zip(sound, step_borders, trade_borders, closed, strict=True)
    ]


def _verify(
    slots: NDArray[np.void], layout: SlotLayout, journal_ids: Sequence[str], ends: NDArray[Any]
) -> Iterator[bool]:
    """Verify each tail by one CRC: the last slot's covers all bodies, but no CRC fields."""
    width = layout.size - 4
    raw = slots.view(np.uint8).reshape(len(slots), layout.size)
    bodies = memoryview(np.ascontiguousarray(raw[:, :width]).data).cast("B")
    start = 0
    for name, end, crc in zip(journal_ids, (ends * width).tolist(), slots["crc"][ends - 1].tolist(), strict=True):
        yield crc32c(bodies[start:end], generation_seed(name, 1)) ^ journal_seed(name) == crc
        start = end


def _orderly(
    numbers: NDArray[np.int64], is_step: NDArray[Any], is_trade: NDArray[Any], starts: NDArray[Any], ends: NDArray[Any]
) -> list[bool]:
    """Return for each tail whether its steps are 1, 2, 3 and so on, each behind its trades, and the last slot is a step."""
    before = np.cumsum(is_step) - is_step  # the number of steps before each slot
    before -= np.repeat(before[starts], ends - starts)
    fits = (numbers == before + 1) & (is_step | is_trade)
    fits[ends - 1] &= is_step[ends - 1]
    result: list[bool] = np.logical_and.reduceat(fits, starts).tolist()
    return result


def _borders(chosen: NDArray[Any], starts: NDArray[Any]) -> list[tuple[int, int]]:
    """Return where each tail's chosen slots begin and end among all chosen ones."""
    ends = np.cumsum(np.add.reduceat(chosen, starts, dtype=np.int64)).tolist()
    return [*zip([0, *ends[:-1]], ends, strict=True)]


def _part(columns: Columns, start: int, end: int) -> Columns:
    return {name: values[start:end] for name, values in columns.items()}
