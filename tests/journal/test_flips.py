"""Flipped bits and zeroed ranges, exhaustively: never an exception, never a silently different value, losses named."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal import EndReason
from tests.journal.evidence import (
    Undamaged,
    assert_losses_are_named,
    assert_nothing_is_wrong,
    look_at,
    remember_decoded,
)
from tests.support.journals import DigestFold, Fate, MemorySource, write_journal

STEPS, SEAL = 12, 6
# Closed; open with rows in its tail; open just behind a seal, when no row of the tail tells what stands before it.
KINDS = {"closed": EndReason.TIME_LIMIT, "open": Fate.DEAD, "sealed": Fate.DEAD}


def written(root: Path, kind: str, steps: int = STEPS, seal_every: int = SEAL) -> Undamaged:
    path = write_journal(
        root,
        steps + (kind == "sealed"),
        end=KINDS[kind],
        seal_every=seal_every,
        fold=DigestFold(),
        checkpoint_every_steps=1000,
    )
    source = MemorySource.of(path)
    return Undamaged(source.but(tail=bytes(4096)) if kind == "sealed" else source)


def flipped(data: bytes, *bits: int) -> bytes:
    damaged = bytearray(data)
    for bit in bits:
        damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def assert_never_silent(whole: Undamaged, damaged: MemorySource, what: object) -> None:
    journal = look_at(damaged)
    try:
        if journal is not None:
            assert_losses_are_named(journal, whole, assert_nothing_is_wrong(journal, whole))
    except AssertionError as error:
        raise AssertionError(f"{what}: {error}") from error


@pytest.fixture(params=KINDS)
def whole(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Undamaged:
    remember_decoded(monkeypatch)
    return written(tmp_path, request.param)


def test_stream__last_batch_damaged_in_its_trade_number__claims_no_trades_that_never_were(whole: Undamaged) -> None:
    """What a damaged batch says of itself counts only if all of it fits what stands before it."""
    stream = whole.source.stream
    at = stream.rindex(b'"first_trade":') + len(b'"first_trade":')
    for bit in range(8):
        assert_never_silent(whole, whole.source.but(stream=flipped(stream, at * 8 + bit)), bit)


def used_tail(whole: Undamaged) -> tuple[bytes, int]:
    """A tail, and how many bytes of it matter: those that are used, and some more."""
    tail = whole.source.tail()
    data = tail[0] if tail else b""
    return data, min(len(data), len(data.rstrip(b"\0")) + 128)


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.torture)])
def test_stream__each_bit_flipped__nothing_is_silent(whole: Undamaged, every: int) -> None:
    """Header, metadata, values, checksums, end mark and footer. CI flips each third bit, `make torture` each."""
    stream = whole.source.stream
    for bit in range(random.Random(every).randrange(every), len(stream) * 8, every):
        assert_never_silent(whole, whole.source.but(stream=flipped(stream, bit)), bit)


def test_tail__each_bit_flipped__nothing_is_silent(whole: Undamaged) -> None:
    """Slots of steps and of trades, their checksums, and the blank behind them."""
    data, used = used_tail(whole)
    for bit in range(used * 8):
        assert_never_silent(whole, whole.source.but(tail=flipped(data, bit)), bit)


@pytest.mark.parametrize("pairs", [1500, pytest.param(100_000, marks=pytest.mark.torture)])
def test_tail__two_bits_flipped__no_value_is_wrong(whole: Undamaged, pairs: int) -> None:
    """Two damaged slots at the very end may have been one step or two, so here only values are judged."""
    data, used = used_tail(whole)
    rng = random.Random(5)
    for _ in range(pairs if used else 0):
        bits = rng.sample(range(used * 8), 2)
        journal = look_at(whole.source.but(tail=flipped(data, *bits)))
        assert journal is not None
        left = assert_nothing_is_wrong(journal, whole)
        assert journal.findings or len(left.steps) == STEPS, bits


def ranges(length: int) -> Iterator[tuple[int, int]]:
    for size in (16, 512, 4096):
        yield from ((start, min(start + size, length)) for start in range(0, length, max(1, size // 8)))


def test_stream__range_zeroed__what_stands_before_the_end_is_named(whole: Undamaged) -> None:
    """Zeros at the very end of an open journal are how a power cut ends it: torn. Anything else is damage."""
    stream = whole.source.stream
    for start, end in ranges(len(stream)):
        damaged = stream[:start] + bytes(end - start) + stream[end:]
        journal = look_at(whole.source.but(stream=damaged))
        if journal is None or damaged == stream:
            continue
        left = assert_nothing_is_wrong(journal, whole)
        if not (journal.torn and stream[end:].strip(b"\0") == b""):
            try:
                assert_losses_are_named(journal, whole, left)
            except AssertionError as error:
                raise AssertionError(f"{start} to {end} of {len(stream)}: {error}") from error


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("flips", [250, pytest.param(10_000, marks=pytest.mark.torture)])
@pytest.mark.parametrize("bits", [1, 3])
def test_long_journal__random_bits_flipped__nothing_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flips: int, bits: int
) -> None:
    """Compressed batches of many rows."""
    remember_decoded(monkeypatch)
    whole = written(tmp_path, "closed", steps=3000, seal_every=600)
    stream, rng = whole.source.stream, random.Random(bits)
    for _ in range(flips):
        places = [rng.randrange(len(stream) * 8) for _ in range(bits)]
        assert_never_silent(whole, whole.source.but(stream=flipped(stream, *places)), places)
