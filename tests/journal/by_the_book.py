"""A second reader, written from docs/journal-format.md alone: it imports nothing of the package that it checks."""

from __future__ import annotations

import base64
import functools
import json
import struct
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

MAX_METADATA, MAX_HEADER, MAX_MESSAGE, MAX_FOOTER = 1 << 20, 1 << 24, 1 << 28, 1 << 20
NUMBERS = {"first_step", "steps", "first_trade", "trades", "wall_time_us", "market_time_us", "terminal"}
SEAL = NUMBERS | {"checkpoint", "end"}
EOS = b"\xff\xff\xff\xff\0\0\0\0"
TABLE = [functools.reduce(lambda crc, _: crc >> 1 ^ 0x82F63B78 * (crc & 1), range(8), byte) for byte in range(256)]


class NoJournalError(Exception):
    """The header cannot be read."""


@dataclass
class Told:
    """What the book makes of a journal."""

    header: dict[str, Any]
    end: dict[str, Any] | None = None
    torn: bool = False
    damage: list[str] = field(default_factory=list)
    steps: list[tuple[Any, ...]] = field(default_factory=list)
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    steps_lost: int = 0
    trades_lost: int = 0
    unknown: int = 0
    failed: bool = False


@functools.lru_cache(maxsize=20_000)
def crc32c(data: bytes, start: int = 0) -> int:
    crc = start ^ 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "little")


def metadata_of(data: bytes, at: int, most: int) -> bytes | None:
    length = u32(data, at + 4)
    return data[at : at + 8 + length] if data[at : at + 4] == EOS[:4] and 0 < length <= most else None


def value(metadata: bytes, name: bytes) -> bytes | None:
    at = metadata.find(b"\1" + name + b"=")
    return metadata[at + len(name) + 2 : at + u32(metadata, at - 4)] if at >= 4 else None


def stated(metadata: bytes) -> tuple[int, int, int] | None:
    """Length and CRC by the frame, and where its digits stand."""
    at = metadata.find(b"\1frame=") + 7
    digits = metadata[at : at + 16]
    if at < 7 or len(digits) < 16 or digits.strip(b"0123456789abcdef"):
        return None
    return int(digits[:8], 16), int(digits[8:], 16), at


def message_at(data: bytes, at: int, seed: int, most: int = MAX_METADATA) -> bytes | None:
    metadata = metadata_of(data, at, most)
    frame = stated(metadata) if metadata is not None else None
    if metadata is None or frame is None or not len(metadata) <= frame[0] <= min(MAX_MESSAGE, len(data) - at):
        return None
    message = data[at : at + frame[0]]
    blank = message[: frame[2]] + b"0" * 16 + message[frame[2] + 16 :]
    return message if crc32c(blank, seed) == frame[1] else None


def arrow_length(data: bytes, at: int) -> int | None:
    """The length of a message in Arrow's own metadata, `Message.fbs`: None where it cannot be read."""
    try:
        place = table_field(data, at + 8 + u32(data, at + 8), 3)
        body = struct.unpack_from("<q", data, place)[0] if place else 0
    except struct.error:
        return None
    return 8 + u32(data, at + 4) + body if body >= 0 else None


def arrow_rows(data: bytes, at: int) -> int | None:
    """The rows of a batch, likewise."""
    try:
        batch = table_field(data, at + 8 + u32(data, at + 8), 2)
        place = table_field(data, batch + u32(data, batch), 0) if batch else 0
        return struct.unpack_from("<q", data, place)[0] if place else None  # type: ignore[no-any-return]
    except struct.error:
        return None


def table_field(data: bytes, table: int, number: int) -> int:
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if vtable < 0:
        raise struct.error
    size = struct.unpack_from("<H", data, vtable)[0]
    offset = struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0] if 6 + 2 * number <= size else 0
    return table + offset if offset else 0


def read(stream: bytes, tail: bytes | None) -> Told:
    first = message_at(stream, 0, 0, MAX_HEADER)
    text = value(first, b"header") if first else None
    if first is None or text is None:
        raise NoJournalError
    told = Told(json.loads(text))
    seed = crc32c(told.header["journal_id"].encode())
    batches, footer, claim = read_stream(stream, len(first), seed, told)
    for message, seal in batches:
        rows = pa.ipc.open_stream(first + message + EOS).read_all().cast(numbers_only(first))
        columns = [column.to_pylist() for column in rows.columns]
        told.steps += zip(*columns[:-1], strict=True)
        told.trades += [tuple(trade.values()) for trades in columns[-1] for trade in trades]
        told.end = seal["end"] or told.end
    told.end = told.end or (footer["end"] if footer else None)
    seals = [seal for _, seal in batches]
    sealed = seals[-1]["first_step"] + seals[-1]["steps"] - 1 if seals else 0
    sealed_trade = max([0, *(seal["first_trade"] + seal["trades"] - 1 for seal in seals)])
    lost_behind, counted = read_tail(tail or b"", sealed, seed, told)
    if claim and (claim["first_step"], claim["first_trade"]) != (sealed + 1, sealed_trade + 1):
        claim = None
    ends = [footer["steps"]] if footer else [claim["first_step"] + claim["steps"] - 1] if claim else []
    ends += [seal["first_step"] - 1 for seal in seals]
    told.steps_lost = (
        max([len(told.steps), *ends, *(row[0] for row in told.steps[-1:])]) - len(told.steps) + lost_behind
    )
    last = [sealed_trade + counted, *(row[0] for row in told.trades[-1:])]
    last += [footer["trades"]] if footer else [claim["first_trade"] + claim["trades"] - 1] if claim else []
    told.trades_lost = max(last) - len(told.trades)
    told.torn = told.torn and told.end is None
    return told


