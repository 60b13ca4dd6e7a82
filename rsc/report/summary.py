"""Describe in sentences what was rescued and lost of a run, and compare the figures of runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from rsc.db.episodes import RECONCILER

if TYPE_CHECKING:
    from rsc.report.reading import ReportedRun

Episode = Mapping[str, Any]
_NAMED = 5

COMPARED = {
    "return": ("return", "percent"),
    "hold": ("return of buy and hold", "percent"),
    "excess": ("excess over buy and hold", "percent"),
    "sharpe": ("Sharpe ratio", "ratio"),
    "drawdown": ("max drawdown", "percent"),
    "volatility": ("volatility", "percent"),
    "win_rate": ("win rate", "percent"),
    "reward": ("reward", "number"),
    "steps": ("steps", "number"),
    "trades": ("closed trades", "number"),
    "in_market": ("time in market", "percent"),
    "costs": ("costs", "number"),
    "cost_share": ("costs, of the initial value", "percent"),
    "cost_per_trade": ("costs for each closed trade", "number"),
    "turnover": ("turnover", "ratio"),
    "before_costs": ("return before costs", "percent"),
}
COSTS = ("costs", "cost_share", "cost_per_trade", "turnover", "before_costs")
_FORMS = {"percent": "{:.2%}", "ratio": "{:.3f}", "number": "{:,.5g}"}


@dataclass(frozen=True)
class Column:
    """A column of the comparison: the ended episodes of a run, either in training or in evaluation."""

    title: str
    episodes: Sequence[Episode]


def derived(episode: Episode) -> dict[str, float | None]:
    """Return the cost figures that are derived from other figures; None if one of those is unknown."""
    costs, initial, trades, gain = (episode.get(name) for name in ("costs", "initial", "trades", "return"))
    share = costs / initial if costs is not None and initial else None
    return {
        "cost_share": share,
        "cost_per_trade": costs / trades if costs is not None and trades else None,
        "before_costs": None if share is None or gain is None else gain + share,
    }


def rescued_words(run: ReportedRun) -> list[str]:
    """Return sentences about the episodes that were rescued and those that have not ended."""
    words = []
    saved = [one for one in run.episodes if one.get("ended_by") == RECONCILER]
    if saved:
        steps = [one.get("evidence") for one in saved]
        known = sum(step for step in steps if step is not None)
        unknown = sum(step is None for step in steps)
        more = f" of {len(saved) - unknown} of them" if unknown else ""
        words.append(
            f"{_episodes(len(saved))} that training left behind {_was(len(saved))} rescued by the reconciler:"
            f" {_counted(one.get('end_reason') or 'without a journal' for one in saved)}. {known:,} steps{more} were saved."
        )
    started = [one for one in run.episodes if one.get("status") == "started"]
    live = sum(bool(one.get("live")) for one in started)
    unsettled = sum(bool(one.get("live")) for one in run.episodes) - live
    if live:
        words.append(f"{_episodes(live)} {_is(live)} in flight: more steps may follow.")
    if len(started) > live:
        left = len(started) - live
        words.append(
            f"{_episodes(left)} {_is(left)} still marked started, and no process plays them;"
            f" run: reconcile --run-id {run.run_id}"
        )
    if run.without_row:
        more = f", and {unsettled:,} of them may grow" if unsettled else ""
        words.append(f"{_journals(run.without_row)} without a row{more}; {_cure_of(run)}")
    return words or ["Every episode was ended by its own training; nothing had to be rescued."]


def _cure_of(run: ReportedRun) -> str:
    cure = f"run: reconcile --run-id {run.run_id}"
    if (run.row or {}).get("status") != "running":
        return cure
    return f"a run of `rsc.start_run` writes its rows when it ends; if it was killed, {cure}"


def lost_words(run: ReportedRun) -> list[str]:
    """Return sentences about what was lost and what is unknown. Unknown numbers are reported, not counted as 0."""
    words = []
    for what in ("steps", "trades"):
        lost = [one.get(f"{what}_lost") for one in run.episodes]
        total, unknown = sum(count for count in lost if count is not None), sum(count is None for count in lost)
        if total:
            words.append(
                f"{total:,} {what} of {_episodes(sum(bool(count) for count in lost))} were written and cannot be read."
            )
        if unknown:
            words.append(f"How many {what} were lost is unknown for {_episodes(unknown)}.")
    cut = sum(bool(one.get("loss_unknown")) for one in run.episodes)
    if cut:
        words.append(f"{_journals(cut)} cut short: an unknown number of later steps is lost.")
    if run.without_journal:
        words.append(
            f"{_episodes(run.without_journal)} {_has(run.without_journal)} a row and no journal:"
            " their steps are unknown, and they have no charts."
        )
    for name, reason in list(run.unreadable.items())[:_NAMED]:
        words.append(f"{name}: {reason}")
    if len(run.unreadable) > _NAMED:
        words.append(f"and {len(run.unreadable) - _NAMED:,} more that cannot be read")
    untold = sorted({name for one in run.episodes for name in (one.get("not_told") or "").split()})
    if untold:
        words.append(f"The env does not tell: {', '.join(untold)}.")
    return words or ["Nothing is known to be lost."]


def status_counts(run: ReportedRun) -> dict[str, int]:
    """Return the number of episodes by status."""
    return dict(sorted(Counter(one.get("status") or "no row" for one in run.episodes).items()))


def columns_of(runs: Iterable[ReportedRun]) -> list[Column]:
    """Return one column for each run, and a second one if the run has evaluation episodes."""
    columns = []
    for run in runs:
        ended = [{**one, **derived(one)} for one in run.episodes if one.get("status") not in (None, "started")]
        played = [one for one in ended if one.get("evaluation")]
        columns.append(Column(run.run_id, [one for one in ended if not one.get("evaluation")]))
        if played:
            columns.append(Column(f"{run.run_id}, evaluation", played))
    return columns


def figure_rows(columns: Sequence[Column], names: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Return one row for each figure: its label, and a cell for each column with median and interquartile range.

    A figure without a value in any column is left out.
    """
    rows = []
    for name in names:
        label, kind = COMPARED[name]
        cells = [_cell([one.get(name) for one in column.episodes], _FORMS[kind].format) for column in columns]
        if any(cell != "–" for cell in cells):
            rows.append((label, cells))
    return rows


