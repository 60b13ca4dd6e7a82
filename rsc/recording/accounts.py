"""`Account` describes where an env, written without this package in mind, exposes the values of its account.

A *figure* says where a number is found:

- a key of the step's ``info``: the exact key first, then dots descend ("portfolio.value");
- "." and an attribute of the env or of a wrapper, outermost first; more dots descend (".portfolio.cash", ".state.0");
- a function of (env.unwrapped, info);
- None: the env does not tell. What is not told stays unknown: NaN in the journal, NULL in the database, never 0.0.
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

# The figures that have a column of their own in every journal, by the name of that column, in the order of a row.
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
    """An account that cannot be read. The message says what was found instead, and what to write."""


@dataclass(frozen=True)
class SinceLast:
    """This step's part of a running total or of a growing list. Made by `since_last`."""

    figure: Figure


@dataclass(frozen=True)
class Before:
    """The figure's value after the step before. Made by `before`."""

    figure: Figure


Figure = str | Callable[[Any, Mapping[str, Any]], Any] | SinceLast | Before | None


@dataclass(frozen=True)
class Rewards:
    """A value that is compounded from rewards. Made by `Account.from_rewards`."""

    kind: RewardKind
    scale: float


def since_last(figure: Figure) -> SinceLast:
    """Return a figure that is this step's part of a running total, or the new items of a growing list.

    >>> account = Account(value="net_worth", costs=since_last("total_fees"), trades=since_last(".closed_trades"))
    """
    return SinceLast(_plain("since_last", figure))


def before(figure: Figure) -> Before:
    """Return a figure with the value that another one had after the previous step; in the first step, after the reset.

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
        value: What the account is worth after the step. `AccountError` if the env does not tell it.
        capital: The value before the first step, as a figure or a number. None: the value after reset.
        position: Signed units that are held after the step, of one asset.
        weight: Value of the position / value of the account. It becomes an extra column, and derives no trades.
        price: The price that marks ``value``.
        fill_price: The price at which the position changed in this step. None: ``price``.
        cash: Cash after the step.
        unrealized_pnl: What the open position has gained since it was opened.
        costs: Fees and other costs of this step. Without them, the pnl of derived trades is gross.
        trades: The trades that this step closed: `journal.Trade` objects, or mappings with direction, quantity,
            entry_price, exit_price and optionally pnl, costs, entry_step, entry_time. "derive": first in, first out
            from changes of ``position`` at ``fill_price``. None: unknown.
        time: The market's time, as datetime, numpy.datetime64 or ISO text (without a zone: UTC). Never a number.
        extra: More numbers of each step, by the name of their column.
        periods_per_year: Steps per year, to annualise. None: annualised figures are unknown.
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
        """Return an account whose value is compounded from the rewards, for envs that tell nothing else.

        Args:
            kind: What a reward is: a "simple" return, a "log" return, or "money" that was earned.
            scale: What the env multiplied it by: reward = scale * return.
            capital: The value before the first step, in money.
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
        """Names of the columns that every journal has and that this account does not tell."""
        untold = [column for name, column in COLUMN_OF.items() if getattr(self, name) is None]
        return (*untold, *(("market_time",) if self.time is None else ()))

    def described(self) -> dict[str, str]:
        """Each figure that is told, in words, for the journal's header."""
        words = {name: describe(figure) for name, figure in self._all() if figure is not None}
        if self.capital is not None:
            words["capital"] = describe(self.capital)
        words["trades"] = self.trades_known() if self.trades in ("derive", None) else describe(self.trades)
        return words

    def _all(self) -> Iterator[tuple[str, Any]]:
        """Each figure by its name; of capital and trades those that are no plain value."""
        for name in ("value", "position", "weight", "price", "fill_price", "cash", "unrealized_pnl", "costs", "time"):
            yield name, getattr(self, name)
        if isinstance(self.capital, bool) or not isinstance(self.capital, int | float):
            yield "capital", self.capital
        if self.trades != "derive":
            yield "trades", self.trades
        for name, figure in self.extra.items():
            yield f"extra {name!r}", figure


def describe(figure: Any) -> str:
    """A figure in words."""
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
