"""Commands that only look: they read SQLite files that may not be written, and leave no file behind."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from rsc.db import runs
from rsc.db.session import DatabaseError, open_engine, reading
from rsc.db.upgrade import open_existing
from tests.attacks.needs import need_mounts

NOW = datetime(2026, 11, 22, tzinfo=UTC)
# Writes a second run into the write-ahead log, and dies before it is copied into the file.
KILLED = """
import os, sys
from datetime import UTC, datetime
from rsc.db import runs
from rsc.db.session import open_engine
with open_engine(f"sqlite:///{sys.argv[1]}").connect() as connection:
    connection.exec_driver_sql("PRAGMA wal_autocheckpoint = 0")
    runs.start_run(connection, "second", {}, "/root", datetime.now(UTC))
    connection.commit()
    os._exit(0)
"""


@pytest.fixture
def file(tmp_path: Path, made_sqlite: Path) -> Path:
    """A database with one run, in a folder of its own."""
    file = tmp_path / "data" / "rsc.db"
    file.parent.mkdir()
    shutil.copy(made_sqlite, file)
    engine = open_engine(f"sqlite:///{file}")
    with engine.begin() as connection:
        runs.start_run(connection, "first", {}, "/root", NOW)
    engine.dispose()
    return file


def killed(file: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, file], check=True, timeout=60)
    assert Path(f"{file}-wal").stat().st_size


def run_ids(url: str) -> set[str]:
    engine = open_existing(url)
    try:
        with reading(engine) as connection:
            return {row.run_id for row in runs.all_runs(connection)}
    finally:
        engine.dispose()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("state", ["whole", "with its log", "with a log without an index"])
def test_look__folder_that_may_not_be_written__sees_all_and_leaves_nothing(file, monkeypatch, state):
    """The rights are told to `os.access` by the test, which root would not be refused."""
    expected = {"first"}
    if state != "whole":
        killed(file)
        expected |= {"second"}
    if state == "with a log without an index":
        Path(f"{file}-shm").unlink()
    before = set(content(file.parent))
    monkeypatch.setattr(os, "access", lambda path, mode, **more: False)
    assert run_ids(f"sqlite:///{file}") == expected
    assert set(content(file.parent)) == before


@pytest.mark.parametrize("state", ["whole", "with its log", "with a log without an index"])
def test_look__read_only_mount__sees_all(file, state, tmp_path):
    need_mounts()
    if state != "whole":
        killed(file)
    if state == "with a log without an index":
        Path(f"{file}-shm").unlink()
    script = "mount --bind $0 $1 && mount -o remount,ro,bind $1 && exec $2 -m rsc runs --json --database-url sqlite:///$1/rsc.db"
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, file.parent, mounted]
    done = subprocess.run([*command, sys.executable], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert ("second" in done.stdout) == (state != "whole")
    assert "first" in done.stdout


def test_look__writes_nothing_and_leaves_no_file(file):
    before = content(file.parent)
    assert run_ids(f"sqlite:///{file}") == {"first"}
    assert content(file.parent) == before


def test_look__engine_for_looking__cannot_write(file):
    engine = open_existing(f"sqlite:///{file}")
    with pytest.raises(OperationalError, match="readonly"), engine.begin() as connection:
        runs.start_run(connection, "second", {}, "/root", NOW)
    engine.dispose()


def test_look__file_of_another_program__is_left_as_it_is(tmp_path):
    """Not even its journal mode changes."""
    file = tmp_path / "other.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE notes (x)")
    connection.close()
    before = content(tmp_path)
    with pytest.raises(DatabaseError, match="has no runs"):
        open_existing(f"sqlite:///{file}")
    assert content(tmp_path) == before


@pytest.mark.parametrize("ask", ["look", "write"])
def test_open__file_that_does_not_exist__is_not_made(tmp_path, ask):
    """An env runner on another machine makes no stray database either: only `upgrade` makes a file."""
    url = f"sqlite:///{tmp_path}/deep/rsc.db"
    engine: Engine = open_engine(url, looking=ask == "look")
    with pytest.raises(OperationalError, match="unable to open"), engine.connect() as connection:
        connection.execute(text("SELECT 1"))
    assert list(tmp_path.iterdir()) == []


def test_url__timeout_of_the_user__is_kept(file):
    engine = open_engine(f"sqlite:///{file}?timeout=0.1", timeout_s=60.0)
    other = open_engine(f"sqlite:///{file}")
    with other.begin(), pytest.raises(OperationalError, match="locked"), engine.begin():
        pass
    engine.dispose()
    other.dispose()
