"""Read a journal while it grows: each look reads only new rows. An unfinished write is read by a later look."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from journal.format.checksum import journal_seed
from journal.format.decoding import DecodeError, decode
from journal.format.frames import End, Frame, batch_of, verified
from journal.format.scan import TailScan, scan_tail
from journal.format.slots import layout_of
from journal.read.headers import header_json
from journal.read.reader import Journal
from journal.read.source import FileSource
from journal.read.walk import Window, walk


@dataclass(frozen=True)
class Growth:
    """The result of one `Follower.look`.

    Attributes:
        batches: The new steps, in order.
        end: How the episode ended; None while the journal is open.
        failed: Whether a write failed, so that no more steps follow.
    """

    batches: tuple[pa.RecordBatch, ...]
    end: End | None
    failed: bool


class Follower:
    """Reads one journal repeatedly, and returns each row once, in the order of steps. Raises as `read_journal`.

    Args:
        journal: The journal, as it was read. The follower continues after its last step.

    Attributes:
        last_step: The last step that was returned.
        steps_lost: The number of steps before it that could not be read.
    """

    def __init__(self, journal: Journal) -> None:
        self.path, self.header = journal.path, journal.header
        self.last_step, self.steps_lost = journal.last_step, 0
        self._extra = journal.header.about.extra_columns
        self._layout = layout_of(self._extra)
        self._seed = journal_seed(self.header.journal_id)
        self._sealed = journal.frames[-1].seal.last_step if journal.frames else 0
        self._offset = max((frame.offset + frame.length for frame in journal.frames), default=self._header_end())

    def _header_end(self) -> int:
        with FileSource(self.path) as source:
            size = source.size()
            return header_json(source, source.read(0, min(size, 1 << 16)), size)[1]

    def look(self, *, final: bool = False) -> Growth:
        """Read the new rows.

        The tail is read before the stream, because rows move from tail to stream and never back.

        Args:
            final: The writer is dead, so the steps after a damaged slot will never be sealed.
        """
        with FileSource(self.path) as source:
            tail = source.tail()
            size = source.size()
            found = walk(Window(source, b""), self._offset, self._seed, size)
            batches = list(self._sealed_rows(source, found.frames))
        end = next((frame.seal.end for frame in reversed(found.frames) if frame.seal.end), None)
        end = end or (found.footer.end if found.footer else None)
        self._go_on_behind(found.frames)
        failed = False
        if tail is not None and end is None:
            scan = scan_tail(tail[0], self._layout, self.header.journal_id, self._sealed)
            batches += self._tail_rows(scan, final)
            failed = tail[1] or scan.failed
        return Growth(tuple(batches), end, failed)

    def _go_on_behind(self, frames: Iterable[Frame]) -> None:
        for frame in frames:
            self._offset = max(self._offset, frame.offset + frame.length)
            self._sealed = max(self._sealed, frame.seal.last_step)

    def _sealed_rows(self, source: FileSource, frames: Iterable[Frame]) -> Iterator[pa.RecordBatch]:
        for frame in frames:
            seal = frame.seal
            if not seal.steps or seal.last_step <= self.last_step:
                continue
            message = source.read(frame.offset, frame.length)
            if not verified(message, self._seed):
                continue
            try:
                batch = decode(message, self._extra, seal)
            except DecodeError:
                continue
            new = batch.slice(max(0, self.last_step - seal.first_step + 1))
            self._count(seal.first_step, seal.last_step)
            yield new

    def _tail_rows(self, scan: TailScan, final: bool) -> Iterator[pa.RecordBatch]:
        steps, trades = self._layout.columns(scan.slots)
        numbers = steps["step"].astype(np.int64)
        new = np.flatnonzero(numbers > self.last_step)
        if not final:  # wait at a gap: the stream will have the rows soon
            new = new[numbers[new] == self.last_step + 1 + np.arange(len(new))]
        if len(new):
            yield batch_of(steps, trades, self._extra).slice(int(new[0]), int(new[-1] - new[0]) + 1)
            self._count(int(numbers[new[0]]), int(numbers[new[-1]]))
            self.steps_lost += int(numbers[new[-1]] - numbers[new[0]]) + 1 - len(new)

    def _count(self, first: int, last: int) -> None:
        self.steps_lost += max(first - self.last_step - 1, 0)
        self.last_step = last
