"""Compute how much memory decoding an Arrow message would need, to reject hostile files before decoding.

A flatbuffer table starts with the distance back to its vtable, which lists the place of each field (0: absent).
Layouts are those of Arrow's `Message.fbs`: Message(version, header_type, header, bodyLength, ...),
RecordBatch(length, nodes, buffers, compression, ...), Buffer(offset, length).
"""

from __future__ import annotations

import struct

_HEADER, _BODY_LENGTH = 2, 3
_ROWS, _BUFFERS, _COMPRESSION = 0, 2, 3
_MAX_BUFFERS = 4096


def decoded_size(message: bytes) -> int:
    """Return the bytes that a message's record batch takes once decoded; raise ValueError if there is no batch."""
    try:
        return _decoded_size(message)
    except struct.error as error:
        raise ValueError("the message's metadata is malformed") from error


def message_length(start: bytes) -> int | None:
    """Return the length of the message that starts here, by Arrow's own metadata; None if that is not in these bytes."""
    try:
        root = 8 + _u32(start, 8)
        slot = _slot(start, root, _BODY_LENGTH)
        body = _i64(start, root + slot) if slot else 0
        return 8 + _u32(start, 4) + body if body >= 0 else None
    except (struct.error, ValueError):
        return None


def row_count(message: bytes) -> int | None:
    """Return the number of rows that the record batch in these bytes states; None if it states none."""
    try:
        batch = _child(message, 8 + _u32(message, 8), _HEADER)
        slot = _slot(message, batch, _ROWS)
        return _i64(message, batch + slot) if slot else 0
    except (struct.error, ValueError):
        return None


def _decoded_size(message: bytes) -> int:
    metadata_length = _u32(message, 4)
    root = 8 + _u32(message, 8)
    batch = _child(message, root, _HEADER)
    body = 8 + metadata_length
    buffers = _child(message, batch, _BUFFERS)
    count = _u32(message, buffers)
    rows_at = _slot(message, batch, _ROWS)
    rows = _i64(message, batch + rows_at) if rows_at else 0
    if count > _MAX_BUFFERS or rows < 0:
        raise ValueError("the message's metadata is malformed")
    compressed = bool(_slot(message, batch, _COMPRESSION))
    sizes = (_buffer_size(message, body, buffers + 4 + 16 * index, compressed) for index in range(count))
    return sum(sizes) + rows


def _buffer_size(message: bytes, body: int, at: int, compressed: bool) -> int:
    offset, length = struct.unpack_from("<qq", message, at)
    if offset < 0 or length < 0 or body + offset + length > len(message):
        raise ValueError("a buffer reaches beyond its message")
    if not compressed or length < 8:
        return int(length)
    stated = _i64(message, body + offset)
    if stated < -1:
        raise ValueError("a compressed buffer of negative length")
    return int(length) if stated == -1 else stated


def _child(message: bytes, table: int, field: int) -> int:
    slot = _slot(message, table, field)
    if not slot:
        raise ValueError("the message holds no record batch")
    return table + slot + _u32(message, table + slot)


def _slot(message: bytes, table: int, field: int) -> int:
    vtable = table - struct.unpack_from("<i", message, table)[0]
    if vtable < 0:
        raise ValueError("the message's metadata is malformed")
    size = struct.unpack_from("<H", message, vtable)[0]
    position = 4 + 2 * field
    return int(struct.unpack_from("<H", message, vtable + position)[0]) if position + 2 <= size else 0


def _u32(message: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", message, at)[0])


def _i64(message: bytes, at: int) -> int:
    return int(struct.unpack_from("<q", message, at)[0])
