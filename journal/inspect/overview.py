"""One journal in one line, whatever its state: what `ls`, `stats`, `du` and `verify` start from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from journal.errors import JournalError
from journal.host.liveness import Liveness, LivenessReport, Observer
from journal.inspect.condition import Condition
from journal.read.peek import Peek, peek
from journal.read.reader import Journal, State, read_header, read_journal

if TYPE_CHECKING:
    from journal.format.header import Header
    from journal.inspect.figures import Figures


@dataclass(frozen=True, slots=True)
class Overview:
    """What is known of one journal. ``source`` is the look itself, None where it could not be looked at; then
    ``problem`` says why. A closed journal was only glanced at (``verified`` is False): its batches may be damaged.
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
        """Was every byte of it checked?"""
        return isinstance(self.source, Journal)

    @property
    def live(self) -> bool:
        """Can steps still come, as far as is known?"""
        return self.writer is not None and self.writer.liveness is not Liveness.DEAD

    @property
    def tail_lost(self) -> bool:
        """Is its tail gone, and with it steps that nobody can count?"""
        return isinstance(self.source, Journal) and self.source.tail_lost

    @property
    def cut_short(self) -> bool:
        """Did it lose steps that nobody can count: its tail, or those behind a write that failed?"""
        return isinstance(self.source, Journal) and (self.source.tail_lost or self.source.state is State.FAILED)

    @property
    def header(self) -> Header | None:
        """Its header; None where that cannot be read."""
        try:
            return self.source.header if self.source else None
        except JournalError:
            return None

    def figures(self) -> Figures:
        """Its metrics, empty where there are none."""
        from journal.inspect.figures import figures_of

        return figures_of(self.source) if self.source is not None and self.header is not None else {}


def overview(path: str, observer: Observer, *, whole: bool = False) -> Overview:
    """Summarise one journal; never raises. ``whole`` verifies closed journals too."""
    folder, name = os.path.split(path)
    run_id, journal_id = os.path.basename(folder), name.rpartition(".")[0] or name
    try:
        glanced = None if whole else peek(path)
        if glanced is not None:
            return _of_glance(path, run_id, journal_id, glanced)
        return _of_journal(path, run_id, observer)
    except JournalError as error:
        from journal.inspect.diagnosis import diagnosed

        return Overview(path, run_id, journal_id, Condition.UNREADABLE, _size_of(path), problem=diagnosed(path, error))


def _of_glance(path: str, run_id: str, journal_id: str, glanced: Peek) -> Overview:
    return Overview(
        path,
        run_id,
        journal_id,
        Condition.CLOSED,
        glanced.size_bytes,
        glanced.steps,
        glanced.trades,
        end_reason=str(glanced.end_reason),
        last_time=glanced.last_step_time,
        source=glanced,
    )


def _of_journal(path: str, run_id: str, observer: Observer) -> Overview:
    """The lock is probed before the file is read: what a dead writer left is then all there."""
    look = observer.look(Path(path), read_header(path).writer)
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
    """Its word; a live journal's cut end is a write that is just happening."""
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
