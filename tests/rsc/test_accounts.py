"""Accounts of environments that were not made for this: figures, trades, and what stays unknown."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import cloudpickle
import gymnasium as gym
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from journal import About, Trade
from journal.format.schema import UNKNOWN_STEP, UNKNOWN_TIME
from rsc.recording import reading
from rsc.recording.accounts import Account, AccountError, before, since_last
from rsc.recording.figures import number, time_us
from rsc.recording.lots import UNKNOWN_TRADES, Lots, trades_told
from rsc.recording.reading import AccountReader

Info = dict[str, Any]


class Script(gym.Env[int, int]):
    """Plays the infos that it is given, the first at reset."""

    observation_space = gym.spaces.Discrete(1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, infos: Iterable[Info], **attributes: Any) -> None:
        self._infos = list(infos)
        vars(self).update(attributes)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, Info]:
        self._left = iter(self._infos)
        return 0, next(self._left)

    def step(self, action: int) -> tuple[int, float, bool, bool, Info]:
        return 0, 0.0, False, False, next(self._left)


@dataclass
class Told:
    """What an account read: of the reset, and of each step."""

    about: About
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    extras: list[list[float]] = field(default_factory=list)
    trades: list[list[Trade]] = field(default_factory=list)

    @property
    def capital(self) -> float:
        return self.about.initial_portfolio_value


def told(account: Account, infos: Iterable[Info], rewards: Iterable[Any] = (), env: Any = None) -> Told:
    """Read all infos, the first at reset."""
    first, *rest = infos
    account_reader = AccountReader(account, env if env is not None else Script([]))
    found = Told(account_reader.begin(first))
    for info, reward in zip(rest, [*rewards, *[0.0] * len(rest)], strict=False):
        account_reader.read(reward, info)
        found.rows.append(account_reader.journal_row)
        found.extras.append(list(account_reader.journal_extra))
        found.trades.append(list(account_reader.journal_trades))
    return found


def values(reader: Told) -> list[float]:
    return [row[0] for row in reader.rows]


@pytest.fixture(autouse=True)
def every_warning_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning of another test does not hide this one's."""
    monkeypatch.setattr(reading, "_warned", set())


def test_figure__key_with_a_dot__exact_key_first_then_descends() -> None:
    infos = [{"a.b": 1.0, "a": {"b": 2.0}}, {"a": {"b": 3.0}}, {"a.b": 4.0}]
    reader = told(Account(value="a.b"), infos)
    assert reader.capital == 1.0
    assert values(reader) == [3.0, 4.0]


class Portfolio:
    def __init__(self) -> None:
        self.cash = [5.0, 7.0]
        self.by_name = {"btc": 2.0}


class Named(gym.Wrapper[Any, Any, Any, Any]):
    nav = 11.0


def test_figure__attribute__outermost_layer_first_and_read_anew() -> None:
    env = Script([], nav=3.0, portfolio=Portfolio())
    account = Account(value=".nav", cash=".portfolio.cash.1", extra={"btc": ".portfolio.by_name.btc"})
    wrapped = Named(gym.wrappers.TimeLimit(env, 5))
    reader = AccountReader(account, wrapped)
    assert reader.begin({}).initial_portfolio_value == 11.0
    wrapped.nav = 12.0
    env.portfolio.cash[1] = 8.0
    reader.read(0.0, {})
    assert reader.journal_row[0] == 12.0
    assert reader.journal_row[2] == 8.0
    assert reader.journal_extra == [2.0]


def test_figure__function__gets_the_bare_env_and_info() -> None:
    env = Script([], nav=3.0)
    account = Account(value=lambda env, info: env.nav + info["more"])
    assert told(account, [{"more": 1.0}, {"more": 2.0}], env=Named(env)).rows[0][0] == 5.0


@pytest.mark.parametrize(
    "raw", [3, 3.0, np.float32(3), np.int64(3), np.array(3.0), np.array([3.0]), np.array([[3]]), pytest.param("torch")]
)
def test_number__any_numeric_type__is_a_float(raw: Any) -> None:
    if isinstance(raw, str):
        raw = pytest.importorskip("torch").tensor([3.0])
    with np.errstate(all="raise"):
        assert number(raw) == 3.0
        assert type(number(raw)) is float