def numbers_only(first: bytes) -> pa.Schema:
    """Times as the numbers they are, so that rows of batches and of slots compare."""

    def plain(kind: pa.DataType) -> pa.DataType:
        if pa.types.is_timestamp(kind):
            return pa.int64()
        if pa.types.is_list(kind):
            return pa.list_(pa.field("item", plain(kind.value_type), False))
        return pa.struct([part.with_type(plain(part.type)) for part in kind]) if pa.types.is_struct(kind) else kind

    return pa.schema([column.with_type(plain(column.type)) for column in pa.ipc.read_schema(pa.py_buffer(first))])


def read_stream(data: bytes, at: int, seed: int, told: Told) -> tuple[list[Any], Any, Any]:
    """The batches in order, the footer, and what a damaged last batch says of itself."""
    found: list[tuple[dict[str, Any], int, bytes]] = []
    footer, claim = footer_of(data, seed), None
    while at < len(data):
        message = message_at(data, at, seed)
        if message is not None:
            seal = value(message, b"seal")
            if seal is None and value(message, b"record") is not None:
                told.unknown += 1
            else:
                found.append((json.loads(seal or b"null"), at, message))
            at += len(message)
            continue
        places = (place for place in range(at + 1, len(data) - 7) if data[place : place + 4] == EOS[:4])
        later = next((place for place in places if message_at(data, place, seed)), None)
        if later is None and found and found[-1][0]["end"]:
            break
        if later is None and footer:
            later = footer["stream_bytes"] - 8
            if later <= at:
                break
        elif later is None and is_torn(data, at):
            told.torn = True
            break
        told.damage.append("batch")
        if later is None:
            seal = value(data[at : at + MAX_METADATA], b"seal")
            claim = readable(seal or b"")
            claim = claim if claim and claim["steps"] == arrow_rows(data, at) else None
            break
        claim, at = None, later
        if footer and at == footer["stream_bytes"] - 8:
            break
    kept: list[tuple[dict[str, Any], int, bytes]] = []
    for seal, place, message in sorted(found, key=lambda one: (one[0]["first_step"], one[1])):
        before = kept[-1][0] if kept else None
        if before and (seal["first_step"] < before["first_step"] + before["steps"] or seal == before):
            told.damage.append("order")
        else:
            kept.append((seal, place, message))
    if [place for _, place, _ in kept] != sorted(place for _, place, _ in kept):
        told.damage.append("order")
    return [(message, seal) for seal, _, message in kept if seal["steps"] or seal["end"]], footer, claim


def readable(seal: bytes) -> dict[str, Any] | None:
    """A seal that nothing vouches for: all of its keys, with values of their kinds."""
    try:
        found: dict[str, Any] = json.loads(seal)
        base64.b64decode(found["checkpoint"] or "", validate=True)
    except (ValueError, KeyError, TypeError):
        return None
    if not set(found) >= SEAL - {"end"} or any(type(found[name]) is not int for name in NUMBERS):
        return None
    end = found.setdefault("end", None)
    return (
        found if end is None or (isinstance(end, dict) and {"reason", "message", "closed_at_us"} <= set(end)) else None
    )


def is_torn(data: bytes, at: int) -> bool:
    left = data[at:]
    if len(left) < 8 or not left.strip(b"\0"):
        return True
    frame = stated(left[:MAX_METADATA])
    stated_lengths = (frame and frame[0], arrow_length(data, at))
    lengths = [length for length in stated_lengths if length is not None and length <= MAX_MESSAGE]
    return len(left) < min(lengths, default=8 + u32(data, at + 4) if left[:4] == EOS[:4] else 0)


def footer_of(data: bytes, seed: int) -> dict[str, Any] | None:
    length, crc = u32(data, len(data) - 16), u32(data, len(data) - 12)
    start = len(data) - 16 - length
    if data[-8:] != b"JRNLEND\n" or length > MAX_FOOTER or start < 0 or crc32c(data[start:-12], seed) != crc:
        return None
    found: dict[str, Any] = json.loads(data[start:-16])
    return found if found["stream_bytes"] == start else None


