"""Encode and verify the messages of a stream: Arrow IPC messages that carry their own length and CRC32C.

Arrow has no checksum, so one value of each message's metadata is a *frame*: a prefix, the length of the whole message
and its CRC, eight hexadecimal digits each. The CRC is computed with all sixteen digits set to 0. Nothing is decoded
before its CRC is verified.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from crc32c import crc32c
from numpy.typing import NDArray

from journal.format.schema import MAX_HEADER, MAX_METADATA, STEP_COLUMNS, TRADE_COLUMNS, UNKNOWN_TIME
from journal.format.slots import Columns
from journal.format.values import Moment, Whole, decoder_of

CONTINUATION = b"\xff\xff\xff\xff"
END_OF_STREAM = CONTINUATION + bytes(4)
FRAME_KEY, HEADER_KEY, SEAL_KEY = "journal.frame", "journal.header", "journal.seal"
# \x01 cannot occur in JSON text, so no value of a user can look like one of these prefixes.
_FRAME, _HEADER, _SEAL, _RECORD = b"\x01frame=", b"\x01header=", b"\x01seal=", b"\x01record="
_DIGITS = 16
_BLANK = b"0" * _DIGITS

# Times of the market; what the env does not tell is null. Nothing else ever is.
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
    """How the episode ended: in the seal of a closed journal's last batch, and in its footer."""

    reason: str
    message: str
    closed_at_us: Whole


@dataclass(frozen=True)
class Seal:
    """What a batch says about itself, beside its rows. ``terminal`` holds the flags of its last step."""

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
        """Decode; raise ValueError for anything that `to_json` did not make. Unknown keys are skipped."""
        return _decode_seal(data)


_decode_seal = decoder_of(Seal)


@dataclass(frozen=True)
class Frame:
    """A verified batch, and its place in the stream."""

    offset: int
    length: int
    seal: Seal


def encode_header(header_json: bytes, extra: tuple[str, ...]) -> bytes:
    """Return the stream's first message: the Arrow schema with the header in its metadata."""
    if len(header_json) > MAX_HEADER // 2:  # half of what readers accept, because the columns need room too
        raise ValueError(
            f"a journal's header takes at most {MAX_HEADER >> 21} MiB; its env_config or notes are too large"
        )
    metadata = {HEADER_KEY: _HEADER + header_json, FRAME_KEY: _FRAME + _BLANK}
    message = arrow_schema(extra).with_metadata(metadata).serialize().to_pybytes()
    return _stamped(message, 0)


class BatchEncoder:
    """Encode blocks of steps as Arrow messages, for all journals of a thread that have the same columns.

    It keeps one Arrow writer over a small Python sink, because a new writer would emit the schema again. Batches of 64
    steps or more are compressed by LZ4. zstd would save another fifth of the bytes and take four times as long.
    """

    def __init__(self, extra: tuple[str, ...]) -> None:
        self._schema = arrow_schema(extra)
        self._parts: list[bytes] = []
        self._writers = {codec: self._writer(codec) for codec in (None, "lz4")}
        self._no_trades = _trade_struct({name: np.empty(0, dtype) for name, dtype in TRADE_COLUMNS.items()})

    def _writer(self, codec: str | None) -> pa.RecordBatchStreamWriter:
        options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
        writer = pa.ipc.new_stream(pa.PythonFile(_Sink(self._parts), mode="w"), self._schema, options=options)
        writer.write_batch(empty_batch(self._schema))
        return writer  # its first write emitted the schema, which the journal's header has already

    def encode(self, steps: Columns, trades: Columns, seal: Seal, journal_seed: int) -> bytes:
        """Return the message of a block."""
        rows = len(steps["step"])
        arrays = _arrays_of(steps, self._schema)
        arrays.append(self._trade_lists(steps, trades, rows))
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._parts.clear()
        codec = "lz4" if rows >= 64 else None
        try:
            self._writers[codec].write_batch(
                batch, custom_metadata={SEAL_KEY: _SEAL + seal.to_json(), FRAME_KEY: _FRAME + _BLANK}
            )
        except BaseException:
            _encoders.__dict__.clear()  # what an interrupted Arrow writer would write next is unknown
            raise
        return _stamped(b"".join(self._parts), journal_seed)

    def _trade_lists(self, steps: Columns, trades: Columns, rows: int) -> pa.Array:
        kind = self._schema.field("trades").type
        if not len(trades["trade_number"]):
            return pa.ListArray.from_arrays(_int32(np.zeros(rows + 1, "<i4")), self._no_trades, type=kind)
        offsets = np.zeros(rows + 1, "<i4")
        ends = np.searchsorted(trades["exit_step"], steps["step"], side="right")
        offsets[1:] = np.maximum.accumulate(ends)  # Arrow does not check them; a hostile tail has any order
        return pa.ListArray.from_arrays(_int32(offsets), _trade_struct(trades), type=kind)


