"""Print the differences between ended rows and their journals: `reconcile --audit`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from journal.console import DATA_LOST, DONE, remark
from reconciler.cli.once import JsonDocument
from reconciler.settings import Settings


def show_audit(url: str, run_ids: Sequence[str] | None, settings: Settings, as_json: bool) -> int:
    """Print each difference between a row and its journal.

    Args:
        url: The database.
        run_ids: Ids of runs; all runs if None.
        settings: The settings of the program.
        as_json: Print a JSON document.

    Returns:
        The exit code: 3 if there is a difference, or if a row or journal cannot be read, else 0.
    """
    # SQLAlchemy and Arrow are slow to import, and `--help` needs neither.
    from reconciler.audit import AuditReport, Difference, audit
    from rsc.db.upgrade import open_existing

    report, engine = AuditReport(), open_existing(url, may_upgrade=False)
    document = JsonDocument("differences")
    for found in audit(engine, run_ids, settings, report):
        if not isinstance(found, Difference):
            remark(f"could not be read: {found}")
        elif as_json:
            document.add(vars(found))
        else:
            where = f"{found.run_id} episode {found.episode_id} ({found.journal_id})"
            click.echo(f"{where}: {found.column} is {found.row}, its journal says {found.journal}")
    if as_json:
        document.close(vars(report))
    else:
        click.echo(
            f"{report.compared:,} episodes compared, {report.differences:,} differences, "
            f"{report.without_journal:,} without a journal"
        )
    if report.not_ended:
        remark(f"{report.not_ended:,} episodes have not ended and were not compared; reconcile them first")
    elif not report.compared:
        remark("nothing was compared: no episode has ended; `rsc check` names journals without a row")
    return DATA_LOST if report.differences or report.unlookable else DONE
