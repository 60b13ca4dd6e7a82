"""Names, columns, suffixes and size limits of the journal format. `docs/journal-format.md` describes it.

Times are microseconds since the epoch, UTC, as int64.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 2
STREAM_SUFFIX = ".arrows"
TAIL_SUFFIX = ".tail"
FAILED_SUFFIX = ".failed"
RUN_MARKER = "run"
ROOT_ID_FILE = "root"
RECOVERED_NOTE = "recovered"  # key in about.notes of a journal that `recover` made: the earlier losses
WRITERS_DIR = "writers"
NEW_SUFFIX = ".new"  # suffix of a file without its final name
SPARE_SUFFIX = ".spare"  # an empty tail, kept for the next episode
TAIL_LOST = "its tail is missing or was cut: later steps are lost, number unknown"
LEASE_INTERVAL_S = 10.0

# Limits. They bound the memory that a reader allocates for a hostile file.
MAX_EXTRA_COLUMNS = 1024
MAX_HEADER = 1 << 24  # bytes of Arrow metadata in the header
MAX_METADATA = 1 << 20  # bytes of Arrow metadata in a batch, seal included
MAX_MESSAGE = 1 << 28  # bytes of a message
MAX_DECODED = 1 << 28  # bytes of a batch, decompressed
MAX_FOOTER = 1 << 20  # bytes of a footer's JSON
MAX_CHECKPOINT = 1 << 16  # bytes of running metrics
MAX_END_MESSAGE = 4096  # characters
MAX_TAIL_BYTES = 1 << 26
MAX_TRADES_PER_STEP = 0xFFFF
MAX_NUMBER = 1 << 62  # numbers in JSON, step and trade numbers: below it, either side of zero
MAX_BUFFERS = 4096  # buffers of an Arrow message
MAX_SIDE_FILE = 1 << 24  # bytes of a marker or a lease
MAX_ROOT_FILE = 4096  # bytes of the file with a folder's root id

UNKNOWN_TIME = -(1 << 63)  # a market time or a trade's time that is unknown: numpy's NaT; unknown numbers are NaN
UNKNOWN_STEP = -1  # the entry step of a trade, where that is unknown


class EndReason(enum.StrEnum):
    """How a journal ended; written by its last batch."""

    TERMINATED = "terminated"  # the env's own end: a terminal state
    TIME_LIMIT = "time_limit"  # the env's own end: gymnasium's `truncated`
    SUPERSEDED = "superseded"  # reset() over a running episode
    RESET = "reset"  # the same, where a time limit outside of the recorder may have ended the episode
    CLOSED = "closed"  # close() over a running episode
    ERROR = "error"  # an exception left step()


class Trade(NamedTuple):
    """One closed trade. The step that closed it gives it its number, its exit step and its exit time.

    Args:
        direction: +1 for long, -1 for short.
        quantity: Units, positive. NaN stands for trades that the env did not tell.
        entry_step: The step that opened it; -1 if unknown.
        entry_time_us: Market time of the entry, in microseconds since 1970.
        entry_price: Price of the entry.
        exit_price: Price of the exit.
        pnl: Profit in the account's currency, net of ``costs``; gross if those are unknown.
        costs: Fees, slippage and borrow cost of both legs; NaN if unknown.
    """

    direction: int
    quantity: float
    entry_step: int = UNKNOWN_STEP
    entry_time_us: int = UNKNOWN_TIME
    entry_price: float = float("nan")
    exit_price: float = float("nan")
    pnl: float = float("nan")
    costs: float = float("nan")


# The columns of a step in the order of `JournalWriter.append`, after `step` and `wall_time`.
STEP_FLOATS = (
    "action",
    "reward",
    "portfolio_value",
    "price",
    "cash",
    "position",
    "fees",
    "unrealized_pnl",
)

# Extra columns that metrics read, where a journal has them.
FILL_PRICE = "fill_price"  # the price at which orders filled in the step; without it that is `price`
COSTS = "costs"  # all costs of the step; without it they are `fees`
EXIT_COSTS = "exit_costs"  # the costs of closing the position at `price`

# Columns of a block of steps, as `Journal.steps` and a fold see them: numpy type codes, so that no numpy is imported.
STEP_COLUMNS: dict[str, str] = {
    "step": "<i8",
    "wall_time": "<i8",
    "market_time": "<i8",
    **dict.fromkeys(STEP_FLOATS, "<f8"),
    "terminated": "?",
    "truncated": "?",
}

# What a fold sees of the trades that a block of steps closed, in order.
TRADE_COLUMNS: dict[str, str] = {
    "trade_number": "<i8",
    "direction": "<i1",
    "quantity": "<f8",
    "entry_step": "<i8",
    "entry_time": "<i8",
    "entry_price": "<f8",
    "exit_step": "<i8",
    "exit_time": "<i8",
    "exit_price": "<f8",
    "pnl": "<f8",
    "costs": "<f8",
}


class Fold(Protocol):
    """Running metrics of an episode. The journal stores their state in each checkpoint, as opaque bytes."""

    def fold(self, steps: Mapping[str, NDArray[Any]], trades: Mapping[str, NDArray[Any]]) -> None:
        """Take the next block of steps.

        Args:
            steps: Contiguous arrays by name: `STEP_COLUMNS` and the extra columns.
            trades: Contiguous arrays of the trades that these steps closed, by name: `TRADE_COLUMNS`.
        """

    def to_bytes(self) -> bytes:
        """Return the whole state. It must be small, since each batch stores it."""
        ...
