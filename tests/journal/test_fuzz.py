"""Whatever the bytes are, only the package's own errors come out, the counts stay sane, and memory stays bounded.

`make fuzz MINUTES=60` goes on for as long as it is told to, with new journals each time.
"""

from __future__ import annotations

import os
import random
import resource
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from journal import About, Journal, JournalError, Observer, read_journal
from journal.host.paths import tail_path
from journal.inspect.audit import audit
from journal.inspect.overview import overview
from journal.ops.recover import RecoverMode, recover
from journal.read.peek import peek
from tests.journal.hostile import Parts, bases, hostile, rotten
from tests.support.journals import DigestFold, MemorySource

MINUTES = float(os.environ.get("RSC_FUZZ_MINUTES", "5"))
GROWTH_MIB = 200  # of the whole process; a single hostile length would ask for gigabytes


class Kernel:
    """What recomputes the checkpoints of the journals in `hostile.bases`; refuses a foreign state as kernels must."""

    def make(self, about: About) -> DigestFold:
        return DigestFold()

    def restore(self, state: bytes) -> DigestFold:
        if len(state) != 24:
            raise ValueError("another program's checkpoint")
        return DigestFold(state)


def restored(state: bytes) -> DigestFold:
    return DigestFold(state if len(state) == 24 else bytes(24))


def count_steps(journal: Journal) -> None:
    table = journal.steps()
    table.validate(full=True)
    assert table.num_rows == journal.step_count


def count_trades(journal: Journal) -> None:
    table = journal.trades()
    table.validate(full=True)
    assert table.num_rows == journal.trade_count


QUESTIONS: list[Callable[[Journal], object]] = [
    count_steps,
    count_trades,
    Journal.trade_rows,
    lambda journal: sum(batch.num_rows for batch in journal.batches(2)),
    lambda journal: journal.folded(DigestFold, restored).to_bytes(),
    lambda journal: journal.replayed(DigestFold).to_bytes(),
    lambda journal: audit(journal, Kernel()),
    lambda journal: list(journal.blocks(lenient=True)),
    lambda journal: (journal.end_reason, journal.end_message, journal.closed_at, journal.terminal, journal.checkpoint),
]


def answered(ask: Callable[[], Any]) -> Any:
    """The answer; None for one of the package's own errors. Any other exception, or a warning, fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return ask()
        except JournalError:
            return None


def look_everywhere(source: MemorySource) -> None:
    journal = answered(lambda: read_journal(source.name, source=source))
    if journal is None:
        return
    assert journal.step_count >= 0
    assert journal.trade_count >= 0
    assert journal.steps_lost >= 0
    assert journal.trades_lost >= 0
    for ask in QUESTIONS:
        answered(lambda ask=ask: ask(journal))  # type: ignore[misc]


def look_at_file(source: MemorySource, folder: Path, mode: RecoverMode) -> None:
    """The same for what takes a path; a journal that was recovered can be read."""
    path = folder / Path(source.name).name
    copy = folder / "recovered.arrows"
    copy.unlink(missing_ok=True)
    path.write_bytes(source.stream)
    tail_path(path).write_bytes((source.tail() or (b"",))[0])
    peeked = answered(lambda: peek(path))
    if peeked is not None:
        answered(lambda: (peeked.header, peeked.last_step_time, peeked.end_reason, peeked.folded(DigestFold, restored)))
    answered(lambda: overview(str(path), Observer()))
    if answered(lambda: recover(path, copy, mode)) is not None:
        assert audit(read_journal(copy)).intact


@settings(max_examples=10, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.tuples(st.integers(), st.floats(), st.text(), st.binary()))
def let_hypothesis_read_the_sources(drawn: object) -> None:
    """It looks for constants in every module, once, and keeps them in a folder: 200 MiB that no journal asked for."""


def growth_mib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[Parts]:
    return bases(tmp_path_factory.mktemp("real"))


def fuzz(real: list[Parts], folder: Path, examples: int, number: int | None = None) -> None:
    """Many hostile journals; ``number`` makes them others than last time."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=number is None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def look(data: st.DataObject) -> None:
        base = real[data.draw(st.integers(0, len(real) - 1))]
        source = hostile(data.draw, base)
        look_everywhere(source)
        if data.draw(st.integers(0, 4)) == 0:
            look_at_file(source, folder, data.draw(st.sampled_from(RecoverMode)))

    let_hypothesis_read_the_sources()
    before = growth_mib()
    (look if number is None else seed(number)(look))()
    assert growth_mib() - before < GROWTH_MIB


def test_hostile_journal__with_right_crcs__only_our_errors(real: list[Parts], tmp_path: Path) -> None:
    """Seals, headers, footers, slots and batches of real journals, changed; their CRCs mended."""
    fuzz(real, tmp_path, 500)


@pytest.mark.torture
@pytest.mark.timeout(0)
def test_hostile_journal__for_as_long_as_told__only_our_errors(real: list[Parts], tmp_path: Path) -> None:
    """RSC_FUZZ_MINUTES of it; a failure prints its journal."""
    end, rng = time.monotonic() + MINUTES * 60, random.Random()
    while time.monotonic() < end:
        fuzz(real, tmp_path, 400, rng.getrandbits(64))


@settings(max_examples=250, deadline=None, derandomize=True, database=None)
@given(stream=st.binary(max_size=400), tail=st.binary(max_size=400), cut=st.sampled_from([0, 4, 8, 300, 3000]))
def test_random_bytes__only_our_errors(stream: bytes, tail: bytes, cut: int) -> None:
    """From nothing at all, from what looks like Arrow, and behind a real header."""
    starts = [b"", b"\xff\xff\xff\xff", b"\xff\xff\xff\xff\x10\0\0\0"]
    for start in starts:
        look_everywhere(MemorySource(Path("run/x.arrows"), start + stream, tail))


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(data=st.data())
def test_real_journal__random_bytes_in_it__only_our_errors(real: list[Parts], data: st.DataObject) -> None:
    """CRCs wrong."""
    source = real[data.draw(st.integers(0, len(real) - 1))].source()
    for _ in range(data.draw(st.integers(1, 3))):
        source = rotten(data.draw, source)
    look_everywhere(source)
