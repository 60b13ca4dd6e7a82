"""The slots of a tail: how one step and its trades are packed, sealed by a running CRC, and read back.

A slot is a body and the CRC32C of all bodies since the last seal, this one included, masked with the journal id's own.
The seed of that running CRC is made of the journal id and the first step behind the seal, so a slot of another journal,
of another place or of an older generation does not fit.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.schema import STEP_FLOATS

STEP, TRADE = 1, 2
TERMINATED, TRUNCATED = 1, 2
MAX_TRADES_PER_STEP = 0xFFFF
pack_crc = struct.Struct("<I").pack

Columns = dict[str, NDArray[np.generic]]


class SlotLayout:
    """Sizes and codecs of the slots of a journal with the given extra columns."""

    def __init__(self, extra: tuple[str, ...]) -> None:
        spare = len(extra) + 1
        body = struct.Struct(f"<qq{len(STEP_FLOATS) + len(extra)}dQBBH")
        self.extra = extra
        self.pack = body.pack
        self.pack_trade = struct.Struct(f"<qq6dq{spare * 8}xQBBH").pack
        self.size = body.size + 4
        end = [("step", "<u8"), ("kind", "u1"), ("flags", "u1"), ("trades", "<u2"), ("crc", "<u4")]
        floats = [(name, "<f8") for name in (*STEP_FLOATS, *extra)]
        self.dtype = np.dtype([("wall_time_ns", "<i8"), ("market_time", "<i8"), *floats, *end])
        of_trade = ["quantity", "entry_price", "exit_price", "pnl", "costs", "trade_number"]
        self.trade_dtype = np.dtype(
            [
                ("entry_time", "<i8"),
                ("entry_step", "<i8"),
                *((name, "<f8") for name in of_trade),
                ("exit_time", "<i8"),
                ("spare", f"V{spare * 8}"),
                *end,
            ]
        )
        assert self.dtype.itemsize == self.trade_dtype.itemsize == self.size

    def columns(self, slots: NDArray[np.void]) -> tuple[Columns, Columns]:
        """Steps and trades of verified slots, a contiguous array per column (schema.STEP_COLUMNS, TRADE_COLUMNS)."""
        if slots["kind"].min(initial=STEP) == slots["kind"].max(initial=STEP):
            return self._step_columns(slots), no_trades()
        is_step = slots["kind"] == STEP
        steps = self._step_columns(slots[is_step])
        return steps, _trade_columns(slots.view(self.trade_dtype)[~is_step])

    def _step_columns(self, slots: NDArray[np.void]) -> Columns:
        flags = slots["flags"]
        columns: Columns = {
            "step": slots["step"].astype("<i8"),
            "wall_time": slots["wall_time_ns"] // 1000,
            "market_time": np.ascontiguousarray(slots["market_time"]),
        }
        # In the schema's order: Arrow takes a column by its place and looks at no type.
        for name in STEP_FLOATS:
            columns[name] = np.ascontiguousarray(slots[name])
        columns["terminated"] = (flags & TERMINATED) != 0
        columns["truncated"] = (flags & TRUNCATED) != 0
        for name in self.extra:
            columns[name] = np.ascontiguousarray(slots[name])
        return columns


def _trade_columns(slots: NDArray[np.void]) -> Columns:
    return {
        "trade_number": slots["trade_number"].astype("<i8"),
        "direction": np.where(slots["flags"] != 0, 1, -1).astype("<i1"),
        "quantity": np.ascontiguousarray(slots["quantity"]),
        "entry_step": np.ascontiguousarray(slots["entry_step"]),
        "entry_time": np.ascontiguousarray(slots["entry_time"]),
        "entry_price": np.ascontiguousarray(slots["entry_price"]),
        "exit_step": slots["step"].astype("<i8"),
        "exit_time": np.ascontiguousarray(slots["exit_time"]),
        "exit_price": np.ascontiguousarray(slots["exit_price"]),
        "pnl": np.ascontiguousarray(slots["pnl"]),
        "costs": np.ascontiguousarray(slots["costs"]),
    }


@functools.cache
def _no_trades() -> Columns:
    from journal.schema import TRADE_COLUMNS

    return {name: np.empty(0, dtype) for name, dtype in TRADE_COLUMNS.items()}


def no_trades() -> Columns:
    """Empty trade columns; shared, so never written to."""
    return _no_trades()


@functools.lru_cache(maxsize=64)
def layout_of(extra: tuple[str, ...]) -> SlotLayout:
    """The layout for a tuple of extra column names."""
    return SlotLayout(extra)


@functools.lru_cache(maxsize=1024)
def mask_of(journal_id: str) -> int:
    """What each stated CRC is masked with, so that not even the middle of another journal's tail fits into this one."""
    return int(crc32c(journal_id.encode("ascii")))


def seed(journal_id: str, first_step: int) -> int:
    """Where the running CRC of a generation starts."""
    return int(crc32c(first_step.to_bytes(8, "little"), mask_of(journal_id)))


