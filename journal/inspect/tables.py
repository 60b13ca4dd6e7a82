"""Write Arrow batches as text, CSV, NDJSON, Parquet or Arrow, one by one."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from journal.console import jsonable
from journal.format.frames import empty_batch

# Imports inside functions load modules that are slow to import and not always needed.

SUFFIXES = {
    ".txt": "text",
    ".csv": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".arrows": "arrow",
}
BINARY = frozenset({"parquet", "arrow"})
_TIME_LETTERS = 26  # 2026-11-23 01:06:07.252446
_WIDTHS = {"step": 6, "trades": 6, "action": 6, "portfolio_value": 15, "price": 9, "position": 9}


def format_of(path: Path) -> str | None:
    """Return the format of a file name's suffix, or None."""
    return SUFFIXES.get(path.suffix.lower())


def write(batches: Iterable[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO, form: str) -> int:
    """Write all rows and return their number. ``sink`` stays open."""
    writers: dict[str, Callable[[Iterator[pa.RecordBatch], pa.Schema, BinaryIO], None]] = {
        "text": _write_text,
        "csv": _write_csv,
        "ndjson": _write_ndjson,
        "parquet": _write_parquet,
        "arrow": _write_arrow,
    }
    count = 0

    def counted() -> Iterator[pa.RecordBatch]:
        nonlocal count
        for batch in batches:
            count += batch.num_rows
            yield batch

    writers[form](counted(), schema, sink)
    return count


def flat(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with each list of trades replaced by its length."""
    from pyarrow import compute

    for index, field in enumerate(batch.schema):
        if pa.types.is_list(field.type):
            lengths = compute.list_value_length(batch.column(index))
            batch = batch.set_column(index, pa.field(field.name, pa.int32(), nullable=False), lengths)
    return batch


def _write_csv(batches: Iterator[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> None:
    with csv_writer(sink, schema) as writer:
        for batch in batches:
            writer.write_batch(with_text_times(flat(batch)))
            sink.flush()


def csv_writer(sink: BinaryIO, schema: pa.Schema) -> Any:
    """Return a CSV writer for batches of this schema that passed through `flat` and `with_text_times`."""
    from pyarrow import csv

    shown = with_text_times(flat(empty_batch(schema))).schema
    # Arrow searches every text for quotes if quoting is on, so switch it on only where text can contain them.
    words = any(pa.types.is_string(field.type) for field in schema)
    names = any(set(name) & set(',"\r\n') for name in schema.names)
    options = csv.WriteOptions(
        quoting_style="needed" if words else "none", quoting_header="needed" if names else "none"
    )
    return csv.CSVWriter(pa.PythonFile(sink, mode="w"), shown, write_options=options)


def with_text_times(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Return the batch with times as ISO 8601 text, within lists of trades too."""
    for index, field in enumerate(batch.schema):
        column = _with_text_times(batch.column(index))
        if column.type != field.type:
            batch = batch.set_column(index, pa.field(field.name, column.type), column)
    return batch


def _with_text_times(column: pa.Array) -> pa.Array:
    if pa.types.is_timestamp(column.type):
        return iso_times(column)
    if pa.types.is_list(column.type):
        return pa.ListArray.from_arrays(column.offsets, _with_text_times(column.values))
    if pa.types.is_struct(column.type):
        names = [column.type.field(index).name for index in range(column.type.num_fields)]
        return pa.StructArray.from_arrays([_with_text_times(part) for part in column.flatten()], names)
    return column


def iso_times(column: pa.Array) -> pa.Array:
    """Return UTC timestamps in microseconds as ISO 8601 text.

    Arrow takes 1.2 us to format a time with a zone and 0.03 us without, so this adds the zone itself.
    """
    if column.null_count:
        from pyarrow import compute

        filled = column.fill_null(pa.scalar(0, column.type))
        return compute.if_else(column.is_valid(), iso_times(filled), pa.scalar(None, pa.string()))
    plain = column.cast(pa.timestamp("us")).cast(pa.string())
    offsets = np.frombuffer(plain.buffers()[1], np.int32, len(plain) + 1, offset=4 * plain.offset)
    if (np.diff(offsets) != _TIME_LETTERS).any():
        return column.cast(pa.string())  # years beyond 9999 have more letters
    text = np.empty((len(plain), _TIME_LETTERS + 1), np.uint8)
    if len(plain):
        raw = np.frombuffer(plain.buffers()[2], np.uint8)[offsets[0] : offsets[-1]]
        text[:, :-1] = raw.reshape(-1, _TIME_LETTERS)
    text[:, 10], text[:, -1] = ord("T"), ord("Z")
    ends = np.arange(len(plain) + 1, dtype=np.int32) * (_TIME_LETTERS + 1)
    return pa.StringArray.from_buffers(len(plain), pa.py_buffer(ends), pa.py_buffer(text))


def _write_ndjson(batches: Iterator[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> None:
    for batch in batches:
        for start in range(0, batch.num_rows, 1024):
            rows = with_text_times(batch.slice(start, 1024)).to_pylist()
            lines = [json.dumps(jsonable(row)) for row in rows]
            sink.write(("\n".join(lines) + "\n").encode())
        sink.flush()


def _write_parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> None:
    from pyarrow import parquet

    with parquet.ParquetWriter(pa.PythonFile(sink, mode="w"), schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_arrow(batches: Iterator[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> None:
    with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


def _write_text(batches: Iterator[pa.RecordBatch], schema: pa.Schema, sink: BinaryIO) -> None:
    shown = flat(empty_batch(schema)).schema
    sink.write((text_header(shown) + "\n").encode())
    for batch in batches:
        for start in range(0, batch.num_rows, 1024):
            lines = text_lines(batch.slice(start, 1024))
            sink.write(("\n".join(lines) + "\n").encode())
            sink.flush()


def text_header(schema: pa.Schema) -> str:
    """Return the line of column names."""
    return " ".join(field.name.rjust(_width(field)) for field in schema).rstrip()


def text_lines(batch: pa.RecordBatch) -> list[str]:
    """Return rows as lines with fixed column widths."""
    batch = flat(batch)
    columns = [_cells(column, _width(field)) for field, column in zip(batch.schema, batch.columns, strict=True)]
    return [" ".join(cells) for cells in zip(*columns, strict=True)]


def _cells(column: pa.Array, width: int) -> Sequence[str]:
    if pa.types.is_timestamp(column.type):
        return [(text or "-").replace("T", " ")[:19].rjust(width) for text in iso_times(column).to_pylist()]
    if pa.types.is_floating(column.type):
        digits = 9 if width > 12 else 6
        return [_fitting(value, width, digits) for value in column.to_pylist()]
    if pa.types.is_boolean(column.type):
        return [("yes" if value else "-").rjust(width) for value in column.to_pylist()]
    return [f"{value:>{width}}" for value in column.to_pylist()]


def _fitting(value: float, width: int, digits: int) -> str:
    text = f"{value:>{width}.{digits}g}"
    while len(text) > width and digits > 1:
        digits -= 1
        text = f"{value:>{width}.{digits}g}"
    return text


def _width(field: pa.Field) -> int:
    if pa.types.is_timestamp(field.type):
        return 19
    if pa.types.is_boolean(field.type):
        return len(field.name)
    return _WIDTHS.get(field.name, max(10, len(field.name)))
