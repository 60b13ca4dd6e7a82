"""Read prices from a file, a data frame, or columns in memory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsc.trading.prices.bars import Bars, bars_of
from rsc.trading.prices.containers import open_file
from rsc.trading.prices.errors import MarketError
from rsc.trading.prices.frames import sheet_of_frame
from rsc.trading.prices.sheet import Column, Sheet, arrow_of, sheet_of_table
from rsc.trading.prices.text import sheet_of_text


def read_file(path: Path | str, symbol: str | None = None) -> Bars:
    """Read bars from a file: CSV and its relatives, Parquet or Feather, compressed or not.

    Args:
        path: The file. Its format is recognised by content, not by name.
        symbol: The asset to read, if the file holds several.

    Raises:
        MarketError: if the bars cannot be read in one sound way.
    """
    remarks: list[str] = []
    try:
        return bars_of(_sheet_of_file(Path(path), remarks), symbol, remarks)
    except MarketError as error:
        raise MarketError(f"{path}: {error}") from error


def _sheet_of_file(path: Path, remarks: list[str]) -> Sheet:
    content = open_file(path)
    return sheet_of_text(content, remarks) if isinstance(content, bytes) else sheet_of_table(content)


def read_frame(frame: Any, symbol: str | None = None) -> Bars:
    """Read bars from a data frame of pandas or polars, or from an Arrow table.

    Raises:
        MarketError: if the bars cannot be read in one sound way.
    """
    return bars_of(sheet_of_frame(frame), symbol)


def read_columns(columns: Mapping[str, Any], symbol: str | None = None) -> Bars:
    """Read bars from NumPy arrays by name.

    Raises:
        MarketError: if the bars cannot be read in one sound way.
    """
    return bars_of(Sheet(tuple(Column(str(name), arrow_of(values)) for name, values in columns.items())), symbol)
