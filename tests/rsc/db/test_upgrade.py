"""Migrations make what the models say, adopt what is there, and bear company."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, inspect, text

import journal
import rsc
from rsc.db.models import metadata
from rsc.db.session import DatabaseError, open_engine
from rsc.db.sqlite import create_file
from rsc.db.upgrade import HEAD, VERSION_TABLE, current_revision, is_current, upgrade
from tests.postgres import PostgresServer


def differences(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False, "version_table": VERSION_TABLE})
        return compare_metadata(context, metadata)


def test_upgrade__empty_database__makes_what_the_models_say(empty_database_url):
    engine = open_engine(empty_database_url)
    assert upgrade(engine) is True
    assert differences(engine) == []
    with engine.connect() as connection:
        assert current_revision(connection) == HEAD
        (improvable,) = (one for one in inspect(connection).get_indexes("episodes") if "improvable" in one["name"])
    assert [name for name in improvable["dialect_options"] if name.endswith("_where")] == [
        f"{engine.dialect.name}_where"
    ]
    engine.dispose()


def test_migrations__empty_database__make_what_the_models_say(empty_database_url):
    """A new database is made from the models; an older one must become the same by its migrations."""
    engine = open_engine(empty_database_url)
    create_file(engine.url)
    with engine.begin() as connection:
        config = Config()
        config.set_main_option("script_location", str(Path(rsc.__file__).parent / "db" / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
    assert differences(engine) == []
    assert is_current(engine)
    engine.dispose()


def test_upgrade__new_database__imports_no_alembic(empty_database_url):
    script = (
        "import sys; from rsc.db.session import open_engine; from rsc.db.upgrade import upgrade;"
        f"changed = upgrade(open_engine({empty_database_url!r})); sys.exit(2 * (not changed) + ('alembic' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_upgrade__second_time__changes_nothing_and_imports_no_alembic(database_url):
    script = (
        "import sys; from rsc.db.session import open_engine; from rsc.db.upgrade import upgrade;"
        f"changed = upgrade(open_engine({database_url!r})); sys.exit(2 * changed + ('alembic' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_upgrade__tables_without_revision__are_adopted_with_their_rows(empty_database_url):
    engine = open_engine(empty_database_url)
    create_file(engine.url)
    with engine.begin() as connection:
        metadata.create_all(connection)
        connection.execute(
            text(
                "INSERT INTO training_runs (run_id, start_time, status) VALUES ('r', '2026-01-01 00:00:00', 'running')"
            )
        )
    assert upgrade(engine) is True
    assert differences(engine) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM training_runs")).scalar() == 1
    engine.dispose()


def test_upgrade__tables_of_another_program__gain_what_they_lack_and_keep_what_they_have(empty_database_url):
    """The forerunner's tables have fewer columns, and some of their own."""
    engine = open_engine(empty_database_url)
    create_file(engine.url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE training_runs (run_id VARCHAR(64) PRIMARY KEY, status VARCHAR(16))"))
        connection.execute(
            text(
                "CREATE TABLE episodes (episode_id INTEGER PRIMARY KEY, run_id VARCHAR(64), status VARCHAR(16), mood TEXT)"
            )
        )
        connection.execute(text("INSERT INTO training_runs VALUES ('old', 'completed')"))
        connection.execute(text("INSERT INTO episodes VALUES (7, 'old', 'started', 'fine')"))
    upgrade(engine)
    columns = {column["name"] for column in inspect(engine).get_columns("episodes")}
    assert {column.name for column in metadata.tables["episodes"].columns} | {"mood"} == columns
    with engine.connect() as connection:
        row = connection.execute(text("SELECT episode_id, mood, journal_id FROM episodes")).one()
        assert tuple(row) == (7, "fine", None)
    assert inspect(engine).has_table("completed_trades")
    engine.dispose()


def test_upgrade__eight_processes_at_once__all_succeed(empty_database_url):
    script = (
        "from rsc.db.session import open_engine; from rsc.db.upgrade import upgrade;"
        f"upgrade(open_engine({empty_database_url!r}, 30))"
    )
    started = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(8)]
    assert [process.wait(timeout=120) for process in started] == [0] * 8


def test_upgrade__database_of_a_newer_version__is_refused_with_the_next_step(database_url):
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE rsc_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"revision 9999.*upgrade reinforce-strategy-creator"):
        upgrade(engine)
    engine.dispose()


def complaint_about(url: str, ask: Callable[[Engine], object] = upgrade) -> str:
    """The one line that a user sees."""
    with pytest.raises(DatabaseError, match="cannot use the database") as caught:
        ask(open_engine(url, timeout_s=0.2))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_upgrade__no_server__says_so_in_one_line():
    assert "start the server" in complaint_about("postgresql://nobody@127.0.0.1:1/none")


