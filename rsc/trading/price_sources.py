"""Get prices by ticker, from the bundled file or from the network."""

from __future__ import annotations

import functools
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsc.trading.prices import Bars, MarketError, read_file

# Imports inside functions load modules that are slow to import and not always needed.

Columns = dict[str, NDArray[Any]]

_BUNDLED = Path(__file__).with_name("data") / "wiki4_adj_ohlcv.csv.gz"


@functools.cache
def bundled() -> dict[str, Columns]:
    """Return the columns of the bundled prices by symbol."""
    from pyarrow import csv

    table = csv.read_csv(_BUNDLED)
    columns = {name: table.column(name).to_numpy() for name in table.column_names}
    symbols = columns.pop("symbol").astype(str)
    return {
        str(symbol): {key: values[symbols == symbol] for key, values in columns.items()}
        for symbol in np.unique(symbols)
    }


def version_of(path: Path) -> tuple[int, int]:
    """Return a file's modification time and size, to notice changes."""
    try:
        status = path.stat()
    except OSError as error:
        raise MarketError(f"{path}: cannot be read: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size


def fetched(ticker: str) -> Bars:
    """Return adjusted daily bars from the network. Cached for the day, so that all processes of a training get the same."""
    kept = _cache_directory() / f"{ticker}-{datetime.now(UTC):%Y-%m-%d}.parquet"
    if not kept.exists():
        _keep(_download(ticker), kept)
    return read_file(kept)


def _download(ticker: str) -> Columns:
    known = ", ".join(sorted(bundled()))
    try:
        import yfinance
    except ImportError as error:
        raise MarketError(
            f"{ticker} is not bundled ({known} are); to fetch it: pip install 'reinforce-strategy-creator[market]'"
        ) from error
    logging.getLogger("yfinance").setLevel(logging.CRITICAL)  # its messages are in the error below
    try:
        frame: Any = yfinance.Ticker(ticker).history(period="max", auto_adjust=True)
    except Exception as error:  # yfinance passes on any exception of its transport
        raise MarketError(
            f"{ticker} could not be fetched ({_first_line(error)}); use --data FILE, or one of {known}"
        ) from error
    if frame is None or not len(frame):
        raise MarketError(f"{ticker} could not be fetched: no prices came back; use --data FILE, or one of {known}")
    columns = {key: frame[key].to_numpy() for key in ("Open", "High", "Low", "Close", "Volume")}
    return {"date": frame.index.tz_localize(None).to_numpy(), **columns}


def _keep(columns: Columns, path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}")
    parquet.write_table(pa.table(columns), unfinished)
    unfinished.replace(path)


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "reinforce-strategy-creator"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
