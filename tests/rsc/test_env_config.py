"""Settings: typed, validated, the forerunner's keys, and one clear line for each that cannot be."""

from __future__ import annotations

import json
import warnings
from typing import Any

import numpy as np
import pytest

from rsc.trading.config import ConfigError, TradingConfig
from rsc.trading.env import TradingEnv
from rsc.trading.forerunner import FORERUNNER_KEYS
from rsc.trading.market import load_market
from rsc.trading.rewards import StepOutcome
from rsc.trading.tape import tape_of
from tests.rsc.markets import random_market


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"fees": 0.1}, "env_config has no key 'fees'; did you mean 'fee'?"),
        ({"stop_los": 0.1}, "did you mean 'stop_loss'"),
        ({"transaction_fee_pct": 0.1}, "did you mean 'transaction_fee_percent'"),
        ({"zzzz": 1}, "known are ticker, data, market"),
        ({"capital": -1}, "capital must be a positive amount, got -1"),
        ({"capital": "10000"}, "capital must be a number, got '10000'"),
        ({"capital": True}, "capital must be a number, got True"),
        ({"capital": None}, "capital must be a number, got None"),
        ({"capital": float("nan")}, "capital must be a positive amount"),
        ({"window": 2.5}, "window must be a whole number, got 2.5"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"episode_length": 0}, "episode_length must be at least 1"),
        ({"fraction": 1.5}, "fraction must be above 0 and at most 1, got 1.5"),
        ({"fee": 0.5}, "fee must be a fraction of the traded value"),
        ({"slippage_bps": -1}, "slippage_bps must be from 0 to 5000"),
        ({"stop_loss": 5.0}, "stop_loss must be a fraction between 0 and 1"),
        ({"take_profit": 0}, "take_profit must be a positive fraction"),
        ({"fill": "mid"}, "fill must be 'open' or 'close', got 'mid'"),
        ({"actions": "box"}, "actions must be 'discrete' or 'continuous'"),
        ({"sizing": "kelly"}, "sizing must be 'fixed_fractional' or 'all_in'"),
        ({"reward": "profit"}, "reward must be 'log', 'simple', 'sharpe' or a function"),
        ({"features": []}, "features must name at least one column"),
        ({"features": ["rsi", "rsi"]}, "features must name at least one column, each once"),
        ({"features": 5}, "features must be a list of columns, got 5"),
        ({"features": "rsi"}, "features must be a list of columns, got 'rsi'"),
        ({"features": [["rsi"]]}, "features must be names of columns, got [['rsi']]"),
        ({"seed": "x"}, "seed must be a whole number that is not negative, got 'x'"),
        ({"seed": -1}, "seed must be a whole number that is not negative, got -1"),
        ({"ticker": "AAPL", "data": "x.csv"}, "give only one of ticker, data and market, got ticker and data"),
        ({"start_date": "today!"}, "start_date must be a date like 2008-01-31, got 'today!'"),
        ({"end_date": "1999-01-01"}, "MSFT has no bars to play"),
        ({"start_date": "2030-01-01"}, "MSFT has no bars to play"),
        ({"window": 4000}, "MSFT has no bars to play"),
        ({"market": "MSFT"}, "market must be a Market, a Tape, a data frame, or a Ray reference to one, got str"),
        ({"whole_shares": True, "capital": 20.0}, "whole_shares: 0.95 of a capital of 20 buys no share of MSFT"),
    ],
)
def test_config__bad_setting__one_clear_line(config: dict[str, Any], message: str) -> None:
    """At construction, not in the middle of a training."""
    with pytest.raises(ConfigError) as caught:
        TradingEnv(config)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_config__numpy_numbers__are_numbers() -> None:
    config = TradingEnv({"window": np.int64(5), "fee": np.float32(0.25), "capital": np.int32(1000)}).config
    assert (config.window, config.fee, config.capital) == (5, 0.25, 1000.0)


def test_config__itself__is_taken_as_it_is() -> None:
    config = TradingConfig(ticker="AAPL")
    assert TradingEnv(config).config is config


