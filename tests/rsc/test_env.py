"""TradingEnv: what starts and ends an episode, what it may see, and that accounts add up in every state."""

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

from journal.format.schema import Trade
from rsc.trading.env import TradingEnv
from rsc.trading.market import Market, load_market
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


@pytest.mark.parametrize(
    ("action", "price", "column", "bound"),
    [(LONG, 10.0, -3, -5.0), (SHORT, 190.0, -4, -5.0), (SHORT, 190.0, -3, -5.0), (LONG, 900.0, -2, 5.0)],
)
def test_env__account_beyond_the_space__is_clipped(action: int, price: float, column: int, bound: float) -> None:
    """Unrealized loss and short exposure grow without bound as equity goes to nothing, as gains do."""
    observation = play(env_of(market_of(flat_bars(100, price))), [action, action])[-1][-1]
    assert observation[column] == bound


@pytest.mark.parametrize("capital", [100.0, 1e9])
@pytest.mark.parametrize("seed", range(5))
def test_env__wild_prices__observations_stay_in_their_space(seed: int, capital: float) -> None:
    env = env_of(random_market(seed, jump=0.3), capital=capital, fee=0.01, actions="continuous")
    for *_, observation in play(env, list(np.random.default_rng(seed).uniform(-1, 1, (100, 1)))):
        assert env.observation_space.contains(observation)


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
@given(st.integers(0, 10_000), st.integers(WARM_BARS + 4, 110), st.sampled_from(["open", "close"]), st.booleans())
def test_env__future_prices_changed__change_nothing_before(seed: int, known: int, fill: str, discrete: bool) -> None:
    """Observations, rewards, rows and trades up to bar ``known - 1`` depend on the bars up to it only."""
    market = random_market(seed)
    changed = {**vars(market)}
    changed.pop("fingerprint", None)
    for name in ("open", "high", "low", "close", "volume"):
        changed[name] = np.concatenate((changed[name][:known], changed[name][known:] * 3.0))
    config: dict[str, Any] = {"fill": fill, "stop_loss": 0.03, "take_profit": 0.05, "fee": 0.001, "borrow_rate": 0.1}
    config |= {"features": ("return", "rsi", "atr", "volume"), "window": 5}  # so it starts 4 bars later
    config["actions"] = "discrete" if discrete else "continuous"
    random = np.random.default_rng(seed)
    actions = list(random.integers(0, 3, 100) if discrete else random.uniform(-1, 1, (100, 1)))
    one, two = (env_of(each, **config) for each in (market, Market(**changed)))
    assert np.array_equal(one.reset()[0], two.reset()[0])
    ours, theirs = play(one, actions), play(two, actions)
    steps = min(known - WARM_BARS - 4, len(ours))
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
    capital = 100.0 * market.high.max() if config["whole_shares"] else 1e4
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
