"""Features and tapes: they see the past only, and a process holds them once."""

from __future__ import annotations

import copy
import math
import pickle
import warnings
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from rsc.trading.config import DEFAULT_FEATURES
from rsc.trading.indicators import CLIP, FEATURES, feature_matrix, first_warm_bar
from rsc.trading.market import Market, MarketError, load_market, market_from_columns
from rsc.trading.tape import ACCOUNT_COLUMNS, Tape, tape_of
from tests.rsc.markets import random_market


def naive_z_scores(values: np.ndarray, window: int) -> np.ndarray:
    scores = np.zeros(len(values))
    for t in range(len(values)):
        past = values[max(0, t - window + 1) : t + 1]
        past = past[np.isfinite(past)]
        if np.isfinite(values[t]) and len(past) > 1:
            exact = [Fraction(value) for value in past.tolist()]
            mean = sum(exact) / len(exact)
            std = math.sqrt(sum((each - mean) ** 2 for each in exact) / len(exact))
            if std > 64 * 2.0**-52 * abs(mean):
                scores[t] = float(Fraction(values[t]) - mean) / std
    return scores.clip(-CLIP, CLIP)


def with_column(values: np.ndarray) -> Market:
    market = random_market(1, bars=len(values))
    return Market(**{**vars(market), "extra": {"own": values}})


@pytest.mark.parametrize("window", [2, 7, 50, 119, 120, 500])
def test_feature_matrix__own_column__is_the_rolling_z_score(window: int) -> None:
    values = np.random.default_rng(0).normal(3, 2, 120)
    values[:5] = np.nan
    values[60] = np.inf
    values[70:80] = 4.0
    found = feature_matrix(with_column(values), ("own",), window)[:, 0]
    assert np.allclose(found, naive_z_scores(values, window).astype(np.float32), atol=1e-6)


@pytest.mark.parametrize("window", [5, 60])
@pytest.mark.parametrize(
    "values",
    [
        1e9 + np.random.default_rng(0).normal(0, 1e-2, 120),
        -1e12 + np.arange(120.0),
        1e9 * (np.arange(120) >= 70) + np.random.default_rng(1).normal(0, 1, 120),
        np.where(np.arange(120) == 3, 1e15, np.random.default_rng(2).normal(0, 1, 120)),
        np.exp(np.arange(120.0) / 4),
        1e-30 * np.random.default_rng(3).normal(5, 1, 120),
    ],
    ids=["large mean", "times", "level jumps", "outlier", "grows", "tiny"],
)
def test_feature_matrix__any_mean__z_score_is_exact(values: np.ndarray, window: int) -> None:
    found = feature_matrix(with_column(values), ("own",), window)[:, 0]
    assert np.allclose(found, naive_z_scores(values, window).astype(np.float32), rtol=1e-6, atol=2e-6)


def test_feature_matrix__level_that_jumps__does_not_show_before_it_does() -> None:
    values = np.random.default_rng(0).normal(0, 1, 120)
    for known in range(60, 100):
        later = np.concatenate((values[:known], np.full(120 - known, 1e12)))
        first, second = (feature_matrix(with_column(each), ("own",), 20) for each in (values, later))
        assert np.array_equal(first[:known], second[:known])


def test_first_warm_bar__own_column_that_begins_late__waits_for_its_second_value() -> None:
    values = np.full(120, np.nan)
    values[[50, 60, 61]] = 1.0, 2.0, 3.0
    market = with_column(values)
    assert first_warm_bar(market, ("own", "rsi")) == 60
    assert first_warm_bar(market, ("rsi",)) == 39
    assert tape_of(market, ("own", "macd"), 7, 20).first == 66
    with pytest.raises(MarketError, match="the column 'own' has 0 values, too few for a feature"):
        first_warm_bar(with_column(np.full(120, np.nan)), ("own",))


@pytest.mark.parametrize("window", [1, 10, 40])
def test_tape__first_window__shows_no_feature_before_it_is_warm(window: int) -> None:
    """Not even macd, which needs 34 bars and two values."""
    tape = tape_of(random_market(5, bars=200), DEFAULT_FEATURES, window, 252)
    assert tape.first == 38 + window
    assert (tape.windows[tape.first][: tape.width] != 0.0).all()


