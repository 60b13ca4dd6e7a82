"""Statistics of runs against scipy, rliable, and the worked example of a paper."""

from __future__ import annotations

import math

import numpy as np
import pytest
from rliable import metrics as rliable
from scipy import stats

from rsc.policies.statistics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)

SHAPES = [(1, 1), (2, 1), (3, 2), (5, 4), (10, 3)]


def scores(shape: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).round(1)  # rounded: there are ties


@pytest.mark.parametrize("shape", SHAPES)
def test_interquartile_mean__is_scipys_trimmed_mean(shape: tuple[int, int]) -> None:
    one = scores(shape)
    assert interquartile_mean(one) == pytest.approx(stats.trim_mean(one, 0.25, axis=None))
    many = np.stack([one, one + 1.0])
    assert interquartile_mean(many) == pytest.approx(interquartile_mean(one) + np.array([0.0, 1.0]))


@pytest.mark.parametrize("shape", SHAPES)
def test_probability_of_improvement__is_mann_whitney(shape: tuple[int, int]) -> None:
    x, y = scores(shape), scores((shape[0] + 1, shape[1]), 1)
    each = [stats.mannwhitneyu(x[:, period], y[:, period]).statistic / (len(x) * len(y)) for period in range(shape[1])]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(each))
    assert probability_of_improvement(x, x) == pytest.approx(0.5)


def test_statistics__are_rliables() -> None:
    for shape in SHAPES:
        x, y = scores(shape), scores((shape[0] + 2, shape[1]), 1)
        assert interquartile_mean(x) == pytest.approx(rliable.aggregate_iqm(x))
        assert probability_of_improvement(x, y) == pytest.approx(rliable.probability_of_improvement(x, y))


def test_bootstrap__of_one_period__is_scipys() -> None:
    """Percentile intervals of the same statistic, each from draws of its own."""
    one = scores((8, 1))
    low, high = stratified_bootstrap(interquartile_mean, [one]) or (math.nan, math.nan)
    oracle = stats.bootstrap(
        (one[:, 0],),
        lambda x, axis: stats.trim_mean(x, 0.25, axis=axis),
        method="percentile",
        n_resamples=20_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    assert (low, high) == pytest.approx((oracle.low, oracle.high), abs=0.03)


def test_bootstrap__of_several_periods__draws_within_each() -> None:
    """Periods of quite different levels: a draw that mixed them would give a wide interval."""
    level = np.array([0.0, 100.0])
    one = scores((6, 2)) + level
    low, high = stratified_bootstrap(lambda drawn: drawn.mean(axis=(1, 2)), [one]) or (math.nan, math.nan)
    spread = math.sqrt(sum(one[:, period].var() for period in range(2)) / 6) / 2
    assert high - low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert low < one.mean() < high


def test_bootstrap__of_two_samples__is_scipys() -> None:
    x, y = scores((6, 1)), scores((5, 1), 1)
    oracle = stats.bootstrap(
        (x[:, 0], y[:, 0]),
        lambda one, other: stats.mannwhitneyu(one, other).statistic / (len(one) * len(other)),
        method="percentile",
        n_resamples=2000,
        vectorized=False,
        rng=np.random.default_rng(1),
    ).confidence_interval
    found = stratified_bootstrap(probability_of_improvement, [x, y])
    assert found == pytest.approx((oracle.low, oracle.high), abs=0.04)


def test_bootstrap__one_seed__has_no_interval() -> None:
    assert stratified_bootstrap(interquartile_mean, [scores((1, 4))]) is None
    assert stratified_bootstrap(probability_of_improvement, [scores((1, 4)), scores((5, 4))]) is None


def test_deflated_sharpe__papers_example__is_reproduced() -> None:
    """Bailey & Lopez de Prado 2014, "A numerical example": 100 trials, 1250 days, a yearly Sharpe ratio of 2.5."""
    threshold = expected_maximum_sharpe(100, 0.5 / 250)
    assert threshold == pytest.approx(0.1132, abs=5e-5)
    found = deflated_sharpe_ratio(2.5 / math.sqrt(250), 1250, -3.0, 10.0, threshold)
    assert found == pytest.approx(0.9004, abs=5e-5)
    normal = deflated_sharpe_ratio(2.5 / math.sqrt(250), 1250, 0.0, 3.0, expected_maximum_sharpe(88, 0.5 / 250))
    assert normal == pytest.approx(0.9505, abs=2e-3), "with normal returns, 88 trials reach 95 %"


def test_deflated_sharpe__without_spread__is_unknown() -> None:
    assert math.isnan(deflated_sharpe_ratio(1.0, 100, 5.0, 3.0, 0.0))
    assert math.isnan(deflated_sharpe_ratio(1.0, 1, 0.0, 3.0, 0.0))


@pytest.mark.parametrize("trials", [2, 10, 1000])
def test_expected_maximum__is_that_of_normal_draws(trials: int) -> None:
    drawn = np.random.default_rng(0).normal(size=(4000, trials)).max(axis=1).mean()
    assert expected_maximum_sharpe(trials, 1.0) == pytest.approx(drawn, rel=0.1)
