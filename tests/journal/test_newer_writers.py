"""What a newer writer may add: keys in seal and footer, and records of types that this version does not know."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import msgspec
import pyarrow as pa

from journal import EndReason, read_journal
from journal.format.slots import layout_of
from tests.journal import by_the_book
from tests.journal.hostile import FRAME, SEAL, Parts, message_of, parts_of, seal_text, stamped
from tests.support.journals import Fate, write_journal


def with_key(text: bytes) -> bytes:
    return msgspec.json.encode({**msgspec.json.decode(text), "of_tomorrow": {"a": [1]}})


def resealed(parts: Parts, message: bytes) -> bytes:
    """The same message with a seal of equal length, in which the checkpoint gave way to a new key."""
    old = seal_text(message)
    raw = {**msgspec.json.decode(old), "checkpoint": None}
    room = len(old) - len(msgspec.json.encode({**raw, "tomorrow": ""}))
    return stamped(message.replace(old, msgspec.json.encode({**raw, "tomorrow": "y" * room})), parts.seed)


class Fold:
    """A fold whose checkpoint leaves room for a key."""

    def fold(self, steps: object, trades: object) -> None:
        """Nothing."""

    def to_bytes(self) -> bytes:
        return bytes(200)


def test_seal_and_footer__with_new_keys__nothing_is_lost(tmp_path: Path) -> None:
    parts = parts_of(write_journal(tmp_path, 30, seal_every=10, fold=Fold()))
    assert parts.footer is not None
    batches = tuple(resealed(parts, message) for message in parts.batches)
    assert all(b"tomorrow" in message for message in batches)
    source = replace(parts, batches=batches, footer=with_key(parts.footer)).source()
    journal = read_journal(source.name, source=source)
    assert (journal.step_count, journal.steps_lost, journal.findings) == (30, 0, ())
    assert journal.end_reason is EndReason.TIME_LIMIT


def unknown_message(parts: Parts, name: bytes) -> bytes:
    """A message that verifies and says that it is another record than a batch."""
    batch = pa.record_batch({"x": [1, 2]})
    message = message_of(batch, b" " * 40, parts.seed)
    old = SEAL + b" " * 40
    new = (b"\x01record=" + name).ljust(len(old))
    return stamped(message.replace(old, new), parts.seed)


def test_stream__with_a_record_of_an_unknown_type__is_named_counted_and_skipped(tmp_path: Path) -> None:
    parts = parts_of(write_journal(tmp_path, 30, seal_every=10))
    extra = unknown_message(parts, b"market")
    assert FRAME in extra
    source = replace(parts, batches=(parts.batches[0], extra, extra, *parts.batches[1:]), footer=None).source()
    journal = read_journal(source.name, source=source)
    assert (journal.step_count, journal.steps_lost, journal.findings) == (30, 0, ())
    assert [(name.strip(), count) for name, count in journal.unknown_records.items()] == [("market", 2)]
    assert by_the_book.read(source.stream, None).unknown == 2


def test_tail__with_slots_of_an_unknown_kind__are_counted_and_skipped(tmp_path: Path) -> None:
    """They stand before the trades of their step; every other slot is read as if they were not there."""
    parts = parts_of(write_journal(tmp_path, 20, end=Fate.DEAD))
    size = layout_of(()).size - 4
    slots = []
    for number, body in enumerate(parts.slots):
        step = struct.unpack_from("<Q", body, size - 12)[0]
        if number % 5 == 0:
            slots.append(b"\x11" * (size - 12) + struct.pack("<QBBH", step, 9, 0, 0))
        slots.append(body)
    source = replace(parts, slots=tuple(slots)).source()
    journal = read_journal(source.name, source=source)
    plain = read_journal(source.name, source=parts.source())
    assert (journal.step_count, journal.trade_count, journal.findings) == (20, plain.trade_count, ())
    assert journal.trade_rows() == plain.trade_rows()
    assert journal.unknown_records == {"slot kind 9": len(slots) - len(parts.slots)}
    assert journal.torn == plain.torn
    assert by_the_book.read(source.stream, (source.tail() or (b"",))[0]).unknown == len(slots) - len(parts.slots)
