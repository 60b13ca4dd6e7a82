"""Compare groups of runs over the same periods, and judge the best of many trials."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from sqlalchemy import Connection

from rsc.metrics import kurtosis, sharpe_ratio, skew
from rsc.policies.errors import NoEvaluationError, PolicyError
from rsc.policies.evaluations import Evaluated, Floats, Period, evaluations_of, returns_of, run_ids, same_bars
from rsc.policies.statistics import (
    deflated_sharpe_ratio,
    expected_maximum_sharpe,
    interquartile_mean,
    probability_of_improvement,
    stratified_bootstrap,
)

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Group:
    """Runs that differ only in their seed. ``scores`` has shape (runs, periods)."""

    name: str
    runs: list[Evaluated]
    scores: Floats
    interquartile_mean: float
    interval: Interval
    median: float
    mean: float


@dataclass(frozen=True)
class Pair:
    """The probability that a run of ``first`` scores higher than one of ``second``."""

    first: str
    second: str
    probability: float
    interval: Interval


@dataclass(frozen=True)
class Deflated:
    """The best Sharpe ratio of the compared runs, judged by the number of trials. Sharpe ratios are annualised.

    Attributes:
        trials: The number of evaluations of the same bars in the database, compared or not.
        unread: The number of trials with an unknown or undefined Sharpe ratio, for example of an unreadable journal.
        run_id: The run with the best Sharpe ratio.
        sharpe_ratio: Its Sharpe ratio.
        expected: The expected Sharpe ratio of the best of that many trials without skill.
        probability: The deflated Sharpe ratio: the probability that the true Sharpe ratio is above ``expected``.
    """

    trials: int
    unread: int
    run_id: str
    sharpe_ratio: float
    expected: float
    probability: float


@dataclass(frozen=True)
class Comparison:
    """The result of `compare`. ``deflated`` is None for a single trial, or if no Sharpe ratio is defined."""

    metric: str
    periods: list[Period]
    groups: list[Group]
    pairs: list[Pair]
    deflated: Deflated | None
    trials: int


def compare(connection: Connection, words: Sequence[str], metric: str) -> Comparison:
    """Compare runs, or groups of runs.

    Args:
        connection: The database.
        words: The groups: each is RUN, or RUN,RUN,... with different seeds, or a pattern such as 'ppo-*'. NAME= before it
            names the group.
        metric: A column of the view `episode_metrics`.

    Raises:
        PolicyError: The runs cannot be compared.
        UnknownRunError: There is no such run, or several.
    """
    named = [(_name(word, ids), ids) for word in words if (ids := _run_ids(connection, word))]
    if len({name for name, _ in named}) < len(named):
        raise PolicyError("two of the compared groups have the same name; give each another one: NAME=RUN,RUN")
    everyone, periods = _on_the_same_bars(connection, [run_id for _, ids in named for run_id in ids])
    groups = [_summed(name, [everyone[one] for one in ids], periods, metric) for name, ids in named]
    pairs = [_pair(one, other) for one, other in combinations(groups, 2)]
    compared = list({one.evaluation_id: one for one in everyone.values()}.values())
    trials = same_bars(connection, compared[0]) or compared
    return Comparison(metric, periods, groups, pairs, _deflated(compared, trials), len(trials))


def _run_ids(connection: Connection, word: str) -> list[str]:
    parts = word.rpartition("=")[2].split(",")
    found = dict.fromkeys(one for part in parts if part.strip() for one in run_ids(connection, part.strip()))
    if not found:
        raise PolicyError(f"{word!r} does not name a run")
    return list(found)


def _name(word: str, ids: Sequence[str]) -> str:
    name, equals, rest = word.rpartition("=")
    return name if equals else ids[0] if len(ids) == 1 else rest


def _on_the_same_bars(connection: Connection, ids: Sequence[str]) -> tuple[dict[str, Evaluated], list[Period]]:
    """Return for each run its first evaluation on bars that all runs have played, and the periods of these bars."""
    found, without = {}, []
    for run_id in dict.fromkeys(ids):
        try:
            found[run_id] = evaluations_of(connection, run_id)
        except NoEvaluationError as error:
            without.append((run_id, error))
    if len(without) == 1:
        raise without[0][1]
    if without:
        names = " ".join(run_id for run_id, _ in without)
        raise PolicyError(
            f"{len(without)} runs have no evaluation; to make them: for run in {names}; do rsc evaluate $run; done"
        )
    for first in found[ids[0]]:
        chosen = {run_id: [one for one in each if set(one.rows) == set(first.rows)] for run_id, each in found.items()}
        if all(chosen.values()):
            return {run_id: each[0] for run_id, each in chosen.items()}, list(first.rows)
    bars = "; ".join(f"{run_id}: {_words(list(each[0].rows))}" for run_id, each in found.items())
    raise PolicyError(
        f"the runs were not evaluated on the same bars ({bars}); evaluate each with the same --from, --to and --episodes"
    )


def _words(periods: Sequence[Period]) -> str:
    first, last = periods[0], periods[-1]
    return f"{first[0]} {str(first[1])[:10]} to {str(last[2])[:10]} in {len(periods)} periods"


def _summed(name: str, members: list[Evaluated], periods: Sequence[Period], metric: str) -> Group:
    for one in members:
        missing = sum(one.rows[period][metric] is None for period in periods)
        if missing:
            raise PolicyError(
                f"{metric} of run {one.run_id} is undefined or unknown in {missing} of {len(periods)} periods; give"
                " --metric total_return, or another"
            )
    scores = np.array([[one.rows[period][metric] for period in periods] for one in members], np.float64)
    return Group(
        name=name,
        runs=members,
        scores=scores,
        interquartile_mean=float(interquartile_mean(scores)),
        interval=stratified_bootstrap(interquartile_mean, [scores]),
        median=float(np.median(scores)),
        mean=float(scores.mean()),
    )


def _pair(one: Group, other: Group) -> Pair:
    return Pair(
        one.name,
        other.name,
        float(probability_of_improvement(one.scores, other.scores)),
        stratified_bootstrap(probability_of_improvement, [one.scores, other.scores]),
    )


def _deflated(compared: Sequence[Evaluated], trials: Sequence[Evaluated]) -> Deflated | None:
    sharpes = {one.trial: _step_sharpe(one) for one in trials}
    known = [sharpe for sharpe in sharpes.values() if math.isfinite(sharpe)]
    own = [(sharpe, one) for one in compared if math.isfinite(sharpe := _step_sharpe(one))]
    if len(trials) < 2 or len(known) < 2 or not own:
        return None
    best, of = max(own, key=lambda each: each[0])
    expected = expected_maximum_sharpe(len(trials), float(np.var(known, ddof=1)))
    found = returns_of(of)
    assert found is not None, "Invariant: its Sharpe ratio is finite"
    earned, periods_per_year = found
    probability = deflated_sharpe_ratio(best, len(earned), skew(earned), kurtosis(earned) + 3.0, expected)
    yearly = math.sqrt(periods_per_year)
    return Deflated(len(trials), len(trials) - len(known), of.run_id, best * yearly, expected * yearly, probability)


def _step_sharpe(one: Evaluated) -> float:
    """Return the Sharpe ratio of one step; NaN where it is undefined or unknown."""
    found = returns_of(one)
    if found is None:
        return math.nan
    return float(sharpe_ratio(found[0], 1.0))
