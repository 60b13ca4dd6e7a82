"""Damage, exhaustively: cut at every byte, flip every bit. Never an exception, never a silently different value."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal import EndReason, Journal, JournalError, NotAJournalError, State, read_journal
from journal.paths import tail_path
from journal.testing import flip, model_columns, model_trades, tear, write_journal, zero
from rsc.metrics import RunningMetrics

STEPS, SEAL = 12, 5


def fold() -> RunningMetrics:
    return RunningMetrics(10_000.0, 252.0)


def written(folder: Path, *, closed: bool, steps: int = STEPS, seal_every: int = SEAL) -> Path:
    end = EndReason.TIME_LIMIT if closed else None
    return write_journal(folder, steps, end=end, seal_every=seal_every, fold=fold(), checkpoint_every_steps=40)


def assert_intact_rows_are_the_models(journal: Journal, steps: int) -> list[int]:
    """Each value that is decoded is the one that was written; returns the numbers of the steps that are there."""
    table, model = journal.steps(), model_columns(steps)
    numbers = [int(number) for number in table["step"].to_pylist()]
    for name, values in model.items():
        column = table[name].cast("int64") if name == "market_time" else table[name]
        assert column.to_pylist() == [values[number - 1] for number in numbers], name
    trades = {row[0]: row for row in model_trades(steps)}
    assert all(row == trades[row[0]] for row in journal.trade_rows())
    return numbers


def look(path: Path) -> Journal | None:
    """The journal, None where its header is unreadable; any other exception fails the test."""
    try:
        return read_journal(path)
    except NotAJournalError:
        return None


@pytest.fixture(params=["closed", "open"])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, bool]:
    closed = request.param == "closed"
    return written(tmp_path / "original", closed=closed), closed


def copies(path: Path, folder: Path) -> Path:
    """A copy of a journal and its tail, for one experiment."""
    target = folder / "run" / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    tail_path(target).unlink(missing_ok=True)
    if tail_path(path).exists():
        shutil.copyfile(tail_path(path), tail_path(target))
    return target


def test_read__undamaged__is_the_model(sample: tuple[Path, bool]) -> None:
    """Before anything is broken."""
    path, closed = sample
    journal = read_journal(path)
    assert assert_intact_rows_are_the_models(journal, STEPS) == list(range(1, STEPS + 1))
    assert journal.trade_rows() == model_trades(STEPS)
    assert journal.state is (State.CLOSED if closed else State.OPEN)
    assert (journal.findings, journal.steps_lost, journal.trades_lost, journal.torn) == ((), 0, 0, False)


def test_stream__cut_at_every_byte__longest_prefix_and_never_damage(sample: tuple[Path, bool], tmp_path: Path) -> None:
    """A cut is a torn end, which is an ordinary ending; a cut footer is nothing at all."""
    path, closed = sample
    size = path.stat().st_size
    reached = -1
    for length in range(size + 1):
        copy = copies(path, tmp_path / "copy")
        tear(copy, length)
        journal = look(copy)
        if journal is None:
            continue
        numbers = assert_intact_rows_are_the_models(journal, STEPS)
        kinds = {finding.kind for finding in journal.findings}
        if closed:
            assert kinds == set(), (length, journal.findings)
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) >= reached
            reached = len(numbers)
        else:
            assert kinds <= {"hole"}, (length, journal.findings)  # the tail is there, what it follows is cut
    if closed:
        assert reached == STEPS


def test_tail__cut_at_every_byte__longest_prefix(tmp_path: Path) -> None:
    """Each slot that is whole counts."""
    path = written(tmp_path / "original", closed=False)
    sealed = STEPS // SEAL * SEAL
    data = tail_path(path).read_bytes()
    seen = set()
    for length in range(len(data.rstrip(b"\0")) + 8):
        copy = copies(path, tmp_path / "copy")
        tear(tail_path(copy), length)
        journal = read_journal(copy)
        assert journal.findings == (), length
        numbers = assert_intact_rows_are_the_models(journal, STEPS)
        assert numbers == list(range(1, len(numbers) + 1))
        seen.add(len(numbers))
    assert seen == set(range(sealed, STEPS + 1))


def bits_of(path: Path, sampled: int | None) -> Iterator[tuple[str, int]]:
    """Bits of the stream, all or a sample of them, and all of the tail."""
    bits = path.stat().st_size * 8
    chosen = range(bits) if sampled is None else random.Random(1).sample(range(bits), sampled)
    yield from (("stream", bit) for bit in chosen)
    tail = tail_path(path)
    if tail.exists():
        used = len(tail.read_bytes().rstrip(b"\0")) + 4
        yield from (("tail", bit) for bit in range(used * 8))


@pytest.mark.parametrize("sampled", [2000, pytest.param(None, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])])
def test_flip__each_bit__never_a_silently_different_value(
    sample: tuple[Path, bool], tmp_path: Path, sampled: int | None
) -> None:
    """Every value is the model's; whatever is missing is counted; metrics are exact where a later checkpoint has them."""
    path, _ = sample
    exact = read_journal(path).folded(fold, RunningMetrics.from_bytes).to_bytes()
    for kind, bit in bits_of(path, sampled):
        copy = copies(path, tmp_path / "copy")
        flip(copy if kind == "stream" else tail_path(copy), bit)
        journal = look(copy)
        if journal is None:
            assert kind == "stream"
            continue
        numbers = assert_intact_rows_are_the_models(journal, STEPS)
        missing = STEPS - len(numbers)
        lost_trades = len(model_trades(STEPS)) - len(journal.trade_rows())
        if missing or lost_trades:
            assert journal.findings, (kind, bit)
            assert journal.steps_lost or journal.trades_lost, (kind, bit)
        if journal.metrics_step == STEPS and not lost_trades:
            assert journal.folded(fold, RunningMetrics.from_bytes).to_bytes() == exact, (kind, bit)


