"""Select steps or trades of a journal as Arrow batches of useful size."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from journal.format.decoding import numpy_of
from journal.format.frames import TRADE_TYPE, arrow_schema, bool_array
from journal.format.header import microseconds
from journal.inspect.where import Clause
from journal.read.reader import Journal

PIECE_ROWS = 1 << 16
T = TypeVar("T")


@dataclass(frozen=True)
class Selection:
    """Which rows to select. Steps count from 1. Step and market-time ranges include both ends.

    ``first_step`` below zero counts from the last step. Trades are chosen by the step or time of their exit.
    """

    trades: bool = False
    columns: tuple[str, ...] | None = None
    first_step: int | None = None
    last_step: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    where: tuple[Clause, ...] = ()
    limit: int | None = None


def schema_of(journal: Journal, trades: bool) -> pa.Schema:
    """Return the schema of steps, or of trades."""
    return pa.schema(list(TRADE_TYPE)) if trades else arrow_schema(journal.header.about.extra_columns)


def rows(journal: Journal, selection: Selection) -> Generator[pa.RecordBatch, None, None]:
    """Yield the selected rows in batches of about `PIECE_ROWS`. A thread decodes ahead."""
    left = selection.limit
    first, last = _steps_of(journal, selection)
    for piece in pieces(ahead(_until(journal.batches(first - 1), last))):
        found = picked(piece, selection, first, last)
        if left is not None:
            found = found.slice(0, left)
            left -= found.num_rows
        if found.num_rows:
            yield found
        if left == 0:
            return


def picked(batch: pa.RecordBatch, selection: Selection, first: int = 1, last: int = 1 << 62) -> pa.RecordBatch:
    """Return the selected rows of one batch of steps, without applying ``limit``."""
    if selection.trades:
        batch = pa.RecordBatch.from_struct_array(batch.column("trades").flatten())
    batch = _narrowed(batch, selection, first, last)
    return batch if selection.columns is None else batch.select(list(selection.columns))


def _steps_of(journal: Journal, selection: Selection) -> tuple[int, int]:
    first = selection.first_step if selection.first_step is not None else 1
    if first < 0:
        first = journal.last_step + first + 1
    last = selection.last_step if selection.last_step is not None else journal.last_step
    return max(first, 1), last


def _until(batches: Iterable[pa.RecordBatch], last: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if batch.column("step")[0].as_py() > last:
            return
        yield batch


def _narrowed(batch: pa.RecordBatch, selection: Selection, first: int, last: int) -> pa.RecordBatch:
    step, time = ("exit_step", "exit_time") if selection.trades else ("step", "market_time")
    masks = [clause.mask(batch) for clause in selection.where]
    numbers, times = numpy_of(batch.column(step)), numpy_of(batch.column(time))
    if len(numbers) and (numbers[0] < first or numbers[-1] > last):
        masks.append((numbers >= first) & (numbers <= last))
    if selection.since:
        masks.append(times >= microseconds(selection.since))
    if selection.until:
        masks.append(times <= microseconds(selection.until))
    return batch.filter(bool_array(np.logical_and.reduce(masks))) if masks else batch


def pieces(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join small batches into batches of about `PIECE_ROWS`, since the consumer pays for each batch.

    The first one stays small, so that output starts at once.
    """
    waiting: list[pa.RecordBatch] = []
    size, wanted = 0, 1
    for batch in batches:
        waiting.append(batch)
        size += batch.num_rows
        if size >= wanted:
            yield _joined(waiting)
            waiting, size, wanted = [], 0, PIECE_ROWS
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def ahead(items: Iterable[T], most: int = 64) -> Iterator[T]:
    """Yield the same items, produced by a thread up to ``most`` ahead. Its exception is raised here."""
    waiting: queue.Queue[tuple[bool, Any]] = queue.Queue(most)
    gone = threading.Event()

    def put(kind: bool, item: Any) -> None:
        while not gone.is_set():
            try:
                return waiting.put((kind, item), timeout=0.1)
            except queue.Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(True, item)
                if gone.is_set():
                    return
            put(False, None)
        except Exception as error:  # raised again in the consumer
            put(False, error)

    thread = threading.Thread(target=make, name="journal-ahead", daemon=True)
    thread.start()
    try:
        while True:
            more, item = waiting.get()
            if not more:
                break
            yield item
        if item is not None:
            raise item
    finally:
        gone.set()
        thread.join()  # a thread that is inside Arrow at interpreter exit aborts the process
