"""Migrations make what the models say, adopt what is there, and bear company."""

from __future__ import annotations

import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import inspect, text

from rsc.db.models import metadata
from rsc.db.session import DatabaseError, open_engine
from rsc.db.upgrade import HEAD, current_revision, upgrade


def differences(engine):
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": False})
        return compare_metadata(context, metadata)


def test_upgrade__empty_database__makes_what_the_models_say(empty_database_url):
    engine = open_engine(empty_database_url)
    assert upgrade(engine) is True
    assert differences(engine) == []
    with engine.connect() as connection:
        assert current_revision(connection) == HEAD
    engine.dispose()


def test_upgrade__second_time__changes_nothing_and_imports_no_alembic(database_url):
    script = (
        "import sys; from rsc.db.session import open_engine; from rsc.db.upgrade import upgrade;"
        f"changed = upgrade(open_engine({database_url!r})); sys.exit(2 * changed + ('alembic' in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0


def test_upgrade__tables_without_revision__are_adopted_with_their_rows(empty_database_url):
    engine = open_engine(empty_database_url)
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
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match=r"revision 9999.*upgrade reinforce-strategy-creator"):
        upgrade(engine)
    engine.dispose()


def test_upgrade__no_server__says_so_in_one_line():
    engine = open_engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(DatabaseError, match="cannot use the database") as caught:
        upgrade(engine)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense", "mysql://localhost/x", ""])
def test_open_engine__other_urls__are_refused(url):
    with pytest.raises(DatabaseError, match="expected sqlite"):
        open_engine(url)
