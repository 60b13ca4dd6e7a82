"""Summarise the distribution of a figure over the episodes of a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BINS = 8


@dataclass(frozen=True)
class Distribution:
    """``count`` is the number of defined values. Without any, the other fields are NaN; ``std`` (ddof 1) needs two.

    ``histogram`` counts the values in equal ranges from ``minimum`` to ``maximum``.
    """

    count: int
    mean: float
    std: float
    minimum: float
    p05: float
    p25: float
    median: float
    p75: float
    p95: float
    maximum: float
    histogram: tuple[int, ...]


def distribution_of(values: Iterable[float | int | None]) -> Distribution:
    """Return the distribution of the defined, finite values. Quantiles are interpolated linearly."""
    numbers = np.array([value for value in values if value is not None and np.isfinite(value)], float)
    if not len(numbers):
        nan = float("nan")
        return Distribution(0, nan, nan, nan, nan, nan, nan, nan, nan, nan, (0,) * _BINS)
    with np.errstate(all="ignore"):
        low, p05, p25, median, p75, p95, high = np.quantile(numbers, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1]).tolist()
        std = float(np.std(numbers, ddof=1)) if len(numbers) > 1 else float("nan")
        mean = float(np.mean(numbers))
    return Distribution(len(numbers), mean, std, low, p05, p25, median, p75, p95, high, _histogram(numbers))


def _histogram(numbers: NDArray[np.float64]) -> tuple[int, ...]:
    """Return the counts in equal ranges, or in one range if the spread is too small to divide."""
    try:
        return tuple(np.histogram(numbers, bins=_BINS)[0].tolist())
    except ValueError:
        return (0,) * (_BINS // 2) + (len(numbers),) + (0,) * (_BINS - _BINS // 2 - 1)
