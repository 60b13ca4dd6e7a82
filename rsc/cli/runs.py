"""`rsc runs`."""

from __future__ import annotations

import click

from journal.console import print_json, print_table
from rsc import defaults
from rsc.cli import options


@click.command("runs")
@options.database_url
@options.as_json
def command(database_url: str | None, as_json: bool) -> None:
    """List all runs with their episodes by status, newest first.

    \b
    Example: rsc runs --json
    """
    from rsc.db import runs
    from rsc.db.session import open_engine, reading
    from rsc.db.upgrade import upgrade

    engine = open_engine(defaults.database_url(database_url))
    upgrade(engine)
    with reading(engine) as connection:
        rows = [dict(row._mapping) for row in runs.all_runs(connection)]
        counts = runs.counts_by_run(connection)
    for row in rows:
        row["episodes"] = counts.get(row["run_id"], {})
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no runs yet; start one with `rsc train`")
    else:
        columns = ("run", "status", "start", "completed", "truncated", "error", "started")
        print_table(columns, [_line(row) for row in rows], right=columns[3:])


def _line(row: dict[str, object]) -> tuple[str, ...]:
    counts = row["episodes"]
    assert isinstance(counts, dict)
    start = f"{row['start_time']:%Y-%m-%d %H:%M}"
    numbers = (str(counts.get(status, 0)) for status in ("completed", "truncated", "error", "started"))
    return (str(row["run_id"]), str(row["status"]), start, *numbers)
