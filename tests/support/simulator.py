"""Implement docs/environment.md a second time, from its text only, without code of `rsc.trading`.

The code is simple, not fast: it has lists of lots, and one function for each paragraph of the page. Numbers are floats, or
of any type that ``number`` makes from a float, such as `fractions.Fraction` for exact results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

Bar = tuple[float, float, float, float]
DEFAULTS: dict[str, Any] = {
    "capital": 10_000.0, "actions": "discrete", "sizing": "fixed_fractional", "fraction": 0.95, "whole_shares": False,
    "fill": "open", "fee": 0.001, "fee_per_share": 0.0, "fee_minimum": 0.0, "slippage_bps": 0.0, "borrow_rate": 0.0,
    "cash_rate": 0.0, "maintenance_margin": None, "stop_loss": None, "take_profit": None, "rebalance_band": 0.05,
    "reward": "log", "sharpe_window": 20, "trade_penalty": 0.0, "drawdown_penalty": 0.0,
}  # fmt: skip


@dataclass
class Lot:
    """The open part of one fill that opened or enlarged a position."""

    quantity: Any
    price: Any
    step: int
    costs: Any
    borrowed: Any


@dataclass
class Step:
    """The results of a step.

    ``trades`` are tuples of direction, quantity, entry step, entry price, exit price, pnl and costs.
    """

    value: Any
    cash: Any
    position: Any
    fees: Any
    unrealized: Any
    costs: Any
    interest: Any
    liquidated: bool
    fill_price: Any
    exit_costs: Any
    trades: list[tuple[Any, ...]] = field(default_factory=list)
    account: tuple[float, ...] = ()
    reward: float = 0.0
    terminated: bool = False


class Simulator:
    """One episode. ``bars[0]`` is the bar of the reset; ``days[i]`` is the number of days from bar i - 1 to bar i."""

    def __init__(
        self, bars: Sequence[Bar], days: Sequence[float], settings: dict[str, Any], number: Callable[[Any], Any] = float
    ) -> None:
        self.number = number
        self.bars = [tuple(map(number, bar)) for bar in bars]
        self.days = [number(each) for each in days]
        chosen = {**DEFAULTS, **settings}
        self.settings = {
            key: number(value) if isinstance(value, float | int) and not isinstance(value, bool) else value
            for key, value in chosen.items()
        }
        self.slip = self.settings["slippage_bps"] / 10_000
        self.cash = self.capital = self.value = self.peak = self.settings["capital"]
        self.side = 0
        self.lots: list[Lot] = []
        self.average = number(0)
        self.t = 0
        self.returns: list[Any] = []

    @property
    def quantity(self) -> Any:
        return sum((lot.quantity for lot in self.lots), self.number(0))

    @property
    def position(self) -> Any:
        return self.side * self.quantity

    def equity(self, price: Any) -> Any:
        return self.cash + self.position * price

    # ---- costs and sizes

    def costs_of(self, q: Any, p: Any) -> tuple[Any, Any]:
        """Return fee and slippage of a fill."""
        fee = max(self.settings["fee_minimum"], self.settings["fee"] * q * p + self.settings["fee_per_share"] * q)
        return fee, self.slip * q * p

    def full_position(self, equity: Any, p: Any) -> Any:
        s = self.settings
        fraction = s["fraction"] if s["sizing"] == "fixed_fractional" else self.number(1)
        size = min(fraction, 1 / (1 + s["fee"] + self.slip)) * equity / p
        if s["fee_per_share"] or s["fee_minimum"]:
            size = min(size, equity / (p * (1 + s["fee"] + self.slip) + s["fee_per_share"]))
            size = min(size, (equity - s["fee_minimum"]) / (p * (1 + self.slip)))
        return max(size, self.number(0))

    # ---- fills

    def enlarge(self, side: int, q: Any, p: Any) -> None:
        fee, slippage = self.costs_of(q, p)
        held = self.quantity
        self.average = (self.average * held + p * q) / (held + q) if self.side else p
        self.cash -= side * q * p + fee + slippage
        self.side = side
        self.lots.append(Lot(q, p, self.t, fee + slippage, self.number(0)))
        self.record(fee, slippage)

    def reduce(self, q: Any, p: Any) -> None:
        """Sell lots, or buy them back, oldest first."""
        fee, slippage = self.costs_of(q, p)
        self.cash += self.side * q * p - fee - slippage
        self.record(fee, slippage)
        left = q
        while self.lots and left > 1e-12 * q:
            lot = self.lots[0]
            part = lot.quantity if lot.quantity <= left + self.quantity * self.number(1e-12) else left
            share = part / lot.quantity
            costs = lot.costs * share + (fee + slippage) * part / q + lot.borrowed * share
            pnl = self.side * part * (p - lot.price) - costs
            self.now.trades.append((self.side, part, lot.step, lot.price, p, pnl, costs))
            left -= part
            if share == 1:
                self.lots.pop(0)
            else:
                self.lots[0] = Lot(
                    lot.quantity - part, lot.price, lot.step, lot.costs * (1 - share), lot.borrowed * (1 - share)
                )
        if not self.lots:
            self.side = 0

    def close(self, p: Any) -> None:
        if self.side:
            self.reduce(self.quantity, p)

    def record(self, fee: Any, slippage: Any) -> None:
        self.now.fees += fee
        self.now.costs += fee + slippage
        self.traded = True

    # ---- the parts of a step

    def days_between(self, d: Any, close: Any) -> None:
        short = self.quantity * close if self.side < 0 else self.number(0)
        self.now.interest = self.settings["cash_rate"] * d / 365 * max(self.cash - short, self.number(0))
        if self.side < 0:
            for lot in self.lots:
                lot.borrowed += self.settings["borrow_rate"] * d / 365 * lot.quantity * close
            owed = self.settings["borrow_rate"] * d / 365 * short
            self.cash -= owed
            self.now.costs += owed
        self.cash += self.now.interest

    def stops(self, opened: Any, high: Any, low: Any) -> bool:
        """Close the position if the bar reached its stop price or its profit price; return True if it did."""
        loss, profit = self.settings["stop_loss"], self.settings["take_profit"]
        s = None if loss is None else self.average * (1 - self.side * loss)
        t = None if profit is None else self.average * (1 + self.side * profit)
        if self.side > 0:
            at_s, at_t = (lambda x: s is not None and x <= s), (lambda x: t is not None and x >= t)
            reaches_s, reaches_t = at_s(low), at_t(high)
        else:
            at_s, at_t = (lambda x: s is not None and x >= s), (lambda x: t is not None and x <= t)
            reaches_s, reaches_t = at_s(high), at_t(low)
        if not reaches_s and not reaches_t:
            return False
        self.close(opened if at_s(opened) or at_t(opened) else s if reaches_s else t)
        return True

    def order(self, action: Any, p: Any) -> None:
        if self.settings["actions"] == "discrete":
            self.discrete_order((0, 1, -1)[int(action)], p)
        else:
            self.continuous_order(self.number(min(max(float(action), -1.0), 1.0)), p)

    def discrete_order(self, side: int, p: Any) -> None:
        if side == self.side:
            return
        self.close(p)
        if side and self.cash > 0:
            q = self.full_position(self.cash, p)
            if self.settings["whole_shares"]:
                q = self.number(math.floor(q))
            if q > 0:
                self.enlarge(side, q, p)

    def continuous_order(self, a: Any, p: Any) -> None:
        if abs(a) < 1e-12 or self.equity(p) <= 0:
            self.close(p)
            return
        w = a * self.full_position(self.equity(p), p)
        if abs(w - self.position) * p <= max(self.settings["rebalance_band"], self.number(1e-12)) * self.equity(p):
            return
        if w * self.position < 0:
            self.close(p)
            if self.cash <= 0:
                return
            w = a * self.full_position(self.cash, p)
        if self.settings["whole_shares"]:
            w = self.number(math.trunc(w))
        held = self.quantity
        if abs(w) > held:
            self.enlarge(1 if w > 0 else -1, abs(w) - held, p)
        elif abs(w) < held:
            q = held - abs(w)
            self.reduce(held if abs(w) <= held * self.number(1e-12) else q, p)

    def step(self, action: Any) -> Step:
        s, zero = self.settings, self.number(0)
        before, close = self.value, self.bars[self.t][3]
        self.t += 1
        opened, high, low, closed = self.bars[self.t]
        self.now = Step(zero, zero, zero, zero, zero, zero, zero, False, zero, zero)
        self.traded = False
        margin = s["maintenance_margin"]
        called = margin is not None and self.side != 0 and self.value < margin * self.quantity * close
        self.days_between(self.days[self.t], close)
        if called:
            self.now.liquidated = True
            self.close(opened)
        else:
            if s["fill"] == "open":
                self.order(action, opened)
            stopped = self.side != 0 and self.stops(opened, high, low)
            if s["fill"] == "close" and not stopped:
                self.order(action, closed)
        return self.marked(before, opened, closed)

    # ---- the results of a step

    def marked(self, before: Any, opened: Any, close: Any) -> Step:
        now = self.now
        now.value = self.value = self.equity(close)
        now.cash, now.position = self.cash, self.position
        now.unrealized = sum(
            (self.side * lot.quantity * (close - lot.price) - lot.costs - lot.borrowed for lot in self.lots),
            self.number(0),
        )
        now.fill_price = opened if now.liquidated or self.settings["fill"] == "open" else close
        now.exit_costs = sum(self.costs_of(self.quantity, close)) if self.side else self.number(0)
        now.terminated = now.value <= 0
        self.peak = max(self.peak, now.value)
        drawdown = float(1 - now.value / self.peak)
        columns: list[Any] = [0.0, 0.0]
        if not now.terminated:
            columns = [now.position * close / now.value, now.unrealized / now.value]
        columns += [now.value / self.capital - 1, drawdown]
        now.account = tuple(min(max(float(column), -5.0), 5.0) for column in columns)
        now.reward = self.rewarded(before, drawdown)
        return now

    def rewarded(self, before: Any, drawdown: float) -> float:
        s = self.settings
        self.returns.append(float(self.value / before - 1))
        if s["reward"] == "log":
            earned = math.log(max(float(self.value / before), 0.0001))
        elif s["reward"] == "simple":
            earned = self.returns[-1]
        else:
            earned = sharpe(self.returns[-int(s["sharpe_window"]) :])
        return earned - float(s["trade_penalty"]) * self.traded - float(s["drawdown_penalty"]) * drawdown


def sharpe(returns: list[float]) -> float:
    if len(returns) < 2:
        return 0.0
    mean = math.fsum(returns) / len(returns)
    std = math.sqrt(math.fsum((each - mean) ** 2 for each in returns) / (len(returns) - 1))
    if std <= 64 * 2.0**-52 * (1 + abs(mean)):
        return 0.0
    return min(max(mean / std, -10.0), 10.0)
