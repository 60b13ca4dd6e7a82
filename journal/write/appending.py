"""`Appending`: how a writer appends a step. It is compiled where that is possible (`_appending.pyx`); else it is Python.

Both make the same slots and raise the same errors. `RSC_COMPILED=0` selects the one in Python.
"""

from __future__ import annotations

import errno
import importlib
import os
import struct
import time
import zlib
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from journal.format.header import About
from journal.format.schema import UNKNOWN_TIME, Trade
from journal.format.slots import CRC_BYTES, STEP, TRADE, SlotLayout, pack_crc
from journal.format.values import NAN
from journal.write.conversion import converted_step

NO_EXTRA: tuple[float, ...] = ()


class PythonAppending:
    """The state of the slots since the last seal, and the methods that append to them.

    Attributes:
        steps: Steps appended so far.
        trades: Trades appended so far.
    """

    # __slots__, because attribute access is measurable here, and a __dict__ of more than 30 keys is slow.
    __slots__ = ("_crc", "_filled", "_layout", "_limit", "_mask", "_pack", "_put", "_rows", "steps", "trades")

    steps: int
    trades: int
    about: About
    _crc: int  # of all slots since the last seal
    _filled: int  # slots since the last seal
    _layout: SlotLayout
    _limit: int  # slots between two seals
    _mask: int
    _pack: Callable[..., bytes]
    _put: Callable[[bytes], int]
    _rows: list[bytes]  # the writes since the last seal

    def _start(self, layout: SlotLayout, limit: int, mask: int, crc: int) -> None:
        """Set the state of a journal without steps.

        Args:
            layout: The layout of its slots.
            limit: Slots between two seals.
            mask: The number with which each stored CRC is XORed.
            crc: The value at which the running CRC starts.
        """
        self.steps = self.trades = self._filled = 0
        self._layout, self._limit, self._mask, self._crc = layout, limit, mask, crc
        self._pack = layout.pack
        self._rows = []

    def append(
        self,
        action: float | None = NAN,
        reward: float | None = NAN,
        portfolio_value: float | None = NAN,
        price: float | None = NAN,
        cash: float | None = NAN,
        position: float | None = NAN,
        fees: float | None = NAN,
        unrealized_pnl: float | None = NAN,
        market_time: datetime | int | None = UNKNOWN_TIME,
        terminated: bool = False,
        truncated: bool = False,
        trades: Sequence[Trade] = (),
        extra: Sequence[float] = (),
    ) -> None:
        """Append one step. Its number is that of the previous step plus one. Omitted arguments and None mean unknown.

        Args:
            action: The action as one number.
            reward: The reward.
            portfolio_value: Value of the account after the step.
            price: Price that marks the value.
            cash: Cash of the account.
            position: Signed units held.
            fees: Fees paid in this step.
            unrealized_pnl: Profit of the open position.
            market_time: Market time of the step: a datetime with a time zone, or microseconds since 1970.
            terminated: Whether the env reached a terminal state.
            truncated: Whether the env ended the episode otherwise.
            trades: The trades that this step closed.
            extra: A number for each extra column; all unknown if left out.

        Raises:
            JournalValueError: A value is not a number or a time; the error names the column and the value.
            JournalWriteError: The write failed, and ``on_error`` is "raise".
            ValueError: The writer is closed, or belongs to the parent process.
        """
        # The hot path. Inlined: a function call is measurable here.
        closed = len(trades)
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        step = self.steps + 1
        # Invariant J1: nothing of this object changes before the slot is in the page cache. A signal can raise only where
        # Python calls something. Behind the `try` that is the last line, so a step is counted if and only if it is written.
        try:
            if extra is not NO_EXTRA:
                body = self._pack(
                    time.time_ns(), market_time, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, *extra, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            else:
                body = self._pack(
                    time.time_ns(), market_time, action, reward, portfolio_value, price, cash, position, fees,
                    unrealized_pnl, step, STEP, terminated | truncated << 1, closed,
                )  # fmt: skip
            if closed:
                data, crc = self._with_trades(trades, body, market_time)
            else:
                crc = crc32c(body, self._crc)
                data = body + pack_crc(crc ^ self._mask)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except (struct.error, TypeError, OverflowError):
            step_values = (action, reward, portfolio_value, price, cash, position, fees, unrealized_pnl, market_time)
            arguments = (*step_values, terminated, truncated, trades, extra)
            return self.append(*converted_step(arguments, self.about.extra_columns))
        except BaseException:
            self._take_back()
            raise
        self._crc = crc
        self.steps = step
        self.trades += closed
        self._filled += 1 + closed
        self._rows.append(data)

    def _append_packed(self, packed: bytes, start: int, trades: Sequence[Trade], market_time: int) -> None:
        """Append a step whose slot was packed before, without its CRC.

        Args:
            packed: Packed slots.
            start: Where in them the step's slot starts.
            trades: The trades that the step closed.
            market_time: Market time of the step in microseconds, for its trades.
        """
        closed = len(trades)
        if self._filled + closed >= self._limit:
            self._make_room(closed)
        body = packed[start : start + self._layout.size - CRC_BYTES]
        try:
            if closed:
                data, crc = self._with_trades(trades, body, market_time)
            else:
                crc = crc32c(body, self._crc)
                data = body + pack_crc(crc ^ self._mask)
            if self._put(data) != len(data):
                raise OSError(errno.ENOSPC, "short write to the tail")
        except OSError as error:
            self._fail(error)
        except BaseException:
            self._take_back()
            raise
        self._crc = crc
        self.steps += 1
        self.trades += closed
        self._filled += 1 + closed
        self._rows.append(data)

    def _with_trades(self, trades: Sequence[Trade], body: bytes, market_time: Any) -> tuple[bytes, int]:
        """Return the slots of a step that closed trades, in one piece, and the running CRC after them. On the hot path."""
        crc, number, mask, pack_trade = self._crc, self.trades, self._mask, self._layout.pack_trade
        several: list[bytes] | None = [] if len(trades) > 1 else None
        data = b""
        try:
            for direction, quantity, entry_step, entry_time_us, entry_price, exit_price, pnl, costs in trades:
                number += 1
                slot = pack_trade(
                    entry_time_us, entry_step, quantity, entry_price, exit_price, pnl, costs, number, market_time,
                    self.steps + 1, TRADE, direction > 0, 0,
                )  # fmt: skip
                crc = crc32c(slot, crc)
                data = slot + pack_crc(crc ^ mask)
                if several is not None:
                    several.append(data)
        except (ValueError, OSError) as error:  # an OSError would mean that the write failed
            raise TypeError("a trade has other fields") from error
        if several is not None:
            data = b"".join(several)
        if number - self.trades != len(trades):
            raise TypeError("the trades are not as many as their length says")
        crc = crc32c(body, crc)
        return data + body + pack_crc(crc ^ mask), crc

    def _make_room(self, trades: int) -> None:
        """Seal if a step that closed so many trades does not fit."""
        raise NotImplementedError

    def _fail(self, error: OSError) -> None:
        """End journaling after a failed write."""
        raise NotImplementedError

    def _take_back(self) -> None:
        """Blank a slot whose step is not counted."""
        raise NotImplementedError


def _compiled() -> Any:
    """Return the compiled class. Raise ImportError if there is none, or if it was compiled from another source."""
    module = importlib.import_module("journal.write._appending")
    try:
        source = Path(__file__).with_name("_appending.pyx").read_bytes()
    except OSError:  # only an editable installation has it
        return module.Appending
    if zlib.crc32(source) != getattr(module, "SOURCE", None):  # it was pulled since; the first modules had no SOURCE
        raise ImportError(OUTDATED)
    return module.Appending


OUTDATED = "the compiled code is of another version than its source"
WHY_PYTHON = ""
"""Why steps are not appended by compiled code; empty if they are, or if `RSC_COMPILED` is 0."""

if TYPE_CHECKING or os.environ.get("RSC_COMPILED") == "0":
    Appending = PythonAppending
else:
    try:
        Appending = _compiled()
    except ImportError as error:  # no C compiler when it was installed, another CPU, or another source
        Appending, WHY_PYTHON = PythonAppending, str(error)
    else:
        Appending.append.__doc__ = PythonAppending.append.__doc__

COMPILED = Appending is not PythonAppending
"""Whether steps are appended by compiled code."""
