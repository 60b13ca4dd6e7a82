"""Read one journal in any state: rows, trades, checkpoint, losses, and how it ended."""

from __future__ import annotations

import enum
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import pyarrow as pa

from journal.errors import NotAJournalError
from journal.format.checksum import journal_seed
from journal.format.decoding import decode, decode_block
from journal.format.footer import Footer
from journal.format.frames import (
    TRADE_TYPE,
    Frame,
    arrow_schema,
    batch_of,
)
from journal.format.header import Header, from_microseconds
from journal.format.schema import MAX_TAIL_BYTES, RECOVERED_NOTE, EndReason
from journal.format.slots import TERMINATED, Columns, layout_of, no_trades
from journal.format.tails import Rows
from journal.host.paths import parse_journal_path
from journal.read.batches import Batches
from journal.read.headers import header_in
from journal.read.losses import Extent, losses
from journal.read.snapshot import Snapshot, take_snapshot
from journal.read.source import FileSource, Source, kept_open

_FIRST_READ = 1 << 16


class _Folds(Protocol):
    def fold(self, steps: Any, trades: Any) -> None: ...


F = TypeVar("F", bound=_Folds)


class State(enum.StrEnum):
    """The state of a journal, by its content alone. `Observer` decides whether the writer of an open one is alive."""

    OPEN = "open"
    CLOSED = "closed"
    FAILED = "failed"  # a write failed before the env ended the episode; later steps are lost, number unknown


@dataclass(frozen=True)
class Checkpoint:
    """A stored state of the running metrics.

    Attributes:
        step: The last step that it covers.
        trades: The number of closed trades that it covers.
        state: The bytes of `Fold.to_bytes`.
    """

    step: int
    trades: int
    state: bytes


def read_journal(path: Path | str, *, source: Source | None = None) -> Journal:
    """Read one journal and verify all of it. Memory stays bounded for any length.

    A journal that is being written is read consistently: it has all steps that were acknowledged before the call.

    Args:
        path: The journal's stream.
        source: Where the bytes come from, if not from the file; rows are read from it later too.

    Raises:
        NotAJournalError: The header is unreadable.
        FormatVersionError: The journal has another format version.
        JournalAccessError: The file cannot be read.
    """
    if source is not None:
        return Journal(source)
    with FileSource(path) as opened:
        return Journal(opened, functools.partial(FileSource, path))


