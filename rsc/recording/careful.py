"""Record a step with an invalid value: convert each value separately, and store only the invalid ones as unknown."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from journal import Trade
from journal.format.schema import UNKNOWN_TIME
from rsc.recording.figures import NAN, number
from rsc.recording.lots import UNKNOWN_TRADES, trades_told
from rsc.recording.reading import AccountReader

_COLUMNS = 6


class CarefulRow(NamedTuple):
    """A step for `JournalWriter.append`. ``account`` has the columns from value to market time."""

    reward: float
    account: tuple[Any, ...]
    terminated: bool
    truncated: bool
    trades: Sequence[Trade]
    extra: list[float]


def careful_row(source: Any, reader: AccountReader | None, result: Any, extra_count: int) -> CarefulRow:
    """Return a step with its valid values, and unknown for the rest. Never raises.

    ``extra_count`` is the number of columns that the account adds to the journal.
    """
    account: tuple[Any, ...] = (*[NAN] * _COLUMNS, UNKNOWN_TIME)
    trades, extra = [UNKNOWN_TRADES], [NAN] * extra_count
    try:
        _, reward, terminated, truncated, _ = result
        terminated, truncated = bool(terminated), bool(truncated)
    except Exception:  # then no value of this step was read
        return CarefulRow(NAN, account, False, False, trades, extra)
    if reader is not None:
        reader.clean()
    with contextlib.suppress(Exception):
        *numbers, time = source.journal_row
        account = (*map(_number_or_nan, numbers[:_COLUMNS]), _time_or_unknown(time))
    with contextlib.suppress(Exception):
        trades = trades_told(source.journal_trades)
    if extra_count:
        with contextlib.suppress(Exception):
            extra = [_number_or_nan(raw) for raw in source.journal_extra]
    return CarefulRow(_number_or_nan(reward), account, terminated, truncated, trades, extra)


def _number_or_nan(raw: Any) -> float:
    try:
        return number(raw)
    except Exception:
        return NAN


def _time_or_unknown(raw: Any) -> int:
    return raw if isinstance(raw, int) and -(1 << 63) <= raw < 1 << 63 else UNKNOWN_TIME
