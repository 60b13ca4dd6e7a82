"""Bytes that are whole and stand where they should not: swapped, doubled, stale, or another journal's. All are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal import EndReason, Journal, State, read_journal
from journal.format.frames import END_OF_STREAM
from journal.write.writer import JournalWriter
from tests.journal.evidence import Undamaged, assert_losses_are_named, assert_nothing_is_wrong, look_at
from tests.support.journals import ABOUT, DigestFold, Fate, MemorySource, append_step, simulate_episode, write_journal

STEPS, SEAL = 22, 5


def written(root: Path, end: EndReason | Fate = EndReason.TIME_LIMIT, journal_id: str = "journal") -> Undamaged:
    path = write_journal(
        root,
        STEPS,
        journal_id=journal_id,
        end=end,
        seal_every=SEAL,
        fold=DigestFold(),
        checkpoint_every_steps=40,
    )
    return Undamaged(MemorySource.of(path))


def batches(whole: Undamaged) -> list[bytes]:
    stream = whole.source.stream
    return [stream[frame.offset : frame.offset + frame.length] for frame in whole.journal.frames]


def with_batches(whole: Undamaged, order: list[bytes]) -> Journal:
    """The journal with these batches in place of its own."""
    stream, frames = whole.source.stream, whole.journal.frames
    behind = stream[frames[-1].offset + frames[-1].length :]
    journal = look_at(whole.source.but(stream=stream[: frames[0].offset] + b"".join(order) + behind))
    assert journal is not None
    return journal


def kinds(journal: Journal) -> list[str]:
    return [str(finding.kind) for finding in journal.findings]


@pytest.mark.parametrize("end", [EndReason.TIME_LIMIT, Fate.DEAD])
def test_batches__each_two_swapped__are_found_and_read_in_order(tmp_path: Path, end: EndReason | Fate) -> None:
    """By their step numbers; nothing is lost by it."""
    whole = written(tmp_path, end)
    mine = batches(whole)
    for first in range(len(mine)):
        for second in range(first + 1, len(mine)):
            order = list(mine)
            order[first], order[second] = order[second], order[first]
            journal = with_batches(whole, order)
            left = assert_nothing_is_wrong(journal, whole)
            assert "order" in kinds(journal)
            assert (len(left.steps), journal.steps_lost, journal.end_reason) == (STEPS, 0, whole.journal.end_reason)


@pytest.mark.parametrize("end", [EndReason.TIME_LIMIT, Fate.DEAD])
def test_batch__each_doubled_anywhere__is_found_and_counts_once(tmp_path: Path, end: EndReason | Fate) -> None:
    """A block that a file system brought back twice."""
    whole = written(tmp_path, end)
    mine = batches(whole)
    for number, batch in enumerate(mine):
        for place in range(len(mine) + 1):
            journal = with_batches(whole, [*mine[:place], batch, *mine[place:]])
            left = assert_nothing_is_wrong(journal, whole)
            assert "order" in kinds(journal), (number, place)
            assert (len(left.steps), journal.steps_lost) == (STEPS, 0)


@pytest.mark.parametrize("end", [EndReason.TIME_LIMIT, Fate.DEAD])
def test_batch__each_left_out__is_a_hole(tmp_path: Path, end: EndReason | Fate) -> None:
    """Its steps and trades are counted; a later checkpoint still gives the figures of all."""
    whole = written(tmp_path, end)
    mine = batches(whole)
    for number in range(len(mine) - (end is EndReason.TIME_LIMIT)):
        journal = with_batches(whole, [*mine[:number], *mine[number + 1 :]])
        left = assert_nothing_is_wrong(journal, whole)
        assert_losses_are_named(journal, whole, left)
        assert journal.steps_lost == SEAL
        assert "hole" in kinds(journal)
        assert journal.metrics_step == (STEPS if number < len(mine) - 1 else SEAL * number)


def test_batch__of_another_journal__is_found(tmp_path: Path) -> None:
    """The CRC of a batch starts with its journal's id."""
    whole, other = written(tmp_path), written(tmp_path, journal_id="other")
    mine, theirs = batches(whole), batches(other)
    for number in range(len(mine) - 1):
        journal = with_batches(whole, [*mine[:number], theirs[number], *mine[number + 1 :]])
        assert_losses_are_named(journal, whole, assert_nothing_is_wrong(journal, whole))
        assert kinds(journal) == ["batch", "hole"]


