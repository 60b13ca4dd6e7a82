"""Files that ask for more than they are worth: a reader's memory and time stay bounded, and it says what it thinks."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from journal import About, Journal, NotAJournalError, read_journal
from journal.format.frames import arrow_schema, empty_batch
from journal.format.schema import MAX_TAIL_BYTES
from journal.host.paths import tail_path
from journal.ops.recover import RecoverMode, recover
from journal.read.findings import Damage
from journal.read.peek import peek
from journal.write.writer import JournalWriter
from tests.journal.hostile import first_message, footer_of, message_of, parts_of, stamped
from tests.support.journals import ABOUT, Fate, MemorySource, abandon, write_journal

MIB = 1 << 20

MEASURE = """
import sys
from pathlib import Path
from journal import JournalError, Observer, read_journal
from journal.inspect.audit import audit
from journal.read.peek import peek
from journal.inspect.overview import overview
from journals import DigestFold
# Not ru_maxrss: a process inherits that of its parent, which may well be larger than all that happens here.
def peak(): return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, path = peak(), Path(sys.argv[1])
asked = [lambda: peek(path), lambda: overview(str(path), Observer()), lambda: read_journal(path),
         lambda: audit(read_journal(path)), lambda: read_journal(path).folded(DigestFold, DigestFold)]
for ask in asked:
    try:
        ask()
    except JournalError:
        pass
print(peak() - before)
"""


def growth_mib(path: Path) -> float:
    """How much a process grows that asks all that can be asked without holding all rows; any other error fails."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(MEASURE), str(path)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) / 1024


def seal_of(first: int, steps: int, **more: object) -> bytes:
    body: dict[str, object] = {
        "first_step": first, "steps": steps, "first_trade": 1, "trades": 0, "wall_time_us": 0, "market_time_us": 0,
        "terminal": 0, "checkpoint": None, "end": None,
    }  # fmt: skip
    return json.dumps({**body, **more}).encode()


def with_batches(path: Path, *messages: bytes) -> Path:
    """An open journal, with these messages behind what it has."""
    with path.open("ab") as file:
        for message in messages:
            file.write(message)
    return path


def test_footer__of_a_hundred_mebibytes__is_not_even_read(tmp_path: Path) -> None:
    """Its CRC is right; JSON of this size takes gigabytes once it is decoded. The batches tell how it ended."""
    parts = parts_of(write_journal(tmp_path, 5))
    stream = parts.source().stream
    bomb = footer_of(b'{"a":[' + b"[]," * (33 * MIB) + b"1]}", parts.seed)
    path = Path(parts.name)
    path.write_bytes(stream[: stream.rindex(b"\xff\xff\xff\xff\0\0\0\0") + 8] + bomb)
    assert peek(path) is None
    journal = read_journal(path)
    assert (journal.footer_intact, journal.step_count, journal.end is not None) == (False, 5, True)
    assert growth_mib(path) < 60


def test_seal__in_the_body__is_none(tmp_path: Path) -> None:
    """A message may be large, its metadata not: what stands in the body is a value, whatever it looks like."""
    path = write_journal(tmp_path, 3, end=Fate.DEAD)
    parts = parts_of(path)
    text = b"\x01seal=" + b"[" + b"[]," * (10 * MIB) + b"1]"
    body = struct.pack("<I", len(text)) + text
    batch = pa.record_batch({"x": pa.array([body], pa.binary())})
    message = message_of(batch, b"", parts.seed).replace(b"\x01seal=", b"\x01sea1=", 1)
    with_batches(path, stamped(message, parts.seed))
    journal = read_journal(path)
    assert [finding.kind for finding in journal.findings] == [Damage.CONTENT]
    assert growth_mib(path) < 130


@pytest.mark.parametrize("codec", ["zstd", "lz4"])
def test_batch__that_unpacks_to_gigabytes__is_named_and_not_unpacked(tmp_path: Path, codec: str) -> None:
    """A few hundred kilobytes on disk. Its seal is right: it does hold that many steps."""
    path = write_journal(tmp_path, 0, end=Fate.DEAD)
    rows = 3_000_000
    fields = list(arrow_schema(()))
    columns = [pa.array(np.zeros(rows, "i1")).cast(pa.int64()).cast(field.type) for field in fields[1:-1]]
    lists = pa.ListArray.from_arrays(
        pa.array(np.zeros(rows + 1, "<i4")), empty_batch(arrow_schema(())).column("trades").values, type=fields[-1].type
    )
    batch = pa.RecordBatch.from_arrays([pa.array(np.arange(1, rows + 1)), *columns, lists], schema=arrow_schema(()))
    with_batches(path, message_of(batch, seal_of(1, rows), parts_of(path).seed, codec))
    journal = read_journal(path)
    assert journal.step_count == rows
    with pytest.raises(NotAJournalError, match="MiB"):
        journal.steps()
    assert growth_mib(path) < 100


def test_seal__that_claims_more_steps_than_there_are__is_only_a_number(tmp_path: Path) -> None:
    """Nothing is ever allocated by a number that stands in JSON."""
    path = write_journal(tmp_path, 4, end=Fate.DEAD)
    batch = empty_batch(arrow_schema(()))
    with_batches(path, message_of(batch, seal_of(1, 1 << 61), parts_of(path).seed))
    assert read_journal(path).step_count == 1 << 61
    assert growth_mib(path) < 30


