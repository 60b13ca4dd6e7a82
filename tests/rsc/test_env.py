"""TradingEnv: where orders and stops fill, what ends an episode, and that accounts add up in every state."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from typing import Any

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from journal.schema import Trade
from rsc.env import TradingEnv
from rsc.market import Market, load_market
from tests.rsc.markets import WARM_BARS, env_of, flat_bars, market_of, play, random_market

FLAT, LONG, SHORT = 0, 1, 2


def trades_of(played: list[tuple[Any, ...]]) -> list[Trade]:
    return [trade for _, trades, *_ in played for trade in trades]


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"actions": "continuous"},
        {"fill": "close", "stop_loss": 0.02, "reward": "sharpe", "episode_length": 30},
        {"whole_shares": True, "sizing": "all_in", "random_start": False},
    ],
)
def test_env__gymnasium_checker__has_no_complaint(config: dict[str, Any]) -> None:
    """Not even a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(TradingEnv(config, render_mode="ansi"))


@pytest.mark.parametrize("capital", [100.0, 1e9])
@pytest.mark.parametrize("seed", range(5))
def test_env__wild_prices__observations_stay_in_their_space(seed: int, capital: float) -> None:
    env = env_of(random_market(seed, jump=0.3), capital=capital, fee=0.01, actions="continuous")
    for *_, observation in play(env, list(np.random.default_rng(seed).uniform(-1, 1, (100, 1)))):
        assert env.observation_space.contains(observation)


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


def test_borrow__is_paid_at_each_close_that_a_short_is_held_over() -> None:
    """25.2 % a year is 0.1 % a bar: of 1000 at the first close and 1100 at the second; none on the day it is closed."""
    env = env_of(market_of(flat_bars(100, 110, 110)), borrow_rate=0.252)
    played = play(env, [SHORT, SHORT, FLAT])
    assert [round(row[2] - 2000.0, 9) for row, *_ in played[:2]] == [-1.0, -2.1]
    assert trades_of(played)[0].costs == pytest.approx(2.1)
    assert played[-1][0][5] == 0.0


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


# ---- endings


def test_end__short_that_runs_away__terminates_as_bankrupt() -> None:
    env = env_of(market_of(flat_bars(100, 300, 300)))
    played = play(env, [SHORT, SHORT, SHORT])
    row, _, reward, terminated, truncated, observation = played[-1]
    assert (len(played), terminated, truncated) == (2, True, False)
    assert row[0] == pytest.approx(-1000.0)
    assert row[5] == pytest.approx(-2000.0)
    assert reward == pytest.approx(math.log(1e-4))
    assert env.observation_space.contains(observation)


def test_end__equity_of_exactly_zero__is_bankrupt() -> None:
    played = play(env_of(market_of(flat_bars(100, 200, 200))), [SHORT, SHORT])
    assert played[-1][0][0] == 0.0
    assert played[-1][3]


def test_end__equity_below_zero_at_an_open__may_recover_by_the_close() -> None:
    """Only closes are marked; but a bankrupt at the open cannot open anything."""
    market = market_of([*flat_bars(100), (250, 250, 150, 150), *flat_bars(150)])
    assert play(env_of(market), [SHORT, SHORT])[-1][0][0] == pytest.approx(500.0)
    reversed_ = play(env_of(market), [SHORT, LONG])
    assert reversed_[-1][0][:4:3] == (pytest.approx(-500.0), 0.0)
    assert reversed_[-1][3]


def test_end__of_data__truncates_and_closes_nothing() -> None:
    played = play(env_of(market_of(flat_bars(100, 110))), [LONG, LONG, LONG])
    assert [each[3:5] for each in played] == [(False, False), (False, True)]
    assert trades_of(played) == []
    assert played[-1][0][5] == pytest.approx(100.0)


def test_end__episode_length__truncates() -> None:
    played = play(env_of(market_of(flat_bars(*[100.0] * 9)), episode_length=3), [FLAT] * 9)
    assert [each[4] for each in played] == [False, False, True]


def test_step__before_reset_or_after_the_end__is_refused() -> None:
    env = env_of(market_of(flat_bars(100)))
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(FLAT)
    play(env, [FLAT])
    with pytest.raises(ResetNeeded, match="call reset"):
        env.step(FLAT)


# ---- starts


def test_reset__same_seed__same_starts() -> None:
    one, two = (TradingEnv({"episode_length": 50}) for _ in range(2))
    for env in (one, two):
        env.reset(seed=5)
    starts = [(one.reset()[0].tobytes(), two.reset()[0].tobytes()) for _ in range(5)]
    assert all(first == second for first, second in starts)
    assert len({first for first, _ in starts}) == 5


