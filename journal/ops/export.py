"""Export journals as a dataset of steps, trades and episodes: Parquet, CSV or Arrow files, one folder per run.

DIR/steps/run_id=RUN/part-0.parquet      DIR/trades/...      DIR/episodes/...

`journal.ops.dataset` has their columns.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from journal.errors import JournalError, JournalExistsError
from journal.format.frames import empty_batch
from journal.host.liveness import Observer
from journal.inspect.overview import Overview, overview
from journal.inspect.rows import ahead
from journal.inspect.tables import flat, with_text_times
from journal.ops import dataset
from journal.ops.dataset import TABLES, Lookup, nothing_known
from journal.read.reader import Journal

_GROUP_ROWS = 1 << 17
_FILE_ROWS = 1 << 23


@dataclass
class Exported:
    """Result of `export`: rows by table, runs, episodes, losses, and unreadable journals (path, reason)."""

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    episodes: int = 0
    steps_lost: int = 0
    trades_lost: int = 0
    cut_short: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)

    def count(self, one: Overview) -> None:
        """Count a journal that could be read."""
        self.episodes += 1
        self.runs.add(one.run_id)
        self.steps_lost += one.steps_lost
        self.trades_lost += one.trades_lost
        self.cut_short += one.cut_short


def export(
    paths: Iterable[str],
    folder: Path,
    form: str,
    tables: Iterable[str] = TABLES,
    lookup: Lookup = nothing_known,
) -> Exported:
    """Write the journals' tables into a new folder.

    Each table takes one pass over the journals, so memory stays bounded. The folder gets its name when it is complete.

    Args:
        paths: Streams of journals, in any state.
        folder: The folder to create.
        form: "parquet", "csv" or "arrow".
        tables: Which of TABLES to write.
        lookup: Returns the journals' rows in a database: numbers and statuses of the episodes.

    Raises:
        JournalExistsError: The folder exists.
        JournalError: The folder's name is not UTF-8.
        OSError: It cannot be written.
    """
    if str(folder) != str(folder).encode("utf-8", "replace").decode():
        raise JournalError(f"{folder} is not UTF-8, which Arrow requires of file names", hint="choose another folder")
    if os.path.lexists(folder):
        raise JournalExistsError(f"{folder} exists already", hint="export into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    hidden.mkdir()
    done = Exported(folder)
    try:
        found: list[str] = []
        met = dataset.Met()
        # The table of episodes stays in memory as Arrow, some 500 bytes an episode; the others are streamed.
        episodes = list(dataset.episode_batches(_episodes(paths, lookup, done, found)))
        extra = dataset.extra_columns(found, met)
        batches = {
            "steps": (dataset.steps_schema(extra), dataset.step_batches(found, extra, lookup, met)),
            "trades": (dataset.trades_schema(), dataset.trade_batches(found, lookup, met)),
            "episodes": (dataset.episodes_schema(), iter(episodes)),
        }
        for table in (table for table in TABLES if table in set(tables)):
            done.rows[table] = _write(hidden / table, form, *batches[table], runs=len(done.runs))
        hidden.rename(folder)
        done.unreadable += met.unreadable.items()
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return done


def _episodes(paths: Iterable[str], lookup: Lookup, done: Exported, found: list[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of readable journals. Append their paths to ``found``, and count their losses."""
    observer = Observer()
    for path, row in dataset.with_rows(paths, lookup):
        one = overview(path, observer, whole=True)
        if not isinstance(one.source, Journal):
            done.unreadable.append((path, one.problem))
            continue
        done.count(one)
        found.append(path)
        yield dataset.episode_row(one, row)


def _write(folder: Path, form: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch], *, runs: int) -> int:
    """Write one table, and return the number of its rows."""
    rows = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal rows
        for batch in batches:
            rows += batch.num_rows
            yield with_text_times(flat(batch)) if form == "csv" else batch

    shown = with_text_times(flat(empty_batch(schema))).schema if form == "csv" else schema
    file_format, options = _format(form)
    ds.write_dataset(
        ahead(counted()),  # Arrow's own threads pull these rows, and decoding in them would deadlock
        folder,
        schema=shown,
        format=file_format,
        file_options=options,
        partitioning=ds.partitioning(pa.schema([dataset.RUN_ID]), flavor="hive"),
        basename_template=f"part-{{i}}.{form}",
        max_rows_per_group=_GROUP_ROWS,
        min_rows_per_group=_GROUP_ROWS,
        max_rows_per_file=_FILE_ROWS,
        max_partitions=max(runs, 1),
        preserve_order=True,
    )
    return rows


def _format(form: str) -> tuple[Any, Any]:
    if form == "csv":
        return ds.CsvFileFormat(), None
    if form == "arrow":
        return (arrow := ds.IpcFileFormat()), arrow.make_write_options(compression="zstd")
    return (parquet := ds.ParquetFileFormat()), parquet.make_write_options(compression="zstd")
