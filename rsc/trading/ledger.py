"""Keep cash, position and lots. A fill changes the account and closes trades, first in, first out.

Prices are market prices. Fees, slippage and borrow cost are separate costs, so each trade has
``pnl = direction * quantity * (exit_price - entry_price) - costs`` exactly.

The stop and the take-profit of a position are in `Ledger`; `exit_price` tells at which price they close it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from journal.format.schema import Trade

# A smaller part of a position is rounding noise: it is not traded, and makes no trade.
DUST = 1e-12
_NO_TRADES: tuple[Trade, ...] = ()
_new = tuple.__new__  # takes half the time of Trade(...)


@dataclass(frozen=True)
class Terms:
    """Costs of trading and size of a full position; all are fractions.

    ``borrow`` is a bar's cost of one unit of short value. ``stop_loss`` and ``take_profit`` are distances from the
    average entry price, None if there is none.
    """

    fee: float = 0.0
    slippage: float = 0.0
    borrow: float = 0.0
    size: float = 1.0
    whole_shares: bool = False
    band: float = 0.0
    stop_loss: float | None = None
    take_profit: float | None = None

    @functools.cached_property
    def cost_rate(self) -> float:
        """Return the immediate costs of a traded value: fee and slippage."""
        return self.fee + self.slippage

    @functools.cached_property
    def costs_more_than_fees(self) -> bool:
        """Return whether there can be costs that are no fees."""
        return self.slippage > 0.0 or self.borrow > 0.0

    def levels(self, side: int) -> tuple[float, float]:
        """Return the factors from entry price to stop and take-profit. A missing level is never reached."""
        stop = math.inf if self.stop_loss is None else self.stop_loss
        take = math.inf if self.take_profit is None else self.take_profit
        return 1.0 - side * stop, 1.0 + side * take


# The open part of one fill: size, price, step, time in us, costs so far, carry index at entry.
Lot = tuple[float, float, int, int, float, float]


class Ledger:
    """One account in one asset.

    ``side`` is +1 long, -1 short, 0 flat; ``size`` the position's absolute quantity. ``stop`` and ``take`` are the
    prices at which the position is to be closed. ``fees`` accumulates until it is set to 0, and so does ``spent``: all
    costs, which are fees, slippage and borrow cost.

    The carry index is the running sum of closing prices over the bars of the market: a lot that was short over the
    closes of bars a to b owes ``size * borrow * (carry[b] - carry[a - 1])``. So borrow cost needs no work per lot and bar.

    Invariant: entry value, costs and carry are sums over the open lots, so `unrealized` needs no cash and no history.
    """

    __slots__ = (
        "_band",
        "_cost_rate",
        "_fee",
        "_levels",
        "_lots",
        "_size_fraction",
        "_whole",
        "borrow",
        "carries",
        "cash",
        "costs",
        "entry_value",
        "fees",
        "side",
        "size",
        "spent",
        "stop",
        "take",
    )

    def __init__(self, cash: float, terms: Terms) -> None:
        self.cash = cash
        self.side = 0
        self.size = 0.0
        self.fees = self.spent = 0.0
        self.stop = self.take = 0.0
        self._lots: list[Lot] = []
        self.entry_value = self.costs = self.carries = 0.0
        self._fee = terms.fee
        self._cost_rate = terms.cost_rate
        self.borrow = terms.borrow
        self._size_fraction = terms.size
        self._whole = terms.whole_shares
        self._band = max(terms.band, DUST)
        self._levels = {side: terms.levels(side) for side in (1, -1)}

    @property
    def lots(self) -> tuple[Lot, ...]:
        """Return the open lots, oldest first."""
        return tuple(self._lots)

    def equity(self, price: float) -> float:
        """Return the account's value at this price, before the exit costs of open lots."""
        return self.cash + self.side * self.size * price

    def unrealized(self, price: float, carry: float) -> float:
        """Return the pnl of the open lots at this price, net of their costs so far, computed from the lots alone."""
        if self.side > 0:
            return self.size * price - self.entry_value - self.costs
        return self.entry_value - self.size * price - self.costs - self.borrow * (self.size * carry - self.carries)

    def exit_costs(self, price: float) -> float:
        """Return what closing the position at this price would cost."""
        return self.size * price * self._cost_rate

    def charge_borrow(self, close: float) -> None:
        """Pay the borrow cost of a short position held over this close."""
        owed = self.borrow * (self.size * close)
        self.cash -= owed
        self.spent += owed

    def turn(self, side: int, price: float, step: int, time_us: int, carry: float) -> tuple[Trade, ...]:
        """Close what is open, then open a full position on ``side`` (0: none). Return the trades closed.

        Inlined `close` and `open` for at most one lot: a function call is measurable here.
        """
        trades = _NO_TRADES
        cash = self.cash
        fees = self.fees
        held = self.side
        if held:
            if len(self._lots) > 1:
                trades = self.close(price, carry)
                cash = self.cash
                fees = self.fees
            else:
                size, entry_price, entry_step, entry_time_us, costs, entry_carry = self._lots[0]
                value = size * price
                exit_costs = value * self._cost_rate
                costs += exit_costs
                self.spent += exit_costs
                fees += value * self._fee
                if held > 0:
                    cash += value - exit_costs
                    pnl = size * (price - entry_price) - costs
                else:
                    cash -= value + exit_costs
                    costs += self.borrow * (size * (carry - entry_carry))
                    pnl = size * (entry_price - price) - costs
                trades = (_new(Trade, (held, size, entry_step, entry_time_us, entry_price, price, pnl, costs)),)
                self._lots = []
        if side and cash > 0.0:
            size = cash * self._size_fraction / price
            if self._whole:
                size = float(math.floor(size))
            if size > 0.0:
                value = size * price
                costs = value * self._cost_rate
                self.cash = cash - value - costs if side > 0 else cash + value - costs
                self.fees = fees + value * self._fee
                self.spent += costs
                self.side = side
                self.size = size
                self.entry_value = value
                self.costs = costs
                self.carries = size * carry
                self._lots = [(size, price, step, time_us, costs, carry)]
                down, up = self._levels[side]
                self.stop = price * down
                self.take = price * up
                return trades
        self.cash = cash
        self.fees = fees
        self.side = 0
        self.size = 0.0
        return trades

    def open(self, side: int, size: float, price: float, step: int, time_us: int, carry: float) -> None:
        """Open a lot on the same side as the position."""
        value = size * price
        costs = value * self._cost_rate
        self.cash -= side * value + costs
        self.fees += value * self._fee
        self.spent += costs
        self.side = side
        self.size += size
        self.entry_value += value
        self.costs += costs
        self.carries += size * carry
        self._lots.append((size, price, step, time_us, costs, carry))
        entry = self.entry_value / self.size
        down, up = self._levels[side]
        self.stop = entry * down
        self.take = entry * up

    def close(self, price: float, carry: float) -> tuple[Trade, ...]:
        """Close every lot."""
        side = self.side
        value = self.size * price
        costs = value * self._cost_rate
        self.cash += side * value - costs
        self.fees += value * self._fee
        self.spent += costs
        self.side = 0
        self.size = self.entry_value = self.costs = self.carries = 0.0
        lots = self._lots
        self._lots = []
        if len(lots) == 1:
            return (self._closed(side, lots[0], price, carry),)
        return tuple(self._closed(side, lot, price, carry) for lot in lots)

    def aim(self, target: float, price: float, step: int, time_us: int, carry: float) -> tuple[Trade, ...]:
        """Trade to a signed exposure of ``target`` full positions, unless the change is at most the band.

        A target of 0 always closes. Return the trades closed.
        """
        equity = self.cash + self.side * self.size * price
        held = self.side * self.size
        if equity <= 0.0 or -DUST < target < DUST:
            target = 0.0
        if target == 0.0:
            return self.close(price, carry) if self.side else _NO_TRADES
        wanted = target * self._size_fraction * equity / price
        if abs(wanted - held) * price <= self._band * equity:
            return _NO_TRADES
        trades = _NO_TRADES
        if wanted * held < 0.0:
            trades = self.close(price, carry)
            wanted = target * self._size_fraction * self.cash / price
        if self._whole:
            wanted = float(math.trunc(wanted))
        more = abs(wanted) - self.size
        if more > 0.0:
            self.open(1 if wanted > 0.0 else -1, more, price, step, time_us, carry)
        elif more < 0.0:
            trades = self.reduce(-more, price, carry)
        return trades

    def reduce(self, size: float, price: float, carry: float) -> tuple[Trade, ...]:
        """Close this much of the position, oldest lots first. Close a whole lot if only rounding would remain."""
        dust = self.size * DUST
        if size >= self.size - dust:
            return self.close(price, carry)
        closed = 0.0
        trades = []
        while size > dust and self._lots:
            lot = self._take_oldest(size, dust)
            part, entry_price, _, _, costs, entry_carry = lot
            size -= part
            closed += part
            self.entry_value -= part * entry_price
            self.costs -= costs
            self.carries -= part * entry_carry
            trades.append(self._closed(self.side, lot, price, carry))
        value = closed * price
        costs = value * self._cost_rate
        self.cash += self.side * value - costs
        self.fees += value * self._fee
        self.spent += costs
        self.size -= closed
        entry = self.entry_value / self.size
        down, up = self._levels[self.side]
        self.stop = entry * down
        self.take = entry * up
        return tuple(trades)

    def _take_oldest(self, size: float, dust: float) -> Lot:
        """Remove ``size`` of the oldest lot with its share of the costs."""
        held, price, step, time_us, costs, carry = self._lots[0]
        if held <= size + dust:
            return self._lots.pop(0)
        share = costs * (size / held)
        self._lots[0] = (held - size, price, step, time_us, costs - share, carry)
        return size, price, step, time_us, share, carry

    def _closed(self, side: int, lot: Lot, price: float, carry: float) -> Trade:
        size, entry_price, entry_step, entry_time_us, costs, entry_carry = lot
        costs += size * price * self._cost_rate
        if side > 0:
            pnl = size * (price - entry_price) - costs
        else:
            costs += self.borrow * (size * (carry - entry_carry))
            pnl = size * (entry_price - price) - costs
        return _new(Trade, (side, size, entry_step, entry_time_us, entry_price, price, pnl, costs))


def reached(side: int, stop: float, take: float, high: float, low: float) -> bool:
    """Return True if a bar's range reaches the stop or the take-profit. `TradingEnv.step` has the same test inlined."""
    return low <= stop or high >= take if side > 0 else high >= stop or low <= take


def exit_price(side: int, stop: float, take: float, opened: float, high: float, low: float) -> float:
    """Return the price at which a bar that reached a level closes the position: the level, or the open beyond it.

    The open is checked first. If the bar's range reaches both levels, the stop counts as reached first.
    """
    if side > 0:
        return opened if opened >= take or opened <= stop else stop if low <= stop else take
    return opened if opened <= take or opened >= stop else stop if high >= stop else take
