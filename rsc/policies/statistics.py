"""Statistics of few runs: interquartile mean, probability of improvement, bootstrap intervals, deflated Sharpe ratio.

The first three are those of Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice",
NeurIPS 2021 (rliable). Scores have shape (seeds, periods).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
REPETITIONS = 10_000
CONFIDENCE = 0.95
_CHUNK = 500
_NORMAL = NormalDist()
EULER_GAMMA = 0.5772156649015329


def interquartile_mean(scores: Floats) -> Floats:
    """Return the mean of the middle half of all scores, over the last two axes."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    count = ordered.shape[-1]
    cut = int(0.25 * count)
    return np.asarray(ordered[..., cut : count - cut].mean(axis=-1))


def probability_of_improvement(x: Floats, y: Floats) -> Floats:
    """Return the probability that a run of X scores higher than one of Y in the same period, as mean over periods.

    Ties count half. In each period this is the Mann-Whitney U statistic divided by the number of pairs.
    """
    above = x[..., :, None, :] - y[..., None, :, :]
    won = (above > 0) + 0.5 * (above == 0)
    return np.asarray(won.mean(axis=(-3, -2, -1)))


def stratified_bootstrap(
    statistic: Callable[..., Floats], samples: Sequence[Floats], *, repetitions: int = REPETITIONS, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a statistic. Seeds are resampled independently in each period.

    Args:
        statistic: Function of as many arrays as there are samples, each of shape (repetitions, seeds, periods).
        samples: Scores, each of shape (seeds, periods).
        repetitions: The number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval; None if a sample has a single seed, because its spread is unknown.
    """
    if any(len(one) < 2 for one in samples):
        return None
    random = np.random.default_rng(seed)
    found = []
    for start in range(0, repetitions, _CHUNK):
        count = min(_CHUNK, repetitions - start)
        found.append(statistic(*(_drawn(one, count, random) for one in samples)))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.concatenate(found), [tail, 1.0 - tail])
    return float(low), float(high)


def _drawn(scores: Floats, count: int, random: np.random.Generator) -> Floats:
    chosen = random.integers(0, len(scores), (count, *scores.shape))
    return np.take_along_axis(np.broadcast_to(scores, (count, *scores.shape)), chosen, axis=1)


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Return the expected Sharpe ratio of the best of several trials without skill.

    sqrt(V) ((1 - g) z(1 - 1/N) + g z(1 - 1/(N e))), with g the Euler-Mascheroni constant and z the quantile function of
    the normal distribution (Bailey & Lopez de Prado, "The Deflated Sharpe Ratio", Journal of Portfolio Management 40 (5),
    2014, equation 1).

    Args:
        trials: N, the number of trials, at least 2.
        variance: V, the variance of the Sharpe ratios of the trials.
    """
    first, second = _NORMAL.inv_cdf(1.0 - 1.0 / trials), _NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    return math.sqrt(variance) * ((1.0 - EULER_GAMMA) * first + EULER_GAMMA * second)


def deflated_sharpe_ratio(sharpe: float, steps: int, skew: float, kurtosis: float, threshold: float) -> float:
    """Return the probability that the true Sharpe ratio is above a threshold (the same paper, equation 2).

    Phi((S - S0) sqrt(n - 1) / sqrt(1 - g3 S + (g4 - 1) S^2 / 4)). With `expected_maximum_sharpe` as the threshold S0 this
    is the deflated Sharpe ratio.

    Args:
        sharpe: S, the Sharpe ratio of one step (not annualised).
        steps: n, the number of returns.
        skew: g3, the skewness of the returns.
        kurtosis: g4, the kurtosis of the returns; 3 for normal ones.
        threshold: S0, the threshold for the Sharpe ratio of one step.

    Returns:
        The probability; NaN if the variance of the estimate is not positive.
    """
    spread = 1.0 - skew * sharpe + (kurtosis - 1.0) / 4.0 * sharpe * sharpe
    if not spread > 0.0 or steps < 2:
        return math.nan
    return _NORMAL.cdf((sharpe - threshold) * math.sqrt(steps - 1) / math.sqrt(spread))