def test_reset__random_start__leaves_room_for_a_whole_episode() -> None:
    env = TradingEnv({"episode_length": 100}, market=random_market(0, bars=200))
    for _ in range(50):
        env.reset()
        assert env._end - env._t == 100


def test_reset__less_data_than_an_episode__plays_all_of_it() -> None:
    env = TradingEnv({"episode_length": 1000}, market=random_market(0, bars=200))
    env.reset(seed=1)
    assert env._end == 199


def test_reset__account__is_empty() -> None:
    """Zeros, and nothing of the bars to come."""
    env = TradingEnv()
    for seed in range(10):
        assert not env.reset(seed=seed)[0][-4:].any()


def test_reset__seed_of_the_config__counts_once() -> None:
    one, two = TradingEnv({"seed": 3}), TradingEnv()
    assert np.array_equal(one.reset()[0], two.reset(seed=3)[0])
    assert np.array_equal(one.reset()[0], two.reset()[0])


def test_reset__dates__bound_the_episodes() -> None:
    env = TradingEnv({"start_date": "2005-01-01", "end_date": "2005-12-31", "episode_length": None})
    for seed in range(20):
        env.reset(seed=seed)
        first, last = (env.market.times_us[[env._t, env._end]].view("datetime64[us]")).astype("datetime64[D]")
        assert np.datetime64("2005-01-01") <= first < last == np.datetime64("2005-12-30")


def test_env__never_changes_its_config() -> None:
    """RLlib's env context is one object for all sub-envs."""
    given = {"ticker": "AAPL", "initial_balance": 500.0, "features": ["rsi"]}
    kept = copy.deepcopy(given)
    env = TradingEnv(given)
    env.reset(seed=0)
    env.step(LONG)
    assert given == kept


# ---- the past only, and nothing shared that changes


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(WARM_BARS, 110), st.sampled_from(["open", "close"]), st.booleans())
def test_env__future_prices_changed__change_nothing_before(seed: int, known: int, fill: str, discrete: bool) -> None:
    """Observations, rewards, rows and trades up to bar ``known - 1`` depend on the bars up to it only."""
    market = random_market(seed)
    changed = {**vars(market)}
    changed.pop("fingerprint", None)
    for name in ("open", "high", "low", "close", "volume"):
        changed[name] = np.concatenate((changed[name][:known], changed[name][known:] * 3.0))
    config: dict[str, Any] = {"fill": fill, "stop_loss": 0.03, "take_profit": 0.05, "fee": 0.001, "borrow_rate": 0.1}
    config |= {"features": ("return", "rsi", "atr", "volume"), "window": 5}
    config["actions"] = "discrete" if discrete else "continuous"
    random = np.random.default_rng(seed)
    actions = list(random.integers(0, 3, 100) if discrete else random.uniform(-1, 1, (100, 1)))
    one, two = (env_of(each, **config) for each in (market, Market(**changed)))
    assert np.array_equal(one.reset()[0], two.reset()[0])
    ours, theirs = play(one, actions), play(two, actions)
    steps = min(known - WARM_BARS, len(ours))
    for first, second in zip(ours[:steps], theirs[:steps], strict=True):
        assert np.array_equal(first[-1], second[-1])
        assert first[:4] == second[:4]


def test_env__fills__are_never_at_a_price_that_the_observation_contained() -> None:
    """Each bar has prices of its own, so a fill's price names its bar: the one after the action."""
    market = random_market(2, bars=200)
    for fill in ("open", "close"):
        played = play(env_of(market, fill=fill), list(np.random.default_rng(0).integers(0, 3, 200)))
        fills = getattr(market, fill)
        for step, (_, trades, *_) in enumerate(played, 1):
            for trade in trades:
                assert trade.exit_price == fills[WARM_BARS - 1 + step]
                assert trade.entry_price == fills[WARM_BARS - 1 + trade.entry_step]


def test_env__observations__are_not_overwritten_later() -> None:
    """RLlib keeps references; and writing into one changes no other."""
    env = TradingEnv({"episode_length": 30})
    first, _ = env.reset(seed=1)
    kept = [first, *(env.step(LONG)[0] for _ in range(20))]
    copies = [each.copy() for each in kept]
    kept[0][:] = 99.0
    env.reset(seed=1)
    again = [env.step(LONG)[0] for _ in range(20)]
    assert all(np.array_equal(each, other) for each, other in zip(kept[1:], copies[1:], strict=True))
    assert all(np.array_equal(each, other) for each, other in zip(kept[1:], again, strict=True))


