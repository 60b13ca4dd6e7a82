"""TradingEnv's optional terms: interest, margin, fees by share, and settings that could never trade."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.env import TradingEnv
from rsc.trading.market import Market
from tests.rsc.markets import WARM_BARS, env_of, flat_bars, market_of, play, random_market

FLAT, LONG, SHORT = 0, 1, 2


def weekend_market(*prices: float) -> Market:
    """Bars whose first is a Friday and whose second is a Monday."""
    market = market_of(flat_bars(*prices))
    days = np.arange(WARM_BARS) - WARM_BARS, np.arange(len(prices)) + 2 * (np.arange(len(prices)) > 0)
    times = np.datetime64("2024-03-01") + np.concatenate(days)
    return dataclasses.replace(market, times_us=times.astype("datetime64[us]").astype(np.int64))


def extra_of(env: TradingEnv) -> dict[str, float]:
    return dict(zip(env.journal_about().extra_columns, env.journal_extra, strict=True))


# ---- the days between bars


def test_borrow__over_a_weekend__is_paid_for_three_days() -> None:
    """0.1 % a day of 1000 from Friday to Monday, and of 1100 from Monday to Tuesday."""
    env = env_of(weekend_market(100, 110, 110), borrow_rate=0.365)
    played = play(env, [SHORT, SHORT, FLAT])
    assert [row[2] for row, *_ in played[:2]] == [2000.0, pytest.approx(1997.0)]
    assert played[1][0][5] == pytest.approx(-100.0 - 3.0)
    assert played[2][1][0].costs == pytest.approx(4.1)


def test_borrow__within_a_day__is_paid_by_the_hour() -> None:
    market = market_of(flat_bars(100, 100, 100))
    market = dataclasses.replace(market, times_us=market.times_us // 24)
    played = play(env_of(market, borrow_rate=0.365), [SHORT, SHORT])
    assert played[-1][0][0] == pytest.approx(1000.0 - 1.0 / 24)


def test_interest__on_cash__for_each_day_and_in_the_journal() -> None:
    """0.1 % a day; the first step follows the bar of the day before."""
    env = env_of(weekend_market(100, 100, 100), cash_rate=0.365)
    env.reset()
    assert env.journal_about().extra_columns[-1] == "interest"
    found = []
    for action in (FLAT, FLAT, LONG):
        env.step(action)
        found.append(extra_of(env)["interest"])
    assert found == [pytest.approx(1.0), pytest.approx(3.003), pytest.approx(1.004003)]
    assert env.journal_row[0] == pytest.approx(1000.0 + sum(found))


def test_interest__and_trades__make_up_the_value() -> None:
    market = random_market(7, bars=200)
    env = env_of(market, cash_rate=0.2, borrow_rate=0.1, fee=0.001, actions="continuous")
    env.reset()
    gained = 0.0
    for action in np.random.default_rng(1).uniform(-1, 1, (150, 1)):
        env.step(action)
        gained += sum(trade.pnl for trade in env.journal_trades) + extra_of(env)["interest"]
        assert env.journal_row[0] - 1000.0 == pytest.approx(gained + env.journal_row[5], abs=1e-6)


# ---- margin


def margin_env(*prices: float, **settings: Any) -> TradingEnv:
    return env_of(market_of(flat_bars(*prices)), maintenance_margin=0.3, **settings)


@pytest.mark.parametrize("fill", ["open", "close"])
@pytest.mark.parametrize("action", [SHORT, LONG, FLAT])
def test_margin__short_below_it__is_closed_at_the_next_open_whatever_the_action(fill: str, action: int) -> None:
    """Short 10 at 100: at 155, equity is 450 of 1550, less than 30 %."""
    env = env_of(market_of([*flat_bars(100, 155), (150, 151, 149, 149)]), maintenance_margin=0.3, fill=fill)
    env.reset()
    told = []
    for each in (SHORT, SHORT, action):
        env.step(each)
        told.append(extra_of(env)["liquidated"])
    assert told == [0.0, 0.0, 1.0]
    (trade,) = env.journal_trades
    assert (trade.exit_price, env.journal_row[3]) == (150.0, 0.0)
    assert extra_of(env)["fill_price"] == 150.0


def test_margin__short_that_recovers_or_is_above_it__is_kept() -> None:
    env = margin_env(100, 150, 150)
    assert [row[3] for row, *_ in play(env, [SHORT] * 3)] == [-10.0] * 3


def test_margin__long_position__never_falls_below_it() -> None:
    env = margin_env(100, 1, 1)
    assert [row[3] for row, *_ in play(env, [LONG] * 3)] == [10.0] * 3


def test_margin__after_liquidation__next_action_may_open_again() -> None:
    env = margin_env(100, 155, 100, 100)
    assert [row[3] for row, *_ in play(env, [SHORT] * 4)] == [-10.0, -10.0, 0.0, -10.0]


def test_margin__episode_that_ended_below_it__does_not_reach_the_next_one() -> None:
    env = env_of(market_of(flat_bars(100, 155)), maintenance_margin=0.3)
    play(env, [SHORT, SHORT])
    assert env.journal_row[0] < 0.3 * 1550
    assert play(env, [LONG])[0][0][3] == 10.0


# ---- fees


def test_fees__per_share_and_minimum__are_paid_on_each_leg() -> None:
    """10 shares at 1.5 a share are below the minimum of 20; 40 shares are above."""
    env = env_of(market_of(flat_bars(10, 10, 10, 10)), fee_per_share=1.0, fee_minimum=20.0, fraction=0.1,
                 sizing="fixed_fractional")  # fmt: skip
    played = play(env, [LONG, SHORT, FLAT])
    assert [row[4] for row, *_ in played] == [20.0, 40.0, 20.0]
    env = env_of(market_of(flat_bars(10, 10)), fee_per_share=1.0, fee_minimum=20.0, fraction=0.4,
                 sizing="fixed_fractional", actions="continuous", rebalance_band=0.0)  # fmt: skip
    played = play(env, [np.array([1.0]), np.array([0.0])])
    assert [row[4] for row, *_ in played] == [40.0, 40.0]
    assert played[1][1][0].costs == 80.0


# ---- settings that never trade


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fraction": 0.05}, "rebalance_band 0.05 skips every order: a full position is 0.05 of equity"),
        ({"sizing": "all_in", "rebalance_band": 1.0}, "a full position is 0.999 of equity"),
        ({"fee_minimum": 1e4}, "fee_minimum 10000 must be less than the capital, 10000"),
    ],
)
def test_config__that_never_trades__is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        TradingConfig.of({"actions": "continuous", **config})
    assert "\n" not in str(caught.value)


def test_config__band_just_below_the_fraction__trades() -> None:
    env = env_of(market_of(flat_bars(100)), actions="continuous", fraction=0.1, rebalance_band=0.0999,
                 sizing="fixed_fractional")  # fmt: skip
    assert play(env, [np.array([1.0])])[0][0][3] == pytest.approx(1.0)


def test_config__small_fraction_and_band__is_fine_for_discrete_actions() -> None:
    TradingConfig.of({"fraction": 0.01, "rebalance_band": 0.5})


def test_band__is_a_fraction_of_equity() -> None:
    """Of half positions of half the equity, 0.2 of a position is 0.1 of equity."""
    env = env_of(market_of(flat_bars(*[100] * 3)), actions="continuous", fraction=0.5, rebalance_band=0.1,
                 sizing="fixed_fractional")  # fmt: skip
    played = play(env, [np.array([target]) for target in (0.5, 0.7, 0.75)])
    assert [row[3] for row, *_ in played] == [pytest.approx(each) for each in (2.5, 2.5, 3.75)]


# ---- the observation space


@pytest.mark.parametrize("actions", ["discrete", "continuous"])
@pytest.mark.parametrize("seed", range(4))
def test_observation__tiny_equity_and_costs__stays_in_the_space(actions: str, seed: int) -> None:
    market = random_market(seed, bars=300, jump=0.4)
    settings = {"fee": 0.05, "slippage_bps": 100, "borrow_rate": 5.0, "fee_minimum": 1e-7, "capital": 1e-6}
    env = env_of(market, actions=actions, **settings)
    random = np.random.default_rng(seed)
    for episode in range(20):
        env.reset(seed=episode)
        over = False
        while not over:
            action = int(random.integers(3)) if actions == "discrete" else random.uniform(-1, 1, 1)
            observation, _, terminated, truncated, _ = env.step(action)
            assert env.observation_space.contains(observation)
            over = terminated or truncated


def test_observation__loan_larger_than_equity__is_clipped_above() -> None:
    """A minimum fee can leave debts: then even a long position exceeds equity."""
    env = env_of(market_of(flat_bars(100, 1.0)))
    env.reset()
    env.step(LONG)
    env._ledger.cash = -9.99
    observation = env.step(LONG)[0]
    assert env.journal_row[0] > 0.0
    assert observation[-4] == 5.0
    assert env.observation_space.contains(observation)
