"""Encode and decode the footer of a closed journal, with its totals. It saves time: the batches have the same values.

It follows Arrow's end-of-stream mark, where Arrow readers stop:
JSON, its length (4 bytes), CRC32C of both (4 bytes, seeded with the journal id), magic (8 bytes).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import msgspec
from crc32c import crc32c

from journal.format.frames import End
from journal.format.schema import MAX_FOOTER
from journal.format.values import Moment, Whole, decoder_of

MAGIC = b"JRNLEND\n"
TRAILER = struct.Struct("<II8s")


@dataclass(frozen=True)
class Footer:
    """Totals of a closed journal. ``stream_bytes`` is where the end-of-stream mark ends."""

    steps: Whole
    trades: Whole
    wall_time_us: Whole
    market_time_us: Moment
    terminal: Whole
    checkpoint: bytes | None
    end: End
    stream_bytes: Whole

    def encode(self, journal_seed: int) -> bytes:
        """Return the footer's bytes."""
        text = msgspec.json.encode(self)
        crc = crc32c(len(text).to_bytes(4, "little"), crc32c(text, journal_seed))
        return text + TRAILER.pack(len(text), crc, MAGIC)


_decode = decoder_of(Footer)


def decode_footer(end_of_file: bytes, file_size: int, journal_seed: int) -> Footer | None:
    """Decode the footer in the file's last bytes; None if there is no undamaged one of this journal."""
    if len(end_of_file) < TRAILER.size:
        return None
    length, crc, magic = TRAILER.unpack(end_of_file[-TRAILER.size :])
    start = len(end_of_file) - TRAILER.size - length
    if magic != MAGIC or start < 0:
        return None
    text = end_of_file[start : -TRAILER.size]
    if crc32c(length.to_bytes(4, "little"), crc32c(text, journal_seed)) != crc:
        return None
    return _from_json(text, file_size)


def footer_length(trailer: bytes) -> int | None:
    """Return the length of the footer with this trailer; None if it is not a trailer, or states more than MAX_FOOTER."""
    if len(trailer) != TRAILER.size:
        return None
    length, _, magic = TRAILER.unpack(trailer)
    return length + TRAILER.size if magic == MAGIC and length <= MAX_FOOTER else None


def _from_json(text: bytes, file_size: int) -> Footer | None:
    try:
        footer = _decode(text)
    except ValueError:
        return None
    return footer if footer.stream_bytes + len(text) + TRAILER.size == file_size else None
