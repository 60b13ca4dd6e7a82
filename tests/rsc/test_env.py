"""TradingEnv: gymnasium's rules, fills without look-ahead, stops, and accounts that add up in every state."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from rsc.env import TradingEnv
from rsc.env_config import ConfigError, TradingConfig
from rsc.market import Market, market_from_columns

DAY = 86_400_000_000


def market_of(*bars: tuple[float, float, float, float], lead: int = 120) -> Market:
    """Flat bars at 100 and then these (open, high, low, close); the first of them is played by the first step."""
    rows = [(100.0, 100.0, 100.0, 100.0)] * lead + list(bars)
    columns = dict(zip(("open", "high", "low", "close"), np.array(rows).T.copy(), strict=True))
    dates = np.datetime64("2020-01-01") + np.arange(len(rows))
    return market_from_columns("test", {"date": dates, **columns, "volume": np.ones(len(rows))})


def env_on(market: Market, **config: Any) -> TradingEnv:
    """An env whose first step plays the first bar behind the lead."""
    env = TradingEnv(
        {"fee": 0.0, "sizing": "all_in", "random_start": False, "episode_length": None, **config}, market=market
    )
    env._first = 119
    env.reset(seed=0)
    return env


def random_walk(seed: int, bars: int = 300, jump: float = 0.1) -> Market:
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, jump / 3, bars)))
    opened = close * np.exp(rng.normal(0, jump / 3, bars))
    spread = np.exp(np.abs(rng.normal(0, jump / 3, (2, bars))))
    columns = {
        "open": opened,
        "high": np.maximum(opened, close) * spread[0],
        "low": np.minimum(opened, close) / spread[1],
    }
    dates = np.datetime64("2020-01-01") + np.arange(bars)
    return market_from_columns("walk", {"date": dates, **columns, "close": close, "volume": np.ones(bars)})


@pytest.mark.parametrize(
    "config", [{}, {"actions": "continuous"}, {"fill": "close", "stop_loss": 0.02, "reward": "sharpe"}]
)
def test_env__gymnasium_checker__has_no_complaint(config: dict[str, Any]) -> None:
    """Not even a warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(TradingEnv(config), skip_render_check=True)


@pytest.mark.parametrize("vector", [gym.vector.SyncVectorEnv, gym.vector.AsyncVectorEnv])
def test_env__under_vector_envs__runs(vector: Any) -> None:
    """In one process and in forked ones."""
    envs = vector([lambda: TradingEnv({"episode_length": 20})] * 2)
    envs.reset(seed=1)
    for _ in range(30):
        observations, *_ = envs.step(envs.action_space.sample())
    assert observations.shape == (2, 92)
    envs.close()


def test_env__same_seed__same_episode() -> None:
    """And another seed another start."""
    one, two = (TradingEnv({"episode_length": 50}) for _ in range(2))
    first, second = one.reset(seed=5)[0], two.reset(seed=5)[0]
    assert np.array_equal(first, second)
    assert not np.array_equal(first, two.reset(seed=6)[0])


def test_env__pickled__goes_on_alike() -> None:
    """Between steps it is only data."""
    env = TradingEnv({"stop_loss": 0.1})
    env.reset(seed=1)
    env.step(1)
    twin = pickle.loads(pickle.dumps(env))
    for action in (1, 2, 0):
        ours, theirs = env.step(action), twin.step(action)
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1:] == theirs[1:]


def test_env__observations__are_not_overwritten_later() -> None:
    """RLlib keeps references."""
    env = TradingEnv()
    first, _ = env.reset(seed=1)
    kept = first.copy()
    for _ in range(5):
        env.step(1)
    assert np.array_equal(first, kept)


@given(st.integers(0, 100), st.integers(130, 250), st.sampled_from(["open", "close"]))
@settings(max_examples=20, deadline=None)
def test_env__future_prices_changed__change_nothing_before(seed: int, cut: int, fill: str) -> None:
    """No look-ahead: observations, rewards and fills up to bar t depend on bars up to t only."""
    market = random_walk(seed)
    changed = copy.deepcopy(market)
    for name in ("open", "high", "low", "close"):
        getattr(changed, name)[cut:] *= 3.0
    one, two = (env_on(each, fill=fill, fee=0.001) for each in (market, changed))
    rng = np.random.default_rng(seed)
    for _ in range(cut - 120):
        action = int(rng.integers(3))
        ours, theirs = one.step(action), two.step(action)
        assert np.array_equal(ours[0], theirs[0])
        assert ours[1:4] == theirs[1:4]
        assert one.journal_row == two.journal_row


def test_fill__open__is_the_next_bars_open() -> None:
    """Bought at 110, worth 121 at the close: ten percent."""
    env = env_on(market_of((110, 121, 110, 121)))
    env.step(1)
    assert math.isclose(env.journal_row[0], 11_000.0)


def test_fill__close__is_the_next_bars_close() -> None:
    """Bought at the close of the bar behind the observation: nothing gained yet."""
    env = env_on(market_of((110, 121, 110, 121)), fill="close")
    env.step(1)
    assert math.isclose(env.journal_row[0], 10_000.0)


