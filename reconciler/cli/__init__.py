"""`reconcile`: parses, calls, renders. Whatever is heavy is imported by the verb that needs it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from journal.console import DURATION, LazyGroup, run_main, work_without_output
from rsc import defaults

SHORTEST_INTERVAL_S = 0.1
_EXAMPLES = """
\b
Examples:
  reconcile --run-id 20261122-120000-1a2b3c       end the dead episodes of one run
  reconcile --all --explain                       say what would be done, and why
  reconcile --all --every 30s                     go on doing it
  reconcile --all --rebuild --database-url sqlite:///new.db
  reconcile status                                what the last passes did
"""


@click.group(
    cls=LazyGroup,
    verbs={"status": "reconciler.cli.status:command"},
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--run-id", "run_ids", multiple=True, metavar="ID", help="The run to reconcile; may be given repeatedly.")
@click.option("--all", "all_runs", is_flag=True, help="All runs that the database knows.")
@click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
@click.option(
    "--journal-root", metavar="DIR", type=click.Path(path_type=Path), help="Default: the root that each run recorded."
)
@click.option(
    "--wait",
    "wait_s",
    default=f"{defaults.WAIT_S:g}s",
    type=DURATION,
    show_default=True,
    help="How long to wait for a killed run's last processes, or for a lease to run out (30 s).",
)
@click.option(
    "--grace",
    "grace_s",
    default=f"{defaults.GRACE_PERIOD_S:g}s",
    type=DURATION,
    show_default=True,
    help="How late a living episode's own callback may come.",
)
@click.option(
    "--processes",
    type=click.IntRange(1),
    help="That share a large run, by default as many as there are cores, up to 4.",
)
@click.option(
    "--dry-run", "--explain", "dry_run", is_flag=True, help="Print each verdict with its evidence, and write nothing."
)
@click.option("--rebuild", is_flag=True, help="Restore the rows of runs that the database has lost, from journals.")
@click.option("--audit", is_flag=True, help="Compare ended rows with their journals, and change nothing.")
@click.option("--assume-dead", is_flag=True, help="You know better: take writers that cannot be judged for dead.")
@click.option("--every", "every_s", type=DURATION, metavar="DURATION", help="Be a daemon: a pass each so often.")
@click.option("--cron", metavar="EXPRESSION", help='Be a daemon: passes at these times, as in "*/5 * * * *".')
@click.option("--deadline", "deadline_s", type=DURATION, default="10m", show_default=True, help="Of a daemon's pass.")
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Of a daemon: serve Prometheus, and /healthz.")
@click.option("--metrics-address", default="127.0.0.1", show_default=True, help="Where to serve them.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    run_ids: Sequence[str],
    all_runs: bool,
    database_url: str | None,
    journal_root: Path | None,
    wait_s: float,
    grace_s: float,
    processes: int | None,
    dry_run: bool,
    rebuild: bool,
    audit: bool,
    assume_dead: bool,
    every_s: float | None,
    cron: str | None,
    deadline_s: float,
    metrics_port: int | None,
    metrics_address: str,
    as_json: bool,
) -> int:
    """End the episodes that their training left behind.

    Finds the episodes that the database still marks `started`, computes their final metrics from their journals,
    stores metrics and trades, and marks them `truncated`, `completed` or `error`, as the evidence says. A live
    episode is never ended; running it again changes nothing.

    Exit: 0 done, 1 failed, 2 wrong usage, 3 data was lost or could not be looked at, 130 interrupted.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = database_url
        return 0
    if bool(run_ids) == all_runs:
        raise click.UsageError("give either --run-id ID or --all", ctx)
    daemon = every_s is not None or cron is not None
    if every_s is not None and every_s < SHORTEST_INTERVAL_S:
        raise click.UsageError(f"--every takes {SHORTEST_INTERVAL_S:g}s at least")
    _refuse_contradictions(daemon, both=every_s is not None and cron is not None, quiet=dry_run or as_json)
    if audit and (daemon or rebuild):
        raise click.UsageError("--audit goes with neither --rebuild nor a daemon", ctx)
    from reconciler.settings import Settings

    if not dry_run:
        work_without_output()
    settings = Settings(
        journal_root=journal_root.absolute() if journal_root else None,
        grace_period_s=grace_s,
        dry_run=dry_run,
        assume_dead=assume_dead,
        processes=1 if daemon else processes or min(os.cpu_count() or 1, 4),
    )
    url, chosen = defaults.database_url(database_url), run_ids or None
    if daemon:
        from reconciler.cli.serve import serve

        return serve(url, chosen, settings, every_s, cron, deadline_s, metrics_port, metrics_address)
    if audit:
        from reconciler.cli.audit import show_audit

        return show_audit(url, chosen, settings, as_json)
    from reconciler.cli.once import reconcile_once

    return reconcile_once(url, chosen, settings, wait_s=wait_s, rebuild=rebuild, as_json=as_json)


def _refuse_contradictions(daemon: bool, *, both: bool, quiet: bool) -> None:
    if both:
        raise click.UsageError("give --every or --cron, not both")
    if daemon and quiet:
        raise click.UsageError("a daemon prints no verdicts: --dry-run, --explain and --json are for single passes")


def main() -> None:
    """The program."""
    run_main(command)
