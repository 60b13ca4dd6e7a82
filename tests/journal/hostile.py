"""Journals by somebody who means harm: made by the real writer, then changed, and every CRC is right.

What accidents do is tested elsewhere; a CRC finds it. Here the bytes verify, so that what lies behind the CRCs has to
bear whatever they say. Only `rotten` leaves CRCs wrong.
"""

from __future__ import annotations

import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from crc32c import crc32c
from hypothesis import strategies as st

from journal import EndReason, read_journal
from journal.format.frames import arrow_schema
from journal.format.slots import layout_of
from journal.write.writer import JournalWriter
from tests.support.journals import ABOUT, DigestFold, Fate, MemorySource, write_journal

FRAME, HEADER, SEAL = b"\x01frame=", b"\x01header=", b"\x01seal="
EOS = b"\xff\xff\xff\xff\0\0\0\0"


@dataclass(frozen=True)
class Parts:
    """A journal in pieces: JSON where there is JSON, messages, and the bodies of slots."""

    name: str
    extra: tuple[str, ...]
    header: bytes  # JSON
    batches: tuple[bytes, ...]
    footer: bytes | None  # JSON
    slots: tuple[bytes, ...]
    failed: bool = False
    schema: pa.Schema | None = None  # of the first message, if not the one that fits the header

    @property
    def seed(self) -> int:
        return int(crc32c(Path(self.name).stem.encode()))

    def source(self) -> MemorySource:
        """The bytes, with right CRCs."""
        stream = first_message(self.header, self.extra, self.schema) + b"".join(self.batches)
        if self.footer is not None:
            stream += EOS + footer_of(self.footer, self.seed)
        return MemorySource(Path(self.name), stream, self._tail(), failed=self.failed)

    def _tail(self) -> bytes | None:
        if not self.slots:
            return None
        last = len(self.slots[0]) - 12
        running = crc32c(self.slots[0][last : last + 8], self.seed)
        tail = b""
        for body in self.slots:
            running = crc32c(body, running)
            tail += body + struct.pack("<I", running ^ self.seed)
        return tail + bytes(1000)


def stamped(message: bytes, seed: int) -> bytes:
    """A message with the length and the CRC that it should have; as it is if its frame is gone."""
    at = message.find(FRAME) + len(FRAME)
    if at < len(FRAME) or len(message) < at + 16:
        return message
    crc = crc32c(message[at + 16 :], crc32c(b"0" * 16, crc32c(message[:at], seed)))
    return message[:at] + b"%08x%08x" % (len(message), crc) + message[at + 16 :]


def first_message(header: bytes, extra: tuple[str, ...], schema: pa.Schema | None = None) -> bytes:
    """The stream's first message."""
    metadata = {"journal.header": HEADER + header, "journal.frame": FRAME + b"0" * 16}
    return stamped((schema or arrow_schema(extra)).with_metadata(metadata).serialize().to_pybytes(), 0)


def message_of(batch: pa.RecordBatch, seal: bytes, seed: int, codec: str | None = None) -> bytes:
    """Any Arrow batch as a message of a journal."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_batch(batch.slice(0, 0))  # with it goes the schema
        start = sink.tell()
        writer.write_batch(batch, custom_metadata={"journal.seal": SEAL + seal, "journal.frame": FRAME + b"0" * 16})
        data = sink.getvalue()[start:]
    return stamped(data, seed)


def footer_of(text: bytes, seed: int) -> bytes:
    length = struct.pack("<I", len(text))
    return text + length + struct.pack("<I", crc32c(length, crc32c(text, seed))) + b"JRNLEND\n"


def seal_text(message: bytes) -> bytes:
    """The JSON of a batch's seal."""
    at = message.index(SEAL)
    length = int.from_bytes(message[at - 4 : at], "little")
    return message[at + len(SEAL) : at + length]


