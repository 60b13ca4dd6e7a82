"""Convert the values of a step that `struct` refuses, or raise an error that names the column and the value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from journal.errors import JournalValueError
from journal.format.schema import MAX_TRADES_PER_STEP, STEP_FLOATS, UNKNOWN_STEP, Trade
from journal.format.values import NAN, real, time_us, truth, whole

_TRADE_FLOATS = ("quantity", "entry_price", "exit_price", "pnl", "costs")


def converted_step(arguments: Sequence[Any], extra_columns: tuple[str, ...]) -> tuple[Any, ...]:
    """Return the arguments of `JournalWriter.append` as plain numbers.

    None becomes unknown, a datetime becomes microseconds, and a number of any class becomes a float.

    Args:
        arguments: All positional arguments of `append`.
        extra_columns: The names of the journal's extra columns.

    Raises:
        JournalValueError: A value cannot be converted. It names the column and the value.
    """
    *numbers, time, terminated, truncated, trades, extra = arguments
    if len(trades) > MAX_TRADES_PER_STEP:
        raise JournalValueError("the number of trades of a step", len(trades), f"at most {MAX_TRADES_PER_STEP}")
    return (
        *(real(name, value) for name, value in zip(STEP_FLOATS, numbers, strict=True)),
        time_us("market_time", time),
        truth("terminated", terminated),
        truth("truncated", truncated),
        tuple(_trade(f"trades[{index}]", trade) for index, trade in enumerate(trades)),
        _extra(extra, extra_columns),
    )


def _extra(values: Any, names: tuple[str, ...]) -> tuple[float, ...]:
    if type(values) is tuple and not values:
        return (NAN,) * len(names)
    try:
        given = tuple(values)
    except TypeError:
        given = None
    if given is None or len(given) != len(names):
        raise JournalValueError("extra", values, f"{len(names)} numbers, one for each extra column")
    return tuple(real(name, value) for name, value in zip(names, given, strict=True))


def _trade(name: str, trade: Any) -> Trade:
    try:
        given = Trade(*trade)
    except TypeError as error:
        raise JournalValueError(name, trade, f"a Trade of {', '.join(Trade._fields)}") from error
    floats = {field: real(f"{name}.{field}", getattr(given, field)) for field in _TRADE_FLOATS}
    step = UNKNOWN_STEP if given.entry_step is None else whole(f"{name}.entry_step", given.entry_step)
    return Trade(
        direction=1 if real(f"{name}.direction", given.direction) > 0 else -1,
        entry_step=step,
        entry_time_us=time_us(f"{name}.entry_time_us", given.entry_time_us),
        **floats,
    )