def write_at(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(offset)
        opened.write(content)


@pytest.mark.parametrize("ask", [upgrade, is_current])
def test_upgrade__sqlite_file_that_cannot_be_used__hint_is_of_its_cause(made_sqlite: Path, tmp_path: Path, ask):
    """No server is to be started for a file, whether the command would write or only look."""
    for name in ("noise", "torn", "folder"):
        (tmp_path / name).mkdir() if name == "folder" else shutil.copy(made_sqlite, tmp_path / name)
    write_at(tmp_path / "noise", 0, b"noise" * 20)
    write_at(tmp_path / "torn", 100, b"\xff" * 3000)
    told = {name: complaint_about(f"sqlite:///{tmp_path / name}", ask) for name in ("noise", "torn", "folder")}
    assert "check the path; for a new file from the journals" in told["noise"]
    assert "restore a copy" in told["torn"]
    assert "that you may read and write the file" in told["folder"]


def test_upgrade__sqlite_file_that_may_only_be_read__hint_says_what_to_make_writable(tmp_path: Path):
    """The header's write version 3 is that of a later SQLite: this one may only read."""
    file = tmp_path / "rsc.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.executescript("PRAGMA journal_mode = WAL; CREATE TABLE other (x)")
    write_at(file, 18, b"\x03")
    assert "make the file and its folder writable" in complaint_about(f"sqlite:///{file}")


def test_upgrade__sqlite_file_that_another_writes__hint_is_to_try_again(tmp_path: Path):
    file = tmp_path / "rsc.db"
    with contextlib.closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN IMMEDIATE")
        assert complaint_about(f"sqlite:///{file}").endswith("try again")


@pytest.mark.postgres
def test_upgrade__server_that_refuses__hint_is_of_its_cause(postgres_server: PostgresServer):
    url = postgres_server.create_database(f"test_{uuid.uuid4().hex}")
    with open_engine(url).begin() as connection:
        connection.execute(text("CREATE ROLE poor LOGIN"))
        connection.execute(text("CREATE ROLE looker SUPERUSER LOGIN"))
        connection.execute(text("ALTER ROLE looker SET default_transaction_read_only = on"))
        connection.execute(text("REVOKE CREATE ON SCHEMA public FROM PUBLIC"))
    assert "CREATE for creating them" in complaint_about(url.replace("rsc@", "poor@"))
    assert "connect to the primary" in complaint_about(url.replace("rsc@", "looker@"))
    assert "check the names" in complaint_about(url.replace("rsc@", "stranger@"))
    assert "check the names" in complaint_about(url + "_not_there", is_current)


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x", ""])
def test_open_engine__other_urls__are_refused(url):
    with pytest.raises(DatabaseError, match="expected sqlite"):
        open_engine(url)


def test_open_engine__path_that_a_url_cannot_hold__is_refused(tmp_path: Path):
    """What stands behind the mark would be dropped: another file, perhaps another project's, would be made."""
    with pytest.raises(DatabaseError, match="must not contain '\\?'"):
        open_engine(f"sqlite:///{tmp_path}/what?/rsc.db")
    assert not list(tmp_path.iterdir())


def test_upgrade__installed_under_a_strange_path__finds_its_migrations(tmp_path: Path):
    """The parser of alembic's settings takes a per cent sign for its own."""
    (tmp_path / "100%s").mkdir()
    for package in (rsc, journal):
        folder = Path(package.__file__).parent
        (tmp_path / "100%s" / folder.name).symlink_to(folder)
    command = [sys.executable, "-m", "rsc", "db", "upgrade", "--database-url", f"sqlite:///{tmp_path}/rsc.db"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "100%s")}
    done = subprocess.run(
        command, check=False, env=environment, capture_output=True, text=True, timeout=60, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_upgrade__database_of_the_first_migration__keeps_rows_and_gains_columns_and_their_view(empty_database_url):
    """Its view, as databases of that revision have it, lacks the new columns."""
    engine = open_engine(empty_database_url)
    create_file(engine.url)
    config = Config()
    config.set_main_option("script_location", str(Path(rsc.__file__).parent / "db" / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(text("CREATE VIEW episode_metrics AS SELECT episode_id FROM episodes"))
        run = "INSERT INTO training_runs (run_id, start_time, status) VALUES ('r', '2026-01-01 00:00:00', 'running')"
        connection.execute(text(run))
        episode = (
            "INSERT INTO episodes (run_id, start_time, status, pnl) VALUES ('r', '2026-01-01 00:00:00', 'completed', 7)"
        )
        connection.execute(text(episode))
    assert upgrade(engine) is True
    assert differences(engine) == []
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM episode_metrics")).one()
    assert (row.pnl, row.beta, row.longest_drawdown_steps) == (7.0, None, None)
    assert set(row._fields) == {column.name for column in metadata.tables["episodes"].columns}
    engine.dispose()
