"""Many accounts side by side, as rsc.vector_env plays them: the rules of rsc.env and rsc.ledger, over arrays.

Each expression is that of the single env, operation by operation, so that each account has the same bits: sides are
factors of +-1 and costs that do not apply are terms of 0, and neither rounds; adding 0.0 turns -0.0 into 0.0.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from journal.schema import Trade
from rsc.game import Game, exposure_of
from rsc.ledger import Ledger, exit_price, reached

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Trades = dict[int, tuple[Trade, ...]]

# Rows of the bars that `play` is given, one column for each account.
OPEN, HIGH, LOW, CLOSE, CARRY = range(5)


class Accounts(Protocol):
    """n accounts. After `play`, arrays of shape (n,) tell what the step left; they are overwritten by the next."""

    @property
    def cash(self) -> Floats: ...

    position: Floats
    worth: Floats
    unrealized: Floats
    fees: Floats
    traded: Flags

    def targets(self, actions: Any) -> Floats:
        """Sides or target exposures, shape (n,), for a batch of actions. Raises ValueError for what is none."""
        ...

    def reset(self, lanes: Integers) -> None:
        """Give these accounts their capital and nothing else."""
        ...

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        """Play a bar each, shape (5, n); idle accounts, which were just reset, are only marked. ``steps`` counts from 1."""
        ...

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        """What the last step closed, by account. ``starts`` are the bars at which the episodes started."""
        ...


# Rows of the lots, one column for each account: what `Ledger` knows of its only lot.
_SIDE, _SIZE, _VALUE, _COSTS, _CASH, _ENTRY, _CARRIED, _STEP, _LOWER, _UPPER = range(10)
_EMPTIED = slice(_SIDE, _COSTS + 1)
_SIDES = np.array([0.0, 1.0, -1.0, *[np.nan] * 61])  # by action; only 0 to 2 are valid, as in rsc.env


class DiscreteAccounts:
    """Accounts that are flat, long or short, with at most one lot each."""

    def __init__(self, game: Game, n: int) -> None:
        terms, config = game.terms, game.config
        self._capital = float(config.capital)
        self._fee, self._cost_rate = terms.fee, terms.fee + terms.slippage
        self._borrow, self._fraction, self._whole = terms.borrow, terms.size, terms.whole_shares
        self._at_open = config.fill == "open"
        self._has_stops = config.stop_loss is not None or config.take_profit is not None
        self._long_levels = terms.levels(1)
        self._short_levels = terms.levels(-1)[::-1]  # a short's stop is above
        self._lots, self._spare, self._at_stop = (np.zeros((10, n)) for _ in range(3))
        self.position, self.worth, self.unrealized, self.fees = (np.zeros(n) for _ in range(4))
        self._value, self._money, self._costs, self._factor = (np.zeros(n) for _ in range(4))
        self._wants, self._hit, self._flag, self.traded = (np.zeros(n, np.bool_) for _ in range(4))
        self._closings: list[tuple[Flags, Floats, Floats, Floats]] = []

    @property
    def cash(self) -> Floats:
        cash: Floats = self._lots[_CASH]
        return cash

    def targets(self, actions: Any) -> Floats:
        try:
            sides: Floats = _SIDES.take(actions)
        except (IndexError, TypeError):
            sides = np.full(1, np.nan)
        if np.isnan(np.add.reduce(sides)):
            raise ValueError(f"expected actions of 0 (flat), 1 (long) or 2 (short), got {np.asarray(actions).tolist()}")
        return sides

    def reset(self, lanes: Integers) -> None:
        self._lots[:, lanes] = 0.0
        self._lots[_CASH, lanes] = self._capital

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        self._closings.clear()
        self.fees.fill(0.0)
        self.traded.fill(False)
        if idle is not None:
            targets = np.where(idle, 0.0, targets)
        if self._at_open:
            self._turn(targets, bars[OPEN], bars[CARRY], steps)
        if self._has_stops:
            self._stop(bars)
        if not self._at_open:
            if self._closings:  # what a stop closed is not opened again within its bar
                targets = np.where(self._hit, 0.0, targets)
            self._turn(targets, bars[CLOSE], bars[CARRY], steps)
        self._mark(bars[CLOSE], bars[CARRY])

    def _turn(self, targets: Floats, price: Floats, carry: Floats, steps: Integers) -> None:
        """`Ledger.turn` for those whose side is to change; their lots before it stay readable in the spare."""
        old, new = self._lots, self._spare
        wants = np.not_equal(targets, old[_SIDE], out=self._wants)
        money, value = self._proceeds(old, price), self._value
        paid = value * self._fee
        size = money * self._fraction
        size /= price
        if self._whole:
            np.floor(size, out=size)
        opens = size > 0.0
        opens &= targets != 0.0
        side = np.where(opens, targets, 0.0)
        size = np.where(opens, size, 0.0)
        np.multiply(size, price, out=value)
        costs = value * self._cost_rate
        new[_SIDE], new[_SIZE], new[_VALUE], new[_COSTS] = side, size, value, costs
        new[_ENTRY], new[_CARRIED], new[_STEP] = price, carry, steps
        money -= side * value
        np.subtract(money, costs, out=new[_CASH])
        if self._has_stops:
            self._set_levels(new, side, price)
        value *= self._fee
        paid += value
        paid *= wants
        self.fees += paid
        np.copyto(new, old, where=~wants)
        self._lots, self._spare = new, old
        self._closings.append((wants & (old[_SIDE] != 0.0), old, price, carry))
        self.traded |= wants & (new[_SIDE] != old[_SIDE])

    def _proceeds(self, lots: Floats, price: Floats) -> Floats:
        """Cash after closing every lot at this price; leaves its value in ``_value``."""
        value = np.multiply(lots[_SIZE], price, out=self._value)
        money: Floats = np.multiply(lots[_SIDE], value, out=self._money)
        money -= value * self._cost_rate
        money += lots[_CASH]
        return money

    def _set_levels(self, lots: Floats, side: Floats, price: Floats) -> None:
        long = side > 0.0
        np.multiply(price, np.where(long, self._long_levels[0], self._short_levels[0]), out=lots[_LOWER])
        np.multiply(price, np.where(long, self._long_levels[1], self._short_levels[1]), out=lots[_UPPER])

    def _stop(self, bars: Floats) -> None:
        """Close what reached its stop or take-profit, as `rsc.ledger.exit_price` says."""
        lots = self._lots
        low_hit = bars[LOW] <= lots[_LOWER]
        hit = np.greater_equal(bars[HIGH], lots[_UPPER], out=self._hit)
        hit |= low_hit
        hit &= lots[_SIZE] > 0.0
        if not hit.any():
            return
        price = self._exit_prices(bars, low_hit)
        np.copyto(self._at_stop, lots)
        np.copyto(lots[_CASH], self._proceeds(lots, price), where=hit)
        paid = self._value * self._fee
        paid *= hit
        self.fees += paid
        np.copyto(lots[_EMPTIED], 0.0, where=hit)
        self._closings.append((hit.copy(), self._at_stop, price, bars[CARRY]))
        self.traded |= hit

    def _exit_prices(self, bars: Floats, low_hit: Flags) -> Floats:
        lots, opened = self._lots, bars[OPEN]
        lower, upper = lots[_LOWER], lots[_UPPER]
        high_hit = bars[HIGH] >= upper
        within = np.where(np.where(lots[_SIDE] > 0.0, low_hit, ~high_hit), lower, upper)
        return np.asarray(np.where((opened > lower) & (opened < upper) & self._hit, within, opened))

    def _mark(self, close: Floats, carry: Floats) -> None:
        lots = self._lots
        side, size = lots[_SIDE], lots[_SIZE]
        worth = np.multiply(size, close, out=self.worth)
        unrealized = np.subtract(worth, lots[_VALUE], out=self.unrealized)
        unrealized *= side
        unrealized -= lots[_COSTS]
        if self._borrow:
            short = side < 0.0
            lots[_CASH] -= worth * self._borrow * short
            owed = carry + close
            owed *= size
            owed -= size * lots[_CARRIED]
            owed *= self._borrow
            owed *= short
            unrealized -= owed
        unrealized += 0.0
        worth *= side
        np.multiply(side, size, out=self.position)

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        found: Trades = {}
        for closed, lots, price, carry in self._closings:
            lanes = np.flatnonzero(closed)
            for lane, trade in zip(
                lanes.tolist(), self._closed(lanes, lots, price, carry, times_us, starts), strict=True
            ):
                found[lane] = (*found.get(lane, ()), trade)
        return found

    def _closed(
        self, lanes: Integers, lots: Floats, price: Floats, carry: Floats, times_us: Integers, starts: Integers
    ) -> Iterator[Trade]:
        """`Ledger.turn`'s trades, for these lanes."""
        side, size, _, entry_costs, _, entry, carried, step, _, _ = lots[:, lanes]
        left_at, steps = price[lanes], step.astype(np.int64)
        costs = entry_costs + size * left_at * self._cost_rate
        costs += self._borrow * (size * (carry[lanes] - carried)) * (side < 0.0)
        pnl = side * (size * (left_at - entry)) - costs + 0.0
        entry_times = times_us[starts[lanes] + steps]
        columns = (side.astype(np.int64), size, steps, entry_times, entry, left_at, pnl, costs)
        return map(Trade._make, zip(*(column.tolist() for column in columns), strict=True))