def _int32(values: NDArray[np.int32]) -> pa.Array:
    return pa.Array.from_buffers(pa.int32(), len(values), [None, pa.py_buffer(values)])


def _trade_struct(trades: Columns) -> pa.StructArray:
    return pa.StructArray.from_arrays(_arrays_of(trades, TRADE_TYPE), fields=list(TRADE_TYPE))


def _arrays_of(columns: Columns, types: Iterable[pa.Field]) -> list[pa.Array]:
    """Return contiguous arrays as Arrow columns, without a copy except for bools, which Arrow packs.

    `pa.array` would import pandas, where it is installed, to ask whether this is a series: 0.25 s of a start.
    """
    return [
        bool_array(values)
        if values.dtype == bool
        else pa.Array.from_buffers(field.type, len(values), [_known(values, field), pa.py_buffer(values)])
        for values, field in zip(columns.values(), types, strict=False)  # the schema also has the trades
    ]


def _known(values: NDArray[Any], field: pa.Field) -> pa.Buffer | None:
    """The validity bits of a column of times, None if all are known."""
    if not field.nullable or not len(values) or values.min() != UNKNOWN_TIME:
        return None
    return pa.py_buffer(np.packbits(values != UNKNOWN_TIME, bitorder="little"))


def bool_array(values: NDArray[Any]) -> pa.Array:
    """Return bools as an Arrow column."""
    bits = np.packbits(values.astype(bool), bitorder="little")
    return pa.Array.from_buffers(pa.bool_(), len(values), [None, pa.py_buffer(bits)])


class _Sink:
    """A minimal file object for an Arrow writer: it collects the pieces of a message."""

    closed = False

    def __init__(self, parts: list[bytes]) -> None:
        self._parts = parts

    def write(self, piece: bytes) -> int:
        self._parts.append(bytes(piece))
        return len(piece)

    def flush(self) -> None:
        """Arrow calls it; the pieces are complete already."""

    def close(self) -> None:
        """Arrow calls it when the writer goes."""

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False


_encoders = threading.local()


def encoder_of(extra: tuple[str, ...]) -> BatchEncoder:
    """Return the calling thread's encoder for the given extra columns."""
    cache: dict[tuple[str, ...], BatchEncoder] = _encoders.__dict__.setdefault("cache", {})
    found = cache.get(extra)
    if found is None:
        found = cache[extra] = BatchEncoder(extra)
    return found


def _stamped(message: bytes, journal_seed: int) -> bytes:
    at = message.index(_FRAME) + len(_FRAME)
    length = b"%08x" % len(message)
    crc = _crc(message, at, journal_seed)
    return b"".join((message[:at], length, b"%08x" % crc, message[at + _DIGITS :]))


def _crc(message: bytes, at: int, journal_seed: int) -> int:
    crc = crc32c(message[:at], journal_seed)
    return int(crc32c(memoryview(message)[at + _DIGITS :], crc32c(_BLANK, crc)))


def stated_length(start: bytes) -> int | None:
    """Return the length that the frame in these bytes states; None if there is no complete frame."""
    at = start.find(_FRAME)
    digits = start[at + len(_FRAME) : at + len(_FRAME) + 8]
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
    at = message.find(_FRAME) + len(_FRAME)
    digits = message[at : at + _DIGITS]
    if at < len(_FRAME) or len(digits) < _DIGITS or int_of(digits[:8]) != len(message):
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
    return _value(message, _HEADER)


def seal_of(message: bytes) -> Seal | None:
    """Return the seal of a verified message; None if it is missing or malformed."""
    data = _value(message[: metadata_length(message[:8]) or MAX_METADATA], _SEAL)
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
    """Return a batch without rows. It is made without lists, for which pyarrow would import pandas."""
    return pa.RecordBatch.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema)


def batch_of(steps: Columns, trades: Columns, extra: Sequence[str]) -> pa.RecordBatch:
    """Return a block that is not sealed yet as an Arrow batch."""
    schema = arrow_schema(tuple(extra))
    arrays = _arrays_of(steps, schema)
    arrays.append(encoder_of(tuple(extra))._trade_lists(steps, trades, len(steps["step"])))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
