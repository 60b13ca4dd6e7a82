"""Find a run by its id, the beginning of it, or `latest`, in the database and among the folders of journals."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from journal.host.paths import list_runs, run_dir
from journal.inspect.find import newest_run
from rsc import defaults
from rsc.db.errors import DatabaseError, UnknownRunError

if TYPE_CHECKING:
    from sqlalchemy import Engine

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")


@dataclass(frozen=True)
class Place:
    """The location of a run's record. ``engine`` is None without a database. ``folder`` may not exist."""

    run_id: str
    folder: Path
    engine: Engine | None


def find_run(name: str, database_url: str | None = None, journal_root: Path | str | None = None) -> Place:
    """Return the location of a run's record.

    Args:
        name: The run's id, its unique beginning, or `latest`.
        database_url: None: $RSC_DATABASE_URL, else the file rsc-data/rsc.db. If there is none, journals are enough.
        journal_root: None: the root that the run recorded, else $RSC_JOURNAL_ROOT, else rsc-data/journal.

    Raises:
        UnknownRunError: There is no such run, or several.
        rsc.db.session.DatabaseError: The given database cannot be used.
    """
    if not name.strip():
        raise UnknownRunError("the name of the run is empty; `rsc runs` lists the runs")
    from rsc.db.upgrade import open_existing

    root = defaults.journal_root(journal_root)
    try:
        engine = open_existing(defaults.database_url(database_url), hint="give database_url")
        recorded = _recorded(engine)
    except DatabaseError as error:
        if database_url is not None:
            raise
        engine, recorded, why = None, {}, str(error)
    run_id = _chosen(name, recorded, root)
    if engine is None:
        log.warning(
            "run %s: only its journals are read, so numbers and statuses of episodes are unknown: %s", run_id, why
        )
    known = recorded.get(run_id)
    folder = run_dir(Path(known).absolute() if known and journal_root is None else root, run_id)
    return Place(run_id, folder, engine if run_id in recorded else None)


def _recorded(engine: Engine) -> dict[str, str | None]:
    """Return the journal roots of all runs of a database by run id, newest first."""
    from sqlalchemy.exc import SQLAlchemyError

    from rsc.db import runs
    from rsc.db.hints import unusable
    from rsc.db.session import reading

    try:
        with reading(engine) as connection:
            return {row.run_id: row.journal_root for row in runs.run_places(connection)}
    except SQLAlchemyError as error:
        raise unusable(engine, error) from error


def _chosen(name: str, recorded: dict[str, str | None], root: Path) -> str:
    from rsc.db import runs

    if name == runs.LATEST:
        newest = runs.id_named(name, list(recorded)) or newest_run(root)
        if newest is None:
            raise UnknownRunError(f"there is no run yet, neither in the database nor in {root}")
        return newest
    found = runs.id_named(name, list({**recorded, **dict.fromkeys(list_runs(root))}))
    if found is not None:
        return found
    raise UnknownRunError(
        f"there is no run {name!r}, neither in the database nor in {root}; `rsc runs` lists the runs, and a database URL"
        " or a journal root names another place"
    )
