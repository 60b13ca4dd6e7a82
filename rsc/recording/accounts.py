"""Describe where an env exposes the values of its account: `Account`.

A *figure* says where to find a number:

- a key of the step's ``info``: the exact key first, then dots descend ("portfolio.value");
- "." and an attribute of the env or of a wrapper, outermost first; more dots descend (".portfolio.cash", ".state.0");
- a function of (env.unwrapped, info);
- None: the env does not tell the value. It is recorded as unknown: NaN in the journal, NULL in the database, never 0.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from journal import About
from journal.format.schema import FILL_PRICE

RewardKind = Literal["simple", "log", "money"]
TradesKnown = Literal["told", "derived", "unknown"]

# The figures with a column in every journal, by the name of the column, in the order of a row.
COLUMN_OF = {
    "value": "portfolio_value",
    "price": "price",
    "cash": "cash",
    "position": "position",
    "costs": "fees",
    "unrealized_pnl": "unrealized_pnl",
}
WEIGHT = "weight"
POSITION_AT_RESET = "position at reset"
"""Key of `About.account`: the position before the first step, if it is not 0."""


class AccountError(ValueError):
    """An account cannot be read. The message says what was found, and what to write instead."""


@dataclass(frozen=True)
class SinceLast:
    """This step's part of a running total or of a growing list. `since_last` returns it."""

    figure: Figure


@dataclass(frozen=True)
class Before:
    """The figure's value after the previous step. `before` returns it."""

    figure: Figure


Figure = str | Callable[[Any, Mapping[str, Any]], Any] | SinceLast | Before | None


@dataclass(frozen=True)
class Rewards:
    """A value that is compounded from rewards. `Account.from_rewards` uses it."""

    kind: RewardKind
    scale: float


def since_last(figure: Figure) -> SinceLast:
    """Return a figure for this step's part of a running total, or for the new items of a growing list.

    >>> account = Account(value="net_worth", costs=since_last("total_fees"), trades=since_last(".closed_trades"))
    """
    return SinceLast(_plain("since_last", figure))


def before(figure: Figure) -> Before:
    """Return a figure for another figure's value after the previous step. In the first step, this is after the reset.

    >>> account = Account(value="net_worth", position="units", price="close", fill_price=before("close"))
    """
    return Before(_plain("before", figure))


def _plain(name: str, figure: Figure) -> Figure:
    if not _is_figure(figure) or figure is None or isinstance(figure, SinceLast | Before):
        raise AccountError(f"{name} takes a key of info, '.attribute' or a function, got {figure!r}")
    return figure


