"""Compute the metrics of a journal's episode, and the values that its row stores."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from rsc.metrics.running import EpisodeMetrics, RunningMetrics, StateError

if TYPE_CHECKING:
    from journal import Journal


METRIC_NAMES = tuple(field.name for field in fields(EpisodeMetrics))


def stored(metrics: EpisodeMetrics) -> dict[str, float | int | None]:
    """The figures as an ended episode's row holds them: undefined is NULL, but Sharpe ratio and win rate are 0.0.

    Users filter on those two, and `rsc check` must find them populated; total_steps and total_trades tell why.
    """
    row = _nullable(metrics)
    for name in ("sharpe_ratio", "win_rate"):
        row[name] = 0.0 if row[name] is None else row[name]
    return row


def metrics_of(journal: Journal) -> EpisodeMetrics:
    """The figures of a journal's episode, from its last checkpoint and the rows behind it.

    A checkpoint of another fold or version does no harm while all rows are there: they are folded anew.
    """
    about = journal.header.about

    def make() -> RunningMetrics:
        return RunningMetrics(about.initial_portfolio_value, about.periods_per_year)

    try:
        return journal.folded(make, RunningMetrics.from_bytes).result()
    except StateError:
        if journal.steps_lost:
            raise
        return journal.replayed(make).result()


def figures(journal: Journal) -> dict[str, float | int | None]:
    """What `journal` shows of an episode: undefined figures are None. Installed as an entry point."""
    return _nullable(metrics_of(journal))


def _nullable(metrics: EpisodeMetrics) -> dict[str, float | int | None]:
    return {name: value if math.isfinite(value) else None for name, value in vars(metrics).items()}
