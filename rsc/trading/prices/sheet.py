"""The table of a file: columns in their order, with their names and, in wide files, their assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rsc.trading.prices.names import is_unnamed, split_asset

_TRIED = 100


@dataclass(frozen=True)
class Column:
    """A column of a file: ``values`` is an Arrow array or chunked array, ``asset`` is known in wide files only."""

    name: str
    values: Any
    asset: str | None = None

    @property
    def is_text(self) -> bool:
        """Return True if the values are text."""
        return is_text_type(self.values.type)

    @property
    def title(self) -> str:
        """Return the name for messages."""
        return "without a name" if is_unnamed(self.name) else f"'{self.name.strip()}'"


@dataclass(frozen=True)
class Sheet:
    """The columns of a file, all of one length. ``headless`` if the file has no line of names."""

    columns: tuple[Column, ...]
    headless: bool = False

    def __len__(self) -> int:
        return len(self.columns[0].values) if self.columns else 0

    def filter(self, keep: Any) -> Sheet:
        """Return the rows where ``keep``, an array of booleans, is True."""
        mask = pa.array(keep)
        return replace(self, columns=tuple(replace(each, values=each.values.filter(mask)) for each in self.columns))


def sheet_of_table(table: Any) -> Sheet:
    """Return the columns of an Arrow table. Names such as "('Close', 'AAPL')" include the asset."""
    columns = []
    for name, values in zip(table.column_names, table.columns, strict=True):
        pair = split_asset(name) if name.startswith("(") else None
        columns.append(Column(pair[0] if pair else name, decoded(values), (pair[1] or None) if pair else None))
    return Sheet(tuple(columns))


def arrow_of(values: Any) -> Any:
    """Return values of NumPy or pandas as an Arrow array. Mixed types become text, NaN and NaT become null."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        values = values.astype("datetime64[us]")  # Arrow has no units of minutes and hours
    try:
        return decoded(pa.array(values, from_pandas=True))
    except pa.ArrowException:
        texts = [None if each is None or (isinstance(each, float) and each != each) else str(each) for each in values]
        return pa.array(texts, pa.string())


def decoded(values: Any) -> Any:
    """Decode a dictionary-encoded column, and bytes that are text. Return other values unchanged."""
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_binary(values.type) or pa.types.is_large_binary(values.type):
        text = cast_or_none(values, pa.string())
        return values if text is None else text
    return values


def is_text_type(kind: Any) -> bool:
    """Return True for Arrow's types of text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def as_text(values: Any) -> Any:
    """Return text as one contiguous array of Arrow's string type, without blanks at the ends. '' becomes null."""
    array = pc.cast(values, pa.string())
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # there is no chunk, or more than 2 GB of text
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], pa.string())
    array = pc.utf8_trim_whitespace(array)
    empty = pc.equal(pc.binary_length(array), 0)
    return pc.if_else(empty, None, array) if pc.any(empty).as_py() else array


def cast_or_none(text: Any, kind: Any) -> Any:
    """Return text cast to another type; None if a value does not fit.

    A few values are tried first, because Arrow takes long to refuse a whole column.
    """
    try:
        pc.cast(text[:: max(1, len(text) // _TRIED)], kind)
        return pc.cast(text, kind)
    except pa.ArrowInvalid:
        return None


def distinct(values: Any) -> Sequence[Any]:
    """Return the distinct values that are not null, in the order of their first row."""
    return [value for value in pc.unique(values).to_pylist() if value is not None]
