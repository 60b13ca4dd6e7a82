"""Play many accounts at once: the rules of rsc.trading.env and rsc.trading.ledger, with arrays.

Each expression repeats the single env's operations in the same order, so each account has the same bits. Sides are
factors of +-1, and costs that do not apply are terms of 0, so neither causes rounding. Adding 0.0 turns -0.0 into 0.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from journal.format.schema import Trade
from rsc.trading.game import Game, exposure_of
from rsc.trading.ledger import Ledger, exit_price, reached

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Trades = dict[int, tuple[Trade, ...]]

# Rows of the array of bars for `play`, which has one column for each account.
OPEN, HIGH, LOW, CLOSE, CARRY, NIGHT, DAYS = range(7)


class Accounts(Protocol):
    """n accounts. After `play`, arrays of shape (n,) hold the result of the step, until the next one."""

    bar_rows: int
    """The number of rows of bars that `play` needs."""

    @property
    def cash(self) -> Floats: ...

    position: Floats
    worth: Floats
    unrealized: Floats
    fees: Floats
    spent: Floats
    """All costs, used if `Terms.costs_more_than_fees`."""

    @property
    def exit_costs(self) -> Floats:
        """Return the costs of closing each position at the close."""
        ...

    @property
    def traded(self) -> Flags:
        """Return which accounts traded in the last step."""
        ...

    def targets(self, actions: Any) -> Floats:
        """Return sides or target exposures, shape (n,), for a batch of actions. Raises ValueError for an invalid one."""
        ...

    def reset(self, lanes: Integers) -> None:
        """Reset these accounts to their capital, without a position."""
        ...

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        """Play one bar per account, shape (bar_rows, n). ``steps`` count from 1.

        Idle accounts, which were just reset, do not play.
        """
        ...

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        """Return the trades of the last step by account. ``starts`` are the bars at which the episodes started."""
        ...


# Rows of the array of lots, which has one column for each account: the fields of the `Ledger`'s only lot.
_SIDE, _SIZE, _VALUE, _COSTS, _CASH, _ENTRY, _CARRIED, _STEP, _LOWER, _UPPER = range(10)
_ROWS = 10
_EMPTIED = slice(_SIDE, _COSTS + 1)


class _Closing(NamedTuple):
    """Accounts whose lots were closed, with these lots and their exit prices."""

    lanes: Integers
    lots: Floats
    price: Floats
    carry: Floats


class DiscreteAccounts:
    """Accounts that are flat, long or short, with at most one lot each."""

    def __init__(self, game: Game, n: int) -> None:
        terms, config = game.terms, game.config
        self._capital = float(config.capital)
        self._terms = terms
        # Constants as arrays: an operation with a Python number takes twice as long.
        self._fee, self._cost_rate, self._fraction = (
            np.full(n, each) for each in (terms.fee, terms.cost_rate, terms.size)
        )
        self._at_open = config.fill == "open"
        self._has_stops = config.stop_loss is not None or config.take_profit is not None
        (long_stop, long_take), (short_stop, short_take) = terms.levels(1), terms.levels(-1)
        self._sides = _by_action(0.0, 1.0, -1.0)
        self._lower = _by_action(0.0, long_stop, short_take)
        self._upper = _by_action(0.0, long_take, short_stop)
        self._lots, self._spare = np.zeros((_ROWS, n)), np.zeros((_ROWS, n))
        self.position, self.worth, self.unrealized, self.fees, self.spent = (np.zeros(n) for _ in range(5))
        self._value, self._paid, self._rate = np.zeros(n), np.zeros(n), np.zeros(n)
        self.bar_rows = 1 + (NIGHT if terms.borrow else CARRY)
        self._wants = np.zeros(n, np.bool_)
        self._actions: Any = None
        self._turned: tuple[Floats, Floats] | None = None
        self._stopped: _Closing | None = None

    @property
    def cash(self) -> Floats:
        cash: Floats = self._lots[_CASH]
        return cash

    @property
    def exit_costs(self) -> Floats:
        costs: Floats = np.abs(self.worth) * self._cost_rate
        return costs

    @property
    def traded(self) -> Flags:
        old, new = self._spare, self._lots
        traded: Flags = self._wants & (new[_SIDE] != old[_SIDE])
        if self._stopped is not None:
            traded[self._stopped.lanes] = True
        return traded

    def targets(self, actions: Any) -> Floats:
        sides = _sides_of(actions, self._sides)
        self._actions = actions
        return sides

    def reset(self, lanes: Integers) -> None:
        self._lots[:, lanes] = 0.0
        self._lots[_CASH, lanes] = self._capital

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        if idle is not None:
            targets[idle] = 0.0
        if self._terms.borrow:
            self._pay_borrow(bars[NIGHT])
        if self._at_open:
            self._turn(targets, bars[OPEN], bars[CARRY], steps)
        stopped = self._stopped = self._stop(bars) if self._has_stops else None
        if not self._at_open:
            if stopped is not None:  # a position that a stop closed is not reopened in the same bar
                targets[stopped.lanes] = 0.0
            self._turn(targets, bars[CLOSE], bars[CARRY], steps)
        if stopped is not None:
            value = stopped.lots[_SIZE] * stopped.price
            self.fees[stopped.lanes] += value * self._terms.fee
            self.spent[stopped.lanes] += value * self._terms.cost_rate
        if self._terms.borrow:
            self.spent += self._paid
        self._mark(bars[CLOSE], bars[CARRY])

    def _pay_borrow(self, night: Floats) -> None:
        """Charge the positions that were short at the last close: see `Ledger.accrue`."""
        lots = self._lots
        cash = lots[_CASH]
        owed = np.multiply(lots[_SIZE], night, out=self._paid)
        owed *= self._rate
        cash -= owed

    def _turn(self, targets: Floats, price: Floats, carry: Floats, steps: Integers) -> None:
        """Do `Ledger.turn` for the accounts whose side changes. Their previous lots stay readable in the spare arrays."""
        old, new = self._lots, self._spare
        held, had, _, _, cash, _, _, _, _, _ = old
        side, size, value, costs, money, entry, carried, step, lower, upper = new
        wants = np.not_equal(targets, held, out=self._wants)

        left, fees = np.multiply(had, price, out=self._value), self.fees
        np.multiply(held, left, out=money)
        np.multiply(left, self._cost_rate, out=costs)
        money -= costs
        money += cash
        np.multiply(left, self._fee, out=fees)
        tells_costs = self._terms.costs_more_than_fees
        if tells_costs:
            np.copyto(self.spent, costs)

        np.multiply(money, self._fraction, out=size)
        size /= price
        if self._terms.whole_shares:
            np.floor(size, out=size)
        np.maximum(size, 0.0, out=size)  # before the factor, so that it does not become -0.0
        size *= targets * targets
        np.copyto(side, np.where(size > 0.0, targets, 0.0))
        np.multiply(size, price, out=value)
        np.multiply(value, self._cost_rate, out=costs)
        np.multiply(side, value, out=left)
        money -= left
        money -= costs
        np.multiply(value, self._fee, out=left)
        fees += left
        fees *= wants
        if tells_costs:
            self.spent += costs
            self.spent *= wants

        np.copyto(entry, price)
        np.copyto(carried, carry)
        np.copyto(step, steps)
        if self._has_stops:
            np.multiply(price, self._lower.take(self._actions), out=lower)
            np.multiply(price, self._upper.take(self._actions), out=upper)
        np.copyto(new, old, where=~wants)
        self._lots, self._spare = new, old
        self._turned = (price, carry)

    def _stop(self, bars: Floats) -> _Closing | None:
        """Close positions that reached stop or take-profit, at `rsc.trading.ledger.exit_price`."""
        lots = self._lots
        hit = bars[LOW] <= lots[_LOWER]
        hit |= bars[HIGH] >= lots[_UPPER]
        hit &= lots[_SIZE] > 0.0
        lanes = hit.nonzero()[0]
        if not len(lanes):
            return None
        gone = lots.take(lanes, axis=1)
        opened, high, low, _, carry = bars[:NIGHT].take(lanes, axis=1)
        price = _exit_prices(gone, opened, high, low)
        value = gone[_SIZE] * price
        lots[_CASH][lanes] = gone[_CASH] + (gone[_SIDE] * value - value * self._terms.cost_rate)
        lots[_EMPTIED, lanes] = 0.0
        return _Closing(lanes, gone, price, carry)

    def _mark(self, close: Floats, carry: Floats) -> None:
        side, size, value, costs, _, _, carried, _, _, _ = self._lots
        worth = np.multiply(size, close, out=self.worth)
        unrealized = np.subtract(worth, value, out=self.unrealized)
        unrealized *= side
        unrealized -= costs
        if self._terms.borrow:
            rate = np.multiply(side < 0.0, self._terms.borrow, out=self._rate)
            owed = size * carry
            owed -= size * carried
            owed *= rate
            unrealized -= owed
        unrealized += 0.0
        worth *= side
        np.multiply(side, size, out=self.position)

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        assert self._turned is not None, "Invariant: only a step closes trades"
        lanes = (self._wants & (self._spare[_SIDE] != 0.0)).nonzero()[0]
        price, carry = self._turned
        turned = _Closing(lanes, self._spare.take(lanes, axis=1), price[lanes], carry[lanes])
        closed = zip(self._closed(turned, times_us, starts), strict=True)  # one trade each, in a tuple
        found: Trades = dict(zip(lanes.tolist(), closed, strict=True))
        if self._stopped is not None:
            stopped = self._closed(self._stopped, times_us, starts)
            for lane, trade in zip(self._stopped.lanes.tolist(), stopped, strict=True):
                found[lane] = (*found.get(lane, ()), trade)
        return found

    def _closed(self, closing: _Closing, times_us: Integers, starts: Integers) -> Iterator[Trade]:
        """Yield the trades of the closed lots, as `Ledger.turn` returns them."""
        side, size, _, entry_costs, _, entry, carried, step, _, _ = closing.lots
        price, steps = closing.price, step.astype(np.int64)
        costs = entry_costs + size * price * self._terms.cost_rate
        costs += self._terms.borrow * (size * (closing.carry - carried)) * (side < 0.0)
        pnl = side * (size * (price - entry)) - costs + 0.0
        entry_times = times_us[starts[closing.lanes] + steps]
        columns = (side.astype(np.int64), size, steps, entry_times, entry, price, pnl, costs)
        return map(tuple.__new__, repeat(Trade), zip(*(column.tolist() for column in columns), strict=True))


def _by_action(flat: float, long: float, short: float) -> Floats:
    """Return a table of actions; NaN marks invalid ones, negative indices included (see rsc.trading.env)."""
    return np.array([flat, long, short, *[np.nan] * 61])


def _sides_of(actions: Any, table: Floats) -> Floats:
    """Return the sides that a batch of discrete actions names. Raises ValueError for an invalid one."""
    try:
        sides: Floats = table.take(actions)
    except (IndexError, TypeError):
        sides = np.full(1, np.nan)
    total = np.add.reduce(sides)
    if total != total:
        raise ValueError(f"expected actions of 0 (flat), 1 (long) or 2 (short), got {np.asarray(actions).tolist()}")
    return sides


def _exit_prices(lots: Floats, opened: Floats, high: Floats, low: Floats) -> Floats:
    lower, upper = lots[_LOWER], lots[_UPPER]
    at_lower = np.where(lots[_SIDE] > 0.0, low <= lower, high < upper)
    within = (opened > lower) & (opened < upper)
    return np.asarray(np.where(within, np.where(at_lower, lower, upper), opened))


class LedgerAccounts:
    """Accounts with any number of lots and any terms: one `Ledger` each, played in a loop."""

    def __init__(self, game: Game, n: int) -> None:
        self._game = game
        self._at_open = game.config.fill == "open"
        self._has_stops = game.config.stop_loss is not None or game.config.take_profit is not None
        self._discrete = game.config.actions == "discrete"
        self.bar_rows = 1 + DAYS
        self.interest, self.liquidated = np.zeros(n), np.zeros(n)
        self._sides = _by_action(0.0, 1.0, -1.0)
        self._ledgers = [Ledger(game.config.capital, game.terms) for _ in range(n)]
        self.cash, self.position, self.worth, self.unrealized, self.fees, self.spent = (np.zeros(n) for _ in range(6))
        self._exit_costs = np.zeros(n)
        self._traded = np.zeros(n, np.bool_)
        self._trades: Trades = {}

    @property
    def traded(self) -> Flags:
        return self._traded

    @property
    def exit_costs(self) -> Floats:
        return self._exit_costs

    def targets(self, actions: Any) -> Floats:
        if self._discrete:
            return _sides_of(actions, self._sides)
        return np.array([exposure_of(action) for action in actions])

    def reset(self, lanes: Integers) -> None:
        for lane in lanes.tolist():
            self._ledgers[lane] = Ledger(self._game.config.capital, self._game.terms)

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        self._trades = {}
        self._traded.fill(False)
        for lane, (target, bar, step) in enumerate(zip(targets.tolist(), bars.T.tolist(), steps.tolist(), strict=True)):
            ledger = self._ledgers[lane]
            ledger.fees = ledger.spent = ledger.owed = 0.0
            if idle is None or not idle[lane]:
                before = ledger.side * ledger.size
                trades = self._orders(lane, ledger, target, bar, step)
                if trades:
                    self._trades[lane] = trades
                self._traded[lane] = bool(trades) or ledger.side * ledger.size != before
            self._mark(lane, ledger, bar[CLOSE], bar[CARRY])

    def _orders(self, lane: int, ledger: Ledger, target: float, bar: list[float], step: int) -> tuple[Trade, ...]:
        """Play the order and the stops of one account and bar. `trades` fills in the entry times."""
        opened, high, low, close, carry, night, days = bar
        called = ledger.short_of_margin(self.cash[lane] + self.worth[lane], abs(self.worth[lane]))
        self.interest[lane] = ledger.accrue(days, night)
        self.liquidated[lane] = called
        if called:
            return ledger.close(opened, carry)
        wants = not self._discrete or target != ledger.side
        trades = self._order(ledger, target, opened, step, carry) if wants and self._at_open else ()
        side, stop, take = ledger.side, ledger.stop, ledger.take
        if side and self._has_stops and reached(side, stop, take, high, low):
            return trades + ledger.close(exit_price(side, stop, take, opened, high, low), carry)
        return trades if self._at_open or not wants else self._order(ledger, target, close, step, carry)

    def _order(self, ledger: Ledger, target: float, price: float, step: int, carry: float) -> tuple[Trade, ...]:
        if self._discrete:
            return ledger.turn(int(target), price, step, 0, carry)
        return ledger.aim(target, price, step, 0, carry)

    def _mark(self, lane: int, ledger: Ledger, close: float, carry: float) -> None:
        self.cash[lane] = ledger.cash
        self.position[lane] = ledger.side * ledger.size
        self.worth[lane] = ledger.side * (ledger.size * close)
        self.unrealized[lane] = ledger.unrealized(close, carry) if ledger.side else 0.0
        self._exit_costs[lane] = ledger.exit_costs(close)
        self.fees[lane] = ledger.fees
        self.spent[lane] = ledger.spent + ledger.owed

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        return {
            lane: tuple(
                trade._replace(entry_time_us=int(times_us[starts[lane] + trade.entry_step])) for trade in trades
            )
            for lane, trades in self._trades.items()
        }


def accounts_of(game: Game, n: int) -> Accounts:
    """Return n accounts: arrays if the terms are simple enough, otherwise ledgers."""
    terms = game.terms
    simple = terms.plain_fees and not terms.interest and terms.margin is None
    return DiscreteAccounts(game, n) if simple and game.config.actions == "discrete" else LedgerAccounts(game, n)