def _cell(values: Sequence[float | None], form: Callable[[float], str]) -> str:
    known = np.array([value for value in values if value is not None and np.isfinite(value)], float)
    if not len(known):
        return "–"
    low, middle, high = np.quantile(known, (0.25, 0.5, 0.75))
    few = f" (of {len(known):,})" if len(known) < len(values) else ""
    return f"{form(middle)} [{form(low)}, {form(high)}]{few}" if len(known) > 1 else form(middle) + few


def settings_rows(runs: Sequence[ReportedRun]) -> list[tuple[str, list[str]]]:
    """Return the settings of the runs by name. Of several runs, return only the settings that differ."""
    each = [_settings(run) for run in runs]
    names = dict.fromkeys(name for settings in each for name in settings)
    rows = [(name, [settings.get(name, "–") for settings in each]) for name in names]
    return [row for row in rows if len(runs) == 1 or len(set(row[1])) > 1]


def group_of(run: ReportedRun) -> str:
    """Return a key that is equal for runs that differ only in their seed."""
    return repr(sorted((name, value) for name, value in _settings(run).items() if "seed" not in name))


def _settings(run: ReportedRun) -> dict[str, str]:
    row = run.row or {}
    found = {
        name: row[name] for name in ("algorithm", "seed", "package_version", "git_commit") if row.get(name) is not None
    }
    parameters = {name: value for name, value in (row.get("parameters") or {}).items() if name != "trials"}
    return {name: str(value) for name, value in {**found, **parameters}.items()}


def _counted(words: Iterable[str]) -> str:
    return ", ".join(f"{count:,} {word}" for word, count in Counter(words).most_common())


def _episodes(count: int) -> str:
    return f"{count:,} {'episode' if count == 1 else 'episodes'}"


def _journals(count: int) -> str:
    return f"{count:,} {'journal is' if count == 1 else 'journals are'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
