"""Encode and decode a bundle: one object with an index, followed by pieces of journals.

    bundle = "JMIRROR1" u32:length-of-index u32:crc-of-index index piece*
    index  = zlib(JSON of `Index`)

A bundle's index describes ``covers`` bundles: the bundle itself and those before it. Bundle 16 covers 16 bundles, bundle
256 covers 256, and bundle 4,096 covers 4,096. So a reader of a long run reads few indexes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

import msgspec
from crc32c import crc32c

from journal.format.header import is_name

MAGIC = b"JMIRROR1"
SUFFIX = ".bundle"
MAX_BUNDLE = 1 << 26  # bytes of an object
MAX_INDEX = 1 << 24  # bytes of a compressed index
MAX_INDEX_TEXT = 1 << 27  # bytes of a decompressed index
MAX_PLACE = 1 << 62
BASE, LEVELS = 16, 3
_HEAD = struct.Struct("<8sII")
HEAD_BYTES = _HEAD.size


class Kind(IntEnum):
    """The file that a piece is a part of."""

    STREAM = 0
    LAST = 1  # the last piece of a closed journal's stream
    TAIL = 2
    FAILED = 3  # a tail with a mark that a write failed
    MARKER = 4  # the run's marker, whole


class Piece(msgspec.Struct, array_like=True, frozen=True):
    """One piece of a journal in a bundle.

    Attributes:
        journal: The journal's id; empty for the marker.
        kind: A `Kind`.
        number: The number of the bundle that holds the bytes.
        place: Offset of the bytes in that bundle. In the bundle's own index, the offset after the index.
        length: Number of bytes.
        crc: CRC32C of the bytes.
        start: Offset of the bytes in the journal's file.
        step: In a stream, the last sealed step up to the end of the piece. In a tail, the first step of its generation.
        room: In a tail, the size of the file with its blank slots.
    """

    journal: str
    kind: int
    number: int
    place: int
    length: int
    crc: int
    start: int = 0
    step: int = 0
    room: int = 0

    @property
    def end(self) -> int:
        """The offset in the journal's file at which the piece ends."""
        return self.start + self.length

    @property
    def of_stream(self) -> bool:
        """True if the piece is a part of the stream."""
        return self.kind <= Kind.LAST


class Index(msgspec.Struct, frozen=True):
    """The index of a bundle.

    Attributes:
        version: The version of the index.
        run_id: The run.
        host: The host of the mirror process.
        mirror_id: The random id of the mirror process, which names the chain.
        number: The number of the bundle.
        covers: The number of bundles that the index describes.
        body: Bytes of the pieces in the bundle.
        pieces: The pieces of all described bundles.
        root_id: The id of the run's folder; empty if unknown.
        node_id: The node of the cluster; empty if unknown.
        time_us: Microseconds since 1970, by the clock of the mirror's host.
    """

    version: int
    run_id: str
    host: str
    mirror_id: str
    number: int
    covers: int
    body: int
    pieces: list[Piece]
    root_id: str = ""
    node_id: str = ""
    time_us: int = 0


@dataclass(frozen=True)
class Draft:
    """A piece that no bundle holds yet, with its bytes. The fields are those of `Piece`."""

    journal: str
    kind: Kind
    data: bytes
    start: int = 0
    step: int = 0
    room: int = 0


_decode = msgspec.json.Decoder(Index).decode


class BundleError(ValueError):
    """The bytes are not a valid bundle, or not the bundle of this name."""


def object_name(number: int) -> str:
    """Return the last part of a bundle's name."""
    return f"{number:010d}{SUFFIX}"


def number_of(name: str) -> int | None:
    """Return the number of a bundle from the last part of its name; None if the name is not that of a bundle."""
    digits = name.removesuffix(SUFFIX)
    return int(digits) if digits != name and len(digits) == 10 and digits.isascii() and digits.isdecimal() else None


def covered_by(number: int) -> int:
    """Return how many bundles the index of this bundle describes, including itself."""
    covers = 1
    while covers < BASE**LEVELS and number % (covers * BASE) == 0:
        covers *= BASE
    return covers


