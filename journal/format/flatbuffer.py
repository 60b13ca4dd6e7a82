"""Find the fields of an Arrow message's metadata, and how much memory decoding it would need.

A flatbuffer table starts with the distance back to its vtable, which lists the position of each field (0: absent).
Layouts are those of Arrow's `Message.fbs`: Message(version, header_type, header, bodyLength, custom_metadata),
Schema(endianness, fields, custom_metadata, ...), RecordBatch(length, nodes, buffers, compression, ...),
Buffer(offset, length), KeyValue(key, value).
"""

from __future__ import annotations

import operator
import struct

from journal.format.schema import MAX_BUFFERS

HEADER, BODY_LENGTH, MESSAGE_METADATA = 2, 3, 4
ROWS, NODES, BUFFERS, _COMPRESSION = 0, 1, 2, 3
SCHEMA_METADATA = 2
_KEY, _VALUE = 0, 1
_unpack_i64 = struct.Struct("<q").unpack_from


def decoded_size(message: bytes) -> int:
    """Return the bytes that a message's record batch takes once decoded; raise ValueError if there is no batch."""
    try:
        return _decoded_size(message)
    except struct.error as error:
        raise ValueError("the message's metadata is malformed") from error


def message_length(start: bytes) -> int | None:
    """Return the length of the message that starts here, from Arrow's own metadata; None if these bytes do not have it."""
    try:
        root = root_of(start)
        slot = slot_of(start, root, BODY_LENGTH)
        body = _i64(start, root + slot) if slot else 0
        return 8 + u32(start, 4) + body if body >= 0 else None
    except (struct.error, ValueError):
        return None


def row_count(message: bytes) -> int | None:
    """Return the number of rows that the record batch in these bytes states; None if it states none."""
    try:
        batch = child_of(message, root_of(message), HEADER)
        slot = slot_of(message, batch, ROWS)
        return _i64(message, batch + slot) if slot else 0
    except (struct.error, ValueError):
        return None


def _decoded_size(message: bytes) -> int:
    metadata_length = u32(message, 4)
    root = root_of(message)
    batch = child_of(message, root, HEADER)
    body = 8 + metadata_length
    buffers = child_of(message, batch, BUFFERS)
    count = u32(message, buffers)
    rows_at = slot_of(message, batch, ROWS)
    rows = _i64(message, batch + rows_at) if rows_at else 0
    if count > MAX_BUFFERS or rows < 0:
        raise ValueError("the message's metadata is malformed")
    compressed, total = bool(slot_of(message, batch, _COMPRESSION)), rows
    places = struct.unpack_from(f"<{2 * count}q", message, buffers + 4)
    offsets, lengths = places[::2], places[1::2]
    if min(places, default=0) < 0:
        raise ValueError("a buffer before its message")
    if max(map(operator.add, offsets, lengths), default=0) > len(message) - body:
        raise ValueError("a buffer reaches beyond its message")
    if not compressed:
        return int(rows + sum(lengths))
    unpack = _unpack_i64
    for offset, length in zip(offsets, lengths, strict=True):
        if length >= 8:
            (stated,) = unpack(message, body + offset)
            if stated < -1:
                raise ValueError("a compressed buffer of negative length")
            total += length if stated == -1 else stated
        else:
            total += length
    return total


def root_of(message: bytes) -> int:
    """Return the position of the message's root table."""
    return 8 + u32(message, 8)


def value_of(message: bytes, pairs: int, key: bytes) -> int:
    """Return the position of a key's value offset in a vector of KeyValue tables; raise ValueError if there is none."""
    for at in range(pairs + 4, pairs + 4 + 4 * u32(message, pairs), 4):
        table = at + u32(message, at)
        name = child_of(message, table, _KEY)
        if message[name + 4 : name + 4 + u32(message, name)] == key:
            return table + slot_of(message, table, _VALUE)
    raise ValueError(f"the message's metadata has no {key!r}")


def child_of(message: bytes, table: int, field: int) -> int:
    """Return the position of a field that is a table, a vector or a text; raise ValueError if it is absent."""
    slot = slot_of(message, table, field)
    if not slot:
        raise ValueError("the message lacks a field, such as a record batch")
    return table + slot + u32(message, table + slot)


def slot_of(message: bytes, table: int, field: int) -> int:
    """Return the distance from a table's position to a field; 0 if the field is absent."""
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if vtable < 0:
        raise ValueError("the message's metadata is malformed")
    size = struct.unpack_from("<H", message, vtable)[0]
    position = 4 + 2 * field
    return int(struct.unpack_from("<H", message, vtable + position)[0]) if position + 2 <= size else 0


def u32(message: bytes, at: int) -> int:
    """Return the number at this position."""
    return int(struct.unpack_from("<I", message, at)[0])


def _i64(message: bytes, at: int) -> int:
    number: int = _unpack_i64(message, at)[0]
    return number
