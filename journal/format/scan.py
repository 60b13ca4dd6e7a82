"""Verify the slots of a tail, and tell damage from a write that the writer's death interrupted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from journal.format.checksum import generation_seed, journal_seed
from journal.format.schema import MAX_NUMBER
from journal.format.slots import FAILED, STEP, TRADE, SlotLayout

Fits = list[bool | None]
"""For each slot, whether it verifies; None for a blank one."""


@dataclass(frozen=True)
class TailScan:
    """The content of a tail.

    Attributes:
        slots: Verified steps and trades, in order.
        damaged: Indices of slots that were written completely and do not verify.
        lost_end: The number of steps that the damaged slots after the last verified step may have been.
        torn: Whether the last write is unfinished, because the writer was killed.
        stated_trades: The number of trades that the verified steps closed, as they state it.
        failed: Whether a slot records that a write failed, so that later steps are lost.
        unknown: The number of verified slots of each kind that this version does not know.
    """

    slots: NDArray[np.void]
    damaged: tuple[int, ...] = ()
    lost_end: int = 0
    torn: bool = False
    stated_trades: int = 0
    failed: bool = False
    unknown: Mapping[int, int] = field(default_factory=dict)


def scan_tail(data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int) -> TailScan:
    """Verify a tail. Slots of steps up to ``sealed_step`` are in the stream already and are left out."""
    slots = np.frombuffer(data, layout.dtype, len(data) // layout.size)
    used = _used(data, layout.size)
    # Comparing the end with zeros is 10x faster than testing each byte.
    blank_behind = data.endswith(bytes(len(data) - used * layout.size))
    if not blank_behind or (used and not _verifies(slots[:used], layout, journal_id)):
        return _scan_each(data, layout, journal_id, sealed_step)
    keep = slots[:used]
    if used and keep["step"].min() <= sealed_step:
        keep = keep[keep["step"] > sealed_step]
    whole = _whole_steps(keep)
    return TailScan(whole, torn=len(whole) < len(keep), stated_trades=_stated_trades(whole))


def _used(data: bytes, size: int) -> int:
    """Return the number of slots up to the last one that has a kind."""
    return len(data[size - 8 : len(data) // size * size : size].rstrip(b"\0"))


def _verifies(slots: NDArray[np.void], layout: SlotLayout, journal_id: str) -> bool:
    """Verify a whole generation by the CRC of the last slot, which covers all bodies but no CRC fields."""
    if not _count_up(slots):
        return False
    raw = np.ascontiguousarray(slots).view(np.uint8).reshape(len(slots), layout.size)
    bodies = raw[:, : layout.size - 4].tobytes()
    running = crc32c(bodies, generation_seed(journal_id, int(slots["step"][0])))
    return bool(running ^ journal_seed(journal_id) == int(slots["crc"][-1]))


def _count_up(slots: NDArray[np.void]) -> bool:
    """Return True if all slots are steps and trades in order. A step's trades have its number and precede it."""
    steps, kinds = slots["step"].astype("<i8"), np.ascontiguousarray(slots["kind"])
    in_order = (steps[1:] - steps[:-1] >= (kinds[:-1] == STEP)).all()
    known = kinds.min() >= STEP and kinds.max() <= TRADE
    return bool(in_order and known) and 0 < int(steps[0]) <= int(steps[-1]) < MAX_NUMBER


