"""Read an env's account after each step, as a row and trades for a journal."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import gymnasium as gym
import numpy as np

from journal import About, Trade
from journal.format.schema import UNKNOWN_TIME
from rsc.recording.accounts import (
    COLUMN_OF,
    POSITION_AT_RESET,
    Account,
    AccountError,
    Before,
    Figure,
    Rewards,
    SinceLast,
)
from rsc.recording.figures import NAN, Getter, Unreadable, getter, keys_seen, number, reader, time_us
from rsc.recording.lots import UNKNOWN_TRADES, Lots, trades_told

log = logging.getLogger("rsc")

_ROW = len(COLUMN_OF)  # a row has the columns of every journal, then those of the account, then the fill price
_CAPITAL_TOLERANCE = 1e-6  # relative; a larger difference between capital and value at the reset causes a warning
_VALUE, _PRICE, _, _POSITION, _COSTS = range(5)


class AccountState:
    """The account of one env over its episodes. After `start` and `step` it has the values to record.

    Attributes:
        journal_row: Value, price, cash, position, costs, unrealized pnl, and market time in us. Unknown is NaN, or NaT.
        journal_trades: The trades that the step closed.
        journal_extra: The account's own columns.
    """

    # An object with more than 30 attributes has its own hash table, which makes reading them slower.
    __slots__ = (
        "_befores", "_blank", "_end", "_fill", "_grows", "_has_time", "_last", "_lots", "_mode", "_names", "_places",
        "_position", "_position_told", "_rewards", "_start_price", "_step", "_tells_costs", "_tells_trades", "_totals",
        "_trades_seen", "_value_seen", "account", "capital", "figures", "journal_extra", "journal_row", "journal_trades",
        "start_time_us", "value",
    )  # fmt: skip

    def __init__(self, account: Account) -> None:
        self.account = account
        self.journal_row: tuple[Any, ...] = ()
        self.journal_trades: Sequence[Trade] = ()
        self.journal_extra: Sequence[float] = ()
        self._rewards = account.value if isinstance(account.value, Rewards) else None
        self._end = _ROW + len(account.extra_columns())
        self._blank = [NAN] * (self._end + 1)
        numbers = _numbers_of(account)
        self._names = [name for name, _, _ in numbers]
        self._places = [place for _, place, _ in numbers]
        self.figures: list[Figure] = [figure for _, _, figure in numbers]
        self._totals = [place for place, figure in enumerate(self.figures) if isinstance(figure, SinceLast)]
        self._befores = [place for place, figure in enumerate(self.figures) if isinstance(figure, Before)]
        self._has_time, self._mode = account.time is not None, account.trades_known()
        self._tells_costs = account.costs is not None
        if self._has_time:
            self.figures.append(account.time)
        if self._mode == "told":
            self.figures.append(account.trades)
        self._grows = isinstance(account.trades, SinceLast)
        self._fill = self._end - 1 if account.fill_price is not None else _PRICE
        self._value_seen = False

    def start(self, raws: Sequence[Any], capital: Any, info: Mapping[str, Any]) -> None:
        """Start an episode with the raw figures at the reset.

        Raises:
            AccountError: Neither the value nor the capital can be read.
        """
        self._step = 0
        self._last = dict.fromkeys((*self._totals, *self._befores), NAN)
        self._trades_seen = len(raws[-1]) if self._grows and _is_sized(raws[-1]) else 0
        self._position_told = True
        row = self._row_at_reset(raws)
        self.capital = self._capital(row, raws, capital, info)
        self.value = self.capital
        self._start_price = row[_PRICE]
        self.start_time_us = self._time(raws, quiet=True) if self._has_time else None
        self._lots: Lots | None = None
        self._position = row[_POSITION] if row[_POSITION] == row[_POSITION] else 0.0
        if self._mode == "derived":
            self._position_told = row[_POSITION] == row[_POSITION]
            begun = UNKNOWN_TIME if self.start_time_us is None else self.start_time_us
            self._lots = Lots(self._position, row[self._fill], begun, row[_COSTS])
        self._tells_trades = self._mode == "told"

    def step(self, raws: Sequence[Any], reward: Any, info: Mapping[str, Any]) -> None:
        """Update the row with the raw figures after a step.

        Raises:
            AccountError: The value cannot be read, and never could.
        """
        self._step += 1
        row = self._blank[:]
        try:
            for place, raw in zip(self._places, raws, strict=False):
                row[place] = raw if type(raw) is float else number(raw)
        except Exception:
            self._convert_each(row, raws)
        if self._last:
            self._compare_with_last(row)
        if self._rewards is not None:
            row[_VALUE] = self._compounded(reward)
        if not self._value_seen:
            self._see_value(row[_VALUE], raws, info)
        time = self._time(raws) if self._has_time else UNKNOWN_TIME
        self.journal_row = (*row[:_ROW], time)
        self.journal_extra = row[_ROW : self._end]
        self.journal_trades = ()
        lots = self._lots
        if lots is not None:
            if row[_POSITION] != lots.position:
                self.journal_trades = self._derived(lots, row, time)
            elif self._tells_costs and row[_COSTS]:
                lots.hold(row[_COSTS])
        elif self._tells_trades:
            self.journal_trades = self._told(raws[-1])

    def about(self, env: str) -> About:
        """Return the journal's header for the episode that `start` began."""
        account = self.account
        told: dict[str, Any] = dict(account.described())
        if self._position or not self._position_told:
            told[POSITION_AT_RESET] = self._position if self._position_told else "not told, taken as 0"
        return About(
            env,
            self.capital,
            account.periods_per_year,
            extra_columns=account.extra_columns(),
            start_market_time_us=None if self.start_time_us == UNKNOWN_TIME else self.start_time_us,
            start_price=self._start_price if math.isfinite(self._start_price) else None,
            account=told,
            unknown=account.unknown(),
            trades=self._mode,
        )

    def _row_at_reset(self, raws: Sequence[Any]) -> list[float]:
        row = self._blank[:]
        self._convert_each(row, raws, quiet=True)
        for index in self._last:
            self._last[index] = row[self._places[index]]
        for index in self._totals:
            if self._places[index] == _COSTS:
                row[_COSTS] = 0.0
        return row

    def _capital(self, row: list[float], raws: Sequence[Any], capital: Any, info: Mapping[str, Any]) -> float:
        if self.account.capital is None:
            self._see_value(row[_VALUE], raws, info)
            return row[_VALUE]
        try:
            told = number(capital)
        except Exception as error:
            raise AccountError(f"the account's capital could not be read: {error}; {keys_seen(info)}") from error
        if not math.isfinite(told):
            raise AccountError(f"the account's capital is {told}; {keys_seen(info)}")
        value = row[_VALUE]
        if self._rewards is None and math.isfinite(value) and not math.isclose(value, told, rel_tol=_CAPITAL_TOLERANCE):
            _warn(
                "capital",
                f"is {told:g}, but its value after the reset is {value:g}; pnl and returns count from {told:g}",
            )
        return told

    def _see_value(self, value: float, raws: Sequence[Any], info: Mapping[str, Any]) -> None:
        is_flag = self._rewards is None and isinstance(raws[0], bool | np.bool_)
        if math.isfinite(value) and not is_flag:
            self._value_seen = True
            return
        why = raws[0].why if self._rewards is None and isinstance(raws[0], Unreadable) else f"it is {value}"
        if self._rewards is None and (value != value or is_flag) and not isinstance(raws[0], Unreadable):
            why = f"expected a number, got {raws[0]!r}"
        where = self.account.described()["value"]
        first = " If info has it only after a step, add capital=." if self._step == 0 else ""
        raise AccountError(
            f"the account's value could not be read from {where}: {why}; {keys_seen(info)}. Say where it is: "
            f"account=rsc.Account(value='a key of info', '.attribute' or a function of (env, info)).{first}"
        )

    def _convert_each(self, row: list[float], raws: Sequence[Any], *, quiet: bool = False) -> None:
        """Convert the figures one by one, so that only the unreadable ones are unknown."""
        for name, place, raw in zip(self._names, self._places, raws, strict=False):
            try:
                row[place] = number(raw)
            except Exception as error:
                row[place] = NAN
                if not quiet and name != "value":
                    _warn(name, f"could not be read and is recorded as unknown: {error}")

    def _compare_with_last(self, row: list[float]) -> None:
        """Compute the changes of totals. A total that was missing at the reset counts from 0."""
        for index in self._befores:
            place = self._places[index]
            row[place], self._last[index] = self._last[index], row[place]
        for index in self._totals:
            place, last = self._places[index], self._last[index]
            total = self._last[index] = row[place]
            row[place] = total - last if last == last or self._step > 1 else total

    def _compounded(self, reward: Any) -> float:
        assert self._rewards is not None
        kind, scale = self._rewards.kind, self._rewards.scale
        try:
            earned = number(reward) / scale
            if kind == "money":
                self.value += earned
            elif kind == "simple":
                self.value *= 1.0 + earned
            else:
                self.value *= math.exp(earned)
        except (TypeError, ValueError, OverflowError):
            self.value = NAN
        return self.value

    def _time(self, raws: Sequence[Any], *, quiet: bool = False) -> int:
        try:
            return time_us(raws[len(self._places)])
        except Exception as error:
            if not quiet:
                _warn("time", f"could not be read and is recorded as unknown: {error}")
            return UNKNOWN_TIME

    def _derived(self, lots: Lots, row: Sequence[float], time: int) -> list[Trade]:
        position, price, costs = row[_POSITION], row[self._fill], row[_COSTS]
        if type(position) is not float or type(price) is not float or type(costs) is not float:  # as the env gave them
            position, price, costs = map(_number_or_nan, (position, price, costs))
        if position - position != 0.0:  # NaN or infinite
            self._lots = None
            _warn("position", "is unknown in a step, and so are the trades of the episode")
            return [UNKNOWN_TRADES]
        if price != price:
            name = "price" if self._fill == _PRICE else "fill_price"
            _warn(
                name,
                f"is unknown in step {self._step}, which changes the position, and so is the pnl of its trades. If info has"
                " it only after a step, give an attribute, such as '.price', which exists at the reset too",
            )
        return lots.move(position, price, self._step, time, costs)

    def _told(self, raw: Any) -> list[Trade]:
        try:
            if isinstance(raw, Unreadable):
                raise TypeError(raw.why)
            if self._grows:
                seen, self._trades_seen = self._trades_seen, len(raw)
                raw = list(raw)[seen:]
            return trades_told(raw)
        except Exception as error:
            self._tells_trades = False
            _warn(
                "trades",
                f"could not be read, so those of the episode are unknown: {error}. If no trade closed in this step,"
                " let the figure give None or an empty list",
            )
            return [UNKNOWN_TRADES]


