"""Pack steps and trades into the slots of a tail, and unpack them into columns.

`SlotLayout` is the byte layout; the section "Slot" of docs/journal-format.md describes it. A slot is a body and a
CRC32C. The CRC covers the bodies of all slots since the last seal, this one included. It starts from the journal id and
the number of the first step after the seal, and is stored XOR the CRC of the journal id. So a slot of another journal,
of another place or of an older generation does not verify. `journal.format.scan` verifies slots.
"""

from __future__ import annotations

import functools
import struct

import numpy as np
from numpy.typing import NDArray

from journal.format.schema import STEP_FLOATS, TRADE_COLUMNS

STEP, TRADE, FAILED = 1, 2, 3
_EXTRA = "extra "
TERMINATED, TRUNCATED = 1, 2
_FLAGS_AT = 8  # bits before the flags in a slot's last word
_FLAGS = np.array([[TERMINATED], [TRUNCATED]]) << _FLAGS_AT
_LONG, _SHORT = np.array([1, -1], "<i1")
FLAGS_FROM_END = -7  # where a slot's flags are, from its end
CRC_BYTES = 4  # at the end of a slot
pack_crc = struct.Struct("<I").pack

Columns = dict[str, NDArray[np.generic]]


class SlotLayout:
    """The sizes and codecs of slots, for given extra columns."""

    def __init__(self, extra: tuple[str, ...]) -> None:
        spare = len(extra) + 1
        body = struct.Struct(f"<qq{len(STEP_FLOATS) + len(extra)}dQBBH")
        self.extra = extra
        self.pack = body.pack
        self.pack_trade = struct.Struct(f"<qq6dq{spare * 8}xQBBH").pack
        self._pack_failed = struct.Struct(f"<{body.size - 12}xQBBH").pack
        self.size = body.size + CRC_BYTES
        end = [("step", "<u8"), ("kind", "u1"), ("flags", "u1"), ("trades", "<u2"), ("crc", "<u4")]
        # Prefixed, because an env may name a column "kind" or "flags".
        floats = [(name, "<f8") for name in (*STEP_FLOATS, *map(_EXTRA.__add__, extra))]
        self.dtype = np.dtype([("wall_time_ns", "<i8"), ("market_time", "<i8"), *floats, *end])
        assert self.dtype.itemsize == self.size
        self.no_rows = self.step_columns(self.words(np.empty(0, self.dtype))), no_trades()

    def pack_failed(self, step: int) -> bytes:
        """Return the body of the slot which says that a write failed, and that ``step`` and later steps are lost."""
        return self._pack_failed(step, FAILED, 0, 0)

    def columns(self, slots: NDArray[np.void]) -> tuple[Columns, Columns]:
        """Return the steps and trades of verified slots: a contiguous array per column of STEP_COLUMNS and TRADE_COLUMNS."""
        if not len(slots):  # most closed journals, so the arrays are made once; do not write to them
            return self.no_rows
        kinds = slots["kind"]
        steps = int(np.count_nonzero(kinds == STEP))
        if steps == len(slots):
            return self.step_columns(self.words(slots)), no_trades()
        whole = self.words(slots, kinds.argsort(kind="stable"))  # the steps, then the trades
        return self.step_columns(whole[:, :steps]), self.trade_columns(whole[:, steps:])

    def words(self, slots: NDArray[np.void], order: NDArray[np.intp] | None = None) -> NDArray[np.int64]:
        """Return the slots' 8-byte words transposed: one contiguous row per word of a slot.

        One copy of all columns. Copying each column out of the records is 5x slower.

        Args:
            slots: The slots.
            order: The indices of the slots to return, in this order; all slots if None.
        """
        words = np.ascontiguousarray(slots).view("<i8").reshape(-1, self.size // 8)
        return np.ascontiguousarray((words if order is None else words.take(order, axis=0)).T)

    def step_columns(self, whole: NDArray[np.int64]) -> Columns:
        """Return the steps of slots that are all steps, given as `words`."""
        real = whole.view("<f8")
        columns: Columns = {"step": whole[-2], "wall_time": whole[0] // 1000, "market_time": whole[1]}
        # In the schema's order: Arrow takes columns by position and does not check their types.
        columns.update(zip(STEP_FLOATS, real[2:], strict=False))
        columns["terminated"], columns["truncated"] = (whole[-1] & _FLAGS) != 0
        columns.update(zip(self.extra, real[2 + len(STEP_FLOATS) :], strict=False))
        return columns

    def trade_columns(self, whole: NDArray[np.int64]) -> Columns:
        """Return the trades of slots that are all trades, given as `words`."""
        real = whole.view("<f8")
        quantity, entry_price, exit_price, pnl, costs, number = real[2:8]
        with np.errstate(invalid="ignore"):  # a damaged or hostile slot may hold NaN
            numbers = number.astype("<i8")
        return {
            "trade_number": numbers,
            "direction": np.where(whole[-1] & 0xFF << _FLAGS_AT, _LONG, _SHORT),
            "quantity": quantity,
            "entry_step": whole[1],
            "entry_time": whole[0],
            "entry_price": entry_price,
            "exit_step": whole[-2],
            "exit_time": whole[8],
            "exit_price": exit_price,
            "pnl": pnl,
            "costs": costs,
        }


@functools.cache
def no_trades() -> Columns:
    """Return empty trade columns. They are shared: do not write to them."""
    return {name: np.empty(0, dtype) for name, dtype in TRADE_COLUMNS.items()}


@functools.lru_cache(maxsize=64)
def layout_of(extra: tuple[str, ...]) -> SlotLayout:
    """Return the layout for a tuple of extra column names."""
    return SlotLayout(extra)