def _scan_each(data: bytes, layout: SlotLayout, journal_id: str, sealed_step: int) -> TailScan:
    """Verify slot by slot, and distinguish damaged, unfinished and left-over slots."""
    size = layout.size
    cut = len(data) % size != 0
    data += bytes(-len(data) % size)
    slots = np.frombuffer(data, layout.dtype)
    written = np.flatnonzero(np.frombuffer(data, np.uint8))
    cut = cut and len(written) > 0 and int(written[-1]) // size == len(slots) - 1
    slots = slots[: int(written[-1]) // size + 1 if len(written) else 0]
    fits = _fits(slots, data, layout, journal_id)
    good = [index for index, fit in enumerate(fits) if fit]
    fresh = [index for index in good if int(slots["step"][index]) > sealed_step]
    failed_write = any(slots["kind"][index] == FAILED for index in fresh)
    unknown = [index for index in fresh if slots["kind"][index] > FAILED]
    fresh = [index for index in fresh if slots["kind"][index] <= TRADE]
    for stray in _strays(slots, fresh):
        fits[stray] = False
    fresh = [index for index in fresh if fits[index]]
    if (
        good and not fresh and not unknown
    ):  # the writer died while it blanked the tail, so there are no steps after the seal
        return TailScan(slots[:0], failed=failed_write)
    keep = _last_write_dropped(slots, fresh, fits)
    whole = _whole_steps(slots[keep])
    last_step = keep[len(whole) - 1] if len(whole) else -1
    failed = [i for i, fit in enumerate(fits) if fit is False and not _is_left_over(slots, fits, i, sealed_step)]
    unfinished = [i for i in failed if i > last_step and (_is_unfinished(slots[i]) or (cut and i == len(slots) - 1))]
    if not _is_one_write(slots, fits, unfinished, last_step):
        unfinished = []
    damaged = [index for index in failed if index not in unfinished]
    behind = [index for index in damaged if index > last_step]
    lost_end = max(1, sum(int(slots["kind"][index]) != TRADE for index in behind)) if behind else 0
    torn = bool(unfinished) or len(keep) < len(fresh) or (len(whole) < len(keep) and not behind)
    torn = torn or any(index > last_step for index in unknown)
    stated = _stated_trades(slots[keep] if behind else whole)
    kinds = Counter(slots["kind"][unknown].tolist())
    return TailScan(whole, tuple(damaged), lost_end, torn, stated, failed_write, dict(kinds))


def _fits(slots: NDArray[np.void], data: bytes, layout: SlotLayout, journal_id: str) -> Fits:
    """Verify each slot.

    A slot is checked from the CRC that the previous slot states, so that damage affects only its own slot. If that CRC
    field itself is damaged, the next slot still matches the computed CRC, and verifies all slots since the last good one.
    """
    size, mask = layout.size, journal_seed(journal_id)
    stated = slots["crc"].tolist()
    steps, kinds = slots["step"].tolist(), slots["kind"].tolist()
    fits: Fits = []
    running = generation_seed(journal_id, steps[0]) if steps else 0
    unsure: list[int] = []
    for index, crc in enumerate(stated):
        body = data[index * size : (index + 1) * size - 4]
        computed = crc32c(body, running)
        if computed ^ mask == crc:
            for earlier in unsure:
                fits[earlier] = True
            fit: bool | None = True
        elif not crc and not body.strip(b"\0"):
            fit = None
        else:
            fit = bool(index) and crc32c(body, stated[index - 1] ^ mask) ^ mask == crc
        if fit is False:
            unsure.append(index)
        else:
            unsure = []
        running = crc ^ mask if fit else computed
        fits.append(fit and 0 < steps[index] < MAX_NUMBER and kinds[index] > 0)
    return fits


def _strays(slots: NDArray[np.void], fresh: list[int]) -> list[int]:
    """Return slots that verify but whose step number is impossible at their position."""
    least, found = 0, []
    for index in fresh:
        step = int(slots["step"][index])
        if step < least:
            found.append(index)
        else:
            least = step + (int(slots["kind"][index]) == STEP)
    return found


def _last_write_dropped(slots: NDArray[np.void], good: list[int], fits: Fits) -> list[int]:
    """Return the good slots without those of the last write if its head is missing: a large copy stores its head last.

    All slots of a step are one write. `append` did not return from it, although the step's own slot verifies.
    """
    last = good[-1] if good else -1
    if last < 0 or slots["kind"][last] != STEP:
        return good
    first = last - int(slots["trades"][last])
    if first < 0 or fits[first] is not False or not _is_unfinished(slots[first]):
        return good
    return [index for index in good if index < first]


def _is_left_over(slots: NDArray[np.void], fits: Fits, index: int, sealed_step: int) -> bool:
    """Return True for a sealed slot that its writer had not blanked yet when it died.

    Only the last one does not verify: the slot before it is blank, or partly so. Where the copy blanks its head last, the
    first slot is partly there too, with a blank one behind it.
    """
    if int(slots["step"][index]) > sealed_step:
        return False
    if not index:
        return len(slots) > 1 and fits[1] is None and _is_unfinished(slots[0])
    return fits[index - 1] is None or (fits[index - 1] is False and _is_unfinished(slots[index - 1]))


def _is_unfinished(slot: np.void) -> bool:
    """Return True if the slot was only partly written: its head or its end is zero.

    In a complete slot neither is: a step begins with the wall time, and a trade's quantity is in its first 24 bytes.
    """
    head = 24 if slot["kind"] == TRADE else 8
    return not slot["crc"] or not slot.tobytes()[:head].strip(b"\0")


def _is_one_write(slots: NDArray[np.void], fits: Fits, unfinished: list[int], last_step: int) -> bool:
    """Return True if one interrupted write can have left these slots unfinished.

    Invariant J3: at death one write can be unfinished. It stands right behind the last step, has no gap, ends with its
    only step, and is a copy that stopped at one place: only its first slot (without its head) and its last can be partial.
    """
    first, last = last_step + 1, len(slots) - 1
    if not unfinished:
        return True
    if any(fits[index] is None or (fits[index] and slots["kind"][index] == STEP) for index in range(first, last)):
        return False
    head_missing = slots["kind"][first] == TRADE and slots["crc"][first] != 0
    return all(index == last or (index == first and head_missing) for index in unfinished)


def _whole_steps(slots: NDArray[np.void]) -> NDArray[np.void]:
    """Drop trades after the last step, because `append` did not return for their step."""
    if len(slots) and slots["kind"][-1] == STEP:
        return slots
    steps = np.flatnonzero(slots["kind"] == STEP)
    return slots[: int(steps[-1]) + 1 if len(steps) else 0]


def _stated_trades(slots: NDArray[np.void]) -> int:
    """Return the number of trades that these steps state, plus the trades after the last step."""
    stated = slots["trades"][slots["kind"] == STEP]
    return int(stated.sum()) + len(slots) - len(_whole_steps(slots))
