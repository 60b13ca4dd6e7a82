"""`rsc compare`: runs side by side, with intervals over their seeds."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from journal.console import print_json
from rsc import defaults
from rsc.cli import options

if TYPE_CHECKING:
    from rsc.policies.comparing import Comparison, Deflated

# Imports inside functions load SQLAlchemy, which `--help` does not need.

_NAME = 28


@click.command("compare")
@options.run_groups
@click.option(
    "--metric",
    default="total_return",
    show_default=True,
    metavar="COLUMN",
    type=options.ColumnName(),
    help="What to compare: a metric of `rsc episodes`, such as sharpe_ratio.",
)
@click.option("--csv", "as_csv", is_flag=True, help="Print the score of each run and period as CSV.")
@options.as_json
@options.database_url
def command(runs: Sequence[str], metric: str, as_csv: bool, as_json: bool, database_url: str | None) -> None:
    """Compare evaluated runs side by side.

    Prints the interquartile mean of each, and for each pair the probability that the first is better.

    Each RUN is a run's id, the unique beginning of one, or `latest`. RUN,RUN,... or a pattern such as 'ppo-*' makes one
    group of runs that differ in their seed; NAME= before it names the group. Of a training, its newest evaluation out of
    sample counts.

    Returns, drawdowns and other fractions are printed in percent; --csv and --json have fractions.

    The intervals (95 %) are from a stratified bootstrap: seeds are drawn anew in each period. A group with one seed
    has no interval. If the database has several trials on the same bars, the best Sharpe ratio is deflated by
    their number.

    Exit: 0 done, 1 the runs cannot be compared, 2 wrong usage.

    \b
    Examples:
      rsc compare ppo-1 dqn-1
      rsc compare 'ppo-*' 'dqn-*' --metric sharpe_ratio
      rsc compare old=ppo-1,ppo-2,ppo-3 new=big-1,big-2,big-3 --json
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    _require_metric(metric)
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing
    from rsc.policies.comparing import compare

    with reading(open_existing(defaults.database_url(database_url))) as connection:
        found = compare(connection, runs, metric)
    if as_json:
        print_json(_document(found))
    elif as_csv:
        _print_csv(found)
    else:
        _print(found)


def _require_metric(metric: str) -> None:
    import difflib

    from rsc.db.models import LATER_METRICS, METRICS

    known = (*METRICS, *LATER_METRICS, "buy_and_hold_return", "excess_return", "total_costs", "turnover")
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(known)}"
        raise click.UsageError(f"there is no metric {metric!r}; {hint}")


def _print(found: Comparison) -> None:
    first, last = found.periods[0], found.periods[-1]
    count = len(found.periods)
    click.echo(
        f"{found.metric}: {first[0]}, {str(first[1])[:10]} to {str(last[2])[:10]}, {count} period{'s' * (count > 1)}"
    )
    if any(one.facts.get("in_sample") for group in found.groups for one in group.runs):
        click.echo("IN SAMPLE: training or selection saw some of these bars")
    line = f"{{:<{_NAME}}} {{:>5}} {{:>9}} {{:>21}} {{:>9}}".format
    click.echo("\n" + line("", "SEEDS", "IQM", "95 % INTERVAL", "MEDIAN").rstrip())
    form = _form_of(found.metric)
    for group in found.groups:
        interval = "-" if group.interval is None else f"{form(group.interval[0])} to {form(group.interval[1])}"
        cells = (len(group.runs), form(group.interquartile_mean), interval, form(group.median))
        click.echo(line(_short(group.name), *cells))
    if any(group.interval is None for group in found.groups):
        click.echo("a group with one seed has no interval: train the same with other seeds (--seed)")
    if found.pairs:
        click.echo("")
    for pair in found.pairs:
        between = "" if pair.interval is None else f", 95 % interval {_chances(pair.interval)}"
        click.echo(f"P({_short(pair.first)} > {_short(pair.second)}) = {pair.probability:.2f}{between}")
    click.echo("")
    click.echo("\n".join(_trials(found.trials, found.deflated)))


def _trials(trials: int, deflated: Deflated | None) -> list[str]:
    if deflated is None:
        return [f"trials on these bars: {trials}; no deflated Sharpe ratio"]
    unread = f" ({deflated.unread} of unknown or undefined Sharpe ratio)" if deflated.unread else ""
    return [
        f"trials on these bars: {trials}{unread}",
        f"best Sharpe ratio of the compared runs: {deflated.sharpe_ratio:.2f} ({_short(deflated.run_id)})",
        f"the best of {trials} trials without skill is expected to have {deflated.expected:.2f}",
        f"deflated Sharpe ratio: {deflated.probability:.2f}, the probability that the true one is above that",
    ]


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 3]}..."


def _form_of(metric: str) -> Callable[[float], str]:
    """Return how a metric is printed: a fraction in percent."""
    from rsc.db.models import FRACTIONS

    return "{:+.2%}".format if metric in FRACTIONS else "{:+.4g}".format


def _chances(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.2f} to {interval[1]:.2f}"


def _document(found: Comparison) -> dict[str, Any]:
    return {
        "metric": found.metric,
        "periods": [" ".join(map(str, period)) for period in found.periods],
        "groups": [
            {
                "name": group.name,
                "runs": [
                    {"run_id": one.run_id, "evaluation": one.evaluation_id, "seed": one.seed, "scores": scores.tolist()}
                    for one, scores in zip(group.runs, group.scores, strict=True)
                ],
                "interquartile_mean": group.interquartile_mean,
                "interval": group.interval,
                "median": group.median,
                "mean": group.mean,
            }
            for group in found.groups
        ],
        "pairs": [vars(pair) for pair in found.pairs],
        "trials": found.trials,
        "deflated_sharpe": None if found.deflated is None else vars(found.deflated),
    }


def _print_csv(found: Comparison) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(("group", "run_id", "evaluation", "seed", "period", found.metric))
    for group in found.groups:
        for one, scores in zip(group.runs, group.scores, strict=True):
            for period, score in zip(found.periods, scores, strict=True):
                seed = "" if one.seed is None else one.seed
                period_words = " ".join(map(str, period))
                writer.writerow((group.name, one.run_id, one.evaluation_id, seed, period_words, float(score)))