@dataclass(frozen=True, kw_only=True)
class Account:
    """Describes where an env exposes the values of its account. Only ``value`` is required.

    >>> account = Account(value="portfolio_value", position="units", price="close", periods_per_year=252)

    Args:
        value: Value of the account after the step, in its currency. If the env does not tell it, the first reset raises
            AccountError.
        capital: The value before the first step, as a figure or a number. None: the value after the reset.
        position: Signed units held after the step, of one asset.
        weight: Value of the position / value of the account. It becomes an extra column. Trades are not derived from it.
        price: The price of one unit that ``value`` is computed with.
        fill_price: The price at which the position changed in this step. None: ``price``.
        cash: Cash after the step.
        unrealized_pnl: The gain of the open position since it was opened.
        costs: Fees and other costs of this step. Without them, the pnl of derived trades is gross.
        trades: The trades that this step closed: `journal.Trade` objects, or mappings with direction, quantity,
            entry_price, exit_price and optionally pnl, costs, entry_step, entry_time. "derive": first in, first out
            from changes of ``position`` at ``fill_price``. None: unknown.
        time: The market's time, as datetime, numpy.datetime64 or ISO text (UTC if it has no zone). Numbers are refused.
        extra: More numbers of each step, by the name of their column.
        periods_per_year: Steps per year, to annualise. None: annualised figures are unknown.

    Raises:
        AccountError: A figure has an invalid type or value.
    """

    value: Figure | Rewards
    capital: Figure | float = None
    position: Figure = None
    weight: Figure = None
    price: Figure = None
    fill_price: Figure = None
    cash: Figure = None
    unrealized_pnl: Figure = None
    costs: Figure = None
    trades: Figure | Literal["derive"] = "derive"
    time: Figure = None
    extra: Mapping[str, Figure] = field(default_factory=dict)
    periods_per_year: float | None = None

    def __post_init__(self) -> None:
        if self.value is None:
            raise AccountError(
                "an account needs a value: Account(value='a key of info'), or Account.from_rewards(kind)"
            )
        for name, figure in self._all():
            if not _is_figure(figure) or (isinstance(figure, Before) and name in ("time", "trades", "capital")):
                raise AccountError(f"{name} must be a key of info, '.attribute', a function or None, got {figure!r}")
        if isinstance(self.capital, int | float) and not math.isfinite(self.capital):
            raise AccountError(f"capital must be a finite number, got {self.capital}")
        if self.periods_per_year is not None and not 0 < self.periods_per_year < math.inf:
            raise AccountError(f"periods_per_year must be above 0, got {self.periods_per_year}")
        try:
            About("", 0.0, 1.0, extra_columns=self.extra_columns())
        except ValueError as error:
            raise AccountError(str(error)) from None

    @classmethod
    def from_rewards(cls, kind: RewardKind, *, scale: float = 1.0, capital: float = 1.0) -> Self:
        """Return an account whose value is compounded from the rewards, for envs that do not expose it.

        Args:
            kind: The meaning of a reward: a "simple" return, a "log" return, or earned "money".
            scale: The env's factor: reward = scale * return.
            capital: The value before the first step, in the account's currency.

        Raises:
            AccountError: ``kind`` or ``scale`` is invalid.
        """
        if kind not in ("simple", "log", "money"):
            raise AccountError(f"kind must be 'simple', 'log' or 'money', got {kind!r}")
        if not (math.isfinite(scale) and scale):
            raise AccountError(f"scale must be a finite number other than 0, got {scale}")
        return cls(value=Rewards(kind, float(scale)), capital=float(capital))

    def trades_known(self) -> TradesKnown:
        """Whether trades are told, derived from the position, or unknown."""
        if self.trades != "derive":
            return "unknown" if self.trades is None else "told"
        if self.position is None or (self.price is None and self.fill_price is None):
            return "unknown"
        return "derived"

    def extra_columns(self) -> tuple[str, ...]:
        """Names of the columns that this account adds to the journal."""
        weight = (WEIGHT,) if self.weight is not None else ()
        return (*weight, *self.extra, *((FILL_PRICE,) if self.fill_price is not None else ()))

    def unknown(self) -> tuple[str, ...]:
        """Names of the columns of every journal that this account does not tell."""
        untold = [column for name, column in COLUMN_OF.items() if getattr(self, name) is None]
        return (*untold, *(("market_time",) if self.time is None else ()))

    def described(self) -> dict[str, str]:
        """The description of each told figure, for the journal's header."""
        words = {name: describe(figure) for name, figure in self._all() if figure is not None}
        if self.capital is not None:
            words["capital"] = describe(self.capital)
        words["trades"] = self.trades_known() if self.trades in ("derive", None) else describe(self.trades)
        return words

    def _all(self) -> Iterator[tuple[str, Any]]:
        """Yield each figure with its name. Capital and trades are included if they are not a plain value."""
        for name in ("value", "position", "weight", "price", "fill_price", "cash", "unrealized_pnl", "costs", "time"):
            yield name, getattr(self, name)
        if isinstance(self.capital, bool) or not isinstance(self.capital, int | float):
            yield "capital", self.capital
        if self.trades != "derive":
            yield "trades", self.trades
        for name, figure in self.extra.items():
            yield f"extra {name!r}", figure


def describe(figure: Any) -> str:
    """Return a figure as text."""
    if isinstance(figure, SinceLast | Before):
        return f"{'before' if isinstance(figure, Before) else 'since_last'}({describe(figure.figure)})"
    if isinstance(figure, Rewards):
        return f"compounded from rewards ({figure.kind}, scale {figure.scale:g})"
    if isinstance(figure, str):
        return f"env{figure}" if figure.startswith(".") else f"info[{figure!r}]"
    return f"function {getattr(figure, '__qualname__', type(figure).__name__)}" if callable(figure) else str(figure)


def _is_figure(figure: Any) -> bool:
    if isinstance(figure, str):
        return figure.strip(".") != ""
    return figure is None or callable(figure) or isinstance(figure, SinceLast | Before | Rewards)