@pytest.mark.parametrize(
    "bomb",
    [b'{"a":' * 3_000_000, b"[[]," * 4_000_000, b"[" + b"{}," * 1_600_000 + b"1]"],
    ids=["deep objects", "deep lists", "many objects"],  # pytest would put the bytes into the name and the environment
)
def test_header__of_the_most_bytes__is_bounded(tmp_path: Path, bomb: bytes) -> None:
    """JSON takes some twenty times its size; the header's is bounded, so that is too."""
    path = tmp_path / "run" / "journal.arrows"
    path.parent.mkdir()
    path.write_bytes(first_message(bomb[: (1 << 24) - 4000], ()))
    with pytest.raises(NotAJournalError):
        read_journal(path)
    assert growth_mib(path) < 400


@pytest.mark.parametrize(
    "filling",
    [
        b"\xff\xff\xff\xff",
        b"\xff\xff\xff\xff\0\0\x08\0",
        b"\xff\xff\xff\xff\x40\0\0\0\x01frame=0fffffff00000000",
        b"\xff",
    ],
)
def test_search__through_what_always_looks_like_a_message__ends(tmp_path: Path, filling: bytes) -> None:
    """Each place may begin a message that is as long as the file; the search for the next good one is bounded."""
    path = write_journal(tmp_path, 3, end=Fate.DEAD)
    with path.open("ab") as file:
        file.write(filling * (3 * MIB // len(filling)))
    assert growth_mib(path) < 150
    assert read_journal(path).step_count == 3


def test_search__given_up__is_damage(tmp_path: Path) -> None:
    """A message that states more than the file holds would be a torn end; here nobody knows what stands behind it."""
    path = write_journal(tmp_path, 3, end=Fate.DEAD)
    start = b"\xff\xff\xff\xff\0\0\x08\0\x01frame=0fffffff00000000"
    size = path.stat().st_size
    with path.open("ab") as file:
        file.write(start + bytes(100_000))
    assert (read_journal(path).findings, read_journal(path).torn) == ((), True)
    with path.open("ab") as file:
        file.write(start * (2 * MIB // len(start)))
    journal = read_journal(path)
    assert [(finding.kind, finding.offset) for finding in journal.findings] == [(Damage.BATCH, size)]
    assert not journal.torn


def test_search__between_many_small_messages__reads_little(tmp_path: Path) -> None:
    """Damage between each two messages costs what it is long, not a megabyte each time."""
    path = write_journal(tmp_path, 300, end=Fate.DEAD, checkpoint_every_steps=1)
    parts = parts_of(path)
    whole = parts.source()
    start = len(whole.stream) - sum(map(len, parts.batches))
    stream = whole.stream[:start] + b"".join(b"damage" + batch for batch in parts.batches * 10)
    read = 0

    class Counting(MemorySource):
        def read(self, offset: int, length: int) -> bytes:
            nonlocal read
            read += min(length, max(0, self.size() - offset))
            return super().read(offset, length)

    journal = Journal(Counting(path, stream))
    assert journal.step_count == 299
    assert read < 4 * len(stream)


class Shrinking(MemorySource):
    """A file that somebody cuts behind the reader's first looks."""

    def __init__(self, whole: MemorySource, *, size: int, left: int) -> None:
        super().__init__(Path(whole.name), whole.stream, (whole.tail() or (None,))[0])
        self._size, self._left, self.reads = size, left, 0

    def size(self) -> int:
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        self.reads += 1
        return self.stream[: self._left][offset : offset + length] if self.reads > 1 else super().read(offset, length)


def test_stream__shrinks_while_it_is_read__ends_at_once(tmp_path: Path) -> None:
    """It was a terabyte when its size was asked for; the search goes no further than what is there."""
    whole = MemorySource.of(write_journal(tmp_path, 30, end=Fate.DEAD, seal_every=7))
    for left in (0, 100, len(whole.stream) // 2, len(whole.stream)):
        source = Shrinking(whole, size=1 << 40, left=left)
        Journal(source)
        assert source.reads < 50


def test_file__sparse__takes_no_memory(tmp_path: Path) -> None:
    """Zeros behind the end are a torn end, however many."""
    path = write_journal(tmp_path, 30, end=Fate.DEAD, seal_every=7)
    os.truncate(path, 60 * MIB)
    os.truncate(tail_path(path), 60 * MIB)
    assert read_journal(path).step_count == 30
    assert growth_mib(path) < 130


def test_tail__longer_than_readers_read__is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded, and so what stands behind is not read; that is no secret. Ours writes no such tail."""
    monkeypatch.setattr("journal.write.writer.MAX_TAIL_BYTES", 1 << 30)
    columns = tuple(f"x{number}" for number in range(1000))
    writer = JournalWriter(
        tmp_path, "run", "j", about=About("Model", 1.0, 1.0, {}, columns), checkpoint_every_steps=20_000
    )
    extra = (1.0,) * len(columns)
    for step in range(1, 9001):
        writer.append(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, step, False, False, (), extra)
    abandon(writer)
    journal = read_journal(writer.path)
    assert journal.step_count == MAX_TAIL_BYTES // (96 + 8000)
    assert [finding.kind for finding in journal.findings] == [Damage.SLOT]
    assert "64 MiB" in journal.findings[0].message


def test_recovered__from_a_bomb__has_what_is_sound(tmp_path: Path) -> None:
    """A batch that does not hold what its seal says is left out, and counted."""
    path = write_journal(tmp_path, 20, end=Fate.DEAD, about=ABOUT, seal_every=5)
    batch = pa.RecordBatch.from_arrays([pa.nulls(9, field.type) for field in arrow_schema(())], schema=arrow_schema(()))
    with_batches(path, message_of(batch, seal_of(21, 9), parts_of(path).seed))
    found = recover(path, tmp_path / "sound.arrows", RecoverMode.SALVAGE)
    assert (found.steps, found.steps_lost) == (15, 14)
