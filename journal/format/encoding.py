"""Encode the messages of a stream: header and batches.

Arrow creates a template of each message once for given extra columns. Encoding fills in numbers, one text and the
buffers, because Arrow itself takes ten times as long for a batch of a few rows.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from itertools import chain, repeat

import numpy as np
import pyarrow as pa

from journal.format import flatbuffer
from journal.format.frames import (
    BLANK_FRAME,
    CONTINUATION,
    FRAME_DIGITS,
    FRAME_KEY,
    FRAME_PREFIX,
    HEADER_KEY,
    HEADER_PREFIX,
    SEAL_KEY,
    SEAL_PREFIX,
    TRADE_TYPE,
    Seal,
    arrow_schema,
    batch_of,
    empty_batch,
    known_bits,
    packed_bits,
    stamped,
    trade_offsets,
)
from journal.format.schema import MAX_HEADER, STEP_COLUMNS, TRADE_COLUMNS, UNKNOWN_TIME
from journal.format.slots import Columns

_COMPRESSED_ROWS = 64  # batches of at least this many rows are compressed
_PADDINGS = [bytes(count) for count in range(8)]
_pack_length = struct.Struct("<q").pack
_PLAIN, _BITS, _NULLABLE = range(3)  # kinds of columns


def encode_header(header_json: bytes, extra: tuple[str, ...]) -> bytes:
    """Return the stream's first message: the Arrow schema with the header in its metadata."""
    if len(header_json) > MAX_HEADER // 2:  # half of what readers accept, because the columns need room too
        raise ValueError(
            f"a journal's header takes at most {MAX_HEADER >> 21} MiB; its env_config or notes are too large"
        )
    template = _header_template(extra)
    return template.filled(template.head, HEADER_PREFIX + header_json, b"", 0)


@functools.lru_cache(maxsize=64)
def _header_template(extra: tuple[str, ...]) -> _Template:
    metadata = {HEADER_KEY: b"", FRAME_KEY: BLANK_FRAME}
    message = arrow_schema(extra).with_metadata(metadata).serialize().to_pybytes()
    schema = flatbuffer.child_of(message, flatbuffer.root_of(message), flatbuffer.HEADER)
    return _Template(message, flatbuffer.child_of(message, schema, flatbuffer.SCHEMA_METADATA), HEADER_KEY)


class _Template:
    """The metadata of an Arrow message, without the value of one key.

    Args:
        message: A message in which this value is empty. Its body is left out.
        pairs: The position of its vector of keys and values, in bytes.
        key: The key.
    """

    def __init__(self, message: bytes, pairs: int, key: str) -> None:
        head = bytearray(message[: 8 + flatbuffer.u32(message, 4)])
        at = flatbuffer.value_of(message, pairs, key.encode())
        struct.pack_into(
            "<I", head, at, len(head) - at
        )  # the text will follow the head; a flatbuffer stores positions relative to the field
        self.head = bytes(head)
        self._digits = message.index(FRAME_PREFIX) + len(FRAME_PREFIX)

    def filled(self, head: bytes, text: bytes, body: bytes, journal_seed: int) -> bytes:
        """Return the message with this text and body, and its frame. ``head`` is the template's, or changed in places."""
        text_field = struct.pack("<I", len(text)) + text + bytes(8 - (len(text) + 4) % 8)  # with at least one zero
        length = struct.pack("<I", len(head) + len(text_field) - 8)
        before = b"".join((CONTINUATION, length, head[8 : self._digits]))
        return stamped(before, head[self._digits + FRAME_DIGITS :] + text_field, body, journal_seed)


class BatchEncoder:
    """Encode blocks of steps as Arrow messages.

    Batches of 64 steps or more are compressed by LZ4. zstd would save another fifth of the bytes and take four times as
    long.
    """

    def __init__(self, extra: tuple[str, ...]) -> None:
        schema = arrow_schema(extra)
        self._step_kinds = [_kind_of(field) for field in schema][:-1]  # the last column has the trades
        self._trade_kinds = [_kind_of(field) for field in TRADE_TYPE]
        self._plain, self._compressed = (_BatchTemplate(extra, codec) for codec in (None, "lz4"))
        self._codec = pa.Codec("lz4")
        self._no_trades = [b"", b""] * len(self._trade_kinds), [0] * len(self._trade_kinds)

    def encode(self, steps: Columns, trades: Columns, seal: Seal, journal_seed: int) -> bytes:
        """Return the message of a block."""
        rows, closed = len(steps["step"]), len(trades["trade_number"])
        buffers, nulls = _buffers_of(steps, self._step_kinds)
        trade_buffers, trade_nulls = _buffers_of(trades, self._trade_kinds) if closed else self._no_trades
        buffers += (b"", trade_offsets(steps, trades, rows).tobytes(), b"", *trade_buffers)
        compressed = rows >= _COMPRESSED_ROWS
        template = self._compressed if compressed else self._plain
        places: list[int] = []
        parts: list[bytes] = []
        end = 0
        for data in buffers:
            if not data:
                places += (end, 0)
                continue
            if compressed:  # as Arrow does: the length, then an LZ4 frame
                data = _pack_length(len(data)) + self._codec.compress(data, asbytes=True)  # noqa: PLW2901
            length = len(data)
            places += (end, length)
            parts.append(data)
            end += length
            if padding := -length & 7:
                parts.append(_PADDINGS[padding])
                end += padding
        head = template.head_of(rows, closed, (*nulls, 0, 0, *trade_nulls), places, end)
        return template.filled(head, SEAL_PREFIX + seal.to_json(), b"".join(parts), journal_seed)


