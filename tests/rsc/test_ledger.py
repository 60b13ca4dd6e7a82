"""The ledger: what a fill does to cash, lots and trades, by hand and against an independent oracle."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.format.schema import Trade
from rsc.trading.ledger import Ledger, Terms
from tests.rsc.markets import env_of, play, random_market

FREE = Terms()


def test_turn__long_then_flat__one_trade() -> None:
    ledger = Ledger(1000.0, FREE)
    assert ledger.turn(1, 100.0, 1, 11, 0.0) == ()
    assert (ledger.side, ledger.size, ledger.cash) == (1, 10.0, 0.0)
    assert ledger.turn(0, 110.0, 3, 33, 0.0) == (Trade(1, 10.0, 1, 11, 100.0, 110.0, 100.0, 0.0),)
    assert (ledger.side, ledger.size, ledger.cash) == (0, 0.0, 1100.0)


def test_turn__reversal__closes_then_opens() -> None:
    ledger = Ledger(1000.0, FREE)
    ledger.turn(1, 100.0, 1, 11, 0.0)
    (trade,) = ledger.turn(-1, 110.0, 2, 22, 0.0)
    assert (trade.direction, trade.pnl) == (1, 100.0)
    assert (ledger.side, ledger.size, ledger.equity(110.0)) == (-1, 10.0, 1100.0)
    (trade,) = ledger.turn(0, 99.0, 3, 33, 0.0)
    assert trade == Trade(-1, 10.0, 2, 22, 110.0, 99.0, 110.0, 0.0)


def test_trade__pnl__is_net_of_fees_and_slippage_of_both_legs() -> None:
    """1 % fee, 2 % slippage: 10 shares at 100 cost 30 to buy; at 200 they cost 60 to sell."""
    ledger = Ledger(2000.0, Terms(fee=0.01, slippage=0.02, size=0.5))
    ledger.turn(1, 100.0, 1, 11, 0.0)
    assert (ledger.fees, ledger.cash) == (10.0, 970.0)
    ledger.fees = 0.0
    (trade,) = ledger.turn(0, 200.0, 2, 22, 0.0)
    assert trade.costs == pytest.approx(90.0)
    assert trade.pnl == pytest.approx(1000.0 - 90.0)
    assert ledger.fees == 20.0
    assert ledger.cash == pytest.approx(2000.0 + trade.pnl)


def test_trade__short__pays_borrow_for_each_day_it_was_held() -> None:
    """0.1 % a day of 10 shares, held for a day after a close at 100 and for three after one at 120."""
    ledger = Ledger(1000.0, Terms(borrow=0.001))
    ledger.turn(-1, 100.0, 1, 11, 500.0)
    for close, days in ((100.0, 1.0), (120.0, 3.0)):
        assert ledger.accrue(days, close * days) == 0.0
    (trade,) = ledger.turn(0, 90.0, 3, 33, 960.0)
    assert trade.costs == pytest.approx(0.001 * 10 * 460)
    assert ledger.cash == pytest.approx(1000.0 + trade.pnl)


def test_accrue__interest__is_earned_on_cash_that_does_not_back_a_short() -> None:
    ledger = Ledger(1000.0, Terms(interest=0.001))
    assert ledger.accrue(3.0, 300.0) == 3.0
    ledger.turn(-1, 100.0, 1, 11, 0.0)
    assert (ledger.cash, ledger.size) == (2006.0, 10.03)
    assert ledger.accrue(1.0, 110.0) == pytest.approx(0.001 * (2006.0 - 10.03 * 110.0))
    assert ledger.accrue(1.0, 900.0) == 0.0


def test_fee__per_share_and_minimum__of_each_fill() -> None:
    """1 % of the value and 0.5 a share, but at least 40."""
    ledger = Ledger(10_000.0, Terms(fee=0.01, fee_per_share=0.5, fee_minimum=40.0))
    ledger.open(1, 10.0, 100.0, 1, 11, 0.0)
    assert ledger.fees == 40.0
    ledger.open(1, 30.0, 100.0, 1, 11, 0.0)
    assert ledger.fees == 40.0 + 45.0
    trades = ledger.reduce(20.0, 100.0, 0.0)
    assert ledger.fees == 85.0 + 40.0
    assert [trade.costs for trade in trades] == [pytest.approx(40.0 + 20.0), pytest.approx(15.0 + 20.0)]
    assert ledger.exit_costs(100.0) == 40.0


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(("per_share", "minimum"), [(0.0, 30.0), (0.7, 0.0), (0.7, 30.0), (0.7, 999.0), (0.0, 1000.0)])
def test_full_position__any_fees__can_be_paid(side: int, per_share: float, minimum: float) -> None:
    terms = Terms(fee=0.01, slippage=0.003, size=1 / 1.013, fee_per_share=per_share, fee_minimum=minimum)
    ledger = Ledger(1000.0, terms)
    ledger.turn(side, 7.0, 1, 11, 0.0)
    assert bool(ledger.side) == (minimum < 1000.0)
    assert ledger.cash - (0 if side > 0 else 2 * ledger.size * 7.0) == pytest.approx(0.0, abs=1e-9) or not ledger.side


def test_aim__growing_position__closes_oldest_lots_first() -> None:
    ledger = Ledger(10_000.0, FREE)
    ledger.open(1, 10.0, 100.0, 1, 11, 0.0)
    ledger.open(1, 5.0, 120.0, 2, 22, 0.0)
    trades = ledger.reduce(12.0, 130.0, 0.0)
    assert [(t.quantity, t.entry_price, t.pnl) for t in trades] == [(10.0, 100.0, 300.0), (2.0, 120.0, 20.0)]
    assert ledger.lots == ((3.0, 120.0, 2, 22, 0.0, 0.0),)
    assert ledger.unrealized(130.0, 0.0) == 30.0


def test_reduce__part_of_a_lot__takes_its_share_of_the_entry_costs() -> None:
    ledger = Ledger(10_000.0, Terms(fee=0.01))
    ledger.open(1, 10.0, 100.0, 1, 11, 0.0)
    (trade,) = ledger.reduce(4.0, 100.0, 0.0)
    assert trade.costs == pytest.approx(4.0 + 4.0)
    assert ledger.unrealized(100.0, 0.0) == pytest.approx(-6.0)


def test_reduce__levels__hang_on_the_average_price_of_the_purchases() -> None:
    """Selling lots does not move them; buying more does."""
    ledger = Ledger(10_000.0, Terms(stop_loss=0.1, take_profit=0.5))
    ledger.open(1, 10.0, 100.0, 1, 11, 0.0)
    assert (ledger.stop, ledger.take) == (90.0, 150.0)
    ledger.open(1, 10.0, 120.0, 2, 22, 0.0)
    assert (ledger.stop, ledger.take) == (99.0, 165.0)
    ledger.reduce(10.0, 110.0, 0.0)
    assert (ledger.stop, ledger.take) == (99.0, 165.0)
    ledger.open(1, 10.0, 130.0, 3, 33, 0.0)
    assert (ledger.stop, ledger.take) == (108.0, 180.0)
    ledger.close(100.0, 0.0)
    ledger.open(-1, 10.0, 100.0, 4, 44, 0.0)
    assert (ledger.stop, ledger.take) == (pytest.approx(110.0), 50.0)


def test_reduce__to_a_lots_border_but_for_rounding__makes_no_ghost_trade() -> None:
    """0.1 + 0.2 - 0.2 is a little more than 0.1: the next lot is not cut for the difference."""
    ledger = Ledger(1000.0, FREE)
    for size in (0.1, 0.2):
        ledger.open(1, size, 100.0, 1, 11, 0.0)
    assert ledger.size - 0.2 > 0.1
    (trade,) = ledger.reduce(ledger.size - 0.2, 100.0, 0.0)
    assert trade.quantity == 0.1
    assert [lot[0] for lot in ledger.lots] == [0.2]


def test_aim__same_target_and_price__never_trades_again() -> None:
    """Without a band either."""
    ledger = Ledger(1000.0, FREE)
    for target, price in ((0.3, 7.0), (0.7, 11.0), (0.1, 13.0)):
        ledger.aim(target, price, 1, 11, 0.0)
        lots = ledger.lots
        for _ in range(5):
            assert ledger.aim(target, price, 2, 22, 0.0) == ()
        assert ledger.lots == lots


@pytest.mark.parametrize("target", [1e-16, -1e-16])
def test_aim__next_to_nothing__closes(target: float) -> None:
    """And opens nothing."""
    ledger = Ledger(1000.0, FREE)
    ledger.aim(0.5, 100.0, 1, 11, 0.0)
    assert len(ledger.aim(target, 100.0, 2, 22, 0.0)) == 1
    assert ledger.aim(target, 100.0, 3, 33, 0.0) == ()
    assert (ledger.side, ledger.lots) == (0, ())


def test_aim__within_the_band__does_nothing() -> None:
    ledger = Ledger(1000.0, Terms(band=0.1))
    ledger.aim(0.5, 100.0, 1, 11, 0.0)
    assert ledger.size == 5.0
    ledger.aim(0.6, 100.0, 2, 22, 0.0)
    assert ledger.size == 5.0
    ledger.aim(0.61, 100.0, 3, 33, 0.0)
    assert ledger.size == pytest.approx(6.1)


def test_aim__zero__closes_whatever_the_band_says() -> None:
    ledger = Ledger(1000.0, Terms(band=0.2))
    ledger.aim(0.3, 100.0, 1, 11, 0.0)
    ledger.aim(0.0, 100.0, 2, 22, 0.0)
    assert ledger.side == 0


def test_aim__other_side__closes_all_then_opens() -> None:
    ledger = Ledger(1000.0, FREE)
    ledger.aim(1.0, 100.0, 1, 11, 0.0)
    (trade,) = ledger.aim(-0.5, 110.0, 2, 22, 0.0)
    assert (trade.direction, trade.quantity) == (1, 10.0)
    assert (ledger.side, ledger.size) == (-1, 5.0)


def test_aim__whole_shares__never_holds_a_fraction() -> None:
    ledger = Ledger(1000.0, Terms(whole_shares=True))
    for target, size in ((0.55, 18.0), (0.9, 30.0), (-0.2, 6.0)):
        ledger.aim(target, 30.0, 1, 11, 0.0)
        assert ledger.size == size


def test_aim__other_side__opens_nothing_if_the_exit_costs_the_rest() -> None:
    """The exit from a short of 10 at 197.5 costs 39.5 of an equity of 5."""
    ledger = Ledger(1000.0, Terms(slippage=0.02))
    ledger.open(-1, 10.0, 100.0, 1, 11, 0.0)
    assert ledger.equity(197.5) == pytest.approx(5.0)
    ledger.aim(0.5, 197.5, 2, 22, 0.0)
    assert (ledger.side, ledger.cash) == (0, pytest.approx(5.0 - 39.5))


@pytest.mark.parametrize("act", ["turn", "aim"])
def test_order__without_equity__closes_but_does_not_open(act: str) -> None:
    ledger = Ledger(1000.0, FREE)
    getattr(ledger, act)(-1, 100.0, 1, 11, 0.0)
    getattr(ledger, act)(1, 250.0, 2, 22, 0.0)
    assert (ledger.side, ledger.cash) == (0, -500.0)


def test_all_in__full_position__pays_for_its_own_costs() -> None:
    cost = 0.013
    ledger = Ledger(1000.0, Terms(fee=0.01, slippage=0.003, size=1 / (1 + cost)))
    ledger.turn(1, 7.0, 1, 11, 0.0)
    assert ledger.cash == pytest.approx(0.0, abs=1e-9)


fills = st.lists(
    st.tuples(st.floats(-1.0, 1.0).map(lambda x: round(x, 2)), st.floats(0.5, 2.0)), min_size=1, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(
    fills, st.floats(0, 0.02), st.floats(0, 0.02), st.floats(0, 0.01), st.booleans(), st.booleans(),
    st.sampled_from([0.0, 0.03]), st.sampled_from([0.0, 12.0]),
)  # fmt: skip
def test_ledger__any_fills__pnl_is_trades_plus_unrealized(
    moves: list[tuple[float, float]], fee: float, slippage: float, borrow: float, whole: bool, discrete: bool,
    per_share: float, minimum: float,
) -> None:  # fmt: skip
    """pnl = sum of trade pnl + unrealized, from nothing but trades and open lots, within 1e-9 of the traded value."""
    capital = 1000.0
    terms = Terms(fee, slippage, borrow, 1 / (1 + fee + slippage), whole, fee_per_share=per_share, fee_minimum=minimum)
    ledger = Ledger(capital, terms)
    price, carry, realized, traded = 10.0, 0.0, 0.0, 0.0
    for step, (target, move) in enumerate(moves, 1):
        price *= move
        order = ledger.turn if discrete else ledger.aim
        before = ledger.side * ledger.size
        for trade in order(round(target) if discrete else target, price, step, step, carry):  # type: ignore[operator]
            realized += trade.pnl
            gross = trade.direction * trade.quantity * (trade.exit_price - trade.entry_price)
            assert trade.pnl == pytest.approx(gross - trade.costs, rel=1e-9, abs=1e-9)
        traded += abs(ledger.side * ledger.size - before) * price
        ledger.accrue(1.0, price)
        carry += price
        pnl = ledger.equity(price) - capital
        unrealized = ledger.unrealized(price, carry) if ledger.side else 0.0
        assert abs(pnl - (realized + unrealized)) <= 1e-9 * max(traded, 1.0)
        assert sum(lot[0] for lot in ledger.lots) == pytest.approx(ledger.size)


def oracle_run(market: Any, changes: dict[int, float], fee: float, per_share: float) -> Any:
    """backtesting.py with the same orders: at bar t, a market order of this many shares, filled at the next open."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from backtesting import Backtest, Strategy

        class Replay(Strategy):  # type: ignore[misc]
            def init(self) -> None:
                pass

            def next(self) -> None:
                change = changes.get(len(self.data) - 1, 0.0)
                if change > 0:
                    self.buy(size=int(change))
                elif change < 0:
                    self.sell(size=int(-change))

        frame = pd.DataFrame(
            {key.title(): getattr(market, key) for key in ("open", "high", "low", "close", "volume")},
            index=pd.to_datetime(market.times_us, unit="us"),
        )
        commission = fee if not per_share else lambda size, price: abs(size) * (price * fee + per_share)
        test = Backtest(frame, Replay, cash=CAPITAL, commission=commission, margin=0.05, finalize_trades=False)
        return test.run()