@dataclass(frozen=True)
class TailScan:
    """What a tail gave: verified slots in order, and what could not be verified.

    ``damaged`` are indices of slots that were written whole and don't verify, ``damaged_end`` tells that the last
    slot written is one of them; ``torn`` that the last write did not finish, which is how a killed writer ends.
    ``stated_trades`` is how many trades the verified steps say that they closed.
    """

    slots: NDArray[np.void]
    damaged: tuple[int, ...]
    damaged_end: bool
    torn: bool
    stated_trades: int


def scan_tail(data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int) -> TailScan:
    """Verify a tail; slots up to ``sealed_step`` stand in the stream already and are left out."""
    count = len(data) // layout.size
    slots = np.frombuffer(data, layout.dtype, count)
    used = _used(slots, data, layout.size)
    damaged: list[int]
    blank_behind = data.endswith(
        bytes(len(data) - used * layout.size)
    )  # a look at each byte would take 10 times as long
    if blank_behind and (not used or _verifies(slots[:used], layout, journal_id)):
        keep, damaged, torn, last = slots[:used], [], False, used - 1
    else:
        good, damaged, torn = _pick(slots, data, layout, journal_id, sealed_step)
        keep, last = slots[good], good[-1] if good else -1
    if used and keep["step"].min(initial=sealed_step + 1) <= sealed_step:
        keep = keep[keep["step"] > sealed_step]
    whole, unfinished = _whole_steps(keep)
    damaged_end = bool(damaged) and damaged[-1] > last
    stated = int(whole["trades"][whole["kind"] == STEP].sum()) if len(whole) else 0
    return TailScan(whole, tuple(damaged), damaged_end, torn or unfinished, stated)


def _used(slots: NDArray[np.void], data: bytes, size: int) -> int:
    """How many slots from the front are not blank, by one vector look at their kinds."""
    kinds = slots["kind"]
    blank = (kinds != STEP) & (kinds != TRADE)
    first = int(blank.argmax()) if len(blank) else 0
    return first if len(blank) and blank[first] else len(slots)


def _bodies(slots: NDArray[np.void], size: int) -> bytes:
    raw = np.ascontiguousarray(slots).view(np.uint8).reshape(len(slots), size)
    return raw[:, : size - 4].tobytes()


def _verifies(slots: NDArray[np.void], layout: SlotLayout, journal_id: str) -> bool:
    """One CRC call over a whole generation: the last slot's CRC covers all before it, but not *their* CRC fields."""
    running = crc32c(_bodies(slots, layout.size), seed(journal_id, int(slots["step"][0])))
    return bool(running ^ mask_of(journal_id) == int(slots["crc"][-1]))


def _pick(
    slots: NDArray[np.void], data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int
) -> tuple[list[int], list[int], bool]:
    """Slot by slot: each is checked against the CRC that its predecessor states, so damage costs only its slot."""
    fits = _fits(slots, data, layout, journal_id)
    good = [index for index, fit in enumerate(fits) if fit]
    last = good[-1] if good else -1
    torn = bool(data[len(slots) * layout.size :].strip(b"\0"))
    damaged = []
    for index, fit in enumerate(fits):
        if fit is not False or _is_stale(slots, fits, index, sealed_step):
            continue
        if index < last or slots["crc"][index]:
            damaged.append(index)
        else:
            torn = True
    return good, damaged, torn


def _fits(slots: NDArray[np.void], data: bytes, layout: SlotLayout, journal_id: str) -> list[bool | None]:
    """Does each slot continue the one before it? None for a blank one."""
    size, mask = layout.size, mask_of(journal_id)
    stated = slots["crc"].tolist()
    fits: list[bool | None] = []
    for index, crc in enumerate(stated):
        body = data[index * size : (index + 1) * size - 4]
        before = stated[index - 1] ^ mask if index else seed(journal_id, int(slots["step"][0]))
        fits.append(None if not crc and not body.strip(b"\0") else crc32c(body, before) ^ mask == crc)
    return fits


def _is_stale(slots: NDArray[np.void], fits: list[bool | None], index: int, sealed_step: int) -> bool:
    """The first slot that a writer had not yet blanked when it died in a seal: its predecessor is gone, its rows are not."""
    steps = slots["step"][index : index + 2]
    if not 0 < int(steps[0]) <= sealed_step:
        return False
    continued = len(steps) == 2 and fits[index + 1] is True and int(steps[1]) <= sealed_step
    return continued or (index > 0 and fits[index - 1] is None)


def _whole_steps(slots: NDArray[np.void]) -> tuple[NDArray[np.void], bool]:
    """Drop trades behind the last step: their step was never acknowledged."""
    steps = np.flatnonzero(slots["kind"] == STEP)
    end = int(steps[-1]) + 1 if len(steps) else 0
    return slots[:end], end < len(slots)


def steps_of(slots: Sequence[np.void] | NDArray[np.void]) -> int:
    """How many of the slots are steps."""
    return int(np.count_nonzero(np.asarray(slots)["kind"] == STEP))
