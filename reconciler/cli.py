"""`reconcile`: parses, calls, renders."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.console import DURATION, INTERRUPTED, print_json, print_table, remark, run_main
from rsc import defaults

if TYPE_CHECKING:
    from reconciler.report import Item, PassReport

_EXAMPLES = """
\b
Examples:
  reconcile --run-id 20261122-120000-1a2b3c       end the dead episodes of one run
  reconcile --all --dry-run                       say what would be done, and why
  reconcile --all --every 30s                     go on doing it
  reconcile status                                what the last passes did
"""


@click.group(
    invoke_without_command=True,
    epilog=_EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--run-id", multiple=True, help="The run to reconcile; may be given several times.")
@click.option("--all", "all_runs", is_flag=True, help="All runs that have episodes to reconcile.")
@click.option(
    "--database-url", metavar="URL", help=f"Default: ${defaults.DATABASE_VARIABLE}, else rsc-data/rsc.db here."
)
@click.option("--journal-root", type=click.Path(path_type=Path), help="Default: the root that each run has recorded.")
@click.option(
    "--wait",
    default="10s",
    type=DURATION,
    show_default=True,
    help="How long a killed run's last processes may take to go.",
)
@click.option(
    "--grace",
    default=f"{defaults.GRACE_PERIOD_S:g}s",
    type=DURATION,
    show_default=True,
    help="How long a callback may come late.",
)
@click.option("--dry-run", "--explain", is_flag=True, help="Print each verdict with its evidence, and write nothing.")
@click.option("--rebuild", is_flag=True, help="Also restore rows of runs that the database does not know.")
@click.option("--assume-dead", is_flag=True, help="You know better: take writers that cannot be judged for dead.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    run_id: Sequence[str],
    all_runs: bool,
    database_url: str | None,
    journal_root: Path | None,
    wait: float,
    grace: float,
    dry_run: bool,
    rebuild: bool,
    assume_dead: bool,
    as_json: bool,
) -> int:
    """End the episodes that their training left behind.

    Finds the episodes that the database still marks `started`, computes their final metrics from their journals,
    stores metrics and trades, and marks them `truncated`, `completed` or `error`, whatever the evidence says. A live
    episode is never ended; running it again changes nothing.

    Exit: 0 done, 1 failed, 2 wrong usage, 3 data was lost or could not be looked at, 130 interrupted.
    """
    if ctx.invoked_subcommand is not None:
        ctx.obj = database_url
        return 0
    if bool(run_id) == all_runs:
        raise click.UsageError("give either --run-id ID or --all")
    from reconciler.config import Settings

    settings = Settings(
        journal_root.absolute() if journal_root else None,
        grace,
        dry_run=dry_run,
        rebuild=rebuild,
        assume_dead=assume_dead,
    )
    return _reconcile(run_id or None, database_url, settings, 0.0 if dry_run else wait, as_json)


def _reconcile(run_ids: Sequence[str] | None, url: str | None, settings: Any, wait_s: float, as_json: bool) -> int:
    from journal import Observer
    from reconciler.reconcile import Pass, adopt_runs, pass_until_settled, utc_now
    from rsc.db.session import open_engine
    from rsc.db.upgrade import upgrade

    engine = open_engine(defaults.database_url(url))
    upgrade(engine)
    if settings.rebuild and not settings.dry_run:
        adopt_runs(engine, settings.journal_root or defaults.journal_root(), run_ids, utc_now())
    stop = _StopOnSignal()
    observer = Observer()
    items: list[Item] = []
    keep = items.append if settings.dry_run or as_json else lambda item: None
    report = pass_until_settled(
        lambda: Pass(engine, observer, settings, utc_now(), keep, lambda: stop.asked), run_ids, wait_s
    )
    _show(report, items, settings.dry_run, as_json)
    return INTERRUPTED if stop.asked else report.exit_code


class _StopOnSignal:
    """The first Ctrl-C or SIGTERM ends the pass after its batch; a second Ctrl-C ends the program."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        remark("stopping after this batch")


def _show(report: PassReport, items: Sequence[Item], dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({"dry_run": dry_run, "report": report.to_dict(), "episodes": [vars(item) for item in items]})
    else:
        if dry_run:
            _show_verdicts(items)
        for run_id in report.runs_interrupted:
            click.echo(f"run {run_id} is marked interrupted")
        click.echo(f"{len(items)} episodes judged, nothing written" if dry_run else report.sentence())
    for text in report.unlookable:
        remark(f"could not be looked at: {text}")
    for text in report.failures:
        remark(f"error: {text}")


def _show_verdicts(items: Sequence[Item]) -> None:
    rows = [
        (
            item.case, item.journal_id, item.action, item.status or "", f"{item.steps if item.steps is not None else '-'}",
            f"{item.trades if item.trades is not None else '-'}", item.why,
        )
        for item in items
    ]  # fmt: skip
    if rows:
        print_table(("case", "journal", "action", "status", "steps", "trades", "why"), rows, right=("steps", "trades"))


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def status(database_url: str | None, as_json: bool) -> int:
    """What the last passes did, and what still waits.

    \b
    Example: reconcile --database-url sqlite:///rsc.db status
    """
    from rsc.db import episodes, runs
    from rsc.db.session import open_engine, reading
    from rsc.db.upgrade import upgrade

    engine = open_engine(defaults.database_url(database_url))
    upgrade(engine)
    with reading(engine) as connection:
        passes = [dict(row._mapping) for row in runs.last_passes(connection, 5)]
        oldest = episodes.oldest_started(connection)
    if as_json:
        print_json({"passes": passes, "oldest_started": oldest})
        return 0
    click.echo(f"oldest started episode: {oldest.isoformat() if oldest else 'none'}")
    for row in passes:
        click.echo(
            f"{row['start_time'].isoformat(timespec='seconds')}  {row['outcome'] or 'unfinished'}  on {row['host']}"
        )
    return 0


def main() -> None:
    """The program."""
    run_main(command)
