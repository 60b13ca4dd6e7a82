"""Where TradingEnv's orders and stops fill, at what size, and what they cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from journal.format.schema import Trade
from tests.rsc.markets import WARM_BARS, env_of, flat_bars, market_of, play, random_market

FLAT, LONG, SHORT = 0, 1, 2


def trades_of(played: list[tuple[Any, ...]]) -> list[Trade]:
    return [trade for _, trades, *_ in played for trade in trades]


# ---- fills


def test_fill__open__is_the_next_bars_open() -> None:
    """Bought at 110, worth 121 at the close: ten percent."""
    ((row, *_),) = play(env_of(market_of([(110, 121, 110, 121)])), [LONG])
    assert row[0] == pytest.approx(1100.0)
    assert row[3] == pytest.approx(1000 / 110)


def test_fill__close__is_the_next_bars_close() -> None:
    """Bought at the close that the step ends with: nothing gained yet."""
    ((row, *_),) = play(env_of(market_of([(110, 121, 110, 121)]), fill="close"), [LONG])
    assert row[0] == pytest.approx(1000.0)
    assert row[3] == pytest.approx(1000 / 121)


def test_action__same_side_again__holds() -> None:
    """A discrete position is sized when it is opened; it is not rebalanced."""
    played = play(env_of(market_of(flat_bars(100, 120, 90)), fee=0.01), [SHORT, SHORT, SHORT])
    assert len({row[3] for row, *_ in played}) == 1
    assert [row[4] > 0 for row, *_ in played] == [True, False, False]


def test_action__reversal__closes_then_opens_with_what_is_left() -> None:
    played = play(env_of(market_of(flat_bars(100, 120))), [LONG, SHORT])
    assert trades_of(played) == [Trade(1, 10.0, 1, WARM_BARS * 86_400_000_000, 100.0, 120.0, 200.0, 0.0)]
    assert played[1][0][3] == -10.0


@pytest.mark.parametrize("action", [-1, 3, -3, 60, 1000, 1.5, None])
def test_action__no_such__is_refused(action: Any) -> None:
    env = env_of(market_of(flat_bars(100, 100)))
    env.reset()
    with pytest.raises(ValueError, match=f"expected an action of 0 .flat., 1 .long. or 2 .short., got {action}"):
        env.step(action)


def test_action__number_where_an_array_is_expected__is_refused() -> None:
    env = env_of(market_of(flat_bars(100, 100)), actions="continuous")
    env.reset()
    with pytest.raises(
        ValueError, match=r"expected an action of one target exposure from -1 to 1, in an array, got 0.5"
    ):
        env.step(0.5)


def test_action__continuous_beyond_one__is_clipped_and_nan_refused() -> None:
    env = env_of(market_of(flat_bars(100, 100, 100)), actions="continuous")
    (row, *_), *_ = play(env, [np.array([7.0])])
    assert row[3] == 10.0
    with pytest.raises(ValueError, match="got NaN"):
        env.step(np.array([np.nan]))


def test_sizing__fixed_fractional__takes_its_fraction_of_equity() -> None:
    env = env_of(market_of(flat_bars(100, 100)), sizing="fixed_fractional", fraction=0.25)
    assert play(env, [LONG])[0][0][3] == pytest.approx(2.5)


def test_sizing__all_in__leaves_exactly_the_costs() -> None:
    env = env_of(market_of(flat_bars(100, 100)), fee=0.01, slippage_bps=100)
    row = play(env, [LONG])[0][0]
    assert row[2] == pytest.approx(0.0, abs=1e-9)
    assert row[0] == pytest.approx(1000 / 1.02)


def test_sizing__whole_shares__rounds_down() -> None:
    env = env_of(market_of(flat_bars(30, 30)), whole_shares=True)
    assert play(env, [LONG])[0][0][3] == 33.0


# ---- costs


def test_fee__is_a_fraction_of_the_traded_value_on_every_leg() -> None:
    env = env_of(market_of(flat_bars(100, 110)), fee=0.01, sizing="fixed_fractional", fraction=0.5)
    (first, *_), (second, trades, *_) = play(env, [LONG, FLAT])
    assert first[4] == pytest.approx(5.0)
    assert second[4] == pytest.approx(5.5)
    assert trades[0].costs == pytest.approx(10.5)
    assert second[0] == pytest.approx(1000 + 50 - 10.5)


def test_slippage__costs_but_is_no_fee() -> None:
    env = env_of(market_of(flat_bars(100, 100)), slippage_bps=50, sizing="fixed_fractional", fraction=0.5)
    (first, *_), (second, trades, *_) = play(env, [SHORT, FLAT])
    assert first[4] == second[4] == 0.0
    assert trades[0].costs == pytest.approx(5.0)
    assert (trades[0].entry_price, trades[0].exit_price) == (100.0, 100.0)


def test_borrow__is_paid_for_each_night_that_a_short_is_held() -> None:
    """36.5 % a year is 0.1 % a day: of 1000 after the first close and 1100 after the second."""
    env = env_of(market_of(flat_bars(100, 110, 110)), borrow_rate=0.365)
    played = play(env, [SHORT, SHORT, FLAT])
    assert [round(row[2] - 2000.0, 9) for row, *_ in played[:2]] == [0.0, -1.0]
    assert trades_of(played)[0].costs == pytest.approx(2.1)
    assert played[-1][0][5] == 0.0


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize("fill", ["open", "close"])
@pytest.mark.parametrize("slippage_bps", [0.0, 20.0])
def test_journal_extra__is_fill_price_exit_costs_and_all_costs(actions: str, fill: str, slippage_bps: float) -> None:
    """What was spent is what trades and open lots bear; leaving at the close would cost what is told."""
    market = random_market(11, bars=300)
    costs = {"fee": 0.002, "slippage_bps": slippage_bps, "borrow_rate": 0.5 if slippage_bps else 0.0}
    env = env_of(market, actions=actions, fill=fill, stop_loss=0.03, fraction=0.9, **costs)
    env.reset(seed=0)
    random, columns = np.random.default_rng(3), env.journal_about().extra_columns
    assert columns == ("fill_price", "exit_costs", "costs")[: 2 + bool(slippage_bps)]
    spent = borne = 0.0
    for step in range(1, 200):
        env.step(int(random.integers(3)) if actions == "discrete" else random.uniform(-1, 1, 1))
        extra = dict(zip(columns, env.journal_extra, strict=True))
        _, price, _, position, fees, unrealized, _ = env.journal_row
        bar = env._start + step
        assert extra["fill_price"] == (market.open if fill == "open" else market.close)[bar]
        assert extra["exit_costs"] == pytest.approx(abs(position) * price * (0.002 + slippage_bps / 10_000))
        spent += extra.get("costs", fees)
        borne += sum(trade.costs for trade in env.journal_trades)
        gain = sum(env._ledger.side * size * (price - entry) for size, entry, *_ in env._ledger.lots)
        assert spent == pytest.approx(borne + gain - unrealized)
    assert spent > 100


def test_borrow__longs_pay_none() -> None:
    played = play(env_of(market_of(flat_bars(100, 100)), borrow_rate=1.0), [LONG, LONG])
    assert played[-1][0][0] == 1000.0


# ---- stops: quiet entry at 100 on the first bar, then the bar in question

STOP_CASES: dict[str, tuple[int, tuple[float, float, float, float], dict[str, float], float | None]] = {
    "long stop within the bar": (LONG, (100, 101, 94, 96), {"stop_loss": 0.05}, 95.0),
    "long stop touched exactly": (LONG, (100, 101, 95, 96), {"stop_loss": 0.05}, 95.0),
    "long stop missed": (LONG, (100, 101, 95.01, 96), {"stop_loss": 0.05}, None),
    "long stop gapped over": (LONG, (90, 92, 89, 91), {"stop_loss": 0.05}, 90.0),
    "long profit within the bar": (LONG, (100, 112, 99, 101), {"take_profit": 0.1}, 110.0),
    "long profit gapped over": (LONG, (115, 116, 114, 115), {"take_profit": 0.1}, 115.0),
    "short stop within the bar": (SHORT, (100, 106, 99, 104), {"stop_loss": 0.05}, 105.0),
    "short stop gapped over": (SHORT, (108, 109, 107, 108), {"stop_loss": 0.05}, 108.0),
    "short stop missed": (SHORT, (100, 104.99, 99, 104), {"stop_loss": 0.05}, None),
    "short profit within the bar": (SHORT, (100, 101, 88, 99), {"take_profit": 0.1}, 90.0),
    "short profit gapped over": (SHORT, (85, 86, 84, 85), {"take_profit": 0.1}, 85.0),
    "long: the stop beats the profit": (LONG, (100, 120, 80, 100), {"stop_loss": 0.05, "take_profit": 0.1}, 95.0),
    "short: the stop beats the profit": (SHORT, (100, 120, 80, 100), {"stop_loss": 0.05, "take_profit": 0.1}, 105.0),
    "long: a profit at the open comes before the stop": (
        LONG, (115, 120, 80, 100), {"stop_loss": 0.05, "take_profit": 0.1}, 115.0,
    ),
    "short: a profit at the open comes before the stop": (
        SHORT, (85, 120, 80, 100), {"stop_loss": 0.05, "take_profit": 0.1}, 85.0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fill", ["open", "close"])
@pytest.mark.parametrize("case", STOP_CASES)
def test_stops__held_position__fills_where_it_must(case: str, fill: str) -> None:
    """At the stop, or at the open that gapped over it; whatever orders fill at."""
    action, bar, config, exit_price = STOP_CASES[case]
    played = play(env_of(market_of([*flat_bars(100), bar]), fill=fill, **config), [action, action])
    assert [trade.exit_price for trade in trades_of(played)] == (
        [] if exit_price is None else [pytest.approx(exit_price)]
    )
    assert (played[-1][0][3] == 0.0) == (exit_price is not None)


def test_stops__entry_at_the_open__act_on_the_entry_bar() -> None:
    played = play(env_of(market_of([(100, 101, 94, 100)]), stop_loss=0.05), [LONG])
    assert [(t.entry_step, t.exit_price) for t in trades_of(played)] == [(1, 95.0)]


def test_stops__entry_at_the_close__do_not_act_on_the_entry_bar() -> None:
    """The bar's low came before the entry."""
    played = play(env_of(market_of([(100, 101, 50, 100), (100, 101, 94, 100)]), fill="close", stop_loss=0.05), [LONG])
    assert trades_of(played) == []
    assert played[0][0][3] > 0


