"""Journals as a dataset: tables of steps, trades and episodes, one folder a run, as Parquet, CSV or Arrow files.

    DIR/steps/run_id=RUN/part-00000.parquet      DIR/trades/...      DIR/episodes/...

Memory stays bounded. The folder appears under its name when all of it is written.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from journal.errors import JournalError, JournalExistsError
from journal.format.frames import TRADE_TYPE, arrow_schema
from journal.host.liveness import Observer
from journal.inspect.overview import Overview, overview
from journal.inspect.tables import flat
from journal.read.reader import Journal, read_header

TABLES = ("steps", "trades", "episodes")
_GROUP_ROWS = 1 << 17
_PART_ROWS = 1 << 23
_EPISODES = 1024
_TIME = pa.timestamp("us", "UTC")
_ID = pa.field("journal_id", pa.string(), nullable=False)


@dataclass
class Exported:
    """What was written, and what could not be looked at: (path, reason). See `Overview.cut_short`."""

    folder: Path
    rows: dict[str, int] = field(default_factory=dict)
    runs: set[str] = field(default_factory=set)
    episodes: int = 0
    steps_lost: int = 0
    trades_lost: int = 0
    cut_short: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def export(paths: Iterable[str], folder: Path, form: str, tables: Iterable[str] = TABLES) -> Exported:
    """Write the journals' tables into a new folder; raises JournalExistsError if it is there, and OSError."""
    if os.path.lexists(folder):
        raise JournalExistsError(f"{folder} exists already", hint="export into a new folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    hidden.mkdir()
    every = list(paths)
    done, observer = Exported(folder), Observer()
    try:
        dataset = _Dataset(hidden, form, frozenset(tables), _extra_columns(every))
        for path in every:
            _take(path, observer, dataset, done)
        done.rows = dataset.close()
        hidden.rename(folder)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    return done


def _take(path: str, observer: Observer, dataset: _Dataset, done: Exported) -> None:
    one = overview(path, observer, whole=True)
    if not isinstance(one.source, Journal):
        done.unreadable.append((path, one.problem))
        return
    done.episodes += 1
    done.runs.add(one.run_id)
    done.steps_lost += one.steps_lost
    done.trades_lost += one.trades_lost
    done.cut_short += one.cut_short
    dataset.add(one, one.source)


def _extra_columns(paths: Iterable[str]) -> tuple[str, ...]:
    """All extra columns of all journals, as first met; a journal without one has nulls there."""
    found: dict[str, None] = {}
    for path in paths:
        try:
            found.update(dict.fromkeys(read_header(path).about.extra_columns))
        except JournalError:
            continue  # told when the journal itself is read
    return tuple(found)


class _Dataset:
    """The open files of all tables."""

    def __init__(self, folder: Path, form: str, tables: frozenset[str], extra: tuple[str, ...]) -> None:
        self._folder, self._form, self._tables = folder, form, tables
        steps = [_nullable(column, extra) for column in arrow_schema(extra) if column.name != "trades"]
        self._steps = pa.schema([_ID, *steps])
        self._trades = pa.schema([_ID, *TRADE_TYPE])
        self._files: dict[tuple[str, str], _Parts] = {}
        self._episodes: dict[str, list[dict[str, Any]]] = {}
        self._rows = dict.fromkeys((table for table in TABLES if table in tables), 0)

    def add(self, one: Overview, journal: Journal) -> None:
        """Write one journal's rows into its run's files."""
        if self._tables & {"steps", "trades"}:
            for batch in journal.batches():
                self._add_rows(one, batch)
        if "episodes" in self._tables:
            self._episodes.setdefault(one.run_id, []).append(episode_row(one))
            if len(self._episodes[one.run_id]) >= _EPISODES:
                self._write_episodes(one.run_id)

    def _add_rows(self, one: Overview, batch: pa.RecordBatch) -> None:
        if "steps" in self._tables:
            names = set(batch.schema.names)
            columns = [
                batch.column(column.name) if column.name in names else pa.nulls(batch.num_rows, column.type)
                for column in list(self._steps)[1:]
            ]
            self._write("steps", one.run_id, _with_id(one.journal_id, columns, self._steps, batch.num_rows))
        if "trades" in self._tables:
            trades = batch.column("trades").flatten()
            self._write("trades", one.run_id, _with_id(one.journal_id, trades.flatten(), self._trades, len(trades)))

    def _write_episodes(self, run_id: str) -> None:
        """The first episode decides the types: figures are floats, but for those that count."""
        rows = self._episodes.pop(run_id)
        known = self._files.get(("episodes", run_id))
        schema = (
            known.schema if known else pa.schema([(name, _type_of(name, value)) for name, value in rows[0].items()])
        )
        self._write("episodes", run_id, pa.RecordBatch.from_pylist(rows, schema))

    def _write(self, table: str, run_id: str, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        file = self._files.get((table, run_id))
        if file is None:
            folder = self._folder / table / f"run_id={run_id}"
            folder.mkdir(parents=True)
            file = self._files[table, run_id] = _Parts(folder, self._form, batch.schema)
        file.write(batch)
        self._rows[table] += batch.num_rows

    def close(self) -> dict[str, int]:
        """Finish all files; return the rows of each table."""
        for run_id in list(self._episodes):
            self._write_episodes(run_id)
        for file in self._files.values():
            file.close()
        return self._rows


def _nullable(column: pa.Field, extra: tuple[str, ...]) -> pa.Field:
    return column.with_nullable(column.name in extra)


def _with_id(journal_id: str, columns: list[pa.Array], schema: pa.Schema, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.repeat(journal_id, rows), *columns], schema=schema)


def episode_row(one: Overview) -> dict[str, Any]:
    """An episode's line: identity, ending, and all its figures."""
    header = one.header
    assert header is not None, "Invariant: only journals that could be read have a row"
    notes = header.about.notes
    return {
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
    **dict.fromkeys(("journal_id", "env", "writer_host", "state", "end_reason"), pa.string()),
    **dict.fromkeys(("worker_index", "writer_pid", "steps", "trades", "steps_lost", "trades_lost"), pa.int64()),
}


def _type_of(name: str, value: Any) -> pa.DataType:
    return _TYPES.get(name, pa.int64() if isinstance(value, int) else pa.float64())


class _Writes(Protocol):
    def write_batch(self, batch: pa.RecordBatch) -> None: ...

    def close(self) -> None: ...


class _Parts:
    """The files of one table of one run: rows are gathered into large groups, and a file that is full is followed."""

    def __init__(self, folder: Path, form: str, schema: pa.Schema) -> None:
        self.schema = schema
        self._folder, self._form = folder, form
        self._waiting: list[pa.RecordBatch] = []
        self._waiting_rows = self._part_rows = 0
        self._names = (f"part-{number:05d}.{form}" for number in range(1 << 20))
        self._open: _Writes | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        self._waiting.append(batch)
        self._waiting_rows += batch.num_rows
        if self._waiting_rows >= _GROUP_ROWS:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._open is None:
            self._open = _OPENERS[self._form](self._folder / next(self._names), self.schema)
        self._open.write_batch(pa.concat_batches(self._waiting))
        self._part_rows += self._waiting_rows
        self._waiting, self._waiting_rows = [], 0
        if self._part_rows >= _PART_ROWS:
            self._finish_part()

    def _finish_part(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open, self._part_rows = None, 0

    def close(self) -> None:
        self._flush()
        self._finish_part()


def _open_parquet(path: Path, schema: pa.Schema) -> _Writes:
    from pyarrow import parquet

    writer: _Writes = parquet.ParquetWriter(path, schema, compression="zstd")
    return writer


def _open_arrow(path: Path, schema: pa.Schema) -> _Writes:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    writer: _Writes = pa.ipc.new_file(str(path), schema, options=options)
    return writer


class _CsvFile:
    """Times and names as `journal cat` writes them."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        from journal.inspect.tables import csv_writer

        self._sink = path.open("xb")
        self._writer = csv_writer(self._sink, schema)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        from journal.inspect.tables import with_text_times

        self._writer.write_batch(with_text_times(flat(batch)))

    def close(self) -> None:
        self._writer.close()
        self._sink.close()


_OPENERS: dict[str, Callable[[Path, pa.Schema], _Writes]] = {
    "parquet": _open_parquet,
    "arrow": _open_arrow,
    "csv": _CsvFile,
}
