"""Compute the metrics of a journal's episode, and the values that its row stores."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from rsc.metrics.running import EpisodeMetrics, RunningMetrics, StateError
from rsc.metrics.whole import EveryStep

if TYPE_CHECKING:
    from journal import About, Journal


METRIC_NAMES = tuple(field.name for field in fields(EpisodeMetrics) if field.name != "not_told")


def metrics_from(about: About) -> RunningMetrics:
    """Return the running metrics of an episode before its first step."""
    return RunningMetrics(
        about.initial_portfolio_value,
        about.periods_per_year,
        trades_known=about.trades != "unknown",
        start_price=about.start_price,
        start_position=start_position(about),
        extra_columns=about.extra_columns,
    )


def every_step_of(about: About) -> EveryStep:
    """Return an `EveryStep` for an episode before its first step."""
    return EveryStep(start_position(about), about.start_price)


def start_position(about: About) -> float:
    """Return the position before the first step, from the account's "position at reset"; 0.0 without one."""
    position = about.account.get("position at reset")
    return float(position) if isinstance(position, int | float) else 0.0


def stored(metrics: EpisodeMetrics) -> dict[str, float | int | None]:
    """Return the metrics as the row of an ended episode stores them: undefined and unknown ones are None.

    An undefined Sharpe ratio or win rate is 0.0, because users filter by both and `rsc check` requires a value.
    `total_steps` and `total_trades` show why it is undefined.
    """
    row = _nullable(metrics)
    for name in ("sharpe_ratio", "win_rate"):
        if row[name] is None and name not in metrics.not_told:
            row[name] = 0.0
    return row


def metrics_of(journal: Journal) -> EpisodeMetrics:
    """Return the metrics of a journal's episode, from its last checkpoint and the rows after it.

    If another fold or version wrote the checkpoint, compute them from all rows.

    Raises:
        StateError: The checkpoint cannot be used, and steps are lost.
    """

    def make() -> RunningMetrics:
        return metrics_from(journal.header.about)

    try:
        return journal.folded(make, RunningMetrics.from_bytes).result()
    except StateError:
        if journal.steps_lost:
            raise
        return journal.replayed(make).result()


def figures(journal: Journal) -> dict[str, float | int | None]:
    """Return the metrics that the `journal` program shows; undefined ones are None.

    The package registers this function as an entry point of the group `journal.figures`.
    """
    return _nullable(metrics_of(journal))


def _nullable(metrics: EpisodeMetrics) -> dict[str, float | int | None]:
    values, finite = vars(metrics), math.isfinite
    return {name: value if (value := values[name]) is not None and finite(value) else None for name in METRIC_NAMES}
