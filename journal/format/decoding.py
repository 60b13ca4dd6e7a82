"""Decode the rows of a verified message, into an Arrow batch and into arrays."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from journal.format.flatbuffer import decoded_size
from journal.format.frames import MARKET_TIMES, Seal, arrow_schema
from journal.format.schema import MAX_DECODED, STEP_COLUMNS, TRADE_COLUMNS, UNKNOWN_TIME
from journal.format.slots import Columns, no_trades

_INT64, _FLOAT64, _BOOL = np.dtype("<i8"), np.dtype("<f8"), np.dtype(bool)
_STEP_DTYPES = {name: np.dtype(dtype) for name, dtype in STEP_COLUMNS.items()}
_TRADE_DTYPES = {name: np.dtype(dtype) for name, dtype in TRADE_COLUMNS.items()}


class DecodeError(ValueError):
    """The content of a verified message contradicts its seal, by a bug of another writer or by malice."""


def decode(message: bytes, extra: tuple[str, ...], seal: Seal) -> pa.RecordBatch:
    """Decode a verified message into an Arrow batch.

    Args:
        message: The message.
        extra: Names of the extra columns.
        seal: Its seal.

    Raises:
        DecodeError: The content contradicts the seal. No other exception is raised.
    """
    return _decoded(message, _reader_of(extra, None), seal)[0]


def decode_block(
    message: bytes, extra: tuple[str, ...], seal: Seal, columns: tuple[str, ...] | None = None
) -> tuple[Columns, Columns]:
    """Decode a verified message into steps and trades (schema.STEP_COLUMNS, TRADE_COLUMNS), each a contiguous array.

    Args:
        message: The message.
        extra: Names of the extra columns.
        seal: Its seal.
        columns: Decode only these columns of steps and the trades. If there are any, "step" is the first.

    Raises:
        DecodeError: The content contradicts the seal. No other exception is raised.
    """
    reader = _reader_of(extra, columns)
    buffers = _decoded(message, reader, seal)[1]
    rows, lists = seal.steps, 1 + 2 * len(reader.columns)
    steps = {
        name: _values(data, dtype, rows) for (name, dtype), data in zip(reader.columns, buffers[2:lists:2], strict=True)
    }
    if not seal.trades:
        return steps, no_trades()
    values = zip(_TRADE_DTYPES.items(), buffers[lists + 4 :: 2], strict=True)
    return steps, {name: np.frombuffer(data, dtype, seal.trades) for (name, dtype), data in values}


class _Reader(NamedTuple):
    """How Arrow reads a stream of one batch.

    The stream is read in one thread, an option that `read_record_batch` does not have. Several threads take more than twice
    as long for thirty small buffers, and even longer while a training keeps all cores busy.

    Attributes:
        schema: The message that the stream starts with.
        options: The options to read it.
        columns: Names and types of the columns of steps that are decoded.
    """

    schema: bytes
    options: pa.ipc.IpcReadOptions
    columns: tuple[tuple[str, np.dtype[Any]], ...]


@functools.lru_cache(maxsize=64)
def _reader_of(extra: tuple[str, ...], columns: tuple[str, ...] | None) -> _Reader:
    schema = arrow_schema(extra)
    names = schema.names[:-1] if columns is None else columns
    wanted = None if columns is None else [*map(schema.names.index, columns), len(schema) - 1]
    options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=wanted)
    typed = tuple((name, _STEP_DTYPES.get(name, _FLOAT64)) for name in names)
    return _Reader(schema.serialize().to_pybytes(), options, typed)


def _decoded(message: bytes, reader: _Reader, seal: Seal) -> tuple[pa.RecordBatch, list[Any]]:
    """Return the batch of a message and its buffers; raise DecodeError if it contradicts its seal."""
    try:
        if decoded_size(message) > MAX_DECODED:
            raise DecodeError(f"a batch of more than {MAX_DECODED >> 20} MiB")
        stream = pa.ipc.open_stream(pa.py_buffer(reader.schema + message), options=reader.options)
        batch = stream.read_next_batch()
        batch.validate(full=True)
        buffers = _buffers_of(batch)
        _check(batch, buffers, seal)
    except (pa.ArrowException, OSError, ValueError, MemoryError, IndexError, EOFError, StopIteration) as error:
        raise DecodeError(str(error)) from error
    return batch, buffers


_is_buffer = functools.partial(operator.is_not, None)


def _check(batch: pa.RecordBatch, buffers: list[Any], seal: Seal) -> None:
    """Check a batch that Arrow has validated. All buffers are requested at once, because each call of Arrow is expensive."""
    columns = batch.num_columns - 1
    lists = 1 + 2 * columns
    if any(map(_is_buffer, (buffers[0], *buffers[1 : lists + 1 : 2], buffers[lists + 2], *buffers[lists + 3 :: 2]))):
        _check_nulls(batch)
    if batch.num_rows != seal.steps or _trades_in(buffers, lists, seal.steps) != seal.trades:
        raise DecodeError("a batch with other rows than its seal says")
    if columns and not _counts_up(buffers[2], seal.first_step, seal.steps):
        raise DecodeError("a batch with other steps than its seal says")
    if not _counts_up(buffers[lists + 4], seal.first_trade, seal.trades):
        raise DecodeError("a batch with other trades than its seal says")


def _buffers_of(batch: pa.RecordBatch) -> list[Any]:
    """Return all buffers, depth first.

    One for the rows, two for each column (validity, values), two for the lists (validity, offsets), one for the trades and
    two for each of their columns.
    """
    buffers: list[Any] = batch.to_struct_array().buffers()
    return buffers


def _trades_in(buffers: Sequence[Any], lists: int, rows: int) -> int:
    """Return the number of trades; raise DecodeError if the first list does not begin with the first trade."""
    if not rows:
        return 0
    offsets = np.frombuffer(buffers[lists + 1], "<i4", rows + 1)
    if offsets[0]:
        raise DecodeError("a batch with trades that no step closed")
    return int(offsets[-1])


def _check_nulls(batch: pa.RecordBatch) -> None:
    *steps, lists = batch.columns  # possibly some of the columns, or none
    columns = [
        *zip(batch.schema.names, steps, strict=False),
        *zip(TRADE_COLUMNS, lists.flatten().flatten(), strict=True),
    ]
    if lists.null_count or lists.values.null_count or not all(_nulls_are_times(*column) for column in columns):
        raise DecodeError("a batch with nulls")


def _nulls_are_times(name: str, column: pa.Array) -> bool:
    """Return True if only unknown times are null."""
    if not column.null_count:
        return True
    return name in MARKET_TIMES and int(np.count_nonzero(numpy_of(column) == UNKNOWN_TIME)) == column.null_count


def _counts_up(data: Any, first: int, count: int) -> bool:
    """Return True if a buffer holds this many whole numbers, each one more than the last."""
    if not count:
        return True
    counted: bool = np.logical_and.reduce(np.frombuffer(data, _INT64, count) == np.arange(first, first + count))
    return counted


def _values(data: Any, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    if not count:
        return np.empty(0, dtype)
    if dtype is _BOOL:
        return np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little").view(_BOOL)
    return np.frombuffer(data, dtype, count)


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
