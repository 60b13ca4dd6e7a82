"""Check the database: reachable, tables of this version, writable, clock. Writes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from journal.host.filesystems import LOCAL, file_system_of
from rsc.db.errors import DatabaseError, first_line
from rsc.db.hints import unusable
from rsc.db.models import metadata
from rsc.db.session import database_now, is_missing_file, reading
from rsc.db.upgrade import open_existing
from rsc.db.urls import file_of, parse_url, shown
from rsc.defaults import GRACE_PERIOD_S
from rsc.doctor.check import Check, fail, ok, warn

_TELLING_OFFSET_S = 2.0
_NOT_MIGRATED = "run `rsc db upgrade`, or give the right --database-url"


def check_database(url: str) -> Iterator[Check]:
    """Yield the checks of a database and of its clock."""
    try:
        if is_missing_file(url):
            yield _check_missing(url)
            return
        engine = open_existing(url, hint=_NOT_MIGRATED)
    except DatabaseError as error:
        found, _, cure = str(error).rpartition("; ")
        yield fail("database", found or cure, cure if found else "correct --database-url or $RSC_DATABASE_URL")
        yield warn("clock", "not compared, because the database cannot be used", "repair the database first")
        return
    try:
        yield _check_writable(engine)
        yield _check_clock(engine)
    except SQLAlchemyError as error:
        yield fail("database", first_line(error), str(unusable(engine, error)).rpartition("; ")[2])
    finally:
        engine.dispose()


def _check_missing(url: str) -> Check:
    file = file_of(parse_url(url))
    assert file is not None, "Invariant: only files are missing"
    folder = existing_folder(file.absolute().parent)
    if not os.access(folder, os.W_OK | os.X_OK):
        return fail("database", f"{file} does not exist, and {folder} is not writable", "give another --database-url")
    found = f"{file} does not exist yet; the first training makes it"
    return warn("database", found, "if you expect runs, give --database-url or go to the folder of the training")


def existing_folder(path: Path) -> Path:
    """Return the path, or its nearest parent that exists."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _check_writable(engine: Engine) -> Check:
    name, said = "database", f"{shown(engine.url)} answers, and its tables are of this version"
    reason = _why_read_only(engine)
    if reason:
        return warn(name, f"{said}, but it is read-only: {reason}", "let this user write to it; reading works")
    file = file_of(engine.url)
    kind = "" if file is None else file_system_of(file)
    if file is not None and kind not in LOCAL:
        found = f"{said}, but the file is on {kind or 'an unknown file system'}, where its locks may not work"
        return warn(name, found, "move it to a local disk, or use PostgreSQL")
    return ok(name, said)


def _why_read_only(engine: Engine) -> str:
    """Return why this user cannot write rows; empty if it can."""
    file = file_of(engine.url)
    if file is not None:
        places = [str(place) for place in (file, file.absolute().parent) if not os.access(place, os.W_OK)]
        return f"no permission to write {places[0]}" if places else ""
    if engine.dialect.name != "postgresql":
        return ""
    with reading(engine) as connection:
        if connection.execute(text("SELECT current_setting('transaction_read_only')")).scalar() == "on":
            return "its transactions are read-only, as on a standby server"
        query = text("SELECT has_table_privilege(:table, 'INSERT') AND has_table_privilege(:table, 'UPDATE')")
        refused = [table for table in metadata.tables if not connection.execute(query, {"table": table}).scalar()]
    return f"this role has no INSERT and UPDATE on {', '.join(refused)}" if refused else ""


def _check_clock(engine: Engine) -> Check:
    if engine.dialect.name != "postgresql":
        return ok("clock", "a SQLite database uses this machine's clock")
    before = time.monotonic()
    theirs, ours = database_now(engine), datetime.now(UTC)
    offset_s = (ours - theirs).total_seconds()
    doubt_s = time.monotonic() - before
    found = f"this machine's clock is {abs(offset_s):.1f} s {'ahead of' if offset_s > 0 else 'behind'} the database's"
    cure = "synchronise both clocks (chrony, systemd-timesyncd)"
    if abs(offset_s) > GRACE_PERIOD_S + doubt_s:
        return fail("clock", f"{found}; that makes grace periods of {GRACE_PERIOD_S:g} s useless", cure)
    if abs(offset_s) > _TELLING_OFFSET_S + doubt_s:
        return warn("clock", f"{found}; start and end times of episodes differ by that much", cure)
    return ok("clock", found)
