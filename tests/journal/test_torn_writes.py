"""A copy that death cuts short is torn, not damaged: in whatever order the C library stores its pieces.

SIGKILL may come between any two instructions of the `memcpy` that brings a step into a mapped tail, or blanks it after
a seal. glibc copies large blocks forward and stores the first piece last; others go backward, or page by page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from journal import JournalWriter, State, read_journal
from journal.format.schema import Trade
from journal.format.slots import layout_of
from tests.support.journals import ABOUT, DigestFold, MemorySource, abandon, append_step, step_of, write_journal

SIZE = layout_of(()).size
Order = Callable[[int, int, int], list[tuple[int, int]]]


def forward(start: int, end: int, piece: int) -> list[tuple[int, int]]:
    return [(at, min(at + piece, end)) for at in range(start, end, piece)]


def head_last(start: int, end: int, piece: int) -> list[tuple[int, int]]:
    first, *rest = forward(start, end, piece)
    return [*rest, first]


def backward(start: int, end: int, piece: int) -> list[tuple[int, int]]:
    return forward(start, end, piece)[::-1]


def two_pages_at_once(start: int, end: int, piece: int) -> list[tuple[int, int]]:
    half = start + (end - start) // (2 * piece) * piece
    pairs = zip(forward(start, half, piece), forward(half, end, piece), strict=False)
    return [store for pair in pairs for store in pair] + forward(half + (half - start), end, piece)


def cut_short(before: bytes, after: bytes, stores: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    """The bytes when death came before the n-th store, n included in the answer."""
    image = bytearray(before)
    for number, (start, end) in enumerate(stores):
        yield number, bytes(image)
        image[start:end] = after[start:end]
    assert image == after


def trades(count: int) -> tuple[Trade, ...]:
    return (Trade(1, 2.0, 0, 0, 0.0, 0.0, 0.0, 0.0),) * count  # as many zeros as a trade can have


@pytest.mark.parametrize(
    ("order", "piece"),  # a CRC that is there in part is damage: it may be a flip
    [(forward, 4), (forward, 8), (forward, 16), (forward, 32), (forward, 64), (head_last, 32), (head_last, 64)],
)
@pytest.mark.parametrize("closed_trades", [0, 1, 2, 7])
def test_step__copied_in_part__is_torn_and_costs_no_other(
    tmp_path: Path, order: Order, piece: int, closed_trades: int
) -> None:
    """The steps before it are all there; it was never acknowledged, so it may be missing, with all of its trades."""
    writer = JournalWriter(tmp_path, "run", "journal", about=ABOUT)
    for step in (1, 2, 3):
        append_step(writer, step)
    before = MemorySource.of(writer.path)
    start = (writer.steps + writer.trades) * SIZE
    writer.append(*step_of(4), False, False, trades(closed_trades))
    after = MemorySource.of(writer.path)
    abandon(writer)
    old, new = before.tail(), after.tail()
    assert old is not None
    assert new is not None
    stores = order(start, start + (1 + closed_trades) * SIZE, piece)
    for number, image in cut_short(old[0], new[0], stores):
        journal = read_journal(writer.path, source=before.but(tail=image))
        assert (journal.findings, journal.steps_lost, journal.trades_lost) == ((), 0, 0), number
        assert journal.last_step == journal.step_count == 3, number
        assert journal.trade_count == 3, number
        assert journal.torn or image == old[0], number


@pytest.mark.parametrize(
    ("order", "piece", "steps"),
    [
        *((order, piece, 30) for order in (forward, head_last, backward, two_pages_at_once) for piece in (1, 16, 64)),
        *((order, piece, steps) for order in (forward, backward) for piece in (16, 64) for steps in (1, 2)),
    ],
)
def test_tail__blanked_in_part__is_no_damage(tmp_path: Path, order: Order, piece: int, steps: int) -> None:
    """Its rows live in the stream already, whatever is left of them in the tail."""
    writer = JournalWriter(tmp_path, "run", "journal", about=ABOUT, fold=DigestFold(), checkpoint_every_steps=100)
    for step in range(1, 5):
        append_step(writer, step)
    writer.checkpoint()
    filled = writer.trades
    for step in range(5, 5 + steps):
        append_step(writer, step)
    filled = (steps + writer.trades - filled) * SIZE
    before = MemorySource.of(writer.path)
    writer.checkpoint()
    after = MemorySource.of(writer.path)
    abandon(writer)
    old, new = before.tail(), after.tail()
    assert old is not None
    assert new is not None
    stores = order(0, filled, piece)
    images = list(cut_short(old[0], new[0], stores))
    for number, image in images[:: max(1, len(images) // 400)]:
        journal = read_journal(writer.path, source=after.but(tail=image))
        assert (journal.findings, journal.steps_lost, journal.trades_lost) == ((), 0, 0), number
        assert journal.last_step == journal.step_count == 4 + steps, number


def test_stale_tail__longer_than_the_new_generation__gives_no_row(tmp_path: Path) -> None:
    """A power cut that brings back blanked pages: rows of the stream are not told twice, and holes are named."""
    path = write_journal(tmp_path, 40, end=None, seal_every=30, fold=DigestFold(), checkpoint_every_steps=200)
    whole = MemorySource.of(path)
    older = write_journal(tmp_path / "older", 30, end=None, fold=DigestFold(), checkpoint_every_steps=200)
    tail, stale = whole.tail(), MemorySource.of(older).tail()
    assert tail is not None
    assert stale is not None
    for page in range(512, 8192, 512):
        mixed = stale[0][:page] + tail[0][page:]
        journal = read_journal(path, source=whole.but(tail=mixed))
        assert journal.step_count + journal.steps_lost == journal.last_step
        assert journal.steps()["step"].to_pylist()[:30] == list(range(1, 31))
        mixed = tail[0][:page] + stale[0][page:]
        journal = read_journal(path, source=whole.but(tail=mixed))
        assert journal.last_step == journal.step_count
        assert journal.state is State.OPEN