def test_stops__order_at_the_close__is_cancelled_by_a_stop_of_its_bar() -> None:
    """What a stop closed is not opened again within its bar, but by the next action."""
    market = market_of([*flat_bars(100), (100, 100, 90, 92), *flat_bars(92)])
    played = play(env_of(market, fill="close", stop_loss=0.05), [LONG, LONG, LONG])
    assert [row[3] > 0 for row, *_ in played] == [True, False, True]


def test_stops__order_at_the_open__comes_before_them() -> None:
    """The agent leaves at the open; the stop that the bar would have reached has nothing to close."""
    played = play(env_of(market_of([*flat_bars(100), (99, 99, 90, 92)]), stop_loss=0.05), [LONG, FLAT])
    assert [trade.exit_price for trade in trades_of(played)] == [99.0]


def test_stops__slippage__is_paid_on_them_too() -> None:
    env = env_of(market_of([*flat_bars(100), (100, 100, 90, 92)]), stop_loss=0.05, slippage_bps=100)
    (trade,) = trades_of(play(env, [LONG, LONG]))
    assert trade.exit_price == 95.0
    assert trade.costs == pytest.approx(trade.quantity * (100 + 95) * 0.01)


def test_stops__position_of_two_lots__guard_its_average_entry() -> None:
    """Half at 100, half at 120: the average is 110 of 10 shares, so 10 % below is 99."""
    market = market_of([*flat_bars(100, 120), (110, 110, 98, 100)])
    env = env_of(market, actions="continuous", stop_loss=0.1, rebalance_band=0.2)
    played = play(env, [np.array([0.5]), np.array([1.0]), np.array([1.0])])
    quantities = [trade.quantity for trade in trades_of(played)]
    average = (quantities[0] * 100 + quantities[1] * 120) / sum(quantities)
    assert [trade.exit_price for trade in trades_of(played)] == [pytest.approx(average * 0.9)] * 2
