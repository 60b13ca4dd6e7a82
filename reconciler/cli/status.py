"""Show what the last passes did, from the database only: `reconcile status`."""

from __future__ import annotations

from typing import Any

import click

from journal.console import Count, print_json, status_text
from rsc import defaults

_ASIDE = {
    "replaced": "replaced",
    "waiting": "waiting",
    "unlookable_count": "could not be read",
    "failure_count": "failed",
}


@click.command("status")
@click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
@click.option("--passes", "count", type=Count(), default=5, show_default=True, help="How many passes to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(group_url: str | None, database_url: str | None, count: int, as_json: bool) -> int:
    """Show what the last passes did, and how many episodes are still started.

    \b
    Example: reconcile status --database-url sqlite:///rsc.db
    """
    # SQLAlchemy is slow to import, and `--help` does not need it.
    from rsc.db import episodes, runs
    from rsc.db.session import database_now, reading
    from rsc.db.upgrade import open_existing

    engine = open_existing(defaults.database_url(database_url or group_url), may_upgrade=False)
    with reading(engine) as connection:
        passes = [_columns(row) for row in runs.last_passes(connection, count)]
        oldest = episodes.oldest_started(connection)
        overruled, false = episodes.overruled_counts(connection)
        counts = runs.counts_by_run(connection)
        success = runs.last_success(connection)
    age_s = (database_now(engine) - oldest).total_seconds() if oldest else None
    state = {
        "started": sum(count.get("started", 0) for count in counts.values()),
        "runs_with_started": sum("started" in count for count in counts.values()),
        "oldest_started": oldest,
        "oldest_started_age_s": age_s,
        "overruled_verdicts": overruled,
        "false_truncations": false,
        "last_success": success,
        "passes": passes,
    }
    if as_json:
        print_json(state)
    else:
        _show(state)
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _show(state: dict[str, Any]) -> None:
    since = f", the oldest since {state['oldest_started']:%Y-%m-%d %H:%M:%S} UTC" if state["oldest_started"] else ""
    episodes, runs = (
        _count(state[name], noun) for name, noun in (("started", "episode"), ("runs_with_started", "run"))
    )
    click.echo(f"started: {episodes} of {runs}{since}")
    click.echo(
        f"verdicts corrected later: {state['overruled_verdicts']:,} "
        f"({state['false_truncations']:,} with a wrong status)"
    )
    for one in state["passes"]:
        for line in _lines_of(one):
            click.echo(line)
    if not state["passes"]:
        click.echo("no pass was made yet")


def _columns(row: Any) -> dict[str, Any]:
    """Return the columns of a pass. If its row cannot be read, return its id, and the reason as a failure."""
    from rsc.db.tolerant import UnreadableRow  # SQLAlchemy, which `--help` does not need

    if not isinstance(row, UnreadableRow):
        return dict(row._mapping)
    report = {"failures": [f"its row cannot be read: {row.reason}"]}
    unknown = dict.fromkeys(("host", "start_time", "end_time"))
    return {"pass_id": row.key, **unknown, "outcome": "failed", "report": report}


def _lines_of(one: dict[str, Any]) -> tuple[str, str]:
    """Return a pass as two lines that fit a terminal of 80 columns."""
    report = one["report"] or {}
    outcome = one["outcome"] or "unfinished"
    if "seconds" in report:
        outcome += f" in {report['seconds']:.1f} s"
    did = [f"{count:,} {status}" for status, count in sorted(report.get("ended", {}).items())] or ["none ended"]
    for name, text in _ASIDE.items():
        did += [f"{report[name]:,} {text}"] if report.get(name) else []
    if one["outcome"] == "failed":
        did += report.get("failures", ())[-1:]
    start = f"{one['start_time']:%Y-%m-%d %H:%M:%S} UTC on {one['host']}" if one["start_time"] else one["pass_id"]
    return f"pass {start}: {status_text(outcome, one['outcome'] or 'unfinished')}", f"      {', '.join(did)}"