@functools.lru_cache(maxsize=64)
def encoder_of(extra: tuple[str, ...]) -> BatchEncoder:
    """Return the encoder for a tuple of extra column names."""
    return BatchEncoder(extra)


def _kind_of(field: pa.Field) -> int:
    if pa.types.is_boolean(field.type):
        return _BITS
    return _NULLABLE if field.nullable else _PLAIN


def _buffers_of(columns: Columns, kinds: list[int]) -> tuple[list[bytes], list[int]]:
    """Return the buffers of columns (validity and values of each), and the number of nulls in each column."""
    buffers: list[bytes] = []
    nulls: list[int] = []
    for values, kind in zip(columns.values(), kinds, strict=True):
        known, count = b"", 0
        if kind == _NULLABLE and (known := known_bits(values)):
            count = int(np.count_nonzero(values == UNKNOWN_TIME))
        buffers += (known, packed_bits(values) if kind == _BITS else values.tobytes())
        nulls.append(count)
    return buffers, nulls


class _BatchTemplate(_Template):
    """The metadata of a record batch, with the positions of its numbers."""

    def __init__(self, extra: tuple[str, ...], codec: str | None) -> None:
        message = _sample_batch(extra, codec)
        root = flatbuffer.root_of(message)
        batch = flatbuffer.child_of(message, root, flatbuffer.HEADER)
        super().__init__(message, flatbuffer.child_of(message, root, flatbuffer.MESSAGE_METADATA), SEAL_KEY)
        self._body_length_at = root + flatbuffer.slot_of(message, root, flatbuffer.BODY_LENGTH)
        self._rows_at = batch + flatbuffer.slot_of(message, batch, flatbuffer.ROWS)
        self._nodes_at = flatbuffer.child_of(message, batch, flatbuffer.NODES) + 4
        self._buffers_at = flatbuffer.child_of(message, batch, flatbuffer.BUFFERS) + 4
        self._step_nodes = len(STEP_COLUMNS) + len(extra) + 1

    def head_of(self, rows: int, closed: int, nulls: Sequence[int], places: Sequence[int], body_length: int) -> bytes:
        """Return the metadata of a batch.

        Args:
            rows: Number of steps.
            closed: Number of trades.
            nulls: Number of nulls of each column, depth first.
            places: Position and length of each buffer.
            body_length: Length of the body.
        """
        head = bytearray(self.head)
        counts = chain(repeat(rows, self._step_nodes), repeat(closed, len(nulls) - self._step_nodes))
        struct.pack_into("<q", head, self._body_length_at, body_length)
        struct.pack_into("<q", head, self._rows_at, rows)
        nodes = chain.from_iterable(zip(counts, nulls, strict=True))
        struct.pack_into(f"<{2 * len(nulls)}q", head, self._nodes_at, *nodes)
        struct.pack_into(f"<{len(places)}q", head, self._buffers_at, *places)
        return bytes(head)


def _sample_batch(extra: tuple[str, ...], codec: str | None) -> bytes:
    """Return a batch with one row and one trade, encoded by Arrow. Its numbers are not 0, because Arrow omits zeros."""
    steps = {name: np.ones(1, dtype) for name, dtype in STEP_COLUMNS.items()} | {name: np.ones(1) for name in extra}
    batch = batch_of(steps, {name: np.ones(1, dtype) for name, dtype in TRADE_COLUMNS.items()}, extra)
    options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
        writer.write_batch(empty_batch(batch.schema))  # the first batch follows the schema's message
        begin = sink.tell()
        writer.write_batch(batch, custom_metadata={SEAL_KEY: b"", FRAME_KEY: BLANK_FRAME})
    return bytes(sink.getvalue())[begin:]