def parts_of(path: Path) -> Parts:
    """A real journal in pieces."""
    source = MemorySource.of(path)
    journal = read_journal(path)
    extra, stream = journal.header.about.extra_columns, source.stream
    batches = tuple(stream[frame.offset : frame.offset + frame.length] for frame in journal.frames)
    size = layout_of(extra).size
    tail, failed = source.tail() or (b"", False)
    used = len(tail.rstrip(b"\0")) // size + 1 if tail.strip(b"\0") else 0
    return Parts(
        str(path),
        extra,
        journal.header.to_json(),
        batches,
        stream[stream.rindex(EOS) + 8 : -16] if journal.end else None,
        tuple(tail[at * size : (at + 1) * size - 4] for at in range(used)),
        failed,
    )


def bases(root: Path) -> list[Parts]:
    """Closed, open, failed and empty ones; plain, LZ4 and zstd; with extra columns."""
    made = [
        write_journal(root, 9, journal_id="closed", fold=DigestFold(), seal_every=4),
        write_journal(root, 70, journal_id="lz4", fold=DigestFold(), end=EndReason.TERMINATED),
        write_journal(root, 520, journal_id="zstd", fold=DigestFold(), checkpoint_every_steps=2000),
        write_journal(root, 11, journal_id="open", fold=DigestFold(), end=Fate.DEAD, seal_every=4),
        write_journal(root, 7, journal_id="failed", end=Fate.FAILED, seal_every=3),
        write_journal(root, 0, journal_id="empty", end=Fate.DEAD),
        write_journal(root, 6, journal_id="one-batch", end=EndReason.ERROR),
    ]
    about = replace(ABOUT, extra_columns=("kind", "vix"))
    writer = JournalWriter(root, "run", "extra", about=about, checkpoint_every_steps=4)
    for step in range(1, 8):
        writer.append(*([float(step)] * 8), step, False, False, (), (1.0, float(step)))
    made.append(writer.path)
    found = [parts_of(path) for path in made]
    return found


Draw = Callable[[st.SearchStrategy[Any]], Any]

