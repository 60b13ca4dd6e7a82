"""`reconcile status`: what the passes did, from the database alone."""

from __future__ import annotations

from typing import Any

import click

from journal.console import print_json, print_table
from rsc import defaults


@click.command("status")
@click.option("--database-url", metavar="URL", help="As for `reconcile`.")
@click.option("--passes", "count", default=5, show_default=True, help="How many passes to show.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(group_url: str | None, database_url: str | None, count: int, as_json: bool) -> int:
    """What the last passes did, and what still waits.

    \b
    Example: reconcile status --database-url sqlite:///rsc.db
    """
    from rsc.db import episodes, runs
    from rsc.db.session import database_now, reading
    from rsc.db.upgrade import open_existing

    engine = open_existing(defaults.database_url(database_url or group_url), may_upgrade=False)
    with reading(engine) as connection:
        passes = [dict(row._mapping) for row in runs.last_passes(connection, count)]
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


def _show(state: dict[str, Any]) -> None:
    since = f", the oldest since {state['oldest_started']:%Y-%m-%d %H:%M:%S} UTC" if state["oldest_started"] else ""
    click.echo(f"started: {state['started']:,} episodes of {state['runs_with_started']:,} runs{since}")
    click.echo(
        f"verdicts that better evidence replaced: {state['overruled_verdicts']:,}, "
        f"false ones among them: {state['false_truncations']:,}"
    )
    if state["passes"]:
        print_table(("pass", "host", "outcome", "ended", "waiting", "seconds"), [_row(one) for one in state["passes"]])
    else:
        click.echo("no pass was made yet")


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    report = one["report"] or {}
    ended = ", ".join(f"{count} {status}" for status, count in report.get("ended", {}).items()) or "-"
    start = f"{one['start_time']:%Y-%m-%d %H:%M:%S}"
    waiting, seconds = str(report.get("waiting", "-")), f"{report.get('seconds', 0):.1f}"
    return start, one["host"], one["outcome"] or "unfinished", ended, waiting, seconds
