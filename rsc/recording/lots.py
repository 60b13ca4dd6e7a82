"""Compute the trades of an account: from its position (first in, first out), or from what the env tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

from journal import Trade
from journal.format.schema import UNKNOWN_STEP, UNKNOWN_TIME
from rsc.recording.figures import NAN, number, time_us

# A placeholder in a journal for trades that could not be read. From its step on, the episode's trades are unknown.
UNKNOWN_TRADES = Trade(1, NAN, UNKNOWN_STEP, UNKNOWN_TIME, NAN, NAN, NAN, NAN)

# Positions are sums of floats, so a remainder or a change below this is rounding noise.
_ROUNDING = 1e-9
_SIDES = {"long": 1, "buy": 1, "short": -1, "sell": -1}


class Lots:
    """The open lots of one asset. `move` closes them first in, first out, as the position changes.

    The costs of a step are assigned to the units that it traded, or to the held units if it did not trade. Unknown costs
    are NaN; the pnl of trades with unknown costs is gross.
    """

    def __init__(self, position: float, price: float, time_us: int, costs: float) -> None:
        """Create the lots of an account. ``position``, of either sign, was opened at ``price`` before the first step."""
        self.position = position
        self._lots: deque[_Lot] = deque()
        if position:
            self._lots.append(_Lot(position, price, 0, time_us, costs / abs(position)))

    def move(self, position: float, price: float, step: int, time_us: int, costs: float) -> list[Trade]:
        """Change the position, and return the closed trades. On the hot path."""
        change = position - self.position
        moved = abs(change)
        if moved <= _ROUNDING * (abs(position) + abs(self.position)):
            self.hold(costs)
            return []
        if abs(position) <= _ROUNDING * moved:
            position, change = 0.0, -self.position
        costs_each, lots, left = costs / moved, self._lots, change
        closed: list[Trade] = []
        while lots and lots[0].units * left < 0:
            lot = lots[0]
            units = lot.units if abs(lot.units) <= abs(left) else -left
            closed.append(lot.close(units, price, costs_each))
            left += units
            lot.units -= units
            if abs(lot.units) <= _ROUNDING * moved:
                lots.popleft()
        self.position = position
        if not position:
            lots.clear()
        elif abs(left) > _ROUNDING * moved:
            lots.append(_Lot(left, price, step, time_us, costs_each))
        return closed

    def hold(self, costs: float) -> None:
        """Divide the costs of a step without trading among the held units."""
        held = sum(abs(lot.units) for lot in self._lots)
        for lot in self._lots:
            lot.costs_each += costs / held


class _Lot:
    """Units of either sign that were opened together."""

    __slots__ = ("costs_each", "price", "step", "time_us", "units")

    def __init__(self, units: float, price: float, step: int, time_us: int, costs_each: float) -> None:
        self.units, self.price, self.step, self.time_us, self.costs_each = units, price, step, time_us, costs_each

    def close(self, units: float, price: float, costs_each: float) -> Trade:
        size = abs(units)
        costs = (self.costs_each + costs_each) * size
        pnl = units * (price - self.price)
        if costs == costs:
            pnl -= costs
        return Trade(1 if units > 0 else -1, size, self.step, self.time_us, self.price, price, pnl, costs)


def trades_told(raw: Any) -> list[Trade]:
    """Convert an env's trades: None, one trade, or several, each a `Trade` or a mapping.

    Raises:
        TypeError, ValueError, KeyError: A trade is invalid. The message names the missing or wrong value.
    """
    if raw is None:
        return []
    if isinstance(raw, Trade | Mapping):
        return [_trade_told(raw)]
    if isinstance(raw, str | bytes) or not isinstance(raw, Iterable):
        raise TypeError(f"expected trades, got {raw!r}")
    return [_trade_told(trade) for trade in raw]


def _trade_told(raw: Any) -> Trade:
    if isinstance(raw, Trade):
        return raw
    if not isinstance(raw, Mapping):
        raise TypeError(f"expected a Trade or a mapping, got {raw!r}")
    missing = [name for name in ("direction", "quantity", "entry_price", "exit_price") if name not in raw]
    if missing:
        raise ValueError(f"a trade without {', '.join(missing)}: {dict(raw)!r}")
    direction, quantity = _direction(raw["direction"]), number(raw["quantity"])
    entry, exit_ = number(raw["entry_price"]), number(raw["exit_price"])
    if not quantity > 0:
        raise ValueError(f"the quantity of a trade must be above 0, because direction gives the side; got {quantity}")
    costs = _optional(raw, "costs")
    if raw.get("pnl") is not None:
        pnl = number(raw["pnl"])
    else:
        pnl = direction * quantity * (exit_ - entry) - (costs if costs == costs else 0.0)
    step, time = raw.get("entry_step"), raw.get("entry_time")
    entry_step = UNKNOWN_STEP if step is None else int(number(step))
    return Trade(direction, quantity, entry_step, _time(time), entry, exit_, pnl, costs)


def _direction(raw: Any) -> int:
    side = _SIDES.get(raw.lower()) if isinstance(raw, str) else number(raw)
    if side not in (1, -1):
        raise ValueError(f"the direction of a trade is +1 ('long') or -1 ('short'), got {raw!r}")
    return int(side)


def _optional(raw: Mapping[str, Any], name: str) -> float:
    value = raw.get(name)
    return NAN if value is None else number(value)


def _time(raw: Any) -> int:
    return UNKNOWN_TIME if raw is None else time_us(raw)