@pytest.mark.parametrize("raw", [None, "3", b"3", [3.0], np.array([1.0, 2.0]), 3j, object()])
def test_number__anything_else__is_refused(raw: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        number(raw)


NOON = 1_577_880_000_000_000  # 2020-01-01 12:00 UTC


@pytest.mark.parametrize(
    "raw",
    [
        "2020-01-01T12:00:00",
        "2020-01-01 12:00",
        "2020-01-01T13:00:00+01:00",
        datetime(2020, 1, 1, 12),  # noqa: DTZ001 - a naive time is what is tested
        datetime(2020, 1, 1, 12, tzinfo=UTC),
        datetime(2020, 1, 1, 13, tzinfo=timezone(timedelta(hours=1))),
        np.datetime64("2020-01-01T12:00"),
        np.datetime64("2020-01-01T12:00", "ns"),
        pd.Timestamp("2020-01-01 12:00"),
        pd.Timestamp("2020-01-01 13:00", tz="Europe/Berlin"),
    ],
)
def test_time__datetime_like_or_text__is_microseconds(raw: Any) -> None:
    assert time_us(raw) == NOON


def test_time__date__is_midnight_utc() -> None:
    assert time_us(date(2020, 1, 1)) == NOON - 12 * 3_600_000_000


@pytest.mark.parametrize("raw", [57, 1.5, np.int64(3), pd.NaT, None, "day 3"])
def test_time__bare_numbers_and_the_rest__are_refused(raw: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        time_us(raw)


def test_time__numpy_not_a_time__is_unknown() -> None:
    assert time_us(np.datetime64("NaT")) == UNKNOWN_TIME


@pytest.mark.parametrize(
    "info", [{"portfolio_valu": 1.0, "x": 2}, {"portfolio_value": "much"}, {"portfolio_value": None}]
)
def test_value__missing_or_no_number_at_reset__names_the_keys(info: Info) -> None:
    with pytest.raises(AccountError, match="info has portfolio_valu") as error:
        told(Account(value="portfolio_value"), [info])
    assert "account=rsc.Account(value=" in str(error.value)


def test_value__empty_info__says_so() -> None:
    with pytest.raises(AccountError, match="info is empty"):
        told(Account(value="portfolio_value"), [{}])


def test_value__with_capital__may_come_with_the_first_step_and_must() -> None:
    account = Account(value="v", capital=100)
    assert values(told(account, [{}, {"v": 101.0}])) == [101.0]
    with pytest.raises(AccountError, match="info has w"):
        told(account, [{}, {"w": 101.0}])


def test_value__missing_later__is_unknown_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    infos = [{"v": 1.0, "c": 2.0}, {"c": 3.0}, {"v": None, "c": 4.0}, {"v": 5.0, "c": 5.0}]
    reader = told(Account(value="v", cash="c"), infos)
    assert [math.isnan(value) for value in values(reader)] == [True, True, False]
    assert [row[2] for row in reader.rows] == [3.0, 4.0, 5.0]


def test_figure__that_fails__is_unknown_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def price(env: Any, info: Mapping[str, Any]) -> float:
        raise RuntimeError("no market today")

    with caplog.at_level(logging.WARNING, "rsc"):
        reader = told(Account(value="v", price=price), [{"v": 1.0}] * 5)
    assert all(math.isnan(row[1]) for row in reader.rows)
    assert [record.getMessage() for record in caplog.records] == [
        "the account's price could not be read and is recorded as unknown: RuntimeError: no market today"
    ]


def test_trade__of_the_first_step_whose_price_info_lacks_at_reset__warns_and_has_no_pnl(
    caplog: pytest.LogCaptureFixture,
) -> None:
    account = Account(value="v", capital=10, position="q", price="p", fill_price=before("p"))
    rests = [{"v": 10.0, "q": 1.0, "p": 5.0}, {"v": 11.0, "q": 0.0, "p": 6.0}]
    with caplog.at_level(logging.WARNING, "rsc"):
        reader = told(account, [{}, *rests])
    assert [[math.isnan(trade.pnl) for trade in trades] for trades in reader.trades] == [[], [True]]
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("the account's fill_price is unknown in step 1, which changes the position")


def test_about__what_is_not_told__is_named_unknown() -> None:
    about = told(Account(value="v", price="p"), [{"v": 1.0, "p": 2.0}]).about
    assert about.unknown == ("cash", "position", "fees", "unrealized_pnl", "market_time")
    assert about.trades == "unknown"
    assert about.periods_per_year is None
    assert about.start_price == 2.0
    assert about.account == {"value": "info['v']", "price": "info['p']", "trades": "unknown"}


def test_row__untold_columns__are_nan_and_not_a_time() -> None:
    (row,) = told(Account(value="v"), [{"v": 1.0}] * 2).rows
    assert row[0] == 1.0
    assert all(math.isnan(one) for one in row[1:6])
    assert row[6] == UNKNOWN_TIME


@pytest.mark.parametrize(
    ("kind", "scale", "rewards", "expected"),
    [
        ("simple", 1.0, [0.1, -0.5], [1.1, 0.55]),
        ("log", 1.0, [math.log(2), math.log(0.25)], [2.0, 0.5]),
        ("money", 1.0, [5, np.array([-2.0])], [6.0, 4.0]),
        ("simple", 100.0, [10.0], [1.1]),
    ],
)
def test_from_rewards__kind__compounds_from_capital(
    kind: Any, scale: float, rewards: Any, expected: list[float]
) -> None:
    reader = told(Account.from_rewards(kind, scale=scale), [{}] * (len(rewards) + 1), rewards)
    assert reader.capital == 1.0
    assert values(reader) == pytest.approx(expected, rel=1e-15)


def test_from_rewards__each_episode__begins_at_capital() -> None:
    reader = AccountReader(Account.from_rewards("money", capital=10.0), Script([]))
    for _ in range(2):
        reader.begin({})
        reader.read(5.0, {})
    assert reader.journal_row[0] == 15.0


def test_from_rewards__reward_that_is_none__is_unknown_from_there() -> None:
    reader = told(Account.from_rewards("simple"), [{}] * 4, [0.1, None, 0.1])
    assert [math.isnan(value) for value in values(reader)] == [False, True, True]


def test_since_last__running_total__gives_this_steps_part() -> None:
    infos = [{"v": 1.0, "fees": total} for total in (7.0, 7.0, 9.5, 12.0)]
    reader = told(Account(value="v", costs=since_last("fees")), infos)
    assert [row[4] for row in reader.rows] == [0.0, 2.5, 2.5]


def test_since_last__not_there_at_reset__began_at_zero() -> None:
    reader = told(Account(value="v", costs=since_last("fees")), [{"v": 1.0}, {"v": 1.0, "fees": 2.0}])
    assert reader.rows[0][4] == 2.0


def test_since_last__growing_list__gives_the_new_trades() -> None:
    closed: list[Any] = [trade(1)]
    env = Script([], closed=closed)
    reader = AccountReader(Account(value="v", trades=since_last(".closed")), env)
    reader.begin({"v": 1.0})
    seen = []
    for new in ([], [trade(2), trade(3)], [], [trade(4)]):
        closed += new
        reader.read(0.0, {"v": 1.0})
        seen.append([one.pnl for one in reader.journal_trades])
    assert seen == [[], [2.0, 3.0], [], [4.0]]


def trade(pnl: float) -> dict[str, Any]:
    return {"direction": "long", "quantity": 1, "entry_price": 1.0, "exit_price": 1.0 + pnl}


def holding(*positions: float, price: Iterable[float] = (), **more: Any) -> list[Info]:
    prices = [*price, *[10.0] * len(positions)]
    return [{"v": 1.0, "p": p, "c": c, **more} for p, c in zip(positions, prices, strict=False)]


DERIVED = Account(value="v", position="p", price="c")


def test_derived__first_in_first_out__with_reversal() -> None:
    infos = holding(0, 2, 3, -1, 0, price=[10, 11, 12, 13, 14])
    reader = told(DERIVED, infos)
    found = [[tuple(one) for one in step] for step in reader.trades]
    none = float("nan")
    assert [len(step) for step in found] == [0, 0, 2, 1]
    assert found[2][0][:7] == pytest.approx((1, 2.0, 1, UNKNOWN_TIME, 11.0, 13.0, 4.0))
    assert found[2][1][:7] == pytest.approx((1, 1.0, 2, UNKNOWN_TIME, 12.0, 13.0, 1.0))
    assert found[3][0] == pytest.approx((-1, 1.0, 3, UNKNOWN_TIME, 13.0, 14.0, -1.0, none), nan_ok=True)
    assert reader.about.trades == "derived"


def test_derived__position_at_reset__is_an_opening_lot() -> None:
    reader = told(DERIVED, holding(4, 4, 1, price=[10, 11, 12]))
    ((closed,),) = [step for step in reader.trades if step]
    assert closed[:3] == (1, 3.0, 0)
    assert closed.entry_price == 10.0


def test_derived__position_not_told_at_reset__is_taken_as_flat_and_said() -> None:
    reader = told(DERIVED, [{"v": 1.0}, *holding(2, 0)])
    assert [len(step) for step in reader.trades] == [0, 1]
    assert reader.about.account["position at reset"] == "not told, taken as 0"


def test_derived__position_that_fails__makes_all_trades_unknown_once() -> None:
    infos = holding(0, 2, 0, 2)
    infos[3]["p"] = None
    reader = told(DERIVED, [*infos, *holding(0, 1, 0)])
    steps = reader.trades
    assert [len(step) for step in steps] == [0, 1, 1, 0, 0, 0]
    assert steps[2] == [UNKNOWN_TRADES]


def test_derived__fill_price__is_what_trades_are_made_at() -> None:
    account = Account(value="v", position="p", price="c", fill_price="f")
    infos = [{**info, "f": fill} for info, fill in zip(holding(0, 1, 0, price=[10, 20, 30]), (1, 2, 5), strict=True)]
    (closed,) = told(account, infos).trades[1]
    assert (closed.entry_price, closed.exit_price) == (2.0, 5.0)


def test_derived__weight_alone__derives_nothing() -> None:
    reader = told(Account(value="v", weight="p", price="c"), holding(0, 1, 0))
    assert reader.about.trades == "unknown"
    assert reader.extras == [[1.0], [0.0]]
    assert reader.about.extra_columns == ("weight",)


def test_derived__costs__go_to_the_units_that_were_traded_or_held() -> None:
    account = Account(value="v", position="p", price="c", costs="k")
    infos = [{**info, "k": cost} for info, cost in zip(holding(0, 2, 2, 1, 0), (0, 2, 1, 3, 4), strict=True)]
    first, second = (one for step in told(account, infos).trades for one in step)
    assert (first.costs, first.pnl) == (1.0 + 0.5 + 3.0, -4.5)
    assert (second.costs, second.pnl) == (1.0 + 0.5 + 4.0, -5.5)


moves = st.lists(
    st.tuples(st.integers(-9, 9).map(lambda units: units / 7), st.floats(1, 100), st.floats(0, 1)),
    min_size=1,
    max_size=30,
)


@given(moves)
def test_lots__any_moves__pnl_is_what_the_positions_earned(steps: list[tuple[float, float, float]]) -> None:
    """Closed and open lots together earn what the position earned over each price change, less all costs."""
    lots = Lots(2.0, 10.0, 0, 0.5)
    held, last, earned, closed = 2.0, 10.0, -0.5, 0.0
    for step, (position, price, cost) in enumerate(steps, 1):
        earned += held * (price - last)
        if position != held or held:
            earned -= cost
        found = []
        if position == lots.position:
            lots.hold(cost)
        else:
            found = lots.move(position, price, step, step, cost)
        closed += sum(one.pnl for one in found)
        held, last = position, price
        assert all(one.quantity > 0 and one.entry_step <= step for one in found)
        if len(found) > 1:
            assert [one.entry_step for one in found] == sorted(one.entry_step for one in found)
    still = sum(lot.units * (last - lot.price) - abs(lot.units) * lot.costs_each for lot in lots._lots)
    assert closed + still == pytest.approx(earned, abs=1e-6)


def test_lots__rounding_of_a_closed_position__opens_no_lot() -> None:
    lots = Lots(0.0, 1.0, 0, 0.0)
    assert lots.move(0.1 + 0.2, 1.0, 1, 1, 0.0) == []
    (closed,) = lots.move((0.1 + 0.2) - 0.3, 2.0, 2, 2, 0.0)
    assert closed.quantity == 0.1 + 0.2
    assert lots.position == 0.0
    assert lots.move(1.0, 2.0, 3, 3, 0.0) == []


def test_told__mapping__is_a_trade() -> None:
    full = {"direction": -1, "quantity": 2, "entry_price": 10, "exit_price": 8, "costs": 1, "entry_step": 3}
    assert trades_told(full) == [Trade(-1, 2.0, 3, UNKNOWN_TIME, 10.0, 8.0, 3.0, 1.0)]
    (bare,) = trades_told([trade(2)])
    assert bare[:3] == (1, 1.0, UNKNOWN_STEP)
    assert bare.pnl == 2.0
    assert math.isnan(bare.costs)
    assert trades_told(None) == []
    assert trades_told([]) == []


@pytest.mark.parametrize(
    "raw",
    [
        5,
        "long",
        [5],
        {"direction": 1},
        {**trade(1), "direction": 0},
        {**trade(1), "direction": "up"},
        {**trade(1), "quantity": -1},
        {**trade(1), "entry_price": "x"},
    ],
)
def test_told__no_trade__is_refused(raw: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        trades_told(raw)


def test_told__key_that_is_missing__makes_trades_unknown_once(caplog: pytest.LogCaptureFixture) -> None:
    infos = [{"v": 1.0}, {"v": 1.0, "t": [trade(1)]}, {"v": 1.0}, {"v": 1.0, "t": [trade(1)]}]
    with caplog.at_level(logging.WARNING, "rsc"):
        reader = told(Account(value="v", trades="t"), infos)
    assert [len(step) for step in reader.trades] == [1, 1, 0]
    assert reader.trades[1] == [UNKNOWN_TRADES]
    assert "let the figure give None or an empty list" in caplog.text


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"value": None}, "needs a value"),
        ({"value": 5}, "must be a key of info"),
        ({"value": "v", "price": 3.5}, "price must be"),
        ({"value": "v", "extra": {"price": "x"}}, "names of their own"),
        ({"value": "v", "extra": {"x": 7}}, "extra 'x' must be"),
        ({"value": "v", "weight": "w", "extra": {"weight": "x"}}, "names of their own"),
        ({"value": "v", "periods_per_year": 0}, "above 0"),
        ({"value": "v", "capital": float("nan")}, "finite"),
        ({"value": "v", "capital": True}, "capital must be"),
    ],
)
def test_account__bad_argument__is_refused_when_made(given: dict[str, Any], words: str) -> None:
    with pytest.raises(AccountError, match=words):
        Account(**given)