def test_damaged_batch__later_checkpoint__metrics_are_exact(tmp_path: Path) -> None:
    """Damage costs the batch that it hit and no other."""
    path = written(tmp_path, closed=True)
    exact = read_journal(path).folded(fold, RunningMetrics.from_bytes).to_bytes()
    first = read_journal(path)._frames[0]
    zero(path, first.offset + first.length - 64, first.offset + first.length - 32)
    journal = read_journal(path)
    assert journal.steps_lost == SEAL
    assert journal.trades_lost == len(model_trades(SEAL))
    assert [finding.kind for finding in journal.findings] == ["batch", "hole"]
    assert journal.folded(fold, RunningMetrics.from_bytes).to_bytes() == exact
    assert journal.state is State.CLOSED


@pytest.mark.parametrize("count", [200, pytest.param(10_000, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])])
def test_flip__random_bits_of_a_large_journal__never_a_silently_different_value(tmp_path: Path, count: int) -> None:
    """Twenty batches, compressed."""
    steps = 6000
    path = written(tmp_path / "original", closed=True, steps=steps, seal_every=600)
    rng, bits = random.Random(2), path.stat().st_size * 8
    copy = copies(path, tmp_path / "copy")
    for bit in (rng.randrange(bits) for _ in range(count)):
        flip(copy, bit)
        journal = look(copy)
        if journal is not None:
            kept = journal.step_count
            assert kept == steps or (journal.findings and journal.steps_lost == steps - kept)
            if journal.findings:
                assert_intact_rows_are_the_models(journal, steps)
        flip(copy, bit)


def test_batches__swapped__are_found_and_read_in_order(tmp_path: Path) -> None:
    """By their step numbers."""
    path = written(tmp_path, closed=True, steps=15)
    one, two = read_journal(path)._frames[:2]
    data = path.read_bytes()
    first, second = (data[frame.offset : frame.offset + frame.length] for frame in (one, two))
    path.write_bytes(data[: one.offset] + second + first + data[two.offset + two.length :])
    journal = read_journal(path)
    assert [finding.kind for finding in journal.findings] == ["order"]
    assert assert_intact_rows_are_the_models(journal, 15) == list(range(1, 16))


def test_batch__doubled__is_found_and_counts_once(tmp_path: Path) -> None:
    """A block that a file system brought back twice."""
    path = written(tmp_path, closed=True, steps=15)
    one = read_journal(path)._frames[0]
    data = path.read_bytes()
    end = one.offset + one.length
    path.write_bytes(data[:end] + data[one.offset : end] + data[end:])
    journal = read_journal(path)
    assert "order" in {finding.kind for finding in journal.findings}
    assert assert_intact_rows_are_the_models(journal, 15) == list(range(1, 16))


def test_batch__of_another_journal__is_found(tmp_path: Path) -> None:
    """The CRC of a batch starts with its journal's id."""
    path = written(tmp_path / "one", closed=False, steps=15)
    other = write_journal(
        tmp_path / "two", 15, journal_id="other", seal_every=SEAL, end=None, checkpoint_every_steps=40
    )
    mine, theirs = read_journal(path)._frames[1], read_journal(other)._frames[1]
    foreign = other.read_bytes()[theirs.offset : theirs.offset + theirs.length]
    data = path.read_bytes()
    path.write_bytes(data[: mine.offset] + foreign + data[mine.offset + mine.length :])
    journal = read_journal(path)
    assert {finding.kind for finding in journal.findings} == {"batch", "hole"}
    assert journal.steps_lost == SEAL


def test_footer__of_another_journal__is_ignored(tmp_path: Path) -> None:
    """Whatever it says."""
    path = written(tmp_path / "one", closed=True)
    other = write_journal(tmp_path / "two", 7, journal_id="other", end=EndReason.ERROR)
    cut = read_journal(path)
    assert cut.footer_intact
    data, theirs = path.read_bytes(), other.read_bytes()
    mine = data.rindex(b"\xff\xff\xff\xff\x00\x00\x00\x00") + 8
    path.write_bytes(data[:mine] + theirs[theirs.rindex(b"\xff\xff\xff\xff\x00\x00\x00\x00") + 8 :])
    journal = read_journal(path)
    assert not journal.footer_intact
    assert (journal.findings, journal.end_reason, journal.step_count) == ((), EndReason.TIME_LIMIT, STEPS)


def test_tail__of_another_journal__gives_no_row(tmp_path: Path) -> None:
    """No slot of it fits."""
    path = written(tmp_path / "one", closed=False)
    other = write_journal(tmp_path / "two", 9, journal_id="other", end=None)
    shutil.copyfile(tail_path(other), tail_path(path))
    journal = read_journal(path)
    assert assert_intact_rows_are_the_models(journal, STEPS) == list(range(1, STEPS // SEAL * SEAL + 1))
    assert journal.findings


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 4096, b"ARROW1\0\0", b"\xff" * 5000, b"\xff\xff\xff\xff\xf0\xff\xff\x7f" * 99]
)
def test_read__hostile_bytes__are_no_journal(tmp_path: Path, content: bytes) -> None:
    """One of our own errors, at once."""
    path = tmp_path / "run" / "x.arrows"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(JournalError):
        read_journal(path)
