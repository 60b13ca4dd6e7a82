"""Convert data frames of pandas and polars to sheets, without importing either."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from rsc.trading.prices.errors import MarketError
from rsc.trading.prices.names import field_and_asset
from rsc.trading.prices.sheet import Column, Sheet, arrow_of, sheet_of_table

_FIELD_LEVELS = 2


def sheet_of_frame(frame: Any) -> Sheet:
    """Read a data frame of pandas or polars, or an Arrow table. The index of pandas is read like a column.

    Raises:
        MarketError: if ``frame`` is none of these.
    """
    if isinstance(frame, pa.Table):
        return sheet_of_table(frame)
    if hasattr(frame, "collect") and not hasattr(frame, "index"):  # a LazyFrame of polars
        frame = frame.collect()
    if hasattr(frame, "to_arrow"):
        return sheet_of_table(frame.to_arrow())
    if hasattr(frame, "columns") and hasattr(frame, "index") and hasattr(frame, "iloc"):
        return _of_pandas(frame)
    raise MarketError(f"prices must be a data frame of pandas or polars, got {type(frame).__name__}")


def _of_pandas(frame: Any) -> Sheet:
    columns = [*_index_columns(frame.index)]
    for position, label in enumerate(frame.columns):
        columns.append(_column(label, arrow_of(frame.iloc[:, position])))
    return Sheet(tuple(columns))


def _index_columns(index: Any) -> list[Column]:
    """Return the levels of an index as columns, unless it is a range of row numbers."""
    if type(index).__name__ == "RangeIndex":
        return []
    levels = [index.get_level_values(level) for level in range(index.nlevels)]
    plain = [level.to_timestamp() if type(level).__name__ == "PeriodIndex" else level for level in levels]
    return [Column("" if level.name is None else str(level.name), arrow_of(level)) for level in plain]


def _column(label: Any, values: Any) -> Column:
    """Return a column. If its label has several levels, one names the field and another the asset."""
    if not isinstance(label, tuple):
        return Column(str(label), values)
    parts = [str(part) for part in label if str(part)]
    if len(parts) < _FIELD_LEVELS:
        return Column(parts[0] if parts else "", values)
    field, asset = field_and_asset(parts[0], parts[1])
    return Column(field, values, asset)