def pieces_of(drafts: Iterable[Draft], number: int) -> list[Piece]:
    """Return the pieces of the drafts of a bundle. Their places count from the end of the index."""
    pieces, place = [], 0
    for one in drafts:
        crc = int(crc32c(one.data))
        pieces.append(
            Piece(one.journal, int(one.kind), number, place, len(one.data), crc, one.start, one.step, one.room)
        )
        place += len(one.data)
    return pieces


def encode(index: Index, drafts: Iterable[Draft]) -> bytes:
    """Return the bytes of a bundle."""
    packed = zlib.compress(msgspec.json.encode(index), 1)
    return b"".join([_HEAD.pack(MAGIC, len(packed), crc32c(packed)), packed, *(one.data for one in drafts)])


def index_length(head: bytes) -> int:
    """Return the length of the index from the first bytes of an object.

    Raises:
        BundleError: The object is not a bundle.
    """
    if len(head) < HEAD_BYTES:
        raise BundleError("it is shorter than a bundle")
    magic, length, _ = _HEAD.unpack(head[:HEAD_BYTES])
    if magic != MAGIC:
        raise BundleError("it does not begin as a bundle")
    if length > MAX_INDEX:
        raise BundleError(f"its index is longer than {MAX_INDEX >> 20} MiB")
    return int(length)


def decode(start: bytes, size: int) -> Index:
    """Decode the index of an object. The places of its pieces become offsets in the object.

    Args:
        start: The first bytes of the object, with the whole index.
        size: The size of the object in bytes.

    Raises:
        BundleError: The index is damaged or contradicts itself.
    """
    length = index_length(start)
    packed = start[HEAD_BYTES : HEAD_BYTES + length]
    if crc32c(packed) != _HEAD.unpack(start[:HEAD_BYTES])[2] or len(packed) != length:
        raise BundleError("its index does not match its checksum")
    try:
        unpacker = zlib.decompressobj()
        text = unpacker.decompress(packed, MAX_INDEX_TEXT)
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise BundleError(f"its index is longer than {MAX_INDEX_TEXT >> 20} MiB")
        index = _decode(text)
    except (zlib.error, msgspec.MsgspecError, RecursionError) as error:
        raise BundleError(f"its index is malformed: {error}") from error
    if index.version != 1:
        raise BundleError(f"it has version {index.version}, this package reads version 1")
    body = HEAD_BYTES + length
    if index.body != size - body:
        raise BundleError(f"it states {index.body} bytes behind its index, and has {size - body}")
    return msgspec.structs.replace(index, pieces=[_placed(piece, index, body, size) for piece in index.pieces])


def _placed(piece: Piece, index: Index, body: int, size: int) -> Piece:
    """Check a piece, and return it with its place in the object."""
    own = piece.number == index.number
    if not (is_name(piece.journal) or (piece.kind == Kind.MARKER and not piece.journal)):
        raise BundleError(f"{piece.journal[:200]!r} is not a journal id")
    numbers = (piece.place, piece.length, piece.start, piece.step, piece.room)
    if min(numbers) < 0 or max(numbers) >= MAX_PLACE or piece.length > MAX_BUNDLE or not 0 <= piece.kind <= Kind.MARKER:
        raise BundleError(f"it states an impossible piece of {piece.journal}")
    if not index.number - index.covers < piece.number <= index.number:
        raise BundleError(f"it describes bundle {piece.number}, which it does not cover")
    if not own:
        return piece
    if piece.place + piece.length > size - body:
        raise BundleError(f"its piece of {piece.journal} ends behind its end")
    return msgspec.structs.replace(piece, place=piece.place + body)


def current(pieces: Iterable[Piece]) -> list[Piece]:
    """Return the pieces of one chain in the order of its bundles. Leave out pieces that later pieces have replaced."""
    by_journal: dict[str, list[Piece]] = {}
    for piece in pieces:
        by_journal.setdefault(piece.journal, []).append(piece)
    kept: list[Piece] = []
    for group in by_journal.values():
        streams = [piece for piece in group if piece.of_stream]
        kept += streams
        if not any(piece.kind == Kind.LAST for piece in streams):
            kept += newest_tail([piece for piece in group if not piece.of_stream])
    return kept


def newest_tail(pieces: list[Piece]) -> list[Piece]:
    """Return the pieces of the newest tail: of the last generation, from the last piece that begins at offset 0 on."""
    first = next((at for at in range(len(pieces) - 1, -1, -1) if pieces[at].start == 0), 0)
    return pieces[first:]
