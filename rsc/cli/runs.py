"""`rsc runs`: list the runs of a database."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from journal.console import print_json, remark, status_text
from rsc import defaults
from rsc.cli import options

_INDENT = "  "

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.


@click.command("runs")
@options.database_url
@options.as_json
def command(database_url: str | None, as_json: bool) -> None:
    """List all runs, newest first, with their episodes by status.

    Tune trials are listed below their run. An evaluation, and a training that
    resumed another, ends with "of" and the run whose policy it took.

    \b
    Example: rsc runs --json
    """
    from rsc.db import runs
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    with reading(open_existing(defaults.database_url(database_url))) as connection:
        found = runs.all_runs(connection)
        counts = runs.counts_by_run(connection)
        trials = runs.counts_by_trial(connection)
    rows = [_columns(row) for row in found]
    for row in rows:
        row["episodes"] = counts.get(row["run_id"], {})
        row["trials"] = trials.get(row["run_id"], {})
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no runs yet; start one with `rsc train`")
    else:
        _print(rows)


def _columns(row: Any) -> dict[str, Any]:
    """Return a run's columns, or for an unreadable row only its id and the reason."""
    from rsc.db.tolerant import UnreadableRow

    if isinstance(row, UnreadableRow):
        remark(f"the row of run {row.key} cannot be read: {row.reason}")
        return {"run_id": row.key, "start_time": None, "status": "unreadable"}
    return dict(row._mapping)


def _print(rows: list[dict[str, Any]]) -> None:
    """Print one line for each run, 80 columns wide for ids that `rsc train` makes."""
    from rsc.db.models import EPISODE_STATUSES

    names = [name for row in rows for name in (row["run_id"], *(_INDENT + trial for trial in row["trials"]))]
    width = max(len("RUN"), *map(len, names))
    counted = " ".join(f"{{:>{len(status)}}}" for status in EPISODE_STATUSES)
    line = f"{{:<{width}}} {{:<11}} {{:<11}} {counted}".format
    year = datetime.now(UTC).year
    click.echo(line("RUN", "START (UTC)", "STATUS", *map(str.upper, EPISODE_STATUSES)))
    for row in rows:
        start, status = _start(row["start_time"], year), status_text(f"{row['status']:<11}")
        words = line(row["run_id"], start, status, *_counts(row["episodes"]))
        click.echo(f"{words}  of {parent}" if (parent := row.get("parent_run_id")) else words)
        for trial_id, counts in row["trials"].items():
            words = line(_INDENT + trial_id, "", "trial", *_counts(counts))
            click.echo(f"{words}  {_changes(row, trial_id)}".rstrip())


def _start(time: datetime | None, year: int) -> str:
    """Return month, day and time; for another year than the current one, the date."""
    if time is None:
        return "-"
    return f"{time:%m-%d %H:%M}" if time.year == year else f"{time:%Y-%m-%d}"


def _counts(episodes: dict[str, int]) -> list[int]:
    from rsc.db.models import EPISODE_STATUSES

    return [episodes.get(status, 0) for status in EPISODE_STATUSES]


def _changes(row: dict[str, Any], trial_id: str) -> str:
    """Return the recorded parameters of a trial's last start."""
    starts = ((row.get("parameters") or {}).get("trials") or {}).get(trial_id)
    return ", ".join(f"{name}={value}" for name, value in starts[-1]["parameters"].items()) if starts else ""
