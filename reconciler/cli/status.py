"""`reconcile status`: what the passes did, from the database alone."""

from __future__ import annotations

from typing import Any

import click

from journal.console import print_json
from rsc import defaults

_ASIDE = {
    "replaced": "replaced",
    "waiting": "waiting",
    "unlookable_count": "not to be looked at",
    "failure_count": "failed",
}


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
    for one in state["passes"]:
        for line in _lines_of(one):
            click.echo(line)
    if not state["passes"]:
        click.echo("no pass was made yet")


def _lines_of(one: dict[str, Any]) -> tuple[str, str]:
    """A pass as two lines, for terminals of 80 columns and for pipes."""
    report = one["report"] or {}
    outcome = one["outcome"] or "unfinished"
    if "seconds" in report:
        outcome += f" in {report['seconds']:.1f} s"
    did = [f"{count:,} {status}" for status, count in sorted(report.get("ended", {}).items())] or ["none ended"]
    for name, text in _ASIDE.items():
        did += [f"{report[name]:,} {text}"] if report.get(name) else []
    if one["outcome"] == "failed":
        did += report.get("failures", ())[-1:]
    return f"pass {one['start_time']:%Y-%m-%d %H:%M:%S} UTC on {one['host']}: {outcome}", f"      {', '.join(did)}"
