"""`journal stats`: show the distribution of figures over a run's episodes."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.cli import options
from journal.cli.lines import count_text, cut_short_text
from journal.cli.opening import paths_of
from journal.console import DATA_LOST, DONE, print_json, remark
from journal.host.liveness import Observer
from journal.inspect.figures import FEW_STEPS_MARK, few_steps_mark

if TYPE_CHECKING:
    from journal.inspect.overview import Overview

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

FIGURES = ("steps", "trades", "total_return", "pnl", "sharpe_ratio", "max_drawdown", "win_rate", "total_reward")
_BY = ("worker", "end", "env", "run", "host")
Values = dict[str, float | int | None]


@click.command("stats", short_help="Show the distribution of figures over a run.")
@options.targets
@click.option("--by", type=click.Choice(_BY), help="Group by worker, end, env, run or host.")
@click.option(
    "-f",
    "--figure",
    "figures",
    multiple=True,
    metavar="NAME",
    help="Show this figure instead of the default ones. Repeatable.",
)
@click.option("--live", is_flag=True, help="Include running episodes.")
@options.as_json
@options.root
def command(
    targets: tuple[str, ...],
    by: str | None,
    figures: tuple[str, ...],
    live: bool,
    as_json: bool,
    journal_root: Path | None,
) -> int:
    """Show the distribution of length, pnl, Sharpe ratio, drawdown and other figures over a run's episodes.

    Finished and killed episodes count; running ones only with --live. An undefined figure, such as the win rate of an
    episode without trades, is left out of that figure alone. --by shows the median of each group. Of closed journals
    only the footer is read.

    \b
    Examples:
      journal stats 20261122-120000
      journal stats 20261122-120000 --by worker
    """

    gathered = _Gathered(live, by)
    gathered.read(paths_of(targets, journal_root))
    names = figures or FIGURES
    _check(names, gathered)
    if as_json:
        _print_json(gathered, names)
    elif by:
        _print_groups(gathered, names, by)
    else:
        _print_spread(gathered, names)
    return gathered.finish()


class _Gathered:
    """Figures of all episodes by group, and what was left out."""

    def __init__(self, live: bool, by: str | None) -> None:
        self._live = live
        self._key = _KEYS[by] if by else _everything
        self.groups: dict[str, list[Values]] = {}
        self.ends: dict[str, Counter[str]] = {}
        self.running = 0
        self.lost = self.cut_short = self.few = 0
        self.problems: list[str] = []

    def read(self, paths: Any) -> None:
        from journal.inspect.overview import overview

        observer = Observer()
        for path in paths:
            one = overview(path, observer)
            if one.source is None:
                self.problems.append(f"{one.journal_id} is not a readable journal: {one.problem}")
                continue
            self.lost += one.steps_lost
            self.cut_short += one.cut_short
            self.running += one.live
            if self._live or not one.live:
                self._take(one)

    def _take(self, one: Overview) -> None:
        group = self._key(one)
        values: Values = {"steps": one.steps, "trades": one.trades}
        for name, value in one.figures().items():
            values.setdefault(name, value)
        self.groups.setdefault(group, []).append(values)
        self.few += bool(few_steps_mark(values, "sharpe_ratio"))
        self.ends.setdefault(group, Counter())[end_of(one)] += 1

    @property
    def count(self) -> int:
        return sum(map(len, self.groups.values()))

    def finish(self) -> int:
        """Print the messages and return the exit code."""

        for problem in self.problems[:20]:
            remark(problem)
        if len(self.problems) > 20:
            remark(f"and {len(self.problems) - 20} more like these")
        if self.running and not self._live:
            remark(f"{self.running:,} episodes are still running and left out; --live includes them")
        if self.few:
            remark(
                f"{self.few:,} of {self.count:,} episodes have fewer than 20 steps {FEW_STEPS_MARK}: their ratios say little"
            )
        if self.lost:
            remark(f"damage cost {self.lost:,} steps")
        if self.cut_short:
            remark(cut_short_text(self.cut_short))
        return DATA_LOST if self.problems or self.lost or self.cut_short else DONE


def _everything(one: Overview) -> str:
    return "all"


def _worker(one: Overview) -> str:
    index = one.header.about.worker_index if one.header else None
    return "-" if index is None else str(index)


def end_of(one: Overview) -> str:
    """Return how the episode ended: as recorded, else `running`, `failed` or `killed`."""
    if one.end_reason is not None:
        return one.end_reason
    return "running" if one.live else "failed" if one.condition == "failed" else "killed"


_KEYS: dict[str, Callable[[Any], str]] = {
    "worker": _worker,
    "end": end_of,
    "env": lambda one: one.header.about.env if one.header else "-",
    "run": lambda one: one.run_id,
    "host": lambda one: one.header.writer.host if one.header else "-",
}


def _check(names: tuple[str, ...], gathered: _Gathered) -> None:
    known = next((values for rows in gathered.groups.values() for values in rows), None)
    missing = [name for name in names if known is not None and name not in known]
    if missing and names is not FIGURES:
        raise click.BadParameter(
            f"there is no {missing[0]!r}, there are: {', '.join(known or ())}", param_hint="--figure"
        )


def _print_spread(gathered: _Gathered, names: tuple[str, ...]) -> None:
    import numpy as np

    from journal.inspect.distributions import distribution_of
    from journal.plot.canvas import sparkline

    rows = gathered.groups.get("all", [])
    click.echo(count_text(len(rows), "episode"))
    ends = gathered.ends.get("all", Counter())
    for end, count in ends.most_common():
        click.echo(f"  {end:<12} {count:>6} {count / len(rows):>5.0%}")
    click.echo(f"\n{'FIGURE':<14} {'N':>6} {'MEAN':>9} {'STD':>9} {'MIN':>9} {'MEDIAN':>9} {'MAX':>9} SPREAD")
    for name in names:
        spread = distribution_of(values.get(name) for values in rows)
        bars = np.array([count or np.nan for count in spread.histogram])  # an empty range is blank
        shown = sparkline(bars, len(bars), 0.0, max(spread.histogram), unicode=_unicode()) if spread.count else ""
        cells = [spread.mean, spread.std, spread.minimum, spread.median, spread.maximum]
        line = f"{name:<14} {spread.count:>6} " + " ".join(f"{_cell(value):>9}" for value in cells)
        click.echo(f"{line} {shown}".rstrip())


def _unicode() -> bool:

    return (sys.stdout.encoding or "ascii").lower().startswith("utf")


def _print_groups(gathered: _Gathered, names: tuple[str, ...], by: str) -> None:
    from journal.inspect.distributions import distribution_of

    width = max([len(group) for group in gathered.groups] + [len(by), 6])
    shown = _fitting(names, 72 - width)
    click.echo(f"{by.upper():<{width}} {'N':>6} " + " ".join(f"{name:>{max(len(name), 9)}}" for name in shown))
    for group, rows in sorted(gathered.groups.items(), key=lambda item: _natural(item[0])):
        medians = [distribution_of(values.get(name) for values in rows).median for name in shown]
        cells = [f"{_cell(value):>{max(len(name), 9)}}" for name, value in zip(shown, medians, strict=True)]
        click.echo(f"{group:<{width}} {len(rows):>6} " + " ".join(cells))


def _fitting(names: tuple[str, ...], room: int) -> list[str]:
    """Return as many names as fit in 80 columns, at least one."""
    shown: list[str] = []
    for name in names:
        room -= max(len(name), 9) + 1
        if shown and room < 0:
            break
        shown.append(name)
    return shown


def _natural(group: str) -> tuple[int, float, str]:
    return (0, float(group), "") if group.replace(".", "", 1).isdigit() else (1, 0.0, group)


def _cell(value: float) -> str:
    if value != value:
        return "-"
    text = f"{value:.4g}"
    return text if len(text) <= 9 else f"{value:.2e}"


def _print_json(gathered: _Gathered, names: tuple[str, ...]) -> None:
    from journal.inspect.distributions import distribution_of

    groups = {
        group: {
            "episodes": len(rows),
            "ends": dict(gathered.ends[group]),
            "figures": {name: vars(distribution_of(values.get(name) for values in rows)) for name in names},
        }
        for group, rows in gathered.groups.items()
    }
    facts = {"episodes": gathered.count, "running": gathered.running, "unreadable": len(gathered.problems)}
    print_json({**facts, "steps_lost": gathered.lost, "cut_short": gathered.cut_short, "groups": groups})
