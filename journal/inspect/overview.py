"""Summarise one journal in any state. Used by `ls`, `stats`, `du`, `verify` and `export`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from journal.errors import JournalError
from journal.host.liveness import Liveness, LivenessReport, Observer
from journal.inspect.condition import Condition
from journal.read.headers import read_header
from journal.read.peek import Peek, peek
from journal.read.reader import Journal, State, read_journal

if TYPE_CHECKING:
    from journal.format.header import Header
    from journal.inspect.figures import Figures

# Imports inside functions load modules that are slow to import and not always needed.


@dataclass(frozen=True, slots=True)
class Overview:
    """Summary of one journal. ``source`` is what was read, None if it is unreadable; then ``problem`` says why.
    If ``verified`` is False, only the footer of a closed journal was read, and its batches may be damaged.
    """

    path: str
    run_id: str
    journal_id: str
    condition: Condition
    size_bytes: int
    steps: int = 0
    trades: int = 0
    steps_lost: int = 0
    trades_lost: int = 0
    end_reason: str | None = None
    last_time: datetime | None = None
    writer: LivenessReport | None = None
    problem: str = ""
    source: Journal | Peek | None = None

    @property
    def verified(self) -> bool:
        """True if every byte was checked."""
        return isinstance(self.source, Journal)

    @property
    def live(self) -> bool:
        """True if more steps may follow."""
        return self.writer is not None and self.writer.liveness is not Liveness.DEAD

    @property
    def tail_lost(self) -> bool:
        """True if its tail is missing, so that an unknown number of steps is lost."""
        return isinstance(self.source, Journal) and self.source.tail_lost

    @property
    def cut_short(self) -> bool:
        """True if an unknown number of steps is lost: the tail is missing, or a write failed."""
        return isinstance(self.source, Journal) and (self.source.tail_lost or self.source.state is State.FAILED)

    @property
    def header(self) -> Header | None:
        """Its header, None if it is unreadable."""
        try:
            return self.source.header if self.source else None
        except JournalError:
            return None

    def figures(self) -> Figures:
        """Return its metrics by name, empty if there are none."""
        from journal.inspect.figures import figures_of

        return figures_of(self.source) if self.source is not None and self.header is not None else {}


def overview(path: str, observer: Observer, *, whole: bool = False) -> Overview:
    """Summarise one journal; never raises. ``whole`` verifies closed journals too."""
    folder, name = os.path.split(path)
    run_id, journal_id = os.path.basename(folder), name.rpartition(".")[0] or name
    try:
        peeked = None if whole else peek(path)
        if peeked is not None:
            return _of_peek(path, run_id, journal_id, peeked)
        return _of_journal(path, run_id, observer)
    except JournalError as error:
        from journal.inspect.diagnosis import diagnosed

        return Overview(path, run_id, journal_id, Condition.UNREADABLE, _size_of(path), problem=diagnosed(path, error))


def _of_peek(path: str, run_id: str, journal_id: str, peeked: Peek) -> Overview:
    return Overview(
        path,
        run_id,
        journal_id,
        Condition.CLOSED,
        peeked.size_bytes,
        peeked.steps,
        peeked.trades,
        end_reason=str(peeked.end_reason),
        last_time=peeked.last_step_time,
        source=peeked,
    )


def _of_journal(path: str, run_id: str, observer: Observer) -> Overview:
    """Summarise a readable journal. The lock is probed before reading, so that all rows of a dead writer are included."""
    look = observer.look(Path(path), read_header(path).origin)
    journal = read_journal(path)
    live = journal.state is not State.CLOSED and look.liveness is not Liveness.DEAD
    return Overview(
        path,
        run_id,
        journal.header.journal_id,
        condition_of(journal, live),
        journal.size_bytes,
        journal.step_count,
        journal.trade_count,
        journal.steps_lost,
        journal.trades_lost,
        end_reason=str(journal.end_reason) if journal.end_reason else None,
        last_time=journal.last_step_time,
        writer=None if journal.state is State.CLOSED else look,
        source=journal,
    )


def condition_of(journal: Journal, live: bool) -> Condition:
    """Return its state. An incomplete last record of a live writer is a write in progress."""
    if journal.findings or journal.steps_lost or journal.trades_lost or journal.tail_lost:
        return Condition.DAMAGED
    if journal.state is State.FAILED:
        return Condition.FAILED
    if journal.torn and not live:
        return Condition.TORN
    return Condition.CLOSED if journal.state is State.CLOSED else Condition.OPEN


def _size_of(path: str) -> int:
    try:
        return os.lstat(path).st_size
    except OSError:
        return 0
