"""Stamp and verify the messages of a stream: Arrow IPC messages that carry their own length and CRC32C.

Arrow has no checksum, so one value of each message's metadata is a *frame*: a prefix, the length of the whole message
and its CRC, eight hexadecimal digits each. The CRC is computed with all sixteen digits set to 0. Nothing is decoded
before its CRC is verified.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from crc32c import crc32c
from numpy.typing import NDArray

from journal.format.schema import MAX_METADATA, STEP_COLUMNS, TRADE_COLUMNS, UNKNOWN_TIME
from journal.format.slots import Columns
from journal.format.values import Moment, Whole, decoder_of

CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + bytes(4)
FRAME_KEY, HEADER_KEY, SEAL_KEY = "journal.frame", "journal.header", "journal.seal"
# \x01 cannot occur in JSON text, so a user's value cannot look like one of these prefixes.
FRAME_PREFIX, HEADER_PREFIX, SEAL_PREFIX, _RECORD = b"\x01frame=", b"\x01header=", b"\x01seal=", b"\x01record="
FRAME_DIGITS = 16
_BLANK = b"0" * FRAME_DIGITS
BLANK_FRAME = FRAME_PREFIX + _BLANK

# Market times. They are null if the env does not tell them; no other column has nulls.
MARKET_TIMES = ("market_time", "entry_time", "exit_time")
_TIMES = ("wall_time", *MARKET_TIMES)
_TIME = pa.timestamp("us", "UTC")


def _field(name: str, dtype: str) -> pa.Field:
    arrow_type = _TIME if name in _TIMES else pa.from_numpy_dtype(np.dtype(dtype))
    return pa.field(name, arrow_type, nullable=name in MARKET_TIMES)


TRADE_TYPE = pa.struct([_field(name, dtype) for name, dtype in TRADE_COLUMNS.items()])


@functools.lru_cache(maxsize=64)
def arrow_schema(extra: tuple[str, ...]) -> pa.Schema:
    """Return the Arrow schema of a journal's steps."""
    fields = [_field(name, dtype) for name, dtype in STEP_COLUMNS.items()]
    fields += [pa.field(name, pa.float64(), nullable=False) for name in extra]
    return pa.schema(
        [*fields, pa.field("trades", pa.list_(pa.field("item", TRADE_TYPE, nullable=False)), nullable=False)]
    )


@dataclass(frozen=True)
class End:
    """How the episode ended. Stored in the seal of a closed journal's last batch, and in its footer."""

    reason: str
    message: str
    closed_at_us: Whole


@dataclass(frozen=True)
class Seal:
    """The description of a batch, beside its rows. ``terminal`` has the flags of its last step."""

    first_step: Whole
    steps: Whole
    first_trade: Whole
    trades: Whole
    wall_time_us: Whole
    market_time_us: Moment
    terminal: Whole
    checkpoint: bytes | None
    end: End | None = None

    @property
    def last_step(self) -> int:
        """Number of its last step; ``first_step - 1`` for an empty batch."""
        return self.first_step + self.steps - 1

    @property
    def last_trade(self) -> int:
        """Number of its last trade; ``first_trade - 1`` for none."""
        return self.first_trade + self.trades - 1

    def to_json(self) -> bytes:
        """Encode as compact JSON; the checkpoint is base64."""
        return msgspec.json.encode(self)

    @staticmethod
    def from_json(data: bytes) -> Seal:
        """Decode a seal. Raise ValueError for other input than that of `to_json`. Unknown keys are skipped."""
        return _decode_seal(data)


_decode_seal = decoder_of(Seal)


@dataclass(frozen=True)
class Frame:
    """A verified batch, and its place in the stream."""

    offset: int
    length: int
    seal: Seal


def trade_offsets(steps: Columns, trades: Columns, rows: int) -> NDArray[np.int32]:
    """Return the offsets at which each step's list of trades starts, and the end of the last one."""
    offsets = np.zeros(rows + 1, "<i4")
    if len(trades["exit_step"]):
        ends = np.searchsorted(trades["exit_step"], steps["step"], side="right")
        offsets[1:] = np.maximum.accumulate(
            ends
        )  # Arrow does not check offsets, and trades of a hostile tail may be in any order
    return offsets


def _arrays_of(columns: Columns, types: Iterable[pa.Field]) -> list[pa.Array]:
    """Return contiguous arrays as Arrow columns, without a copy except for bools, which Arrow packs.

    `pa.array` would import pandas, if it is installed, to check for a series. That takes 0.25 s.
    """
    return [
        bool_array(values)
        if values.dtype == bool
        else pa.Array.from_buffers(field.type, len(values), [_validity_of(values, field), pa.py_buffer(values)])
        for values, field in zip(columns.values(), types, strict=False)  # the schema also has a column of trades
    ]


def _validity_of(values: NDArray[Any], field: pa.Field) -> pa.Buffer | None:
    known = known_bits(values) if field.nullable else b""
    return pa.py_buffer(known) if known else None


