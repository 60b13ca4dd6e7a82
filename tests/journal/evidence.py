"""A journal beside its undamaged self: what may be missing, what must be counted, and what must be the same."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import pytest

from journal import Journal, NotAJournalError, State, read_journal
from journal.format.slots import Columns
from journal.read import reader
from tests.support.journals import DigestFold, MemorySource, rows_of


class Undamaged:
    """The whole truth about a journal, to hold its damaged copies against."""

    def __init__(self, source: MemorySource) -> None:
        self.source = source
        self.journal = look = Journal(source)
        blocks = list(look.blocks())
        self.steps = np.concatenate([rows_of(steps, list(steps)) for steps, _ in blocks])
        self.trades = np.concatenate([rows_of(trades, list(trades)) for _, trades in blocks])
        self.digests = [DigestFold().to_bytes()]
        self.checkpoints = {frame.seal.checkpoint for frame in look.frames}
        fold = DigestFold()
        for step in range(look.step_count):
            closed = self.trades[self.trades["exit_step"] == step + 1]
            row = self.steps[step : step + 1]
            fold.fold(
                {name: row[name] for name in row.dtype.names}, {name: closed[name] for name in closed.dtype.names}
            )
            self.digests.append(fold.to_bytes())
        assert look.step_count == len(self.steps) == look.last_step
        assert (look.findings, look.steps_lost, look.trades_lost, look.torn) == ((), 0, 0, False)
        self._same: list[Columns] = []

    def assert_same(self, steps: Columns, trades: Columns) -> None:
        """Each value of a block is the one that was written. A block that was looked at is not looked at again."""
        if any(steps is known for known in self._same):
            return
        assert (rows_of(steps, list(steps)) == self.steps[steps["step"] - 1]).all()
        assert (rows_of(trades, list(trades)) == self.trades[trades["trade_number"] - 1]).all()
        if len(self._same) < 8:
            self._same.append(steps)


@dataclass(frozen=True)
class Left:
    """What a damaged copy still gives: numbers of steps and trades."""

    steps: list[int]
    trades: list[int]


def look_at(source: MemorySource) -> Journal | None:
    """The journal, None where its header is unreadable; any other exception fails the test."""
    try:
        return read_journal(source.name, source=source)
    except NotAJournalError:
        return None


def assert_nothing_is_wrong(journal: Journal, whole: Undamaged) -> Left:
    """Each decoded value is the one that was written, bit for bit, and the copy counts right what it has."""
    steps: list[int] = []
    trades: list[int] = []
    for some_steps, some_trades in journal.blocks():
        whole.assert_same(some_steps, some_trades)
        steps += some_steps["step"].tolist()
        trades += some_trades["trade_number"].tolist()
    assert steps == sorted(set(steps))
    assert trades == sorted(set(trades))
    assert (journal.step_count, journal.trade_count) == (len(steps), len(trades))
    assert journal.header == whole.journal.header
    assert journal.checkpoint is None or journal.checkpoint.state in whole.checkpoints
    if journal.state is State.CLOSED:
        assert journal.end == whole.journal.end
    _assert_last_step(journal, whole, steps)
    _assert_metrics(journal, whole, trades)
    return Left(steps, trades)


def _assert_last_step(journal: Journal, whole: Undamaged, steps: list[int]) -> None:
    assert journal.last_step == max(steps, default=0)
    if steps and journal.last_step == whole.journal.last_step:
        assert journal.last_step_time == whole.journal.last_step_time
        assert journal.last_market_time == whole.journal.last_market_time
        assert journal.terminal in (None, whole.journal.terminal)


def _assert_metrics(journal: Journal, whole: Undamaged, trades: list[int]) -> None:
    """Exact at the step that they claim; a trade whose slot is lost, which is counted, is the only thing they may miss."""
    bridged = journal.checkpoint.trades if journal.checkpoint else 0
    known = set(trades)
    upto = [int(row["trade_number"]) for row in whole.trades if row["exit_step"] <= journal.metrics_step]
    if all(number <= bridged or number in known for number in upto):
        assert journal.folded(DigestFold, DigestFold).to_bytes() == whole.digests[journal.metrics_step]
    else:
        assert journal.trades_lost


def assert_losses_are_named(journal: Journal, whole: Undamaged, left: Left) -> None:
    """Whatever was written and is not there has a finding and is counted, to the row.

    Only what was lost behind the last intact row, with no footer to tell, is counted by the damaged bytes' own word.
    """
    missing = (len(whole.steps) - len(left.steps), len(whole.trades) - len(left.trades))
    assert journal.findings or missing == (0, 0)
    if journal.last_step == whole.journal.last_step or journal.footer_intact:
        assert (journal.steps_lost, journal.trades_lost) == missing
    else:
        assert journal.steps_lost <= missing[0]


def remember_decoded(patch: pytest.MonkeyPatch) -> None:
    """Decode equal messages once: decoding is a pure function, and 100 000 copies differ in one bit each."""
    patch.setattr(reader, "decode_block", functools.cache(reader.decode_block))
