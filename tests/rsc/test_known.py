"""Accounts of known envs, against the real packages: value and trades are what the env itself reports.

A test is skipped where its package is not installed: `pip install --no-deps -r tests/foreign-envs.txt`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import itertools
import multiprocessing
import sys
import types
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from journal import Journal, journal_path, list_journals, read_journal
from rsc.metrics import metrics_of
from rsc.recording.episode import JournalSettings
from rsc.recording.factory import record_env
from rsc.recording.known import account_of
from rsc.recording.recorder import Recorder

pd = pytest.importorskip("pandas")
BARS = 260


def frame(seed: int, start: float, spread: float) -> Any:
    rng = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(rng.normal(0, spread, BARS)))
    opened = np.r_[close[0], close[:-1]]
    columns = {"Open": opened, "High": np.maximum(opened, close), "Low": np.minimum(opened, close), "Close": close}
    return pd.DataFrame({**columns, "Volume": 1e3}, index=pd.date_range("2020-01-01", periods=BARS, freq="D"))


def play(root: Path, env: gym.Env[Any, Any], seed: int) -> Journal:
    """One recorded episode of random actions."""
    assert account_of(env) is not None
    recorded = Recorder(env, JournalSettings(str(root), "run"))
    env.action_space.seed(seed)
    recorded.reset(seed=seed)
    while True:
        _, _, terminated, truncated, _ = recorded.step(env.action_space.sample())
        if terminated or truncated:
            break
    recorded.close()
    (name,) = list_journals(root, "run")
    return read_journal(journal_path(root, "run", name))


@pytest.mark.parametrize("seed", range(3))
def test_anytrading_stocks__value_and_trades__are_its_total_profit(tmp_path: Path, seed: int) -> None:
    envs = pytest.importorskip("gym_anytrading.envs")
    env = envs.StocksEnv(df=frame(seed, 100, 0.01), window_size=10, frame_bound=(10, BARS))
    journal = play(tmp_path, env, seed)
    metrics = metrics_of(journal)
    assert metrics.final_portfolio_value == pytest.approx(float(env._total_profit), rel=1e-6)
    # Each flip to "Short" sells; so does the last step of an episode that is still "Long".
    names = [position.name for position in env._position_history if position is not None]
    sales = sum(before == "Long" and now == "Short" for before, now in itertools.pairwise(names))
    sales += names[-1] == "Long" and names[-2] == "Long"
    assert metrics.total_trades == sales > 20
    assert sum(trade[9] for trade in journal.trade_rows()) == pytest.approx(
        metrics.pnl, abs=1e-5
    )  # it computes in float32


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("seed", range(3))
def test_anytrading_forex__value_and_trades__are_its_total_profit(tmp_path: Path, seed: int, side: str) -> None:
    envs = pytest.importorskip("gym_anytrading.envs")
    env = envs.ForexEnv(df=frame(seed, 1.2, 0.002), window_size=10, frame_bound=(10, BARS), unit_side=side)
    journal = play(tmp_path, env, seed)
    metrics = metrics_of(journal)
    assert metrics.final_portfolio_value == pytest.approx(float(env._total_profit), rel=1e-6)
    assert sum(trade[9] for trade in journal.trade_rows()) == pytest.approx(metrics.pnl, abs=1e-5)
    assert metrics.total_trades is not None
    assert metrics.total_trades > 20


@pytest.mark.parametrize("several", [False, True], ids=["one", "many"])
@pytest.mark.parametrize("seed", range(3))
def test_gym_trading_env__value_and_trades__are_its_portfolio(tmp_path: Path, seed: int, several: bool) -> None:
    package = pytest.importorskip("gym_trading_env.environments")
    data = frame(seed, 100, 0.01).rename(columns=str.lower)
    data["feature_a"] = data["close"].pct_change().fillna(0)
    terms = {"positions": [-1, 0, 0.5, 1], "trading_fees": 0.001, "borrow_interest_rate": 0.0001, "verbose": 0}
    if several:
        data.to_pickle(tmp_path / "a.pkl")
        env = package.MultiDatasetTradingEnv(dataset_dir=str(tmp_path / "*.pkl"), initial_position=0, **terms)
    else:
        env = package.TradingEnv(df=data, initial_position=1, **terms)
    journal = play(tmp_path / "journals", env, seed)
    metrics = metrics_of(journal)
    assert metrics.initial_portfolio_value == 1000.0
    assert metrics.final_portfolio_value == env.historical_info["portfolio_valuation", -1]
    ratio = env.historical_info["portfolio_valuation", -1] / env.historical_info["portfolio_valuation", 0]
    assert env.get_metrics()["Portfolio Return"] == f"{100 * (ratio - 1):5.2f}%"
    assert metrics.total_return == pytest.approx(ratio - 1, rel=1e-12)
    steps = journal.steps().to_pydict()
    assert steps["weight"] == pytest.approx(env.historical_info["real_position"][1:].astype(float).tolist())
    assert journal.header.about.start_market_time_us is not None
    # Closed trades earn what the value did, less what the open position has earned since it was opened.
    units, price, costs = (np.array(steps[name]) for name in ("position", "price", "fees"))
    before = np.r_[env.historical_info["data_close", 0], price[:-1]]
    assert float(np.sum(units * (price - before) - costs)) == pytest.approx(metrics.pnl, abs=1e-9)
    assert metrics.total_trades is not None
    assert metrics.total_trades > 20


def test_gym_trading_env__limit_orders__leave_pnls_unknown(tmp_path: Path) -> None:
    """Where they filled, the env does not tell."""
    package = pytest.importorskip("gym_trading_env.environments")
    data = frame(0, 100, 0.01).rename(columns=str.lower)
    data["feature_a"] = 0.0

    class Limits(package.TradingEnv):  # type: ignore[misc, name-defined]
        def step(self, action: Any = None) -> Any:
            self.add_limit_order(position=1, limit=float(self._get_price()) * 0.99, persistent=True)
            return super().step(0)

    env = Limits(df=data, positions=[0, 1], initial_position=0, trading_fees=0.001, verbose=0)
    metrics = metrics_of(play(tmp_path, env, 0))
    assert metrics.total_trades
    assert "win_rate" in metrics.not_told
    assert "total_fees" in metrics.not_told


@functools.cache
def without_brokers(module: str, *packages: str) -> Any:
    """Import a module of a package that imports brokers which are not needed here: its packages stay empty."""
    spec = importlib.util.find_spec(packages[0])
    if spec is None or spec.submodule_search_locations is None:
        return None
    for name in packages:
        package = types.ModuleType(name)
        package.__path__ = [str(Path(spec.submodule_search_locations[0], *name.split(".")[1:]))]
        sys.modules[name] = package
    return importlib.import_module(module)


def finrl_env(tickers: list[str], seed: int) -> Any:
    frames = []
    for place, ticker in enumerate(tickers):
        close = frame(seed + place, 100, 0.01)["Close"]
        frames.append(
            pd.DataFrame(
                {"date": close.index.strftime("%Y-%m-%d"), "tic": ticker, "close": close.to_numpy(), "macd": 0.0}
            )
        )
    data = pd.concat(frames).sort_values(["date", "tic"], ignore_index=True)
    data.index = data["date"].factorize()[0]
    count = len(tickers)
    module = "finrl.meta.env_stock_trading.env_stocktrading"
    package = without_brokers(module, "finrl", "finrl.meta", "finrl.meta.env_stock_trading")
    if package is None:
        pytest.skip("finrl is not installed")
    return package.StockTradingEnv(
        df=data, stock_dim=count, hmax=10, initial_amount=100_000, num_stock_shares=[0] * count,
        buy_cost_pct=[0.001] * count, sell_cost_pct=[0.001] * count, reward_scaling=1e-4, state_space=1 + 3 * count,
        action_space=count, tech_indicator_list=["macd"], print_verbosity=10**9,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_finrl__one_stock__value_costs_and_trades_are_its_own(tmp_path: Path, seed: int) -> None:
    env = finrl_env(["AAA"], seed)
    journal = play(tmp_path, env, seed)
    metrics = metrics_of(journal)
    assert metrics.final_portfolio_value == pytest.approx(env.asset_memory[-1], rel=1e-12)
    assert metrics.total_fees == pytest.approx(env.cost, rel=1e-9)
    rows = journal.trade_rows()
    assert metrics.total_trades == len(rows) > 20
    sold = -sum(float(order[0]) for order in env.actions_memory if order[0] < 0)
    assert sum(trade[2] for trade in rows) == sold
    assert f"{journal.steps()['market_time'][-1].as_py():%Y-%m-%d}" == env._get_date()


def test_finrl__several_stocks__value_counts_and_each_has_its_columns(tmp_path: Path) -> None:
    env = finrl_env(["AAA", "BBB"], 1)
    journal = play(tmp_path, env, 1)
    metrics = metrics_of(journal)
    assert metrics.final_portfolio_value == pytest.approx(env.asset_memory[-1], rel=1e-12)
    assert metrics.total_trades is None
    last = journal.steps().to_pylist()[-1]
    value = last["cash"] + last["price_AAA"] * last["shares_AAA"] + last["price_BBB"] * last["shares_BBB"]
    assert value == pytest.approx(metrics.final_portfolio_value, rel=1e-12)


@pytest.mark.parametrize("leverage", [1, 3])
@pytest.mark.parametrize("fee", [0.0, 0.001])
@pytest.mark.filterwarnings("ignore")
def test_torchtrade__value_and_trades__are_its_history(tmp_path: Path, fee: float, leverage: int) -> None:
    """An env of TorchRL, played by a rollout."""
    method = multiprocessing.get_start_method(allow_none=True)
    pytest.importorskip("torchrl")
    multiprocessing.set_start_method(method, force=True)  # torchrl sets `spawn` when it is imported
    package = without_brokers("torchtrade.envs.offline", "torchtrade", "torchtrade.envs", "torchtrade.envs.live")
    if package is None:
        pytest.skip("torchtrade is not installed")
    data = frame(1, 100, 0.002).rename(columns=str.lower).rename_axis("timestamp").reset_index()
    data["timestamp"] = pd.date_range("2024-01-01", periods=BARS, freq="1min")
    config = package.SequentialTradingEnvConfig(
        time_frames=["1Min"], window_sizes=[10], execute_on="1Min", transaction_fee=fee, max_traj_length=100,
        leverage=leverage, action_levels=[-1.0, 0.0, 1.0] if leverage > 1 else [0.0, 1.0],
    )  # fmt: skip
    env = package.SequentialTradingEnv(data, config)
    recorded = record_env(env, JournalSettings(str(tmp_path), "run"))
    rollout = recorded.rollout(1000, break_when_any_done=True)
    recorded.transform.close()
    (name,) = list_journals(tmp_path, "run")
    journal = read_journal(journal_path(tmp_path, "run", name))
    metrics, steps = metrics_of(journal), journal.steps().to_pydict()
    history = env.history  # its first entry is the reset
    assert metrics.total_steps == len(rollout) == len(history) - 1
    assert [metrics.initial_portfolio_value, *steps["portfolio_value"]] == history.portfolio_values
    assert steps["position"] == history.positions[1:]
    assert steps["price"] == history.base_prices[1:]
    assert steps["reward"] == pytest.approx(rollout["next", "reward"].flatten().tolist())
    assert steps["action"] == rollout["action"].tolist()
    # Trades, and what is still held, earn what the value did, but for the fees.
    held, price, before = (
        np.array(values) for values in (history.positions, history.base_prices, history.base_prices[:-1])
    )
    earned = float(np.sum(held[1:] * (price[1:] - before)))
    assert (earned == pytest.approx(metrics.pnl, abs=1e-6)) == (fee == 0.0)
    if held[-1] == 0.0:
        assert sum(trade[9] for trade in journal.trade_rows()) == pytest.approx(earned, abs=1e-6)
    assert metrics.total_trades
    assert "total_fees" in metrics.not_told


@pytest.mark.parametrize("wrap", [lambda env: env, lambda env: gym.wrappers.TimeLimit(env, 5)], ids=["bare", "wrapped"])
def test_account_of__unknown_env__is_none(wrap: Any) -> None:
    assert account_of(wrap(gym.make("CartPole-v1"))) is None
