"""Decode the rows of a verified message, into an Arrow batch and into arrays."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pyarrow as pa

from journal.format.flatbuffer import decoded_size
from journal.format.frames import MARKET_TIMES, Seal, arrow_schema
from journal.format.schema import MAX_DECODED, TRADE_COLUMNS, UNKNOWN_TIME
from journal.format.slots import Columns


class DecodeError(ValueError):
    """A verified message does not hold what its seal says: a bug of another writer, or malice."""


def decode(
    message: bytes, extra: tuple[str, ...], seal: Seal, columns: tuple[str, ...] | None = None
) -> pa.RecordBatch:
    """Decode a verified message; raise DecodeError and nothing else.

    Args:
        message: The message.
        extra: Names of the extra columns.
        seal: Its seal.
        columns: Decode only these columns of steps and the trades. If there are any, "step" is the first.
    """
    try:
        if decoded_size(message) > MAX_DECODED:
            raise DecodeError(f"a batch of more than {MAX_DECODED >> 20} MiB")
        schema, options = _reading(extra, columns)
        batch = pa.ipc.open_stream(pa.py_buffer(schema + message), options=options).read_next_batch()
        batch.validate(full=True)
        _check(batch, seal)
    except (pa.ArrowException, OSError, ValueError, MemoryError, IndexError, EOFError, StopIteration) as error:
        raise DecodeError(str(error)) from error
    return batch


@functools.lru_cache(maxsize=64)
def _reading(extra: tuple[str, ...], columns: tuple[str, ...] | None) -> tuple[bytes, pa.ipc.IpcReadOptions]:
    """Return the schema message that a stream of one batch starts with, and the options to read it.

    It is read in one thread, which `read_record_batch` does not offer. Sharing thirty small buffers between threads takes
    more than twice as long, and longer where a training keeps all cores busy.
    """
    schema = arrow_schema(extra)
    wanted = None if columns is None else [*map(schema.names.index, columns), len(schema) - 1]
    return schema.serialize().to_pybytes(), pa.ipc.IpcReadOptions(use_threads=False, included_fields=wanted)


def _check(batch: pa.RecordBatch, seal: Seal) -> None:
    *steps, lists = batch.columns  # maybe not all, and not even one
    trades = lists.flatten()
    columns = [*zip(batch.schema.names, steps, strict=False), *zip(TRADE_COLUMNS, trades.flatten(), strict=True)]
    if lists.null_count or lists.values.null_count or not all(_nulls_are_times(*column) for column in columns):
        raise DecodeError("a batch with nulls")
    if batch.num_rows != seal.steps or len(trades) != seal.trades:
        raise DecodeError("a batch with other rows than its seal says")
    if not all(_counts_up(column, seal.first_step) for column in steps[:1]):
        raise DecodeError("a batch with other steps than its seal says")
    if not _counts_up(trades.field(0), seal.first_trade):
        raise DecodeError("a batch with other trades than its seal says")


def _nulls_are_times(name: str, column: pa.Array) -> bool:
    """Whether only unknown times are null."""
    if not column.null_count:
        return True
    return name in MARKET_TIMES and int(np.count_nonzero(numpy_of(column) == UNKNOWN_TIME)) == column.null_count


def _counts_up(numbers: pa.Array, first: int) -> bool:
    values = numpy_of(numbers)
    return not len(values) or (int(values[0]) == first and bool((np.diff(values) == 1).all()))


def block_of(batch: pa.RecordBatch) -> tuple[Columns, Columns]:
    """Return the steps and trades of a batch as contiguous arrays (schema.STEP_COLUMNS, TRADE_COLUMNS)."""
    names = batch.schema.names[:-1]
    return {name: numpy_of(batch.column(index)) for index, name in enumerate(names)}, trades_of(batch)


def trades_of(batch: pa.RecordBatch) -> Columns:
    """Return only the trades of a batch."""
    flat = batch.column(batch.num_columns - 1).flatten()
    return {name: numpy_of(flat.field(index)) for index, name in enumerate(TRADE_COLUMNS)}


def numpy_of(column: pa.Array) -> Any:
    """Return a column's values, without a copy except for bools; times are microseconds, unknown ones UNKNOWN_TIME.

    `Array.to_numpy` would import pandas.
    """
    count, start = len(column), column.offset
    data = column.buffers()[1]
    if pa.types.is_boolean(column.type):
        bits = np.frombuffer(data if count else b"", np.uint8)
        return np.unpackbits(bits, count=start + count, bitorder="little")[start:].astype(bool)
    dtype = np.dtype("<i8") if pa.types.is_timestamp(column.type) else np.dtype(column.type.to_pandas_dtype())
    return np.frombuffer(data, dtype, count, start * dtype.itemsize) if count else np.empty(0, dtype)