def test_config__nothing__plays_the_default_ticker() -> None:
    assert TradingEnv().market is load_market("MSFT")
    assert TradingEnv({}).config == TradingConfig()


def test_config__every_key_of_the_forerunner__is_accepted() -> None:
    """The values of its own training script."""
    given = {
        "initial_balance": 10_000.0, "transaction_fee_percent": 0.1, "window_size": 5, "sharpe_window_size": 100,
        "use_sharpe_ratio": False, "trading_frequency_penalty": 0.001, "trading_incentive": 0.002,
        "drawdown_penalty": 0.005, "risk_fraction": 0.1, "stop_loss_pct": 5.0, "take_profit_pct": None,
        "normalization_window_size": 20, "position_sizing_method": "fixed_fractional", "risk_free_rate": 0.0,
        "use_dynamic_sizing": False, "min_position_size_pct": 0.0, "max_position_size_pct": 0.0, "df": random_market(0),
    }  # fmt: skip
    assert given.keys() >= FORERUNNER_KEYS.keys()
    with pytest.warns(UserWarning, match="env_config") as caught:
        config = TradingEnv(given).config
    assert (config.capital, config.window, config.sharpe_window, config.normalise_window) == (10_000.0, 5, 100, 20)
    assert (config.reward, config.sizing, config.fraction) == ("simple", "fixed_fractional", 0.1)
    assert (config.fee, config.stop_loss, config.take_profit) == (pytest.approx(0.001), 0.05, None)
    assert (config.trade_penalty, config.drawdown_penalty) == (0.001, 0.005)
    warned = {str(each.message).split("=")[0].removeprefix("env_config ") for each in caught}
    assert warned == {"transaction_fee_percent", "stop_loss_pct", "trading_frequency_penalty", "trading_incentive"}


def test_config__changed_unit__is_named_in_the_warning() -> None:
    with pytest.warns(UserWarning, match=r"stop_loss_pct was in percent; it is now stop_loss=0.05, a fraction"):
        TradingConfig.of({"stop_loss_pct": 5.0})


def test_config__unchanged_units__do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = TradingConfig.of(
            {"initial_balance": 1.0, "window_size": 3, "stop_loss_pct": None, "use_sharpe_ratio": True}
        )
    assert (config.capital, config.window, config.stop_loss, config.reward) == (1.0, 3, None, "sharpe")


def test_config__old_and_new_key__is_refused() -> None:
    with pytest.raises(ConfigError, match="both 'initial_balance' and 'capital'; keep 'capital'"):
        TradingConfig.of({"initial_balance": 1.0, "capital": 2.0})


def test_config__data_frame__is_a_market() -> None:
    import pandas as pd

    market = random_market(0)
    columns = {key.title(): getattr(market, key) for key in ("open", "high", "low", "close", "volume")}
    frame = pd.DataFrame({**columns, "own": 1.0}, index=pd.to_datetime(market.times_us, unit="us"))
    env = TradingEnv({"df": frame, "features": ["rsi", "own"]})
    assert np.array_equal(env.market.times_us, market.times_us)


def test_config__tape_of_other_features__is_refused() -> None:
    tape = tape_of(load_market("MSFT"), ("rsi",), 5, 252)
    assert TradingEnv({"market": tape, "features": ["rsi"], "window": 5})._game.tape is tape
    with pytest.raises(ConfigError, match="the tape was made for features"):
        TradingEnv({"market": tape})


def my_reward(outcome: StepOutcome) -> float:
    return outcome.value - outcome.value_before


@pytest.mark.parametrize("config", [{}, {"reward": my_reward}, {"market": random_market(0)}])
def test_config__as_json__can_stand_in_a_journals_header(config: dict[str, Any]) -> None:
    found = json.loads(json.dumps(TradingConfig.of(config).to_json()))
    assert found["reward"] == ("my_reward" if "reward" in config else "log")
    assert found["market"] == ("RANDOM" if "market" in config else None)
