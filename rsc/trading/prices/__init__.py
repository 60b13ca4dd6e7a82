"""Read prices from files and data frames. Input that cannot be read in exactly one sound way is refused.

`read_file` and `read_frame` return `Bars`, with a remark for each assumption.
"""

from __future__ import annotations

from rsc.trading.prices.bars import MIN_BARS, Bars
from rsc.trading.prices.errors import MarketError
from rsc.trading.prices.periods import Rhythm, gaps_of, rhythm_of
from rsc.trading.prices.reader import read_columns, read_file, read_frame

__all__ = [
    "MIN_BARS",
    "Bars",
    "MarketError",
    "Rhythm",
    "gaps_of",
    "read_columns",
    "read_file",
    "read_frame",
    "rhythm_of",
]
