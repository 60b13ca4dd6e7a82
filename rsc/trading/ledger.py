"""Keep cash, position and lots. A fill changes the account and closes trades, first in, first out.

Prices are market prices. Fees, slippage and borrow cost are separate costs, so each trade has
``pnl = direction * quantity * (exit_price - entry_price) - costs`` exactly.

`Ledger` has the stop and the take-profit of a position; `exit_price` returns the price at which they close it.
docs/environment.md explains the rules.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

from journal.format.schema import Trade

# A smaller part of a position is rounding noise: it is not traded, and creates no trade.
DUST = 1e-12
_NO_TRADES: tuple[Trade, ...] = ()
_new = tuple.__new__  # takes half the time of Trade(...)


@dataclass(frozen=True)
class Terms:
    """Costs of trading and size of a full position, as fractions unless stated otherwise.

    ``borrow`` is the cost of one unit of short value for a calendar day, ``interest`` the income of one unit of cash in a
    day. ``stop_loss`` and ``take_profit`` are distances from the average entry price, None if there is none.
    ``fee_per_share`` and ``fee_minimum`` (of a fill) are amounts of money. ``margin`` is the maintenance margin: the
    least equity, as a fraction of the position's value.
    """

    fee: float = 0.0
    slippage: float = 0.0
    borrow: float = 0.0
    size: float = 1.0
    whole_shares: bool = False
    band: float = 0.0
    stop_loss: float | None = None
    take_profit: float | None = None
    fee_per_share: float = 0.0
    fee_minimum: float = 0.0
    interest: float = 0.0
    margin: float | None = None

    @functools.cached_property
    def cost_rate(self) -> float:
        """Return the immediate costs of a traded value: fee and slippage."""
        return self.fee + self.slippage

    @functools.cached_property
    def costs_more_than_fees(self) -> bool:
        """Return whether there can be costs other than fees."""
        return self.slippage > 0.0 or self.borrow > 0.0

    @property
    def plain_fees(self) -> bool:
        """Return whether a fee is always a fraction of the traded value."""
        return not self.fee_per_share and not self.fee_minimum

    def fee_of(self, size: float, value: float) -> float:
        """Return the fee of a fill."""
        return max(self.fee_minimum, value * self.fee + size * self.fee_per_share)

    def full_size(self, equity: float, price: float) -> float:
        """Return the quantity of a full position, which leaves enough equity to pay its own costs."""
        size = equity * self.size / price
        if not self.plain_fees:
            size = min(size, equity / (price * (1.0 + self.cost_rate) + self.fee_per_share))
            size = min(size, (equity - self.fee_minimum) / (price * (1.0 + self.slippage)))
        return max(size, 0.0)

    def levels(self, side: int) -> tuple[float, float]:
        """Return the factors from entry price to stop and take-profit. A missing level is never reached."""
        stop = math.inf if self.stop_loss is None else self.stop_loss
        take = math.inf if self.take_profit is None else self.take_profit
        return 1.0 - side * stop, 1.0 + side * take


# The open part of a fill: size, price, step, time in us, costs so far, carry index at entry.
Lot = tuple[float, float, int, int, float, float]


class Ledger:
    """One account in one asset.

    ``side`` is +1 long, -1 short, 0 flat; ``size`` the position's absolute quantity. ``stop`` and ``take`` are the
    prices at which the position is closed. ``average`` is the average price of its purchases (for a short, of its sales);
    reductions do not change it. ``fees`` accumulates until it is set to 0, and so does ``spent``, the sum of fees and
    slippage. ``owed`` is the borrow cost of the last bar. The env sets ``interest`` and ``liquidated``.

    The carry index of a bar is the sum of close * days to the next bar, over all bars before it. A lot that was short
    from bar a to bar b owes ``size * borrow * (carry[b] - carry[a])``, so borrow cost needs no work per lot and bar.

    Invariant: entry value, costs and carry are sums over the open lots, so `unrealized` needs no cash and no history.
    """

    __slots__ = (
        "_band",
        "_cost_rate",
        "_fee",
        "_levels",
        "_lots",
        "_plain",
        "_size_fraction",
        "_terms",
        "_whole",
        "average",
        "borrow",
        "carries",
        "cash",
        "costs",
        "entry_value",
        "fees",
        "interest",
        "liquidated",
        "owed",
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
        self.fees = self.spent = self.owed = self.interest = 0.0
        self.liquidated = False
        self.stop = self.take = self.average = 0.0
        self._lots: list[Lot] = []
        self.entry_value = self.costs = self.carries = 0.0
        self._terms = terms
        self._plain = terms.plain_fees
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
        """Return the costs of closing the position at this price; 0 without a position."""
        if not self.side:
            return 0.0
        value = self.size * price
        return value * self._cost_rate if self._plain else self._costs_of(self.size, value)[1]

    def accrue(self, days: float, night: float) -> float:
        """Pay borrow cost and add interest for the time since the previous bar. Return the interest.

        Args:
            days: Calendar days since the previous bar.
            night: The close of the previous bar, times ``days``.
        """
        short = self.size * night if self.side < 0 else 0.0
        earned = self._terms.interest * max(self.cash * days - short, 0.0)
        owed = self.borrow * short
        self.cash += earned - owed
        self.owed = owed
        return earned

    def short_of_margin(self, equity: float, worth: float) -> bool:
        """Return whether equity is below the maintenance margin of an open position of value ``worth``."""
        margin = self._terms.margin
        return margin is not None and self.side != 0 and equity < margin * worth

    def turn(self, side: int, price: float, step: int, time_us: int, carry: float) -> tuple[Trade, ...]:
        """Close the position, then open a full one on ``side`` (0: none). Return the closed trades.

        Inlined `close` and `open` for at most one lot: a function call is measurable here.
        """
        trades = _NO_TRADES
        cash = self.cash
        fees = self.fees
        held = self.side
        if not self._plain:
            return self._turn_by_parts(side, price, step, time_us, carry)
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
                self.average = price
                self.stop = price * down
                self.take = price * up
                return trades
        self.cash = cash
        self.fees = fees
        self.side = 0
        self.size = 0.0
        return trades

    def _turn_by_parts(self, side: int, price: float, step: int, time_us: int, carry: float) -> tuple[Trade, ...]:
        """Do `turn` for fees that are not only a fraction of the traded value."""
        trades = self.close(price, carry) if self.side else _NO_TRADES
        if side and self.cash > 0.0:
            size = self._terms.full_size(self.cash, price)
            if self._whole:
                size = float(math.floor(size))
            if size > 0.0:
                self.open(side, size, price, step, time_us, carry)
        return trades

    def open(self, side: int, size: float, price: float, step: int, time_us: int, carry: float) -> None:
        """Open a lot on the same side as the position."""
        value = size * price
        if self._plain:
            self.fees += value * self._fee
            costs = value * self._cost_rate
        else:
            fee, costs = self._costs_of(size, value)
            self.fees += fee
        self.cash -= side * value + costs
        self.spent += costs
        if self.side:
            held = self.size
            self.size = held + size
            price_paid = self.average = (self.average * held + value) / self.size
        else:
            self.size = size
            price_paid = self.average = price
            self.side = side
        self.entry_value += value
        self.costs += costs
        self.carries += size * carry
        self._lots.append((size, price, step, time_us, costs, carry))
        down, up = self._levels[side]
        self.stop = price_paid * down
        self.take = price_paid * up

    def close(self, price: float, carry: float) -> tuple[Trade, ...]:
        """Close every lot."""
        side = self.side
        value = self.size * price
        rate = self._cost_rate
        if self._plain:
            self.fees += value * self._fee
            costs = value * rate
        else:
            fee, costs = self._costs_of(self.size, value)
            self.fees += fee
            rate = costs / value
        self.cash += side * value - costs
        self.spent += costs
        self.side = 0
        self.size = self.entry_value = self.costs = self.carries = 0.0
        lots = self._lots
        self._lots = []
        if len(lots) == 1:
            return (self._closed(side, lots[0], price, carry, rate),)
        return tuple(self._closed(side, lot, price, carry, rate) for lot in lots)

    def _costs_of(self, size: float, value: float) -> tuple[float, float]:
        """Return fee and costs (fee and slippage) of a fill."""
        fee = self._terms.fee_of(size, value)
        return fee, fee + value * self._terms.slippage

    def aim(self, target: float, price: float, step: int, time_us: int, carry: float) -> tuple[Trade, ...]:
        """Trade to a signed exposure of ``target`` full positions, unless the change is at most the band.

        The band is a fraction of equity. A target of 0 always closes. Return the closed trades.
        """
        equity = self.cash + self.side * self.size * price
        held = self.side * self.size
        if equity <= 0.0 or -DUST < target < DUST:
            target = 0.0
        if target == 0.0:
            return self.close(price, carry) if self.side else _NO_TRADES
        plain, fraction = self._plain, self._size_fraction
        wanted = target * (fraction * equity / price if plain else self._terms.full_size(equity, price))
        if abs(wanted - held) * price <= self._band * equity:
            return _NO_TRADES
        trades = _NO_TRADES
        if wanted * held < 0.0:
            trades = self.close(price, carry)
            if self.cash <= 0.0:
                return trades
            full = fraction * self.cash / price if plain else self._terms.full_size(self.cash, price)
            wanted = target * full
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
        rate = self._cost_rate if self._plain else self._costs_of(size, size * price)[1] / (size * price)
        while size > dust and self._lots:
            lot = self._take_oldest(size, dust)
            part, entry_price, _, _, costs, entry_carry = lot
            size -= part
            closed += part
            self.entry_value -= part * entry_price
            self.costs -= costs
            self.carries -= part * entry_carry
            trades.append(self._closed(self.side, lot, price, carry, rate))
        value = closed * price
        costs = value * rate
        self.cash += self.side * value - costs
        self.fees += value * self._fee if self._plain else costs - value * self._terms.slippage
        self.spent += costs
        self.size -= closed
        return tuple(trades)

    def _take_oldest(self, size: float, dust: float) -> Lot:
        """Remove ``size`` of the oldest lot with its share of the costs."""
        held, price, step, time_us, costs, carry = self._lots[0]
        if held <= size + dust:
            return self._lots.pop(0)
        share = costs * (size / held)
        self._lots[0] = (held - size, price, step, time_us, costs - share, carry)
        return size, price, step, time_us, share, carry

    def _closed(self, side: int, lot: Lot, price: float, carry: float, rate: float) -> Trade:
        """Return the trade of a closed lot. ``rate`` is the exit's costs as a fraction of its value."""
        size, entry_price, entry_step, entry_time_us, costs, entry_carry = lot
        costs += size * price * rate
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