def test_account__with_functions__travels_by_cloudpickle() -> None:
    factor = 2.0
    account = Account(value=lambda env, info: factor * info["v"], costs=since_last("fees"), extra={"x": ".nav"})
    again = cloudpickle.loads(cloudpickle.dumps(account))
    assert values(told(again, [{"v": 1.0, "fees": 0.0}] * 2, env=Script([], nav=1.0))) == [2.0]


ODD = (
    0.0,
    1.0,
    -2.5,
    float("nan"),
    float("inf"),
    3,
    np.float32(2),
    np.int64(4),
    np.array([5.0]),
    None,
    True,
    "6",
    [1, 2],
)
infos_of_any_kind = st.lists(st.lists(st.sampled_from([*ODD, "missing"]), min_size=4, max_size=4), max_size=12)


@given(infos_of_any_kind)
@example([[0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, None], [0.0, 0.0, 0.0, 0.0]])  # costs unknown while a lot is held
def test_read__plain_keys__fast_form_gives_what_the_general_one_gives(drawn: list[list[Any]]) -> None:
    """Whatever an env puts into info, no step raises, and both forms record the same."""
    account = Account(value="v", position="p", price="c", costs="k")
    infos = [{key: raw for key, raw in zip("vpck", four, strict=True) if raw != "missing"} for four in drawn]
    start: Info = {"v": 1.0, "p": 0.0, "c": 1.0, "k": 0.0}
    fast, general = AccountReader(account, Script([])), AccountReader(account, Script([]))
    for reader in (fast, general):
        reader.begin(start)
    assert fast._fast
    general._fast = False
    for info in infos:
        for reader in (fast, general):
            reader.read(0.0, info)
        fast.clean()
        assert [*map(repr, fast.journal_row)] == [*map(repr, general.journal_row)]
        assert repr(list(fast.journal_trades)) == repr(list(general.journal_trades))