CAPITAL = 1_000_000.0


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize(("fee", "per_share"), [(0.0, 0.0), (0.002, 0.0), (0.001, 0.05)])
def test_ledger__against_backtesting_py__same_trades_and_equity(
    seed: int, actions: str, fee: float, per_share: float
) -> None:
    """The oracle gets the orders, and finds fills, FIFO lots, pnl, fees and equity by itself."""
    market = random_market(seed, bars=150, jump=0.01)
    env = env_of(market, whole_shares=True, capital=CAPITAL, actions=actions, fee=fee, fee_per_share=per_share, fraction=0.9,
                 sizing="fixed_fractional", rebalance_band=0.0)  # fmt: skip
    random = np.random.default_rng(seed)
    chosen = random.integers(0, 3, 200) if actions == "discrete" else random.uniform(-1, 1, (200, 1))
    played = play(env, list(chosen))
    start = len(market) - 1 - len(played)
    held = [0.0, *(row[3] for row, *_ in played)]
    changes = {start + i: held[i + 1] - held[i] for i in range(len(played)) if held[i + 1] != held[i]}

    stats = oracle_run(market, changes, fee, per_share)
    ours = [(start + trade.entry_step, start + step, trade) for step, each in enumerate(played, 1) for trade in each[1]]
    ours.sort(key=lambda item: (item[1], item[0]))
    theirs = stats["_trades"].sort_values(["ExitBar", "EntryBar"]).to_dict("records")

    assert len(ours) == len(theirs) > 20
    for (entry_bar, exit_bar, trade), other in zip(ours, theirs, strict=True):
        assert (entry_bar, exit_bar) == (other["EntryBar"], other["ExitBar"])
        assert trade.direction * trade.quantity == other["Size"]
        assert trade.entry_price == pytest.approx(other["EntryPrice"], rel=1e-9)
        assert trade.exit_price == pytest.approx(other["ExitPrice"], rel=1e-9)
        assert trade.pnl == pytest.approx(other["PnL"], rel=1e-9, abs=1e-9 * trade.quantity * trade.entry_price)
    equity = stats["_equity_curve"]["Equity"].to_numpy()[-len(played) :]
    assert np.allclose([row[0] for row, *_ in played], equity, rtol=1e-9, atol=0)