class AccountReader(AccountState):
    """`AccountState` of a single env: finds the figures itself."""

    __slots__ = ("_arrange", "_env_name", "_fast", "_find_capital", "_keys", "_read")

    def __init__(self, account: Account, env: gym.Env[Any, Any]) -> None:
        super().__init__(account)
        self._env_name = type(env.unwrapped).__name__
        self._read = reader(self.figures, env)
        self._find_capital: Getter | None = None
        if account.capital is not None and not isinstance(account.capital, int | float):
            self._find_capital = getter(account.capital, env)
        # For an account of plain info keys, two C calls read the row. `step` gives the same result.
        plain = all(isinstance(figure, str) and "." not in figure for figure in self.figures)
        mode, count = account.trades_known(), len(self._places)
        self._keys = None
        if plain and count == len(self.figures) > 1 and self._end == _ROW and mode != "told":
            self._keys = itemgetter(*self.figures)
            places = [self._places.index(place) if place in self._places else count for place in range(_ROW)]
            self._arrange = itemgetter(*places, count + 1)
        self._fast = False

    def begin(self, info: Mapping[str, Any]) -> About:
        """Start an episode after a reset, and return its journal's header.

        Raises:
            AccountError: Neither the value nor the capital can be read.
        """
        capital: Any = self.account.capital
        if self._find_capital is not None:
            try:
                capital = self._find_capital(info)
            except Exception as error:
                capital = Unreadable(f"{type(error).__name__}: {error}")
        raws = self._read(info)
        self.start(raws, capital, info)
        self._fast = self._keys is not None and self._value_seen and all(_packs(raw) for raw in raws)
        return self.about(self._env_name)

    def read(self, reward: Any, info: Mapping[str, Any]) -> None:
        """Read the account after a step. On the hot path."""
        if self._fast:
            try:
                row = self._arrange((*self._keys(info), NAN, UNKNOWN_TIME))  # type: ignore[misc]  # not None if fast
            except Exception:
                self._fast = False
            else:
                self._step += 1
                self.journal_row = row
                self.journal_trades = ()
                lots = self._lots
                if lots is not None:
                    if row[_POSITION] != lots.position:
                        self.journal_trades = self._derived(lots, row, UNKNOWN_TIME)
                    elif self._tells_costs and row[_COSTS] != 0:  # also None, which means unknown
                        self.clean()
                        lots.hold(self.journal_row[_COSTS])
                return
        self.step(self._read(info), reward, info)

    def clean(self) -> None:
        """Replace values that are not numbers by NaN, in the row that `read` left with the env's own objects."""
        row = self._blank[:]
        self._convert_each(row, [self.journal_row[place] for place in self._places])
        self.journal_row = (*row[:_ROW], self.journal_row[-1])