class Journal:
    """One journal, as it was when it was read. Rows are decoded on demand.

    Attributes:
        header: The decoded header.
        state: Open, closed or failed.
        findings: All damage.
        torn: Whether the last write is unfinished, because the writer was killed. That is not damage.
        steps_lost: The number of steps that were certainly written and cannot be read.
        trades_lost: The same for trades.
        metrics_step: The last step that `folded` covers.
        unknown_records: Counts of skipped records, by a type that this version does not know.
        end: How the episode ended, as the writer recorded it; None for an open journal.
        last_step: The last intact step, or 0 if there is none.
        tail_lost: Whether the tail is missing, so that an unknown number of steps is lost.
    """

    _block: tuple[Columns, Columns] | None = None  # the rows of the only batch, if they are known

    def __init__(self, source: Source, reopen: Callable[[], AbstractContextManager[Source]] | None = None) -> None:
        """Read from ``source``. ``reopen`` opens it again when rows are needed and ``source`` is closed."""
        self._name = source.name  # not a Path: creating one takes as long as opening the file
        self._reopen = reopen or functools.partial(kept_open, source)
        size = source.size()
        start = source.read(0, min(size, _FIRST_READ)) if size else b""
        self.header, header_end = header_in(source, start, size)
        self._check_place()
        seen = take_snapshot(source, start, self.header, header_end)
        self._summarise(seen, *layout_of(self.header.about.extra_columns).columns(seen.scan.slots))

    @classmethod
    def of_tail(cls, path: str, header: Header, header_end: int, rows: Rows, tail_size: int) -> Journal:
        """Return an open journal of a header and a tail, both verified by the caller, as is the file's name.

        ``header_end`` is the size of the stream, which holds only the header; ``tail_size`` is that of the tail, in bytes.
        """
        self = cls.__new__(cls)
        self._name, self._reopen, self.header = path, functools.partial(FileSource, path), header
        self._frames, self.end, self.checkpoint = [], None, None
        self.tail_steps, self.tail_trades = rows.steps, rows.trades
        self._batches = self._batches_of()
        self.size_bytes, self.stream_end = header_end + tail_size, header_end
        self.footer_intact, self.unknown_records, self.torn = False, {}, False
        self.has_tail = not _is_cut(tail_size, header)
        self.step_count = self.metrics_step = len(rows.steps["step"])
        self.trade_count = len(rows.trades["pnl"])
        self._set_last()
        written = max(rows.stated_trades, int(rows.trades["trade_number"][-1]) if self.trade_count else 0)
        self.findings, self.steps_lost, self.trades_lost = (), 0, max(written - self.trade_count, 0)
        self.state = State.OPEN
        return self

    @classmethod
    def of_batch(cls, path: str, header: Header, frame: Frame, block: tuple[Columns, Columns], size: int) -> Journal:
        """Return the closed journal at ``path``, which its writer has just written, as `read_journal` returns it.

        Args:
            path: Its stream.
            header: The header, as readers decode it.
            frame: Its only batch, which has its end.
            block: The steps and trades of this batch.
            size: Bytes of the stream.
        """
        self = cls.__new__(cls)
        self._name, self._reopen, self.header = path, functools.partial(FileSource, path), header
        self._frames, self.end, self._block = [frame], frame.seal.end, block
        self._batches = self._batches_of()
        self.tail_steps, self.tail_trades = layout_of(header.about.extra_columns).no_rows
        self.size_bytes, self.stream_end = size, frame.offset + frame.length
        self.footer_intact, self.unknown_records, self.torn, self.has_tail = True, {}, False, False
        self.step_count, self.trade_count = frame.seal.steps, frame.seal.trades
        self._set_last()
        self._set_checkpoint(None)
        self.findings, self.steps_lost, self.trades_lost, self.metrics_step = (), 0, 0, frame.seal.last_step
        self.state = State.CLOSED
        return self

    def _batches_of(self, whole: bytes | None = None) -> Batches:
        seed, extra = journal_seed(self.header.journal_id), self.header.about.extra_columns
        return Batches(self._name, extra, seed, self._reopen, whole)

    @functools.cached_property
    def path(self) -> Path:
        """The journal's stream."""
        return Path(self._name)

    def _check_place(self) -> None:
        """Refuse another journal's bytes under this name, because they say nothing about this episode."""
        if os.path.splitext(os.path.basename(self._name))[0] == self.header.journal_id:
            return
        try:
            _, run_id, journal_id = parse_journal_path(self.path)
        except Exception:  # a copy under another name, or no file at all, cannot contradict its place
            return
        if self.path.parent.name == self.header.run_id and journal_id != self.header.journal_id:
            raise NotAJournalError(self.path, f"it holds journal {self.header.journal_id} of run {run_id}")

    def _summarise(self, seen: Snapshot, tail_steps: Columns, tail_trades: Columns) -> None:
        found, scan = seen.walk, seen.scan
        self._frames, self.end = seen.frames, seen.end
        self._batches = self._batches_of(seen.whole)
        self.tail_steps, self.tail_trades = tail_steps, tail_trades
        self.size_bytes = seen.size + (seen.tail_size or 0)
        self.footer_intact = found.footer is not None
        self.unknown_records = dict(found.unknown) | {f"slot kind {kind}": n for kind, n in scan.unknown.items()}
        self.has_tail = seen.tail_size is not None and not _is_cut(seen.tail_size, self.header)
        self.torn = (found.torn or scan.torn) and self.end is None
        self.step_count = sum(frame.seal.steps for frame in self._frames) + len(self.tail_steps["step"])
        self.trade_count = sum(frame.seal.trades for frame in self._frames) + len(self.tail_trades["pnl"])
        self.stream_end = found.stream_end
        self._set_last()
        self._set_checkpoint(found.footer)
        extents, self.findings, self.steps_lost, self.trades_lost = losses(seen, self.tail_steps, self.tail_trades)
        self.metrics_step = self._metrics_step(extents)
        # After the step that ended the episode, only the journal's own end can be lost.
        failed = (seen.scan.failed or seen.tail_failed) and self.terminal is None
        self.state = State.CLOSED if self.end else State.FAILED if failed else State.OPEN

    def _set_last(self) -> None:
        """Set the last intact step from the tail, else from the last seal, which repeats it."""
        self.last_step, wall, market, self._terminal = 0, 0, 0, 0
        steps = self.tail_steps
        sealed = [frame.seal for frame in self._frames if frame.seal.steps]
        if len(steps["step"]):
            self.last_step, wall, market = (int(steps[name][-1]) for name in ("step", "wall_time", "market_time"))
            self._terminal = int(steps["terminated"][-1]) | int(steps["truncated"][-1]) << 1
        elif sealed:
            seal = sealed[-1]
            self.last_step, wall, market, self._terminal = (
                seal.last_step,
                seal.wall_time_us,
                seal.market_time_us,
                seal.terminal,
            )
        self.last_step_time = _time(wall) if self.last_step else None
        self.last_market_time = _time(market) if self.last_step else None

    def _set_checkpoint(self, footer: Footer | None) -> None:
        self.checkpoint: Checkpoint | None = None
        for seal in (frame.seal for frame in reversed(self._frames)):
            if seal.checkpoint is not None:
                self.checkpoint = Checkpoint(seal.last_step, seal.last_trade, seal.checkpoint)
                break
        if footer and footer.checkpoint is not None and (not self.checkpoint or footer.steps > self.checkpoint.step):
            self.checkpoint = Checkpoint(footer.steps, footer.trades, footer.checkpoint)

    def _metrics_step(self, extents: Iterable[Extent]) -> int:
        reached = self.checkpoint.step if self.checkpoint else 0
        for first, last, _ in extents:
            if first > reached + 1:
                break
            reached = max(reached, last)
        return reached

    @property
    def end_reason(self) -> EndReason | None:
        """How the episode ended, as its writer recorded it; None for an open journal."""
        try:
            return EndReason(self.end.reason) if self.end else None
        except ValueError:
            return EndReason.ERROR

    @property
    def end_message(self) -> str:
        """The message that the writer recorded with the end, such as the text of an exception."""
        return self.end.message if self.end else ""

    @property
    def closed_at(self) -> datetime | None:
        """When the journal was closed, by the writer's clock."""
        return _time(self.end.closed_at_us) if self.end else None

    @property
    def terminal(self) -> EndReason | None:
        """How the env ended the episode, by the flags of the last intact step; None if it did not."""
        if not self._terminal or (self.steps_lost and self.metrics_step < self.last_step):
            return None
        return EndReason.TERMINATED if self._terminal & TERMINATED else EndReason.TIME_LIMIT

    @property
    def tail_lost(self) -> bool:
        """Whether the journal was never closed and its tail is missing or cut, so that later steps are lost too.

        A journal gets its tail before its name, and keeps it until it is closed. Output of `recover` needs no tail.
        """
        needs_one = self.state is State.OPEN and RECOVERED_NOTE not in self.header.about.notes
        return needs_one and not self.has_tail and self.terminal is None

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The intact batches of the stream, sorted by step."""
        return tuple(self._frames)

    def blocks(
        self, behind: int = 0, *, lenient: bool = False, columns: tuple[str, ...] | None = None
    ) -> Iterator[tuple[Columns, Columns]]:
        """Yield intact steps and trades, block by block as they were sealed, then those of the tail.

        Args:
            behind: Skip blocks whose steps are all up to this one.
            lenient: Skip batches that verify but contradict their seal, instead of raising.
            columns: Decode only these columns of steps, in the order of the file; "step" is the first.

        Raises:
            NotAJournalError: A batch verifies but contradicts its seal. Accidental damage cannot cause this.
            JournalAccessError: The file has changed, or cannot be read.
        """
        if self._block is not None:
            if self.last_step > behind:
                yield self._block
            return
        decoder = functools.partial(decode_block, columns=columns)
        yield from self._batches.decoded(self._frames_behind(behind), decoder, lenient=lenient)
        if len(self.tail_steps["step"]):
            yield self.tail_steps, self.tail_trades

    def folded(self, make: Callable[[], F], restore: Callable[[bytes], F]) -> F:
        """Return the running metrics at step ``metrics_step``: the last checkpoint, with the later rows folded in.

        The result has the same bits as the writer's own fold.

        Args:
            make: Returns running metrics without any step.
            restore: Restores running metrics from a checkpoint.
        """
        start = self.checkpoint.step if self.checkpoint else 0
        folded = restore(self.checkpoint.state) if self.checkpoint else make()
        return self._fold(folded, start)

    def replayed(self, make: Callable[[], F]) -> F:
        """Return the running metrics computed from every row, up to the first gap."""
        return self._fold(make(), 0)

    def _fold(self, folded: F, start: int) -> F:
        for steps, trades in self.blocks(start):
            numbers = steps["step"]
            if numbers[0] != start + 1:
                break
            if int(numbers[-1]) - start != len(numbers):  # a gap within the tail: fold the rows up to it
                folded.fold(*_up_to_hole(steps, trades))
                break
            folded.fold(steps, trades)
            start = int(numbers[-1])
        return folded

    def _frames_behind(self, step: int) -> list[Frame]:
        return [frame for frame in self._frames if frame.seal.steps and frame.seal.last_step > step]

    def batches(self, behind: int = 0) -> Iterator[pa.RecordBatch]:
        """Yield intact steps as Arrow record batches, the tail last. Leave out batches of steps up to ``behind``."""
        yield from self._batches.decoded(self._frames_behind(behind), decode)
        if len(self.tail_steps["step"]):
            yield batch_of(self.tail_steps, self.tail_trades, self.header.about.extra_columns)

    def steps(self) -> pa.Table:
        """Return all intact steps, with their trades as a list column."""
        return pa.Table.from_batches(self.batches(), arrow_schema(self.header.about.extra_columns))

    def trades(self) -> pa.Table:
        """Return all intact trades, one row each."""
        flat = [batch.column(batch.num_columns - 1).flatten() for batch in self.batches()]
        schema = pa.schema(list(TRADE_TYPE))
        return pa.Table.from_batches([pa.RecordBatch.from_struct_array(part) for part in flat], schema)

    def trade_rows(self) -> list[tuple[Any, ...]]:
        """Return all intact trades as tuples in the order of schema.TRADE_COLUMNS; times in microseconds."""
        rows: list[tuple[Any, ...]] = []
        for trades in self._trade_blocks():
            rows += zip(*(column.tolist() for column in trades.values()), strict=True)
        return rows

    def trade_columns(self) -> Columns:
        """Return all intact trades as one contiguous array per column."""
        blocks = list(self._trade_blocks())
        if len(blocks) < 2:
            return blocks[0] if blocks else no_trades()
        return {name: np.concatenate([trades[name] for trades in blocks]) for name in no_trades()}

    def _trade_blocks(self) -> Iterator[Columns]:
        if self._block is not None:
            yield self._block[1]
            return
        frames = (frame for frame in self._frames if frame.seal.trades)
        for _, trades in self._batches.decoded(frames, functools.partial(decode_block, columns=())):
            yield trades
        if len(self.tail_trades["pnl"]):
            yield self.tail_trades


def _is_cut(tail_size: int, header: Header) -> bool:
    """Return True if a mapped tail is shorter than its writer made it."""
    least = min(header.checkpoint_every_steps * layout_of(header.about.extra_columns).size, MAX_TAIL_BYTES)
    return header.tail_mapped is True and tail_size < least


def _up_to_hole(steps: Columns, trades: Columns) -> tuple[Columns, Columns]:
    count = int(np.argmax(np.diff(steps["step"]) != 1)) + 1
    closed = int(np.searchsorted(trades["exit_step"], steps["step"][count - 1], side="right"))
    before = {name: values[:count] for name, values in steps.items()}
    return before, {name: values[:closed] for name, values in trades.items()}


def _time(time_us: int) -> datetime | None:
    try:
        return from_microseconds(time_us)
    except ValueError:
        return None
