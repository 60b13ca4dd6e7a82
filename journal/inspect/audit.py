"""Verify one journal completely: every byte, every row, every checkpoint. Used by `journal verify`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from journal.format.schema import RECOVERED_NOTE
from journal.format.slots import Columns
from journal.inspect.checks import Checker, Oddity
from journal.inspect.figures import Kernel
from journal.read.findings import Damage, Finding
from journal.read.reader import Journal, State


@dataclass(frozen=True)
class Audit:
    """Result of `audit`.

    Attributes:
        findings: All damage, without the losses that an earlier `recover` recorded.
        oddities: Inconsistent values in intact rows.
        steps_lost: The number of steps that are lost, without ``known_lost``.
        trades_lost: The same for trades.
        known_lost: The number of steps that an earlier `recover` could not copy.
        checkpoints: The number of recomputed checkpoints; None without a kernel.
        strange_checkpoints: The number of checkpoints of another program or version, which cannot be recomputed.
        known_trades_lost: The number of trades that an earlier `recover` could not copy.
        write_failed: Whether `recover` copied a journal of which a write had failed.
        known_tail_lost: Whether `recover` copied a journal without its tail.
        tail_lost: Whether the tail is missing, so that an unknown number of steps is lost.
        unknown_records: Counts of skipped records, by a type that this version does not know.
    """

    findings: tuple[Finding, ...]
    oddities: tuple[Oddity, ...]
    steps_lost: int
    trades_lost: int
    known_lost: int
    checkpoints: int | None = None
    strange_checkpoints: int = 0
    known_trades_lost: int = 0
    write_failed: bool = False
    known_tail_lost: bool = False
    tail_lost: bool = False
    unknown_records: Mapping[str, int] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """True if nothing is missing, apart from what an earlier recovery could not save."""
        return not (self.findings or self.steps_lost or self.trades_lost or self.tail_lost)


def audit(journal: Journal, kernel: Kernel | None = None) -> Audit:
    """Decode and check every row of a journal.

    Args:
        journal: The journal.
        kernel: Recomputes every checkpoint from the rows. None: checkpoints are not compared.

    Raises:
        JournalAccessError: The file has changed, or cannot be read.
    """
    checker = Checker(journal.header.about, holes=journal.steps_lost > 0)
    replay = _Replay(journal, kernel) if kernel is not None else None
    findings = [finding for finding in journal.findings if not _is_known(finding, journal)]
    undecoded = {frame.seal.first_step: frame for frame in journal.frames if frame.seal.steps}
    for steps, trades in journal.blocks(lenient=True):
        first = int(steps["step"][0])
        undecoded.pop(first, None)
        checker.look(steps, trades)
        if replay is not None:
            findings += replay.take(steps, trades)
    findings += [_undecoded(frame) for frame in undecoded.values()]
    steps_lost, trades_lost, known = _losses(journal)
    steps_lost += sum(frame.seal.steps for frame in undecoded.values())
    whole = not steps_lost and not known and not findings
    oddities = checker.oddities(end=journal.end_reason, whole=whole)
    counts = (replay.checked, replay.strange) if replay is not None else (None, 0)
    note = noted(journal)
    said = (
        known,
        *counts,
        note.trades_lost,
        note.write_failed,
        note.tail_lost,
        journal.tail_lost,
        journal.unknown_records,
    )
    return Audit(tuple(findings), oddities, steps_lost, trades_lost, *said)


def _undecoded(frame: Any) -> Finding:
    seal = frame.seal
    text = f"the batch of steps {seal.first_step} to {seal.last_step} verifies, but its rows contradict its seal"
    return Finding(Damage.CONTENT, text, frame.offset, seal.first_step, seal.last_step)


@dataclass(frozen=True)
class Noted:
    """Note of an earlier recovery: what was lost, and which steps are missing within the journal."""

    steps_lost: int = 0
    missing: tuple[tuple[int, int], ...] = ()
    missing_trades: int = 0
    trades_lost: int = 0
    write_failed: bool = False
    tail_lost: bool = False


def noted(journal: Journal) -> Noted:
    """Parse the header note that `recover` writes. Return an empty note if it is malformed."""
    note = journal.header.about.notes.get(RECOVERED_NOTE)
    if not isinstance(note, dict):
        return Noted()
    try:
        missing = tuple((int(first), int(last)) for first, last in note["missing_steps"])
        unknown = note.get("write_failed") is True, note.get("tail_lost") is True
        lost = int(note.get("trades_lost", 0))
        return Noted(int(note["steps_lost"]), missing, int(note["missing_trades"]), lost, *unknown)
    except (KeyError, TypeError, ValueError):
        return Noted()


def _losses(journal: Journal) -> tuple[int, int, int]:
    """Return the steps and trades lost beyond the known ones, and the known steps."""
    note = noted(journal)
    missing = sum(last - first + 1 for first, last in note.missing)
    steps, trades = max(journal.steps_lost - missing, 0), max(journal.trades_lost - note.missing_trades, 0)
    return steps, trades, note.steps_lost


def _is_known(finding: Finding, journal: Journal) -> bool:
    """Return True if an earlier recovery's note names this hole."""
    return finding.kind is Damage.HOLE and (finding.first_step, finding.last_step) in noted(journal).missing


class _Replay:
    """Recomputes the metrics from the rows, and compares them with each stored checkpoint, bit for bit.

    After a hole it starts again at the next checkpoint.
    """

    def __init__(self, journal: Journal, kernel: Kernel) -> None:
        self._kernel = kernel
        self._fold: Any = kernel.make(journal.header.about)
        self._at = 0
        self._stored = {
            frame.seal.last_step: (frame.seal.checkpoint, frame.offset)
            for frame in journal.frames
            if frame.seal.checkpoint is not None
        }
        if journal.state is State.CLOSED and journal.checkpoint is not None:
            self._stored.setdefault(journal.checkpoint.step, (journal.checkpoint.state, journal.stream_end))
        self.checked = 0
        self.strange = 0

    def take(self, steps: Columns, trades: Columns) -> Iterator[Finding]:
        """Fold a block. Yield a finding if the checkpoint after it differs."""
        first, last = int(steps["step"][0]), int(steps["step"][-1])
        known = self._fold is not None and first == self._at + 1 and last - first + 1 == len(steps["step"])
        stored, offset = self._stored.get(last, (None, 0))
        self._at = last
        restored = self._restored(stored)
        self.strange += stored is not None and restored is None
        if not known:
            self._fold = restored
            return
        self._fold.fold(steps, trades)
        if stored is None or restored is None:
            return
        self.checked += 1
        if self._fold.to_bytes() != stored:
            text = f"the checkpoint at step {last} differs from the one that its rows give"
            yield Finding(Damage.CONTENT, text, offset, first, last)
            self._fold = restored

    def _restored(self, stored: bytes | None) -> Any:
        """Restore the fold of a checkpoint. Return None if another program or version wrote it."""
        try:
            return None if stored is None else self._kernel.restore(stored)
        except ValueError:
            return None
