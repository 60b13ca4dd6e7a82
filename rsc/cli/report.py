"""`rsc report`: write a page about runs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from journal.console import DATA_LOST, DONE, console, print_json, remark
from rsc.cli import options

# Imports inside functions load SQLAlchemy, numpy and pyarrow, which `--help` does not need.

_SHOWN_FROM = 200  # episodes; fewer are read before a progress bar would appear


@click.command("report")
@options.run_ids
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Default: RUN_ID.html here. An existing report is replaced, any other file is not.",
)
@options.database_url
@click.option(
    "--journal-root", metavar="DIR", type=click.Path(path_type=Path), help="Default: the roots that the runs recorded."
)
@options.as_json
def command(
    run_ids: tuple[str, ...], output: Path | None, database_url: str | None, journal_root: Path | None, as_json: bool
) -> int:
    """Write one HTML page about one or several runs.

    The page opens in a browser and needs no other file.

    RUN_ID is a run's id, the unique beginning of one, or `latest`.

    The page shows what was rescued and what was lost, learning curves, distributions, costs, and a table of all episodes.
    Each row of it opens price with trades, value against buy-and-hold, drawdown and position. Several runs are compared.

    Exit: 0 done, 2 wrong usage, 3 a row or a journal cannot be read; the page
    is written anyway, and names them.

    \b
    Examples:
      rsc report latest
      rsc report 20261122-120000-1a2b3c -o run.html
      rsc report monday tuesday -o compared.html
    """
    from rsc.report.writing import ReportError, write_report

    try:
        with _progress() as begin:
            report = write_report(output, *run_ids, database_url=database_url, journal_root=journal_root, begin=begin)
    except ReportError as error:
        raise click.ClickException(str(error)) from None
    unreadable = {name: reason for run in report.runs for name, reason in run.unreadable.items()}
    if as_json:
        print_json(_summary(report))
    else:
        total = sum(len(run.episodes) for run in report.runs)
        click.echo(
            f"{report.path}: {total:,} {'episode' if total == 1 else 'episodes'}, {report.charts:,} with charts,"
            f" {report.size_bytes / 1e6:.2f} MB"
        )
    for name, reason in unreadable.items():
        remark(f"{name}: {reason}")
    return DATA_LOST if unreadable else DONE


def _summary(report: Any) -> dict[str, Any]:
    from rsc.report.summary import lost_words, rescued_words, status_counts

    runs = [
        {
            "run_id": run.run_id,
            "status": (run.row or {}).get("status"),
            "episodes": status_counts(run),
            "without_journal": run.without_journal,
            "without_row": run.without_row,
            "rescued": rescued_words(run),
            "lost": lost_words(run),
            "unreadable": run.unreadable,
        }
        for run in report.runs
    ]
    return {"file": str(report.path), "size_bytes": report.size_bytes, "charts": report.charts, "runs": runs}


@contextmanager
def _progress() -> Iterator[Callable[[int], Callable[[], object]]]:
    """Show a bar on a terminal while many episodes are read."""
    if not sys.stderr.isatty():
        yield lambda total: lambda: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("reading episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console(), transient=True) as bar:

        def begin(total: int) -> Callable[[], object]:
            task = bar.add_task("", total=total, visible=total >= _SHOWN_FROM)
            return lambda: bar.advance(task)

        yield begin
