"""The slots of a tail: how one step and its trades are packed, sealed by a running CRC, and read back.

A slot is a body and the CRC32C of all bodies since the last seal, this one included, masked with the journal id's own.
The seed of that running CRC is made of the journal id and the first step behind the seal, so a slot of another journal,
of another place or of an older generation does not fit.
"""

from __future__ import annotations

import functools
import struct
from bisect import bisect_left
from dataclasses import dataclass

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.format.checksum import generation_seed, journal_seed
from journal.format.schema import STEP_FLOATS, TRADE_COLUMNS

STEP, TRADE = 1, 2
_MOST_STEPS = 1 << 62
_EXTRA = "extra "
TERMINATED, TRUNCATED = 1, 2
_FLAGS_AT = 8  # bits into a slot's last word, behind the kind
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
        # A prefix, since an env may well call a column "kind" or "flags".
        floats = [(name, "<f8") for name in (*STEP_FLOATS, *map(_EXTRA.__add__, extra))]
        self.dtype = np.dtype([("wall_time_ns", "<i8"), ("market_time", "<i8"), *floats, *end])
        assert self.dtype.itemsize == self.size

    def columns(self, slots: NDArray[np.void]) -> tuple[Columns, Columns]:
        """Steps and trades of verified slots, a contiguous array per column (schema.STEP_COLUMNS, TRADE_COLUMNS)."""
        is_step = slots["kind"] == STEP
        if is_step.all():
            return self._step_columns(slots), no_trades()
        steps = self._step_columns(np.compress(is_step, slots))  # indexing records by a mask takes five times as long
        return steps, self._trade_columns(np.compress(~is_step, slots))

    def _words(self, slots: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The slots' words of 8 bytes, turned: a contiguous row for each place in a slot, as integers and as floats.

        All columns in one copy, where a copy of each out of the records would take five times as long.
        """
        words = np.ascontiguousarray(np.ascontiguousarray(slots).view("<i8").reshape(-1, self.size // 8).T)
        return words, words.view("<f8")

    def _step_columns(self, slots: NDArray[np.void]) -> Columns:
        whole, real = self._words(slots)
        columns: Columns = {"step": whole[-2], "wall_time": whole[0] // 1000, "market_time": whole[1]}
        # In the schema's order: Arrow takes a column by its place and looks at no type.
        columns.update(zip(STEP_FLOATS, real[2:], strict=False))
        columns["terminated"] = (whole[-1] & TERMINATED << _FLAGS_AT) != 0
        columns["truncated"] = (whole[-1] & TRUNCATED << _FLAGS_AT) != 0
        columns.update(zip(self.extra, real[2 + len(STEP_FLOATS) :], strict=False))
        return columns

    def _trade_columns(self, slots: NDArray[np.void]) -> Columns:
        whole, real = self._words(slots)
        entry_time, entry_step, *_, exit_time = whole[:9]
        quantity, entry_price, exit_price, pnl, costs, number = real[2:8]
        with np.errstate(invalid="ignore"):  # a hostile slot may number a trade NaN
            numbers = number.astype("<i8")
        return {
            "trade_number": numbers,
            "direction": np.where(whole[-1] & 0xFF << _FLAGS_AT, 1, -1).astype("<i1"),
            "quantity": quantity,
            "entry_step": entry_step,
            "entry_time": entry_time,
            "entry_price": entry_price,
            "exit_step": whole[-2],
            "exit_time": exit_time,
            "exit_price": exit_price,
            "pnl": pnl,
            "costs": costs,
        }


@functools.cache
def no_trades() -> Columns:
    """Empty trade columns; shared, so never written to."""
    return {name: np.empty(0, dtype) for name, dtype in TRADE_COLUMNS.items()}


@functools.lru_cache(maxsize=64)
def layout_of(extra: tuple[str, ...]) -> SlotLayout:
    """The layout for a tuple of extra column names."""
    return SlotLayout(extra)


@dataclass(frozen=True)
class TailScan:
    """What a tail gave: verified slots in order, and what could not be verified.

    ``damaged`` are indices of slots that were written whole and don't verify; ``lost_end`` is how many steps those may
    have been that stand behind the last good one. ``torn``: the last write did not finish, which is how a killed
    writer ends. ``stated_trades`` is how many trades the verified slots say that were closed.
    """

    slots: NDArray[np.void]
    damaged: tuple[int, ...] = ()
    lost_end: int = 0
    torn: bool = False
    stated_trades: int = 0


def scan_tail(data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int) -> TailScan:
    """Verify a tail; slots up to ``sealed_step`` stand in the stream already and are left out."""
    slots = np.frombuffer(data, layout.dtype, len(data) // layout.size)
    used = _used(data, layout.size)
    # A look at each byte would take ten times as long.
    blank_behind = data.endswith(bytes(len(data) - used * layout.size))
    if not blank_behind or (used and not _verifies(slots[:used], layout, journal_id)):
        return _scan_each(slots, data, layout, journal_id, sealed_step)
    keep = slots[:used]
    if used and keep["step"].min() <= sealed_step:
        keep = keep[keep["step"] > sealed_step]
    whole = _whole_steps(keep)
    return TailScan(whole, torn=len(whole) < len(keep), stated_trades=_stated_trades(whole))


def _used(data: bytes, size: int) -> int:
    """How many slots from the front are not blank, if all that are not blank stand in front."""
    kinds = data[size - 8 : len(data) // size * size : size]
    return bisect_left(kinds, 1, key=lambda kind: not kind)


def _bodies(slots: NDArray[np.void], size: int) -> bytes:
    raw = np.ascontiguousarray(slots).view(np.uint8).reshape(len(slots), size)
    return raw[:, : size - 4].tobytes()


def _verifies(slots: NDArray[np.void], layout: SlotLayout, journal_id: str) -> bool:
    """One CRC call over a whole generation: the last slot's CRC covers all before it, but not *their* CRC fields."""
    if not _count_up(slots):
        return False
    running = crc32c(_bodies(slots, layout.size), generation_seed(journal_id, int(slots["step"][0])))
    return bool(running ^ journal_seed(journal_id) == int(slots["crc"][-1]))


def _count_up(slots: NDArray[np.void]) -> bool:
    """Are they steps and trades, and their numbers in order? A step's trades bear its number and stand before it."""
    steps, kinds = slots["step"].astype("<i8"), np.ascontiguousarray(slots["kind"])
    in_order = (steps[1:] - steps[:-1] >= (kinds[:-1] == STEP)).all()
    known = kinds.min() >= STEP and kinds.max() <= TRADE
    return bool(in_order and known) and 0 < int(steps[0]) <= int(steps[-1]) < _MOST_STEPS


def _scan_each(slots: NDArray[np.void], data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int) -> TailScan:
    """Slot by slot: which verify, and whether those that don't were damaged, not finished, or not wanted any more."""
    torn = bool(data[len(slots) * layout.size :].strip(b"\0"))
    written = np.flatnonzero(np.frombuffer(data, np.uint8, len(slots) * layout.size))
    slots = slots[: int(written[-1]) // layout.size + 1 if len(written) else 0]
    fits = _fits(slots, data, layout, journal_id)
    good = [index for index, fit in enumerate(fits) if fit]
    fresh = [index for index in good if int(slots["step"][index]) > sealed_step]
    for stray in _strays(slots, fresh):
        fits[stray] = False
    fresh = [index for index in fresh if fits[index]]
    if good and not fresh:  # its writer was blanking it when it died: nothing new was written behind that seal
        return TailScan(slots[:0])
    keep = _last_write_dropped(slots, fresh, fits)
    whole = _whole_steps(slots[keep])
    last_step = keep[len(whole) - 1] if len(whole) else -1
    torn = torn or len(keep) < len(fresh)
    damaged = []
    for index, fit in enumerate(fits):
        if fit is not False or _is_left_over(slots, fits, index, sealed_step):
            continue
        if index > last_step and _is_unfinished(slots[index]):
            torn = True
        else:
            damaged.append(index)
    behind = [index for index in damaged if index > last_step]
    lost_end = max(1, sum(int(slots["kind"][index]) != TRADE for index in behind)) if behind else 0
    stated = _stated_trades(slots[keep] if behind else whole)
    return TailScan(whole, tuple(damaged), lost_end, torn or (len(whole) < len(keep) and not behind), stated)


def _fits(slots: NDArray[np.void], data: bytes, layout: SlotLayout, journal_id: str) -> list[bool | None]:
    """Does each slot verify? None for a blank one.

    A slot is checked from the CRC that the one before it states, so damage costs only its slot. If that CRC is what
    is damaged, the slot behind it still fits the sum that was reckoned so far, and vouches for all that is in it.
    """
    size, mask = layout.size, journal_seed(journal_id)
    stated = slots["crc"].tolist()
    steps, kinds = slots["step"].tolist(), slots["kind"].tolist()
    fits: list[bool | None] = []
    running = generation_seed(journal_id, steps[0]) if steps else 0
    unsure: list[int] = []
    for index, crc in enumerate(stated):
        body = data[index * size : (index + 1) * size - 4]
        reckoned = crc32c(body, running)
        if reckoned ^ mask == crc:
            for earlier in unsure:
                fits[earlier] = True
            fit: bool | None = True
        elif not crc and not body.strip(b"\0"):
            fit = None
        else:
            fit = bool(index) and crc32c(body, stated[index - 1] ^ mask) ^ mask == crc
        unsure = [*unsure, index] if fit is False else []
        running = crc ^ mask if fit else reckoned
        fits.append(fit and 0 < steps[index] < _MOST_STEPS and kinds[index] in (STEP, TRADE))
    return fits


def _strays(slots: NDArray[np.void], fresh: list[int]) -> list[int]:
    """Slots that verify, with numbers that no writer would give them there."""
    least, found = 0, []
    for index in fresh:
        step = int(slots["step"][index])
        if step < least:
            found.append(index)
        else:
            least = step + (int(slots["kind"][index]) == STEP)
    return found


def _last_write_dropped(slots: NDArray[np.void], good: list[int], fits: list[bool | None]) -> list[int]:
    """The good slots without those of the last write if its head never arrived: a large copy writes that last.

    All slots of a step are one write, so then its step was never acknowledged, though its own slot verifies.
    """
    last = good[-1] if good else -1
    if last < 0 or slots["kind"][last] != STEP:
        return good
    first = last - int(slots["trades"][last])
    if first < 0 or fits[first] is not False or not _is_unfinished(slots[first]):
        return good
    return [index for index in good if index < first]


def _is_left_over(slots: NDArray[np.void], fits: list[bool | None], index: int, sealed_step: int) -> bool:
    """The last slot that its writer had not yet blanked when it died: what it was checked from is blank, or nearly."""
    if not index or int(slots["step"][index]) > sealed_step:
        return False
    return fits[index - 1] is None or (fits[index - 1] is False and _is_unfinished(slots[index - 1]))


def _is_unfinished(slot: np.void) -> bool:
    """Does a slot of the last write lack its end or its head, as a copy leaves it that the process's death cut short?

    Neither is zero in a slot that was written: a step begins with the time, a trade's quantity is in its first 24 bytes.
    """
    head = 24 if slot["kind"] == TRADE else 8
    return not slot["crc"] or not slot.tobytes()[:head].strip(b"\0")


def _whole_steps(slots: NDArray[np.void]) -> NDArray[np.void]:
    """Drop trades behind the last step: their step was never acknowledged."""
    if len(slots) and slots["kind"][-1] == STEP:
        return slots
    steps = np.flatnonzero(slots["kind"] == STEP)
    return slots[: int(steps[-1]) + 1 if len(steps) else 0]


def _stated_trades(slots: NDArray[np.void]) -> int:
    """How many trades the steps among these slots say that they closed, and those that stand behind the last step."""
    stated = slots["trades"][slots["kind"] == STEP]
    return int(stated.sum()) + len(slots) - len(_whole_steps(slots))
