"""A journal cut at every byte: never an exception, always the longest prefix, and a torn end is no damage."""

from __future__ import annotations

from pathlib import Path

import pytest

from journal import EndReason, State
from journal.format.frames import END_OF_STREAM
from journal.format.schema import STREAM_SUFFIX
from journal.format.slots import layout_of
from tests.journal.evidence import Undamaged, assert_nothing_is_wrong, look_at, remember_decoded
from tests.support.journals import DigestFold, Fate, MemorySource, simulate_episode, write_journal

STEPS, SEAL = 14, 6
SLOT = layout_of(()).size


@pytest.fixture(params=[EndReason.TIME_LIMIT, Fate.DEAD])
def whole(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Undamaged:
    remember_decoded(monkeypatch)
    path = write_journal(
        tmp_path, STEPS, end=request.param, seal_every=SEAL, fold=DigestFold(), checkpoint_every_steps=40
    )
    return Undamaged(MemorySource.of(path))


def test_stream__cut_at_every_byte__longest_prefix(whole: Undamaged) -> None:
    """Each batch that is whole counts. Of an open journal the rows behind the cut are still in its tail: a hole."""
    stream, ends = whole.source.stream, [frame.offset + frame.length for frame in whole.journal.frames]
    sealed = {0: 0} | {end: frame.seal.last_step for end, frame in zip(ends, whole.journal.frames, strict=True)}
    for length in range(len(stream) + 1):
        journal = look_at(whole.source.but(stream=stream[:length]))
        if journal is None:
            assert length < whole.journal.frames[0].offset
            continue
        left = assert_nothing_is_wrong(journal, whole)
        prefix = max(steps for end, steps in sealed.items() if end <= length)
        assert [step for step in left.steps if step <= prefix] == list(range(1, prefix + 1)), length
        if whole.journal.end:
            assert left.steps == list(range(1, prefix + 1)), length
            assert journal.findings == (), length
            assert (journal.state is State.CLOSED) == (length >= ends[-1])
            assert journal.torn == (length < ends[-1] and length not in (whole.journal.frames[0].offset, *ends))
        else:
            assert {finding.kind for finding in journal.findings} <= {"hole"}, length
            assert journal.steps_lost == STEPS - len(left.steps), length


def test_tail__cut_at_every_byte__longest_prefix(whole: Undamaged) -> None:
    """Each slot that is whole counts, and a step only with all of its trades."""
    data = (whole.source.tail() or (b"",))[0]
    seen = set()
    for length in range(len(data.rstrip(b"\0")) + 8 if data else 0):
        for cut in (data[:length], data[:length] + bytes(len(data) - length)):  # a short file, and one with zeros
            journal = look_at(whole.source.but(tail=cut))
            assert journal is not None
            left = assert_nothing_is_wrong(journal, whole)
            assert left.steps == list(range(1, len(left.steps) + 1)), length
            in_checksum = length % SLOT > SLOT - 4  # one that is there in part cannot be told from a damaged one
            assert journal.findings == () or in_checksum, length
            seen.add(len(left.steps))
    assert not data or seen == set(range(STEPS // SEAL * SEAL, STEPS + 1))


def test_footer__damaged_anyhow__changes_no_verdict(tmp_path: Path) -> None:
    """The batches speak: cut, zeroed, flipped, torn out or followed by more bytes, all answers stay the same."""
    path = simulate_episode(tmp_path, 30, EndReason.TERMINATED)
    whole = Undamaged(MemorySource.of(path))
    stream = whole.source.stream
    end = stream.rindex(END_OF_STREAM)
    copies = [stream[:end] + bytes(len(stream) - end), stream[:end], stream + b"more", stream + bytes(5000)]
    copies += [stream[:at] for at in range(end, len(stream))]
    copies += [stream[:at] + b"\x5a" + stream[at + 1 :] for at in range(end, len(stream))]
    for number, copy in enumerate(copies):
        journal = look_at(whole.source.but(stream=copy))
        assert journal is not None
        left = assert_nothing_is_wrong(journal, whole)
        assert (journal.state, journal.findings, journal.torn) == (State.CLOSED, (), False), number
        assert (len(left.steps), journal.steps_lost, journal.trades_lost) == (30, 0, 0)
        assert journal.checkpoint == whole.journal.checkpoint


@pytest.mark.parametrize("steps", [0, 1])
@pytest.mark.parametrize("end", [EndReason.CLOSED, Fate.DEAD, Fate.FAILED])
def test_journal__of_no_or_one_step__is_read(tmp_path: Path, steps: int, end: EndReason | Fate) -> None:
    """The smallest ones, in each state."""
    path = simulate_episode(tmp_path, steps, end)
    assert path.suffix == STREAM_SUFFIX
    journal = look_at(MemorySource.of(path))
    assert journal is not None
    assert (journal.step_count, journal.last_step, journal.findings) == (steps, steps, ())
    assert journal.folded(DigestFold, DigestFold).steps == steps
    assert journal.steps().num_rows == steps
    assert journal.end_reason == (end if isinstance(end, EndReason) else None)


@pytest.mark.parametrize("end", [*EndReason, *Fate])
def test_simulated_episode__in_each_state__is_what_it_says(tmp_path: Path, end: EndReason | Fate) -> None:
    """What other packages' tests rely on."""
    journal = look_at(MemorySource.of(simulate_episode(tmp_path, 200, end)))
    assert journal is not None
    states = {Fate.DEAD: State.OPEN, Fate.TORN: State.OPEN, Fate.FAILED: State.FAILED}
    assert journal.state is states.get(end, State.CLOSED)  # type: ignore[call-overload]
    assert (journal.step_count, journal.findings, journal.torn) == (200, (), end is Fate.TORN)