def test_before__in_each_step__is_the_value_of_the_step_before() -> None:
    """In the first step that of the reset; an opening lot was opened at the price of the reset."""
    account = Account(value="v", position="p", price="c", fill_price=before("c"), extra={"last": before("c")})
    reader = told(account, holding(1, 1, 2, 0, price=[10, 11, 12, 13]))
    assert reader.extras == [[10.0, 10.0], [11.0, 11.0], [12.0, 12.0]]
    trades = [(one.entry_price, one.exit_price) for step in reader.trades for one in step]
    assert trades == [(10.0, 12.0), (11.0, 12.0)]
    for wrong in (before, since_last):
        with pytest.raises(AccountError):
            wrong(before("c"))
    with pytest.raises(AccountError, match="time must be"):
        Account(value="v", time=before("c"))


def test_capital__that_the_value_at_the_reset_contradicts__is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A wrong capital makes every return wrong, and nothing else shows it."""
    for value, capital in ((1.0, 1.0), (None, 50_000.0), (1.0, 100_000.0), (1.0, 100_000.0)):
        reader = AccountReader(Account(value="v", capital=capital), Script([]))
        reader.begin({} if value is None else {"v": value})
    said = [record.getMessage() for record in caplog.records if "capital" in record.getMessage()]
    assert said == [
        "the account's capital is 100000, but its value after the reset is 1; pnl and returns count from 100000"
    ]
