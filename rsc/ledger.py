"""Cash, position and lots: what a fill does to the account, and which trades it closes (FIFO)."""

from __future__ import annotations

from journal.schema import Trade

# A lot: signed quantity, fill price, step and time of entry, costs so far (fees and borrow cost).
Lot = list[float]


class Ledger:
    """One account in one asset. Slippage is in the fill prices that it is given; fees and borrow cost it keeps itself.

    ``basis`` is what the open lots cost, their costs included, so ``position * price - basis`` is the unrealized pnl.
    """

    __slots__ = ("basis", "cash", "fee", "lots", "position")

    def __init__(self, cash: float, fee: float) -> None:
        self.cash = cash
        self.fee = fee
        self.position = 0.0
        self.basis = 0.0
        self.lots: list[Lot] = []

    def fill(self, quantity: float, price: float, step: int, time_us: int) -> tuple[float, list[Trade]]:
        """Trade a signed quantity; return the fee paid and the trades closed. A reversal closes, then opens."""
        fee = abs(quantity) * price * self.fee
        self.cash -= quantity * price + fee
        trades: list[Trade] = []
        rest = quantity
        while self.lots and rest * self.lots[0][0] < 0:
            rest = self._reduce(rest, quantity, price, fee, trades)
        if rest:
            self.lots.append([rest, price, step, time_us, fee * (rest / quantity)])
        self.position = sum(lot[0] for lot in self.lots) if self.lots else 0.0
        self.basis = sum(lot[0] * lot[1] + lot[4] for lot in self.lots)
        return fee, trades

    def _reduce(self, rest: float, quantity: float, price: float, fee: float, trades: list[Trade]) -> float:
        """Close as much of the oldest lot as ``rest`` reaches; return what is left of it."""
        lot = self.lots[0]
        closed = lot[0] if abs(lot[0]) <= abs(rest) else -rest
        share = closed / lot[0]
        costs = lot[4] * share + fee * (-closed / quantity)
        pnl = closed * (price - lot[1]) - costs
        direction = 1 if closed > 0 else -1
        trades.append(Trade(direction, abs(closed), int(lot[2]), int(lot[3]), lot[1], price, pnl, costs))
        if share == 1.0:
            self.lots.pop(0)
        else:
            lot[0] -= closed
            lot[4] -= lot[4] * share
        return rest + closed

    def charge_borrow(self, cost: float) -> None:
        """Charge the borrow cost of a short position to its lots, by their size."""
        self.cash -= cost
        for lot in self.lots:
            lot[4] += cost * (lot[0] / self.position)
        self.basis += cost