def _number_or_nan(raw: Any) -> float:
    try:
        return number(raw)
    except Exception:
        return NAN


def _packs(raw: Any) -> bool:
    """Return True if a journal can store the value without conversion."""
    return isinstance(raw, float | int | np.number) and not isinstance(raw, complex)


def _numbers_of(account: Account) -> list[tuple[str, int, Figure]]:
    """Return name, place in a row, and figure of each told number, the value first."""
    columns = [(name, place, getattr(account, name)) for place, name in enumerate(COLUMN_OF)]
    own: list[tuple[str, Figure]] = [("weight", account.weight)] if account.weight is not None else []
    own += [(f"extra {name!r}", figure) for name, figure in account.extra.items()]
    columns += [(name, _ROW + place, figure) for place, (name, figure) in enumerate(own)]
    columns.append(("fill_price", _ROW + len(own), account.fill_price))
    return [each for each in columns if each[2] is not None and not isinstance(each[2], Rewards)]


def _is_sized(raw: Any) -> bool:
    return hasattr(raw, "__len__") and not isinstance(raw, str)


_warned: set[str] = set()


def _warn(figure: str, message: str) -> None:
    """Log a warning once for each figure and process, because an env repeats the same problem in every step."""
    if figure not in _warned:
        _warned.add(figure)
        log.warning("the account's %s %s", figure, message)
