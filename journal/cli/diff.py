"""`journal diff`: compare two episodes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.cli import choosing, options
from journal.cli.lines import count_text
from journal.cli.opening import journal_named
from journal.console import FAILED, print_json, work_without_output
from journal.format.header import from_microseconds
from journal.inspect.figures import figures_of, number_text

if TYPE_CHECKING:
    from journal.ops.diff import Difference
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("diff", short_help="Compare two episodes.")
@click.argument("left", type=options.JournalName("episode", runs=False))
@click.argument("right", type=options.JournalName("episode", runs=False))
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    metavar="X",
    help="Treat numbers as equal within X.",
)
@click.option("--wall-time", is_flag=True, help="Also compare the writers' clocks.")
@options.as_json
@options.root
def command(left: str, right: str, tolerance: float, wall_time: bool, as_json: bool, journal_root: Path | None) -> int:
    """Compare two episodes: show the first step that differs, how many rows differ in each column, and their metrics.

    Exit status: 0 equal, 1 different, 3 equal in all rows that are not damaged.

    \b
    Example: journal diff 42 43 --tolerance 1e-9
    """
    from journal.ops.diff import diff

    work_without_output()  # the exit status is the result
    ours, others = journal_named(left, journal_root), journal_named(right, journal_root)
    found = diff(ours, others, tolerance=tolerance, wall_time=wall_time)
    figures = (figures_of(ours), figures_of(others))
    if as_json:
        print_json(_facts(ours, others, found, figures))
    else:
        _tell(ours, others, found, figures)
    code = max(choosing.say_what_was_met(ours), choosing.say_what_was_met(others))
    return code if found.same else FAILED


def _facts(ours: Journal, others: Journal, found: Difference, figures: tuple[Any, Any]) -> dict[str, Any]:
    return {
        "left": str(ours.path),
        "right": str(others.path),
        "same": found.same,
        **vars(found),
        "first": {name: list(values) for name, values in found.first.items()},
        "columns_left": list(found.columns_left),
        "columns_right": list(found.columns_right),
        "metrics_left": figures[0],
        "metrics_right": figures[1],
    }


def _tell(ours: Journal, others: Journal, found: Difference, figures: tuple[Any, Any]) -> None:

    names = (ours.header.journal_id, others.header.journal_id)
    click.echo(f"left   {names[0]}: {count_text(ours.step_count, 'step')}, {count_text(ours.trade_count, 'trade')}")
    click.echo(f"right  {names[1]}: {count_text(others.step_count, 'step')}, {count_text(others.trade_count, 'trade')}")
    if found.same:
        click.echo(f"\nthe same in {count_text(found.steps_compared, 'step')}")
        return
    _tell_steps(found)
    for side, count, columns in (
        ("left", found.only_left, found.columns_left),
        ("right", found.only_right, found.columns_right),
    ):
        if count:
            click.echo(f"only {side} has {count_text(count, 'step')}")
        if columns:
            click.echo(f"only {side} has the columns {', '.join(columns)}")
    if found.trades_differ:
        click.echo(f"{count_text(found.trades_differ, 'trade')} differ")
    _tell_figures(*figures)


def _tell_steps(found: Difference) -> None:

    if found.first_step is None:
        click.echo(f"\nthe same in the {count_text(found.steps_compared, 'step')} that both have")
        return
    click.echo(f"\nfirst differing step: {found.first_step}")
    for name, (left, right) in found.first.items():
        click.echo(f"  {name:<16} {_value_text(name, left):>26} {_value_text(name, right):>26}")
    click.echo(f"rows that differ, of {found.steps_compared:,}")
    for name, count in found.counts.items():
        click.echo(f"  {name:<16} {count:>26,}")


def _value_text(name: str, value: float | int | bool) -> str:
    """Format a value: all digits of a number, times as ISO 8601."""

    if name not in ("market_time", "wall_time"):
        return str(value)
    try:
        time = from_microseconds(int(value))
    except ValueError:
        return str(value)
    return f"{time:%Y-%m-%d %H:%M:%S.%f}" if time.microsecond else f"{time:%Y-%m-%d %H:%M:%S}"


def _tell_figures(left: dict[str, Any], right: dict[str, Any]) -> None:

    names = [name for name in left if name in right]
    if not names:
        return
    click.echo(f"\n  {'METRIC':<24} {'LEFT':>16} {'RIGHT':>16}")
    for name in names:
        mark = "" if left[name] == right[name] else "  *"
        click.echo(f"  {name:<24} {number_text(left[name]):>16} {number_text(right[name]):>16}{mark}")
