"""The document says all: a reader that was written from it alone agrees with ours, whatever happened to a journal."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from journal import EndReason, Journal, NotAJournalError, read_journal
from journal.format import decoding, frames, scan, schema, slots
from journal.format.schema import MAX_FOOTER
from journal.read import source
from journal.write.writer import JournalWriter
from tests.journal import by_the_book
from tests.support.journals import ABOUT, DigestFold, Fate, MemorySource, append_step, write_journal

BOOK = Path(__file__).parents[2] / "docs" / "journal-format.md"


def ours(at: MemorySource) -> Journal | None:
    try:
        return read_journal(at.name, source=at)
    except NotAJournalError:
        return None


def by_book(at: MemorySource) -> by_the_book.Told | None:
    try:
        return by_the_book.read(at.stream, (at.tail() or (None,))[0])
    except by_the_book.NoJournalError:
        return None


def assert_agree(at: MemorySource, what: object = None) -> None:
    """The same rows, bit for bit, the same end, the same losses, and the same word for what stands there."""
    journal, told = ours(at), by_book(at)
    assert (journal is None) == (told is None), what
    if journal is None or told is None:
        return
    steps = [
        row for block, _ in journal.blocks() for row in zip(*(col.tolist() for col in block.values()), strict=True)
    ]
    kinds = [str(finding.kind) for finding in journal.findings if finding.kind != "hole"]
    assert told.header["journal_id"] == journal.header.journal_id
    assert told.steps == steps, what
    assert told.trades == [row for _, block in journal.blocks() for row in zip(*map(list, block.values()), strict=True)]
    assert (told.end or {}).get("reason") == (journal.end.reason if journal.end else None), what
    assert told.torn == journal.torn, (what, told.damage, kinds)
    assert bool(told.damage) == bool(kinds), (what, told.damage, kinds)
    assert (told.steps_lost, told.trades_lost) == (journal.steps_lost, journal.trades_lost), (what, told.damage, kinds)


def sources(root: Path) -> Iterator[MemorySource]:
    """A journal in each state."""
    ends: list[EndReason | Fate] = [EndReason.TIME_LIMIT, EndReason.ERROR, *Fate]
    for end in ends:
        for steps, seal_every in ((0, None), (1, None), (13, 5), (150, 70)):
            path = write_journal(
                root, steps, journal_id=f"{end}-{steps}", end=end, seal_every=seal_every, fold=DigestFold()
            )
            yield MemorySource.of(path)
    about = replace(ABOUT, extra_columns=("vix", "volume"))
    writer = JournalWriter(root, "run", "extra", about=about, fold=DigestFold(), checkpoint_every_steps=8)
    for step in range(1, 14):
        writer.append(*([step / 3] * 8), step, False, step == 13, (), (1 / step, -1.0))
    yield MemorySource.of(writer.path)


def test_document__whole_journals__read_alike(tmp_path: Path) -> None:
    """Open, closed, torn, failed; plain, LZ4; with trades, with extra columns."""
    count = 0
    for at in sources(tmp_path):
        assert_agree(at, at.name)
        count += 1
    assert count > 20


@pytest.fixture(scope="module", params=[EndReason.TIME_LIMIT, Fate.DEAD])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> MemorySource:
    root = tmp_path_factory.mktemp("small")
    return MemorySource.of(write_journal(root, 7, end=request.param, seal_every=3, fold=DigestFold()))


@pytest.mark.parametrize("every", [37, pytest.param(1, marks=pytest.mark.torture)])
def test_document__cut__read_alike(small: MemorySource, every: int) -> None:
    """Stream and tail, by a few bytes each time."""
    tail = (small.tail() or (b"",))[0]
    for length in range(0, len(small.stream), every):
        assert_agree(small.but(stream=small.stream[:length]), f"stream cut at {length}")
    for length in range(0, len(tail.rstrip(b"\0")) + 8 if tail else 0, max(1, every // 4)):
        assert_agree(small.but(tail=tail[:length]), f"tail cut at {length}")
        assert_agree(small.but(tail=tail[:length] + bytes(99)), f"tail blank from {length}")


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("times", [100, pytest.param(10_000, marks=pytest.mark.torture)])
@pytest.mark.parametrize("kind", ["flip", "zero", "move"])
def test_document__damage__read_alike(small: MemorySource, kind: str, times: int) -> None:
    """A bit, some bytes, a piece that stands elsewhere: the same verdict, and the same losses."""
    rng = random.Random(kind)
    tail = (small.tail() or (b"",))[0]
    used = len(tail.rstrip(b"\0")) + 20 if tail else 0
    for _ in range(times):
        in_tail = used and rng.random() < 0.5
        data = bytearray(tail if in_tail else small.stream)
        at = rng.randrange(used if in_tail else len(data))
        if kind == "flip":
            data[at] ^= 1 << rng.randrange(8)
        elif kind == "zero":
            data[at : at + rng.choice([1, 16, 96, 500])] = bytes(len(data[at : at + rng.choice([1, 16, 96, 500])]))
        else:
            size, to = rng.choice([96, 192, 700]), rng.randrange(used if in_tail else len(data))
            data[to : to + size] = data[at : at + size]
        assert_agree(small.but(tail=bytes(data)) if in_tail else small.but(stream=bytes(data)), (kind, in_tail, at))


def test_document__batches_in_another_order__read_alike(tmp_path: Path) -> None:
    """Swapped, doubled, missing."""
    path = write_journal(tmp_path, 9, end=Fate.DEAD, seal_every=2, fold=DigestFold())
    whole, journal = MemorySource.of(path), read_journal(path)
    parts = [whole.stream[frame.offset : frame.offset + frame.length] for frame in journal.frames]
    start, rng = whole.stream[: journal.frames[0].offset], random.Random(3)
    for _ in range(60):
        order = [rng.randrange(len(parts)) for _ in range(rng.randrange(6))]
        assert_agree(whole.but(stream=start + b"".join(parts[at] for at in order)), order)


def test_document__tail_while_it_is_blanked__read_alike(tmp_path: Path) -> None:
    """What a death between the seal and the end of the blanking leaves, and what a power cut may bring back."""
    writer = JournalWriter(tmp_path, "run", "j", about=ABOUT, checkpoint_every_steps=90)
    tails = []
    for step in range(1, 12):
        append_step(writer, step)
        if step in (5, 9):
            tails.append((MemorySource.of(writer.path).tail() or (b"",))[0])
            writer.checkpoint()
    whole = MemorySource.of(writer.path)
    now = (whole.tail() or (b"",))[0]
    for old in tails:
        for at in range(0, 96 * 8, 16):
            assert_agree(whole.but(tail=bytes(at) + old[at:]), at)
            assert_agree(whole.but(tail=now[:at] + old[at:]), at)
            assert_agree(whole.but(tail=old[:at] + now[at:]), at)


def test_document__worked_example__is_what_the_writer_writes() -> None:
    """Byte by byte, with its CRCs."""
    lines = re.findall(r"^    [0-9a-f]{8}  ((?:[0-9a-f]{2} )+)", BOOK.read_text(encoding="utf-8"), re.MULTILINE)
    example = bytes.fromhex("".join(lines))
    layout = slots.layout_of(())
    body = layout.pack(
        1772000000000000000, 1700000000000000, 1.0, 0.002, 10020.0, 25.1, 7510.0, 100.0, 1.0, 20.0, 1, slots.STEP, 0, 0
    )
    assert example[:-4] == body
    found = scan.scan_tail(example + bytes(96), layout, "ep1", 0)
    assert found.slots["step"].tolist() == [1]
    told = by_the_book.Told({"about": {"extra_columns": []}})
    assert by_the_book.read_tail(example, 0, by_the_book.crc32c(b"ep1"), told) == (0, 0)
    assert told.steps[0][:3] == (1, 1772000000000000, 1700000000000000)


def test_document__limits__are_those_of_the_code() -> None:
    """Each by its name."""
    table = dict(re.findall(r"^\| `(MAX_\w+)` \| (.+?) \|$", BOOK.read_text(encoding="utf-8"), re.MULTILINE))
    units = {"KiB": 1 << 10, "MiB": 1 << 20}
    known = {"MAX_FOOTER": MAX_FOOTER}
    for module in (decoding, frames, schema, slots, source):
        known |= vars(module)
    for name, said in table.items():
        number, unit = re.match(r"([\d ]*\d) ?(\w*)", said).groups()  # type: ignore[union-attr]
        assert known[name] == int(number.replace(" ", "")) * units.get(unit, 1), name
    assert set(table) == {name for name in known if name.startswith("MAX_")}