@pytest.mark.parametrize(
    ("name", "action", "bars", "config", "exit_price"),
    [
        ("long stop", 1, [(100, 100, 100, 100), (100, 101, 94, 100)], {"stop_loss": 0.05}, 95.0),
        ("long stop gapped", 1, [(100, 100, 100, 100), (90, 92, 89, 91)], {"stop_loss": 0.05}, 90.0),
        ("long profit", 1, [(100, 100, 100, 100), (100, 112, 99, 100)], {"take_profit": 0.1}, 110.0),
        ("long profit gapped", 1, [(100, 100, 100, 100), (115, 116, 114, 115)], {"take_profit": 0.1}, 115.0),
        ("short stop", 2, [(100, 100, 100, 100), (100, 106, 99, 100)], {"stop_loss": 0.05}, 105.0),
        ("short stop gapped", 2, [(100, 100, 100, 100), (108, 109, 107, 108)], {"stop_loss": 0.05}, 108.0),
        ("short profit", 2, [(100, 100, 100, 100), (100, 101, 88, 100)], {"take_profit": 0.1}, 90.0),
        (
            "stop beats profit",
            1,
            [(100, 100, 100, 100), (100, 120, 80, 100)],
            {"stop_loss": 0.05, "take_profit": 0.1},
            95.0,
        ),
        ("entry bar at its open", 1, [(100, 101, 94, 100)], {"stop_loss": 0.05}, 95.0),
    ],
)
def test_stops__intrabar__fill_where_they_must(
    name: str, action: int, bars: list[Any], config: dict[str, float], exit_price: float
) -> None:
    """At the stop, or at the open that gapped over it."""
    env = env_on(market_of(*bars), **config)
    trades = []
    for _ in bars:
        env.step(action)
        trades += env.journal_trades
    assert [trade.exit_price for trade in trades[:1]] == [pytest.approx(exit_price)]
    assert env.journal_row[3] == 0.0 or name == "entry bar at its open"


def test_stops__entry_at_close__do_not_act_on_the_entry_bar() -> None:
    """The bar's low came before the entry."""
    env = env_on(market_of((100, 101, 50, 100), (100, 100, 100, 100)), fill="close", stop_loss=0.05)
    env.step(1)
    assert env.journal_trades == ()
    assert env.journal_row[3] > 0


def test_bankruptcy__short_that_runs_away__terminates() -> None:
    """Equity at or below zero ends the episode as terminated."""
    env = env_on(market_of((100, 100, 100, 100), (300, 300, 300, 300), (300, 300, 300, 300)))
    env.step(2)
    *_, terminated, truncated, _ = env.step(2)
    assert terminated
    assert not truncated


def test_end_of_data__truncates() -> None:
    """It is no terminal state."""
    env = env_on(market_of((100, 100, 100, 100), (100, 100, 100, 100)))
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)


@given(
    st.integers(0, 1000),
    st.sampled_from(["discrete", "continuous"]),
    st.sampled_from(["open", "close"]),
    st.floats(0, 0.01),
    st.floats(0, 50),
    st.sampled_from([None, 0.02, 0.1]),
    st.booleans(),
    st.floats(0, 0.2),
)
@settings(max_examples=60, deadline=None)
def test_account__every_state__pnl_is_trades_plus_unrealized(
    seed: int, actions: str, fill: str, fee: float, slippage: float, stop: float | None, whole: bool, borrow: float
) -> None:
    """pnl = sum of trade pnl + unrealized pnl within 1e-9 of the traded value; fees of rows add up to those of the cash."""
    env = env_on(
        random_walk(seed), actions=actions, fill=fill, fee=fee, slippage_bps=slippage, stop_loss=stop,
        take_profit=stop, whole_shares=whole, borrow_rate=borrow, capital=10_000.0,
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    realized, traded, ended, numbers = 0.0, 1.0, False, 0
    while not ended:
        action = int(rng.integers(3)) if actions == "discrete" else rng.uniform(-1, 1, 1).astype(np.float32)
        *_, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        value, price, cash, position, fees, unrealized, _ = env.journal_row
        realized += sum(trade.pnl for trade in env.journal_trades)
        traded += abs(position) * price + sum(trade.quantity * trade.exit_price for trade in env.journal_trades)
        numbers += len(env.journal_trades)
        assert fees >= 0.0
        assert value == pytest.approx(cash + position * price, rel=1e-12, abs=1e-9)
        assert abs((value - 10_000.0) - (realized + unrealized)) <= 1e-9 * traded
        assert not whole or position == int(position)
    assert numbers > 0 or fee


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fees": 0.1}, "did you mean 'fee'"),
        ({"stop_los": 0.1}, "did you mean 'stop_loss'"),
        ({"capital": -1}, "capital must be positive"),
        ({"fraction": 1.5}, "at most 1"),
        ({"fill": "mid"}, "'open' or 'close'"),
        ({"features": ["rsi", "moon"]}, "features must be among"),
        ({"whole_shares": True, "capital": 1.0}, "buys no whole share"),
    ],
)
def test_config__bad_setting__one_clear_line(config: dict[str, Any], message: str) -> None:
    """At construction, not in the middle of a training."""
    with pytest.raises(ConfigError, match=message):
        TradingEnv(config)


def test_config__forerunners_keys__are_taken_with_a_warning_where_the_unit_changed() -> None:
    """Percent became a fraction."""
    with pytest.warns(UserWarning, match="fee=0.001"):
        config = TradingConfig.of({"initial_balance": 5000.0, "transaction_fee_percent": 0.1, "window_size": 5})
    assert (config.capital, config.fee, config.window) == (5000.0, pytest.approx(0.001), 5)


def test_render__ansi__is_one_line_about_the_account() -> None:
    """Something a human can read."""
    env = TradingEnv(render_mode="ansi")
    env.reset(seed=1)
    env.step(1)
    text = env.render()
    assert text is not None
    assert "MSFT" in text
    assert "value" in text
