"""`rsc runs`."""

from __future__ import annotations

from typing import Any

import click

from journal.console import print_json
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.


@click.command("runs")
@options.database_url
@options.as_json
def command(database_url: str | None, as_json: bool) -> None:
    """List all runs with their episodes by status, newest first.

    \b
    Example: rsc runs --json
    """
    from rsc.db import runs
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    with reading(open_existing(defaults.database_url(database_url))) as connection:
        rows = [dict(row._mapping) for row in runs.all_runs(connection)]
        counts = runs.counts_by_run(connection)
    for row in rows:
        row["episodes"] = counts.get(row["run_id"], {})
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no runs yet; start one with `rsc train`")
    else:
        _print(rows)


def _print(rows: list[dict[str, Any]]) -> None:
    """A line a run; of 80 columns where ids are those that `rsc train` makes."""
    from rsc.db.models import EPISODE_STATUSES

    width = max(len("RUN"), *(len(row["run_id"]) for row in rows))
    counted = " ".join(f"{{:>{len(status)}}}" for status in EPISODE_STATUSES)
    line = f"{{:<{width}}} {{:<10}} {{:<11}} {counted}".format
    click.echo(line("RUN", "START", "STATUS", *map(str.upper, EPISODE_STATUSES)))
    for row in rows:
        counts = (row["episodes"].get(status, 0) for status in EPISODE_STATUSES)
        click.echo(line(row["run_id"], f"{row['start_time']:%Y-%m-%d}", row["status"], *counts))
