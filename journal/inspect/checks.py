"""Check intact rows for inconsistent values. Such values come from the env; they are not file damage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from journal.format.header import About
from journal.format.schema import UNKNOWN_TIME, EndReason

Block = Mapping[str, NDArray[Any]]
_FINITE = ("reward", "portfolio_value", "price", "cash", "position", "fees")

# Sums of rounded amounts differ by a few units in the last place; a wrong account differs by cents.
BALANCE_TOLERANCE = 1e-6
# In the usual account, value = cash + position * price. Envs with another account skip this check.
_MOSTLY = 0.9


@dataclass(frozen=True)
class Oddity:
    """One kind of oddity: its count and its first step. ``step`` is 0 if it does not belong to a single step."""

    kind: str
    message: str
    step: int = 0
    count: int = 1


class Checker:
    """Check blocks of steps in order, in constant memory. `oddities` returns the result.

    Kinds: ``step_gap``, ``wall_time``, ``market_time``, ``not_finite``, ``after_end``, ``trade_number``, ``trade``,
    ``balance``, ``pnl``, ``end``.
    """

    def __init__(self, about: About, *, holes: bool = False) -> None:
        """Set ``holes`` if steps are known to be missing, so that step numbers may jump between blocks."""
        self._initial = about.initial_portfolio_value
        self._checked = tuple(name for name in _FINITE if name not in about.unknown)
        self._sums = (
            about.trades != "unknown" and "fees" not in about.unknown
        )  # else pnls are missing, or without costs
        self._holes = holes
        self._found: dict[str, Oddity] = {}
        self._last: dict[str, int] = {}
        self._ended = False
        self._trades = 0
        self._pnl = 0.0
        self._turnover = 0.0
        self._rows = 0
        self._unbalanced = Oddity("balance", "portfolio value is not cash + position x price", 0, 0)
        self._final: tuple[float, float] = (self._initial, 0.0)

    def look(self, steps: Block, trades: Block) -> None:
        """Check the next block of steps and the trades that it closed."""
        numbers = steps["step"]
        self._in_order(steps, "step", "step_gap", "steps do not count up by one", lambda jump: jump != 1)
        self._in_order(steps, "wall_time", "wall_time", "the writer's clock ran backwards", lambda jump: jump < 0)
        self._in_order(steps, "market_time", "market_time", "market time runs backwards", lambda jump: jump < 0)
        for name in self._checked:
            self._note("not_finite", f"{name} is not finite", numbers, ~np.isfinite(steps[name].astype(float)))
        self._after_end(steps)
        self._balance(steps)
        if len(trades["pnl"]):
            self._trades_of(steps, trades)
        self._final = (float(steps["portfolio_value"][-1]), float(steps["unrealized_pnl"][-1]))

    def oddities(self, *, end: EndReason | None, whole: bool) -> tuple[Oddity, ...]:
        """Return all oddities. Set ``whole`` if no step is lost: then sums are compared too."""
        found = list(self._found.values())
        if 0 < self._unbalanced.count < (1 - _MOSTLY) * self._rows:
            found.append(self._unbalanced)
        if whole and self._sums and (odd := self._pnl_oddity()) is not None:
            found.append(odd)
        by_env = end in (EndReason.TERMINATED, EndReason.TIME_LIMIT)
        if whole and by_env and not self._ended:
            found.append(Oddity("end", f"it was closed as {end}, but the flags of its last step do not say so"))
        return tuple(found)

    def _in_order(
        self, steps: Block, name: str, kind: str, message: str, bad: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> None:
        known = steps[name] != UNKNOWN_TIME
        values, numbers = steps[name][known], steps["step"][known]
        if not len(values):
            return
        last = self._last.get(name)
        if last is None or (name == "step" and self._holes):
            last = int(values[0]) - (name == "step")
        jumps = np.diff(values, prepend=last)
        self._last[name] = int(values[-1])
        self._note(kind, message, numbers, bad(jumps))

    def _after_end(self, steps: Block) -> None:
        ends = np.flatnonzero(steps["terminated"].astype(bool) | steps["truncated"].astype(bool))
        behind = np.zeros(len(steps["step"]), bool)
        if self._ended:
            behind[:] = True
        elif len(ends):
            behind[ends[0] + 1 :] = True
        self._note("after_end", "steps follow the one that ended the episode", steps["step"], behind)
        self._ended = self._ended or bool(len(ends))

    def _balance(self, steps: Block) -> None:
        value, cash, held = (
            steps["portfolio_value"].astype(float),
            steps["cash"].astype(float),
            steps["position"].astype(float) * steps["price"].astype(float),
        )
        with np.errstate(all="ignore"):
            off = np.abs(cash + held - value) > BALANCE_TOLERANCE * (np.abs(cash) + np.abs(held) + 1.0)
        count = int(np.count_nonzero(off))
        first = self._unbalanced.step or (int(steps["step"][np.argmax(off)]) if count else 0)
        self._unbalanced = replace(self._unbalanced, step=first, count=self._unbalanced.count + count)
        self._rows += len(value)

    def _trades_of(self, steps: Block, trades: Block) -> None:
        numbers, exits = trades["trade_number"], trades["exit_step"]
        jumps = np.diff(numbers, prepend=int(numbers[0]) - 1 if self._holes else self._trades)
        self._trades = int(numbers[-1])
        self._note("trade_number", "trades do not count up by one", exits, jumps != 1)
        inside = np.isin(exits, steps["step"])
        self._note("trade", "a trade ends in a step that does not exist", exits, ~inside)
        self._note("trade", "a trade begins behind its end", exits, trades["entry_step"] > exits)
        late = (trades["entry_time"] > trades["exit_time"]) & (trades["exit_time"] != UNKNOWN_TIME)
        self._note("trade", "a trade begins behind its end", exits, late)
        quantity = trades["quantity"].astype(float)
        untold = np.isnan(quantity)
        self._note("trade", "its trades are unknown from here on, because the env did not report them", exits, untold)
        usual = np.isin(trades["direction"], (-1, 1)) & (quantity > 0)
        self._note("trade", "a trade without direction or quantity", exits, ~usual & ~untold)
        pnl = trades["pnl"].astype(float)
        self._note("not_finite", "a trade's pnl is not finite", exits, ~np.isfinite(pnl) & ~untold)
        with np.errstate(all="ignore"):
            self._pnl += float(np.sum(pnl))
            both_legs = trades["entry_price"].astype(float) + trades["exit_price"].astype(float)
            self._turnover += float(np.sum(np.abs(trades["quantity"].astype(float) * both_legs)))

    def _pnl_oddity(self) -> Oddity | None:
        """Invariant M: the account's profit equals the sum of its trades' pnl plus its unrealized pnl."""
        value, unrealized = self._final
        gap = abs(value - self._initial - self._pnl - unrealized)
        if not gap > BALANCE_TOLERANCE * (self._turnover + abs(self._initial)):
            return None
        return Oddity("pnl", f"the account's pnl and that of its trades differ by {gap:.6g}")

    def _note(self, kind: str, message: str, steps: NDArray[Any], bad: NDArray[Any]) -> None:
        count = int(np.count_nonzero(bad))
        if not count:
            return
        known = self._found.get(message)
        if known is None:
            known = Oddity(kind, message, int(steps[int(np.argmax(bad))]), 0)
        self._found[message] = replace(known, count=known.count + count)