def test_env__many_on_one_market__hold_its_features_once() -> None:
    envs = [TradingEnv({"ticker": "IBM"}) for _ in range(64)]
    assert len({id(env._game.tape) for env in envs}) == 1
    assert len({id(env._bars) for env in envs}) == len({id(env._rows) for env in envs}) == 1


@pytest.mark.parametrize("how", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_env__copied_between_steps__goes_on_alike(how: Any) -> None:
    env = TradingEnv({"stop_loss": 0.1, "reward": "sharpe"})
    env.reset(seed=1)
    env.step(LONG)
    twin = how(env)
    assert twin._rows is env._rows
    for action in [LONG, SHORT, FLAT] * 10:
        ours, theirs = env.step(action), twin.step(action)
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]
        assert env.journal_row == twin.journal_row
    assert np.array_equal(env.reset()[0], twin.reset()[0])


# ---- what the recorder is told


def test_journal__about__describes_the_episode() -> None:
    env = TradingEnv({"ticker": "AAPL", "capital": 5000})
    env.reset(seed=4)
    about = env.journal_about()
    assert (about.env, about.initial_portfolio_value, about.periods_per_year) == ("TradingEnv", 5000.0, 252.0)
    assert about.env_config["ticker"] == "AAPL"
    assert about.start_market_time_us == env.journal_row[6] == int(env.market.times_us[env._t])


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    jump=st.sampled_from([0.01, 0.1, 0.4]),
    actions=st.sampled_from(["discrete", "continuous"]),
    fill=st.sampled_from(["open", "close"]),
    fee=st.sampled_from([0.0, 0.001, 0.05]),
    slippage_bps=st.sampled_from([0.0, 5.0, 100.0]),
    borrow_rate=st.sampled_from([0.0, 0.05, 5.0]),
    stop_loss=st.sampled_from([None, 0.02, 0.3]),
    take_profit=st.sampled_from([None, 0.02, 0.3]),
    whole_shares=st.booleans(),
    rebalance_band=st.sampled_from([0.0, 0.1]),
)
def test_account__every_state__pnl_is_trades_plus_unrealized(
    seed: int, jump: float, actions: str, **config: Any
) -> None:
    """With fees, slippage, reversals, stops, gaps and bankruptcies: within 1e-9 of the traded value."""
    market = random_market(seed, jump=jump)
    capital = 1e9 if config["whole_shares"] else 1e4
    random = np.random.default_rng(seed)
    chosen = list(random.integers(0, 3, 100) if actions == "discrete" else random.uniform(-1, 1, (100, 1)))
    realized = traded = held = 0.0
    for (value, price, cash, position, fees, unrealized, _), trades, *_ in play(
        env_of(market, actions=actions, capital=capital, **config), chosen
    ):
        realized += sum(trade.pnl for trade in trades)
        traded += max(abs(position - held) * price, sum(trade.quantity * trade.exit_price for trade in trades))
        traded += sum(trade.quantity * trade.entry_price for trade in trades)
        held = position
        for trade in trades:
            gross = trade.direction * trade.quantity * (trade.exit_price - trade.entry_price)
            assert trade.quantity > 0
            assert abs(trade.pnl - (gross - trade.costs)) <= 1e-9 * trade.quantity * trade.entry_price
        assert fees >= 0.0
        assert value == pytest.approx(cash + position * price, rel=1e-12, abs=1e-6)
        assert abs((value - capital) - (realized + unrealized)) <= 1e-9 * max(traded, 1.0)
        assert not config["whole_shares"] or position == int(position)


def test_account__bankruptcies__do_happen_in_the_property_test() -> None:
    """So that it says something about them."""
    endings = [play(env_of(random_market(seed, jump=0.4)), [SHORT] * 100)[-1][3] for seed in range(20)]
    assert sum(endings) > 5


# ---- render


def test_render__ansi__is_one_line_about_the_account() -> None:
    env = TradingEnv({"ticker": "AAPL"}, render_mode="ansi")
    env.reset(seed=1)
    env.step(LONG)
    text = env.render()
    assert text is not None
    for part in ("AAPL", "step 1", "price", "position +", "value"):
        assert part in text


def test_render__without_a_mode__is_nothing() -> None:
    env = TradingEnv()
    env.reset(seed=1)
    assert env.render() is None


def test_env__market_in_the_config__is_played() -> None:
    market = load_market("GOOG")
    assert TradingEnv({"market": market}).market is market
