"""Export journals as a dataset of steps, trades and episodes: Parquet, CSV or Arrow files, one folder per run.

DIR/steps/run_id=RUN/part-0.parquet      DIR/trades/...      DIR/episodes/...
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
from journal.format.frames import TRADE_TYPE, arrow_schema, empty_batch
from journal.host.liveness import Observer
from journal.inspect.overview import Overview, overview
from journal.inspect.rows import ahead
from journal.inspect.tables import flat, with_text_times
from journal.read.reader import Journal, read_header, read_journal

TABLES = ("steps", "trades", "episodes")
_GROUP_ROWS = 1 << 17
_FILE_ROWS = 1 << 23
_TIME = pa.timestamp("us", "UTC")
_IDS = [pa.field("run_id", pa.string(), nullable=False), pa.field("journal_id", pa.string(), nullable=False)]


@dataclass
class Exported:
    """What was written: rows by table, runs, episodes, losses, and the journals that are unreadable (path, reason)."""

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    episodes: int = 0
    steps_lost: int = 0
    trades_lost: int = 0
    cut_short: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def export(paths: Iterable[str], folder: Path, form: str, tables: Iterable[str] = TABLES) -> Exported:
    """Write the journals' tables into a new folder.

    Each table takes one pass over the journals, so memory stays bounded. The folder gets its name when it is complete.

    Args:
        paths: Streams of journals, in any state.
        folder: The folder to create.
        form: "parquet", "csv" or "arrow".
        tables: Which of TABLES to write.

    Raises:
        JournalExistsError: The folder exists.
        JournalError: The folder's name is not UTF-8.
        OSError: It cannot be written.
    """
    if str(folder) != str(folder).encode("utf-8", "replace").decode():
        raise JournalError(f"{folder} is not UTF-8, as Arrow wants names to be", hint="choose another folder")
    if os.path.lexists(folder):
        raise JournalExistsError(f"{folder} exists already", hint="export into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    hidden.mkdir()
    done = Exported(folder)
    try:
        rows = [episode_row(one) for one in _readable(paths, done)]
        found = [row.pop("path") for row in rows]
        extra = _extra_columns(found)
        batches = {
            "steps": (_steps_schema(extra), _step_batches(found, extra)),
            "trades": (_trades_schema(), _trade_batches(found)),
            "episodes": (_episodes_schema(rows), _episode_batches(rows)),
        }
        for table in (table for table in TABLES if table in set(tables)):
            done.rows[table] = _write(hidden / table, form, *batches[table], runs=len(done.runs))
        hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return done


def _readable(paths: Iterable[str], done: Exported) -> Iterator[Overview]:
    """Yield the journals that can be read, and count what they have lost."""
    observer = Observer()
    for path in paths:
        one = overview(path, observer, whole=True)
        if not isinstance(one.source, Journal):
            done.unreadable.append((path, one.problem))
            continue
        done.episodes += 1
        done.runs.add(one.run_id)
        done.steps_lost += one.steps_lost
        done.trades_lost += one.trades_lost
        done.cut_short += one.cut_short
        yield one


def _extra_columns(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the extra columns of all journals, in the order of their first appearance."""
    found: dict[str, None] = {}
    for path in paths:
        found.update(dict.fromkeys(read_header(path).about.extra_columns))
    return tuple(found)


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
        partitioning=ds.partitioning(pa.schema([_IDS[0]]), flavor="hive"),
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


def _steps_schema(extra: tuple[str, ...]) -> pa.Schema:
    columns = [column for column in arrow_schema(extra) if column.name != "trades"]
    return pa.schema([*_IDS, *(column.with_nullable(column.nullable or column.name in extra) for column in columns)])


def _step_batches(paths: Iterable[str], extra: tuple[str, ...]) -> Iterator[pa.RecordBatch]:
    schema = _steps_schema(extra)
    for journal in _journals(paths):
        for batch in journal.batches():
            names, rows = set(batch.schema.names), batch.num_rows
            columns = [
                batch.column(column.name) if column.name in names else pa.nulls(rows, column.type)
                for column in list(schema)[len(_IDS) :]
            ]
            yield pa.RecordBatch.from_arrays([*_ids(journal, rows), *columns], schema=schema)


def _trades_schema() -> pa.Schema:
    return pa.schema([*_IDS, *TRADE_TYPE])


def _trade_batches(paths: Iterable[str]) -> Iterator[pa.RecordBatch]:
    for journal in _journals(paths):
        for batch in journal.batches():
            trades = batch.column("trades").flatten()
            if len(trades):
                columns = [*_ids(journal, len(trades)), *trades.flatten()]
                yield pa.RecordBatch.from_arrays(columns, schema=_trades_schema())


def _journals(paths: Iterable[str]) -> Iterator[Journal]:
    """Read the journals once more. One that has become unreadable meanwhile has no rows here."""
    for path in paths:
        try:
            yield read_journal(path)
        except JournalError:
            continue


def _ids(journal: Journal, rows: int) -> list[pa.Array]:
    return [pa.repeat(journal.header.run_id, rows), pa.repeat(journal.header.journal_id, rows)]


def episode_row(one: Overview) -> dict[str, Any]:
    """Return an episode's identity, ending and figures, by column."""
    header = one.header
    assert header is not None, "Invariant: only journals that could be read have a row"
    notes = header.about.notes
    return {
        "path": one.path,
        "run_id": one.run_id,
        "journal_id": one.journal_id,
        "env": header.about.env,
        "worker_index": notes.get("worker_index") if isinstance(notes.get("worker_index"), int) else None,
        "writer_host": header.writer.host,
        "writer_pid": header.writer.pid,
        "start_time": header.start_time,
        "last_step_time": one.last_time,
        "state": str(one.condition),
        "end_reason": one.end_reason,
        "live": one.live,
        "steps": one.steps,
        "trades": one.trades,
        "steps_lost": one.steps_lost,
        "trades_lost": one.trades_lost,
        **one.figures(),
    }


_TYPES = {
    "live": pa.bool_(),
    "start_time": _TIME,
    "last_step_time": _TIME,
    **dict.fromkeys(("run_id", "journal_id", "env", "writer_host", "state", "end_reason"), pa.string()),
    **dict.fromkeys(("worker_index", "writer_pid", "steps", "trades", "steps_lost", "trades_lost"), pa.int64()),
}


def _episodes_schema(rows: list[dict[str, Any]]) -> pa.Schema:
    """Return the columns of all episodes. Figures are floats, except where the first episode has an integer."""
    found: dict[str, pa.DataType] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, _TYPES.get(name, pa.int64() if isinstance(value, int) else pa.float64()))
    return pa.schema(list(found.items()) or _IDS)


def _episode_batches(rows: list[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    if rows:
        yield pa.RecordBatch.from_pylist(rows, _episodes_schema(rows))