NUMBERS = st.sampled_from(
    [0, 1, -1, 2, 7, 255, 2**31 - 1, 2**31, 2**53, 2**61, 2**62 - 1, 2**62, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30]
) | st.integers(-20, 600)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats() | st.text(max_size=12) | st.just("\ud800"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
BOMBS = [
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b"1" * 5000,
    b"\xff\xfe",
    b"",
    b"null",
    b"[]",
    b"NaN",
    b'{"a":1' + b" " * 9000,
]
PLACES = st.floats(0, 1, exclude_max=True)


def _changed_json(draw: Draw, text: bytes) -> bytes:
    """One value of it replaced, removed or added; or no JSON at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.sampled_from(BOMBS))  # type: ignore[no-any-return]
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError):
        return text
    spot = raw
    while isinstance(spot, dict) and spot:
        key = draw(st.sampled_from(sorted(spot)))
        if isinstance(spot[key], dict) and spot[key] and draw(st.integers(0, 3)):
            spot = spot[key]
            continue
        how = draw(st.integers(0, 9))
        if how == 0:
            del spot[key]
        elif how == 1:
            spot[draw(st.text(max_size=5))] = draw(VALUES)
        else:
            spot[key] = draw(NUMBERS if how < 6 else VALUES)
        break
    return json.dumps(raw).encode()


def _header(draw: Draw, parts: Parts) -> Parts:
    return replace(parts, header=_changed_json(draw, parts.header))


def _footer(draw: Draw, parts: Parts) -> Parts:
    if parts.footer is None:
        end = {"reason": draw(st.text(max_size=5)), "message": "", "closed_at_us": draw(NUMBERS)}
        body = dict.fromkeys(("steps", "trades", "wall_time_us", "market_time_us", "terminal"), draw(NUMBERS))
        return replace(parts, footer=json.dumps({**body, "checkpoint": None, "end": end, "stream_bytes": 0}).encode())
    if draw(st.booleans()):
        return replace(parts, footer=_changed_json(draw, parts.footer))
    raw = json.loads(parts.footer) if parts.footer[:1] == b"{" and len(parts.footer) < 9000 else None
    if not isinstance(raw, dict) or "stream_bytes" not in raw:
        return parts
    for name in ("steps", "trades", "wall_time_us", "terminal"):
        raw[name] = draw(NUMBERS)
    raw["checkpoint"] = draw(st.sampled_from([None, "", "AAAA", "A" * 32, "?", "A"]))
    header = len(first_message(parts.header, parts.extra, parts.schema))
    raw["stream_bytes"] = header + sum(map(len, parts.batches)) + 8  # or it would be no footer of this file
    return replace(parts, footer=json.dumps(raw).encode())


def _with_batch(draw: Draw, parts: Parts, change: Callable[[bytes], bytes]) -> Parts:
    if not parts.batches:
        return parts
    at = draw(st.integers(0, len(parts.batches) - 1))
    return replace(parts, batches=(*parts.batches[:at], change(parts.batches[at]), *parts.batches[at + 1 :]))


def _seal(draw: Draw, parts: Parts) -> Parts:
    """Rows as they were, under a seal that says something else."""

    def change(message: bytes) -> bytes:
        try:
            batch = pa.ipc.read_record_batch(pa.py_buffer(message), arrow_schema(parts.extra))
            batch.validate(full=True)  # Arrow's writer takes the process with it otherwise
            return message_of(batch, _changed_json(draw, seal_text(message)), parts.seed, draw(CODECS))
        except (pa.ArrowException, OSError, ValueError, IndexError, EOFError):
            return message  # an earlier change has left no batch here

    return _with_batch(draw, parts, change)


def _batch_bytes(draw: Draw, parts: Parts) -> Parts:
    """Flatbuffers, lengths of buffers, offsets of lists, values: anything, with a CRC that is right."""

    def change(message: bytes) -> bytes:
        return stamped(_scribbled(draw, message), parts.seed)

    return _with_batch(draw, parts, change)


def _header_bytes(draw: Draw, parts: Parts) -> Parts:
    """Another schema in the first message than the one that the header's columns make."""
    return replace(parts, schema=draw(st.sampled_from([batch.schema for batch in strange_batches()])))


def _scribbled(draw: Draw, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(draw(st.integers(1, 6))):
        piece = draw(SCRIBBLES)
        at = int(draw(PLACES) * max(1, len(changed) - len(piece)))
        if draw(st.booleans()):
            at = min(at % 900, max(0, len(changed) - len(piece)))  # where Arrow's metadata stands
        at = at // 8 * 8 if draw(st.booleans()) else at
        changed[at : at + len(piece)] = piece[: len(changed) - at]
    return bytes(changed)


def _strange(draw: Draw, parts: Parts) -> Parts:
    """A batch of another schema, with a seal as a real one would have it."""
    batch = draw(st.sampled_from(strange_batches()))
    first, codec = draw(st.integers(1, 20)), draw(CODECS)
    seal = {
        "first_step": first, "steps": batch.num_rows, "first_trade": 1, "trades": draw(st.integers(0, 3)),
        "wall_time_us": 0, "market_time_us": 0, "terminal": 0, "checkpoint": None, "end": None,
    }  # fmt: skip
    at = draw(st.integers(0, len(parts.batches)))
    message = message_of(batch, json.dumps(seal).encode(), parts.seed, codec)
    return replace(parts, batches=(*parts.batches[:at], message, *parts.batches[at:]))


def _order(draw: Draw, parts: Parts) -> Parts:
    if not parts.batches:
        return parts
    order = draw(st.lists(st.integers(0, len(parts.batches) - 1), max_size=6))
    return replace(parts, batches=tuple(parts.batches[at] for at in order))


def _slots(draw: Draw, parts: Parts) -> Parts:
    """Numbers, kinds, flags and values as nobody would write them."""
    size = layout_of(parts.extra).size - 4
    slots = list(parts.slots) or [bytes(size)]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(slots) - 1))
        body = bytearray(slots[at])
        match draw(st.integers(0, 5)):
            case 0:
                body[size - 12 : size - 4] = struct.pack("<Q", draw(NUMBERS) % 2**64)
            case 1:
                body[size - 4] = draw(st.sampled_from([0, 1, 2, 3, 255]))
            case 2:
                body[size - 2 : size] = struct.pack("<H", draw(st.sampled_from([0, 1, 2, 65535])))
            case 3:
                place = draw(st.integers(0, size // 8 - 1)) * 8
                body[place : place + 8] = struct.pack("<d", draw(st.floats()))
            case 4:
                place = draw(st.integers(0, size // 8 - 1)) * 8
                body[place : place + 8] = struct.pack("<Q", draw(NUMBERS) % 2**64)
            case _:
                slots.insert(draw(st.integers(0, len(slots))), bytes(body))
                continue
        slots[at] = bytes(body)
    return replace(parts, slots=tuple(slots))


CODECS = st.sampled_from([None, "lz4", "zstd"])
SCRIBBLES = st.sampled_from(
    [struct.pack("<q", value) for value in (0, 1, -1, -2, 8, 1 << 20, 1 << 28, 1 << 40, 2**63 - 1, -(2**63))]
    + [struct.pack("<i", value) for value in (0, 1, -1, 4, 1 << 16, 2**31 - 1, -(2**31))]
    + [b"\0", b"\1", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff\x10\0\0\0"]
) | st.binary(min_size=1, max_size=9)
CHANGES = [
    _header,
    _header_bytes,
    _footer,
    _seal,
    _seal,
    _batch_bytes,
    _batch_bytes,
    _batch_bytes,
    _strange,
    _order,
    _slots,
]


def rotten(draw: Draw, source: MemorySource) -> MemorySource:
    """The same, cut, lengthened or scribbled on, and no CRC is mended."""
    stream, tail = source.stream, (source.tail() or (b"", False))[0]
    match draw(st.integers(0, 4)):
        case 0:
            stream = stream[: int(draw(PLACES) * len(stream))]
        case 1:
            at = int(draw(PLACES) * len(stream))
            stream = stream[:at] + draw(SCRIBBLES | st.binary(max_size=200)) + stream[at:]
        case 2:
            stream = _scribbled(draw, stream)
        case 3 if tail:
            tail = _scribbled(draw, tail)
        case _:
            tail = tail[: int(draw(PLACES) * len(tail))] + draw(st.binary(max_size=120))
    return source.but(stream=stream, tail=tail)


def hostile(draw: Draw, base: Parts) -> MemorySource:
    """A few changes of a real journal."""
    parts = base
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.sampled_from(CHANGES))(draw, parts)
    source = parts.source()
    return rotten(draw, source) if draw(st.integers(0, 3)) == 0 else source


def strange_batches() -> list[pa.RecordBatch]:
    """What Arrow can write and no journal holds."""
    if not _STRANGE:
        columns = {
            "list": pa.array([[1], [], None], pa.list_(pa.int64())),
            "nested": pa.array([[[{"a": [1]}]], None, []], pa.list_(pa.list_(pa.struct([("a", pa.list_(pa.int8()))])))),
            "text": pa.array(["x" * 5000, None, ""]),
            "view": pa.array(["x" * 50, None, ""], pa.string_view()),
            "large": pa.array([b"x", None, b""], pa.large_binary()),
            "union": pa.UnionArray.from_sparse(pa.array([0, 0, 0], pa.int8()), [pa.array([1, 2, 3])]),
            "runs": pa.RunEndEncodedArray.from_arrays([3], pa.array([1.5])),
            "nothing": pa.nulls(3),
            "fixed": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.int32(), 2)),
            "decimal": pa.array([1, 2, None], pa.decimal128(20, 2)),
            "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
        }
        _STRANGE.extend(pa.record_batch({name: column}) for name, column in columns.items())
        _STRANGE.append(pa.record_batch(columns))
        ours = arrow_schema(())
        _STRANGE.append(pa.record_batch({field.name: pa.nulls(2, field.type) for field in ours}))
        _STRANGE.append(pa.record_batch({field.name: pa.nulls(0, field.type) for field in ours}))
        _STRANGE.append(pa.record_batch({field.name: pa.array([1.0, 2.0]) for field in ours}))
        floats = {field.name: pa.array([0] * 300, pa.int8()) for field in ours}
        _STRANGE.append(pa.record_batch(floats))
    return _STRANGE


_STRANGE: list[pa.RecordBatch] = []
