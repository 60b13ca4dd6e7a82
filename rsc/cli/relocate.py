"""`rsc relocate`: tell the database where the journals of moved runs are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from journal.console import fail, remark, work_without_output
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy, which `--help` does not need.


@click.command("relocate", short_help="Tell the database where the journals of moved runs are.")
@options.run_ids
@click.argument("root", metavar="ROOT", type=click.Path(exists=True, file_okay=False, path_type=Path))
@options.database_url
def command(run_ids: Sequence[str], root: Path, database_url: str | None) -> None:
    """Tell the database that the journals of runs are now under ROOT, for example after a project was moved.

    RUN_ID is a run's id, the unique beginning of one, or `latest`. ROOT is the folder that holds the folders of
    runs, such as rsc-data/journal. No file is changed. A run whose journals are still at the old place is refused.

    Exit: 0 done, 1 a run was not found under ROOT.

    \b
    Examples:
      rsc relocate latest rsc-data/journal
      rsc relocate monday /data/journal --database-url sqlite:////data/rsc.db
    """
    from rsc.db import runs
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    work_without_output()
    engine, root = open_existing(defaults.database_url(database_url), may_upgrade=True), root.absolute()
    with reading(engine) as connection:
        places = [runs.run_named(connection, name) for name in run_ids]
    for place in places:
        _require_moved(place.run_id, place.journal_root, root)
    with engine.begin() as connection:
        for place in places:
            runs.move_run(connection, place.run_id, str(root))
    for place in places:
        click.echo(f"run {place.run_id}: {root} (before: {place.journal_root or 'unknown'})")


def _require_moved(run_id: str, before: str | None, root: Path) -> None:
    """End the command unless the run's journals are under the root, and not at the old place."""
    from journal import list_journals
    from journal.host.paths import run_dir

    folder = run_dir(root, run_id)
    if before and Path(before) == root:
        remark(f"run {run_id} is there already")
        return
    if not folder.is_dir():
        fail(f"there is no folder {folder}", "ROOT is the folder that holds the folders of runs")
    if before and run_dir(Path(before), run_id).is_dir():
        fail(
            f"the journals of run {run_id} are still in {run_dir(Path(before), run_id)}",
            "move the folder first; --journal-root reads a copy",
        )
    if next(iter(list_journals(root, run_id)), None) is None:
        remark(f"{folder} holds no journals")