def read_tail(tail: bytes, sealed: int, mask: int, told: Told) -> tuple[int, int]:
    """Rows to ``told``; the steps that damaged slots at the end may have been, and the trades that slots count."""
    extra = len(told.header["about"]["extra_columns"])
    size = 96 + 8 * extra
    slots = [tail[at : at + size].ljust(size, b"\0") for at in range(0, len(tail), size)]
    cut = len(slots) - 1 if len(tail) % size else -1
    while slots and not slots[-1].strip(b"\0"):
        slots.pop()
    number, kind, count, crc = ([struct.unpack("<QBBHI", s[-16:])[part] for s in slots] for part in (0, 1, 3, 4))
    fits = fitting(slots, number, kind, crc, mask)
    unfinished = [not c or not s[: 24 if k == 2 else 8].strip(b"\0") for s, k, c in zip(slots, kind, crc, strict=True)]
    good = [at for at, fit in enumerate(fits) if fit]
    fresh = [at for at in good if number[at] > sealed]
    if good and not fresh:
        return 0, 0
    strange = [at for at in fresh if kind[at] > 3]
    told.unknown += len(strange)
    told.failed = told.failed or any(kind[at] == 3 for at in fresh)
    fresh = [at for at in fresh if kind[at] <= 2]
    kept, least, torn = [], 0, False
    for at in fresh:
        if number[at] < least:
            fits[at] = False
        else:
            kept.append(at)
            least = number[at] + (kind[at] == 1)
    head = kept[-1] - count[kept[-1]] if kept and kind[kept[-1]] == 1 else -1
    if head >= 0 and not fits[head] and slots[head].strip(b"\0") and unfinished[head]:
        kept, torn = [at for at in kept if at < head], True
    with_step = kept
    while with_step and kind[with_step[-1]] != 1:
        with_step = with_step[:-1]
    last = with_step[-1] if with_step else -1
    damaged, partial = [], []
    for at in (at for at, fit in enumerate(fits) if not fit and slots[at].strip(b"\0")):
        bad_before = at and not fits[at - 1] and (unfinished[at - 1] or not slots[at - 1].strip(b"\0"))
        head_left = not at and len(slots) > 1 and not slots[1].strip(b"\0") and unfinished[0]
        if number[at] <= sealed and (bad_before or head_left):
            continue
        if at > last and (unfinished[at] or at == cut):
            partial.append(at)
        else:
            damaged.append(at)
    inner = range(last + 1, len(slots) - 1)
    if any(not slots[at].strip(b"\0") or (fits[at] and kind[at] == 1) for at in inner) or any(
        at in inner and (at != last + 1 or kind[at] != 2 or not crc[at]) for at in partial
    ):
        damaged, partial = sorted(damaged + partial), []
    torn = torn or bool(partial) or any(at > last for at in strange)
    behind = [at for at in damaged if at > last]
    told.torn = told.torn or torn or (len(with_step) < len(kept) and not behind)
    if told.end is None:
        told.damage += ["slot"] * len(damaged)
    for at in with_step:
        take(slots[at], kind[at] == 1, extra, told)
    orphans = len(kept) - len(with_step) if behind else 0
    lost = max(1, sum(kind[at] != 2 for at in behind)) if behind and told.end is None else 0
    return lost, sum(count[at] for at in with_step if kind[at] == 1) + orphans


def fitting(slots: list[bytes], number: list[int], kind: list[int], crc: list[int], mask: int) -> list[bool]:
    running = crc32c(slots[0][-16:-8], mask) if slots else 0
    fits: list[bool] = []
    for at, slot in enumerate(slots):
        reckoned = crc32c(slot[:-4], running)
        fit = reckoned == crc[at] ^ mask
        back = at - 1
        while fit and back >= 0 and not fits[back] and slots[back].strip(b"\0"):
            fits[back] = kind[back] > 0 and 0 < number[back] < 1 << 62
            back -= 1
        fit = fit or bool(at and slot.strip(b"\0") and crc32c(slot[:-4], crc[at - 1] ^ mask) == crc[at] ^ mask)
        running = crc[at] ^ mask if fit else reckoned
        fits.append(fit and kind[at] > 0 and 0 < number[at] < 1 << 62)
    return fits


def take(slot: bytes, is_step: bool, extra: int, told: Told) -> None:
    step, _, flags, _ = struct.unpack("<QBBH", slot[-16:-4])
    if is_step:
        wall, market, *floats = struct.unpack(f"<qq{8 + extra}d", slot[:-16])
        ends = (bool(flags & 1), bool(flags & 2))
        told.steps.append((step, wall // 1000, market, *floats[:8], *ends, *floats[8:]))
        return
    time, entry, quantity, price, out, pnl, costs, number, exit_time = struct.unpack_from("<qq6dq", slot)
    told.trades.append((int(number), flags or -1, quantity, entry, time, price, step, exit_time, out, pnl, costs))