def test_feature_matrix__constant_column__is_zero() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not feature_matrix(with_column(np.full(120, 1e9 / 3)), ("own",), 20).any()


@pytest.mark.parametrize("name", FEATURES)
def test_feature_matrix__after_warm_up__is_defined_and_bounded(name: str) -> None:
    market = load_market("AAPL")
    column = feature_matrix(market, (name,), 252)[first_warm_bar(market, (name,)) :]
    assert np.isfinite(column).all()
    assert np.abs(column).max() <= CLIP
    assert column.std() > 0.3
    assert column[0] != 0.0


@pytest.mark.parametrize("name", FEATURES)
def test_feature_matrix__changed_future__changes_no_past_row(name: str) -> None:
    market, known = random_market(3, bars=400), 300
    changed = copy.copy(vars(market))
    for column in ("open", "high", "low", "close"):
        changed[column] = np.concatenate((changed[column][:known], changed[column][known:] * 7.0))
    changed["volume"] = np.concatenate((changed["volume"][:known], changed["volume"][known:] + 1e6))
    first, second = (feature_matrix(each, (name,), 60) for each in (market, Market(**changed)))
    assert np.array_equal(first[:known], second[:known])
    assert not np.array_equal(first, second)


def test_feature_matrix__unknown_name__lists_the_known_ones() -> None:
    with pytest.raises(MarketError, match=r"no feature 'rsl'; known are return, rsi, .*, and of its own columns own"):
        feature_matrix(with_column(np.ones(120)), ("rsl",), 20)


def test_default_features__are_all_known() -> None:
    assert set(DEFAULT_FEATURES) <= set(FEATURES)


def test_tape__row__is_the_window_that_ends_at_its_bar() -> None:
    market, window = load_market("IBM"), 10
    tape = tape_of(market, ("return", "rsi"), window, 252)
    matrix = feature_matrix(market, ("return", "rsi"), 252)
    for t in (window - 1, 500, len(market) - 1):
        row = tape.rows[t]
        assert row.shape == (20 + ACCOUNT_COLUMNS,)
        assert np.array_equal(row[:20], matrix[t - window + 1 : t + 1].reshape(-1))
    assert np.array_equal(tape.rows[0][:18], np.zeros(18))


def test_tape__its_arrays__cannot_be_written() -> None:
    tape = tape_of(load_market("IBM"), ("rsi",), 5, 252)
    with pytest.raises(ValueError, match="read-only"):
        tape.rows[50][0] = 1.0


def test_tape_of__equal_markets__share_one_tape() -> None:
    market: Market = load_market("IBM")
    again = pickle.loads(pickle.dumps(market))
    assert tape_of(market, ("rsi",), 5, 252) is tape_of(again, ("rsi",), 5, 252)
    assert tape_of(market, ("rsi",), 5, 252) is not tape_of(market, ("rsi",), 6, 252)


def test_tape__pickled__is_the_shared_one_again() -> None:
    tape = tape_of(load_market("IBM"), ("rsi",), 5, 252)
    assert pickle.loads(pickle.dumps(tape)) is tape
    assert copy.deepcopy(tape) is tape


def test_tape__elsewhere__takes_its_features_along(monkeypatch: Any) -> None:
    """As in another process: nothing shared yet, and no indicator computed anew."""
    tape = tape_of(load_market("IBM"), ("rsi",), 5, 252)
    data = pickle.dumps(tape)
    monkeypatch.setattr("rsc.trading.tape._tapes", {})
    monkeypatch.setattr("rsc.trading.tape.feature_matrix", lambda *arguments: pytest.fail("computed again"))
    there: Tape = pickle.loads(data)
    assert there is not tape
    assert np.array_equal(there.windows, tape.windows)


def test_market__row_of_user_columns__reaches_the_observation() -> None:
    rows = 200
    close = 100 + np.random.default_rng(0).normal(0, 1, rows)
    columns = {
        "date": np.datetime64("2020-01-01") + np.arange(rows),
        **dict.fromkeys(("open", "high", "low", "close"), close),
        "volume": np.ones(rows),
        "Mood": np.arange(rows) % 11,
    }
    tape = tape_of(market_from_columns("mine", columns), ("mood", "return"), 3, 50)
    assert tape.windows[100][:6:2].any()
