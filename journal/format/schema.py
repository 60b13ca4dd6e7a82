"""The contract between writer and reader: record types, Arrow schema, metadata keys. Nothing else spells them.

`docs/journal-format.md` is the prose. Times are microseconds since the epoch, UTC, as int64.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT_VERSION = 1
STREAM_SUFFIX = ".arrows"
TAIL_SUFFIX = ".tail"
FAILED_SUFFIX = ".failed"
RUN_MARKER = "run"
RECOVERED_NOTE = "recovered"  # about.notes of a journal that `recover` made: what it had lost before
WRITERS_DIR = "writers"
NEW_SUFFIX = ".new"  # a file that has no final name yet
SPARE_SUFFIX = ".spare"  # an empty tail, kept for the next episode
MAX_EXTRA_COLUMNS = 1024
MAX_TAIL_BYTES = 1 << 26
LEASE_INTERVAL_S = 10.0


class EndReason(enum.StrEnum):
    """How a journal ended; written by its last batch."""

    TERMINATED = "terminated"  # the env's own end: a terminal state
    TIME_LIMIT = "time_limit"  # the env's own end: gymnasium's `truncated`
    SUPERSEDED = "superseded"  # reset() over a running episode
    CLOSED = "closed"  # close() over a running episode
    ERROR = "error"  # an exception left step()


class Trade(NamedTuple):
    """One closed trade, in the order in which a step closed it. Its number and its exit step and time are the step's.

    ``direction`` is +1 for long, -1 for short; ``quantity`` is positive; ``pnl`` is net of ``costs``,
    the fees, slippage and borrow cost of both legs, in the account's currency.
    """

    direction: int
    quantity: float
    entry_step: int
    entry_time_us: int
    entry_price: float
    exit_price: float
    pnl: float
    costs: float


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

# What `Journal.steps` and a fold see of a block of steps: one contiguous array per column.
STEP_COLUMNS: dict[str, np.dtype] = {
    "step": np.dtype("<i8"),
    "wall_time": np.dtype("<i8"),
    "market_time": np.dtype("<i8"),
    **{name: np.dtype("<f8") for name in STEP_FLOATS},
    "terminated": np.dtype("?"),
    "truncated": np.dtype("?"),
}

# What a fold sees of the trades that a block of steps closed, in order.
TRADE_COLUMNS: dict[str, np.dtype] = {
    "trade_number": np.dtype("<i8"),
    "direction": np.dtype("<i1"),
    "quantity": np.dtype("<f8"),
    "entry_step": np.dtype("<i8"),
    "entry_time": np.dtype("<i8"),
    "entry_price": np.dtype("<f8"),
    "exit_step": np.dtype("<i8"),
    "exit_time": np.dtype("<i8"),
    "exit_price": np.dtype("<f8"),
    "pnl": np.dtype("<f8"),
    "costs": np.dtype("<f8"),
}


class Fold(Protocol):
    """Running metrics of an episode. The journal stores their state in each checkpoint, as opaque bytes."""

    def fold(self, steps: Mapping[str, NDArray[Any]], trades: Mapping[str, NDArray[Any]]) -> None:
        """Take the next block: contiguous arrays named by STEP_COLUMNS, extra columns, and TRADE_COLUMNS."""

    def to_bytes(self) -> bytes:
        """Return the whole state; it must be small, since each batch carries it."""
        ...