def known_bits(times: NDArray[Any]) -> bytes:
    """Return the validity bits of a column of times; empty if all are known."""
    if not len(times) or np.minimum.reduce(times) != UNKNOWN_TIME:
        return b""
    return packed_bits(times != UNKNOWN_TIME)


def bool_array(values: NDArray[Any]) -> pa.Array:
    """Return bools as an Arrow column."""
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(packed_bits(values))])


def packed_bits(values: NDArray[Any]) -> bytes:
    """Return bools as Arrow's bits, the first one lowest."""
    return np.packbits(values.astype(bool, copy=False), bitorder="little").tobytes()


def stamped(before: bytes, behind: bytes, body: bytes, journal_seed: int) -> bytes:
    """Return a message with its frame.

    Args:
        before: The bytes before the frame's digits.
        behind: The metadata after them.
        body: The body.
        journal_seed: The start value of the CRC.
    """
    length = b"%08x" % (len(before) + FRAME_DIGITS + len(behind) + len(body))
    crc = crc32c(body, crc32c(behind, crc32c(_BLANK, crc32c(before, journal_seed))))
    return b"".join((before, length, b"%08x" % crc, behind, body))


def _crc(message: bytes, at: int, journal_seed: int) -> int:
    crc = crc32c(message[:at], journal_seed)
    return int(crc32c(memoryview(message)[at + FRAME_DIGITS :], crc32c(_BLANK, crc)))


def stated_length(start: bytes) -> int | None:
    """Return the length that the frame in these bytes states; None if there is no complete frame."""
    at = start.find(FRAME_PREFIX)
    digits = start[at + len(FRAME_PREFIX) : at + len(FRAME_PREFIX) + 8]
    if at < 0 or len(digits) < 8:
        return None
    try:
        return int(digits, 16)
    except ValueError:
        return None


def metadata_length(prefix: bytes, most: int = MAX_METADATA) -> int | None:
    """Return the length of prefix and metadata of the message that starts here; None if none starts here."""
    if len(prefix) < 8 or prefix[:4] != CONTINUATION:
        return None
    length = int.from_bytes(prefix[4:8], "little")
    return 8 + length if 0 < length <= most else None


def verified(message: bytes, journal_seed: int) -> bool:
    """Return True if this is exactly one undamaged message of this journal."""
    at = message.find(FRAME_PREFIX) + len(FRAME_PREFIX)
    digits = message[at : at + FRAME_DIGITS]
    if at < len(FRAME_PREFIX) or len(digits) < FRAME_DIGITS or int_of(digits[:8]) != len(message):
        return False
    return int_of(digits[8:]) == _crc(message, at, journal_seed)


def int_of(digits: bytes) -> int:
    """Return eight lower-case hexadecimal digits as a number, or -1. Upper case is refused, so that each bit counts."""
    try:
        value = int(digits, 16)
    except ValueError:
        return -1
    return value if b"%08x" % value == digits else -1


def header_text(message: bytes) -> bytes | None:
    """Return the header's JSON in a verified first message."""
    return _value(message, HEADER_PREFIX)


def seal_of(message: bytes) -> Seal | None:
    """Return the seal of a verified message; None if it is missing or malformed."""
    return seal_in(message[: metadata_length(message[:8]) or MAX_METADATA])


def seal_in(metadata: bytes) -> Seal | None:
    """Return the first seal in these bytes; None if it is missing or malformed."""
    data = _value(metadata, SEAL_PREFIX)
    try:
        return None if data is None else Seal.from_json(data)
    except ValueError:
        return None


def record_type_of(message: bytes) -> str | None:
    """Return the name of a record that is neither header nor batch; None if the message does not say that it is one."""
    data = _value(message[: metadata_length(message[:8]) or MAX_METADATA], _RECORD)
    return None if data is None else data[:64].decode("ascii", "replace")


def _value(message: bytes, prefix: bytes) -> bytes | None:
    """Return a metadata value by its prefix. A flatbuffer has a string's length in the four bytes before it."""
    at = message.find(prefix)
    if at < 4:
        return None
    length = int.from_bytes(message[at - 4 : at], "little")
    return message[at + len(prefix) : at + length]


def empty_batch(schema: pa.Schema) -> pa.RecordBatch:
    """Return a batch without rows. It is not made from lists, because pyarrow would import pandas for them."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def batch_of(steps: Columns, trades: Columns, extra: Sequence[str]) -> pa.RecordBatch:
    """Return an unsealed block as an Arrow batch."""
    schema = arrow_schema(tuple(extra))
    arrays = _arrays_of(steps, schema)
    offsets = pa.py_buffer(trade_offsets(steps, trades, len(steps["step"])))
    starts = pa.Array.from_buffers(pa.int32(), len(steps["step"]) + 1, [None, offsets])
    items = pa.StructArray.from_arrays(_arrays_of(trades, TRADE_TYPE), fields=list(TRADE_TYPE))
    arrays.append(pa.ListArray.from_arrays(starts, items, type=schema.field("trades").type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
