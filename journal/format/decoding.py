"""Decode the rows of a verified message, into an Arrow batch and into arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

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


def decode(
    message: bytes, extra: tuple[str, ...], seal: Seal, columns: tuple[str, ...] | None = None
) -> pa.RecordBatch:
    """Decode a verified message.

    Args:
        message: The message.
        extra: Names of the extra columns.
        seal: Its seal.
        columns: Decode only these columns of steps and the trades. If there are any, "step" is the first.

    Raises:
        DecodeError: The content contradicts the seal. No other exception is raised.
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

    The stream is read in one thread, an option that `read_record_batch` does not have. Several threads take more than twice
    as long for thirty small buffers, and even longer while a training keeps all cores busy.
    """
    schema = arrow_schema(extra)
    wanted = None if columns is None else [*map(schema.names.index, columns), len(schema) - 1]
    return schema.serialize().to_pybytes(), pa.ipc.IpcReadOptions(use_threads=False, included_fields=wanted)


def _check(batch: pa.RecordBatch, seal: Seal) -> None:
    """Check a batch that Arrow has validated. All buffers are requested at once, because each call of Arrow is expensive."""
    buffers, columns = _buffers_of(batch), batch.num_columns - 1
    lists = 1 + 2 * columns
    validity = (buffers[0], *buffers[1 : lists + 1 : 2], buffers[lists + 2], *buffers[lists + 3 :: 2])
    if any(known is not None for known in validity):
        _check_nulls(batch)
    if batch.num_rows != seal.steps or _trades_in(buffers, lists, seal.steps) != seal.trades:
        raise DecodeError("a batch with other rows than its seal says")
    if columns and not _counts_up(np.frombuffer(buffers[2] or b"", _INT64, seal.steps), seal.first_step):
        raise DecodeError("a batch with other steps than its seal says")
    if seal.trades and not _counts_up(np.frombuffer(buffers[lists + 4], _INT64, seal.trades), seal.first_trade):
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


def _counts_up(values: NDArray[np.int64], first: int) -> bool:
    return not len(values) or (int(values[0]) == first and bool((values[1:] - values[:-1] == 1).all()))


def block_of(batch: pa.RecordBatch) -> tuple[Columns, Columns]:
    """Return the steps and trades of a batch from `decode` as contiguous arrays (schema.STEP_COLUMNS, TRADE_COLUMNS)."""
    names, rows, buffers = batch.schema.names[:-1], batch.num_rows, _buffers_of(batch)
    lists = 1 + 2 * len(names)
    closed = _trades_in(buffers, lists, rows)
    steps = {name: _values(buffer, name, rows) for name, buffer in zip(names, buffers[2:lists:2], strict=True)}
    if not closed:
        return steps, no_trades()
    values = zip(TRADE_COLUMNS, buffers[lists + 4 :: 2], strict=True)
    return steps, {name: np.frombuffer(buffer, _TRADE_DTYPES[name], closed) for name, buffer in values}


def _values(data: Any, name: str, count: int) -> NDArray[Any]:
    dtype = _STEP_DTYPES.get(name, _FLOAT64)
    if not count:
        return np.empty(0, dtype)
    if dtype == _BOOL:
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