def test_footer__of_another_journal__is_ignored(tmp_path: Path) -> None:
    """Whatever it says."""
    whole, other = written(tmp_path), written(tmp_path, EndReason.ERROR, "other")
    mine, theirs = (one.source.stream.rindex(END_OF_STREAM) for one in (whole, other))
    journal = look_at(whole.source.but(stream=whole.source.stream[:mine] + other.source.stream[theirs:]))
    assert journal is not None
    assert not journal.footer_intact
    assert (journal.findings, journal.end_reason, journal.step_count) == ((), EndReason.TIME_LIMIT, STEPS)


@pytest.mark.parametrize("end", [EndReason.TIME_LIMIT, Fate.DEAD, Fate.FAILED])
def test_tail__of_another_journal__gives_no_row(tmp_path: Path, end: EndReason | Fate) -> None:
    """No slot of it fits. Beside a closed journal it is nobody's business: a tail is reused."""
    whole = written(tmp_path, end)
    foreign = written(tmp_path, Fate.DEAD, "other").source.tail()
    assert foreign is not None
    journal = look_at(whole.source.but(tail=foreign[0]))
    assert journal is not None
    left = assert_nothing_is_wrong(journal, whole)
    assert left.steps == list(range(1, (STEPS if whole.journal.end else STEPS // SEAL * SEAL) + 1))
    assert bool(journal.findings) == (whole.journal.end is None)


def test_slots__of_another_journal_at_the_same_place__fit_nowhere(tmp_path: Path) -> None:
    """Each slot's CRC goes back to its journal's id, so that not even one from the middle fits."""
    whole = written(tmp_path, Fate.DEAD)
    mine, theirs = whole.source.tail(), written(tmp_path, Fate.DEAD, "other").source.tail()
    assert mine is not None
    assert theirs is not None
    for slot in (1, 2):  # the first is a trade: its values are the same in both, and only its CRC is not
        at = slot * 96
        mixed = mine[0][:at] + theirs[0][at : at + 96] + mine[0][at + 96 :]
        journal = look_at(whole.source.but(tail=mixed))
        assert journal is not None
        assert_losses_are_named(journal, whole, assert_nothing_is_wrong(journal, whole))
        assert "slot" in kinds(journal)


def test_tail__of_each_older_generation__adds_nothing_and_is_no_damage(tmp_path: Path) -> None:
    """What a writer leaves that dies between a seal and the blanking."""
    writer = JournalWriter(tmp_path, "run", "journal", about=ABOUT, fold=DigestFold(), checkpoint_every_steps=99)
    generations = []
    for step in range(1, STEPS + 1):
        append_step(writer, step)
        if step % SEAL == 0:
            generations.append((MemorySource.of(writer.path).tail() or (b"",))[0])
            writer.checkpoint()
            sealed = Undamaged(MemorySource.of(writer.path))
            for older in generations:
                journal = look_at(sealed.source.but(tail=older))
                assert journal is not None
                left = assert_nothing_is_wrong(journal, sealed)
                assert (len(left.steps), journal.findings, journal.torn) == (step, (), False)
    writer.close(EndReason.CLOSED)


def test_header__of_another_journal__is_no_evidence_for_this_one(tmp_path: Path) -> None:
    """Its ids are not those of the file's name, and no batch fits them."""
    whole, other = written(tmp_path), written(tmp_path, journal_id="other")
    start, theirs = whole.journal.frames[0].offset, other.journal.frames[0].offset
    swapped = other.source.stream[:theirs] + whole.source.stream[start:]
    assert look_at(whole.source.but(stream=swapped)) is None
    copy = MemorySource(tmp_path / "run" / "other.arrows", swapped)
    journal = look_at(copy)
    assert journal is not None
    assert (journal.step_count, journal.state) == (0, State.OPEN)
    assert journal.findings


def test_copy__under_another_name__is_read_on_request(tmp_path: Path) -> None:
    """In another folder; within its run it would pass for another episode."""
    path = simulate_episode(tmp_path, 12)
    copy = tmp_path / "copy.arrows"
    copy.write_bytes(path.read_bytes())
    assert read_journal(copy).step_count == 12