class LedgerAccounts:
    """Accounts that hold any number of lots, as continuous exposure makes them: one `Ledger` each, played in a loop."""

    def __init__(self, game: Game, n: int) -> None:
        self._game = game
        self._at_open = game.config.fill == "open"
        self._has_stops = game.config.stop_loss is not None or game.config.take_profit is not None
        self._ledgers = [Ledger(game.config.capital, game.terms) for _ in range(n)]
        self.cash, self.position, self.worth, self.unrealized, self.fees = (np.zeros(n) for _ in range(5))
        self.traded = np.zeros(n, np.bool_)
        self._trades: Trades = {}

    def targets(self, actions: Any) -> Floats:
        return np.array([exposure_of(action) for action in actions])

    def reset(self, lanes: Integers) -> None:
        for lane in lanes.tolist():
            self._ledgers[lane] = Ledger(self._game.config.capital, self._game.terms)

    def play(self, targets: Floats, idle: Flags | None, bars: Floats, steps: Integers) -> None:
        self._trades = {}
        self.traded.fill(False)
        for lane, (target, bar, step) in enumerate(zip(targets.tolist(), bars.T.tolist(), steps.tolist(), strict=True)):
            ledger = self._ledgers[lane]
            ledger.fees = 0.0
            if idle is None or not idle[lane]:
                before = ledger.side * ledger.size
                trades = self._orders(ledger, target, bar, step)
                if trades:
                    self._trades[lane] = trades
                self.traded[lane] = bool(trades) or ledger.side * ledger.size != before
            self._mark(lane, ledger, bar[CLOSE], bar[CARRY])

    def _orders(self, ledger: Ledger, target: float, bar: list[float], step: int) -> tuple[Trade, ...]:
        """The order and the stops of one account and bar; times of entry are filled in by `trades`."""
        opened, high, low, close, carry = bar
        trades = ledger.aim(target, opened, step, 0, carry) if self._at_open else ()
        side, stop, take = ledger.side, ledger.stop, ledger.take
        if side and self._has_stops and reached(side, stop, take, high, low):
            return trades + ledger.close(exit_price(side, stop, take, opened, high, low), carry)
        return trades if self._at_open else ledger.aim(target, close, step, 0, carry)

    def _mark(self, lane: int, ledger: Ledger, close: float, carry: float) -> None:
        if ledger.side < 0:
            ledger.charge_borrow(close)
        self.cash[lane] = ledger.cash
        self.position[lane] = ledger.side * ledger.size
        self.worth[lane] = ledger.side * (ledger.size * close)
        self.unrealized[lane] = ledger.unrealized(close, carry + close) if ledger.side else 0.0
        self.fees[lane] = ledger.fees

    def trades(self, times_us: Integers, starts: Integers) -> Trades:
        return {
            lane: tuple(
                trade._replace(entry_time_us=int(times_us[starts[lane] + trade.entry_step])) for trade in trades
            )
            for lane, trades in self._trades.items()
        }
