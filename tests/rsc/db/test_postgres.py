"""PostgreSQL as people have it: poolers, schemas, timeouts, encodings, other tools' tables, hosts that do not answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.exc import OperationalError

from rsc.db import episodes, runs
from rsc.db.session import DatabaseError, first_line, open_engine, reading
from rsc.db.trades import TRADE_COLUMNS, trades_from
from rsc.db.upgrade import VERSION_TABLE, upgrade

pytestmark = pytest.mark.postgres

NOW = datetime(2026, 11, 22, 12, 30, 15, 123456, tzinfo=UTC)
TRADE = (1, 1, 10.0, 3, 1_000_000, 100.0, 5, 2_500_001, float("nan"), 9.0, 1.0)


@pytest.fixture
def name() -> str:
    """The name of a database that does not exist yet."""
    return f"test_{uuid.uuid4().hex}"


def ended(journal_id: str, **more: Any) -> episodes.Ended:
    row = {"status": "completed", "finalized_by": "callback", "end_time": NOW, "pnl": 9.0, **more}
    return episodes.Ended(journal_id, row, trades_from((TRADE, (2, *TRADE[1:]))))


def write(engine: Engine, journal_id: str, **more: Any) -> None:
    start = {"run_id": "run", "journal_id": journal_id, "rllib_episode_id": journal_id, "start_time": NOW}
    with engine.begin() as connection:
        episodes.start_episode(connection, start)
    with engine.begin() as connection:
        assert episodes.end_episode_by_callback(connection, ended(journal_id, **more), start)


def with_run(url: str) -> Engine:
    engine = open_engine(url)
    upgrade(engine)
    with engine.begin() as connection:
        runs.start_run(connection, "run", {}, "/root", NOW)
    return engine


def one(engine: Engine, query: str) -> Any:
    with reading(engine) as connection:
        return connection.execute(text(query)).scalar_one()


def test_pgbouncer__many_writers_over_one_session__every_row_is_written(pgbouncer, postgres_server, name):
    postgres_server.create_database(name)
    engine = with_run(pgbouncer.url(name))
    failures: list[BaseException] = []

    def work(writer: int) -> None:
        own = open_engine(pgbouncer.url(name))
        try:
            for number in range(25):
                write(own, f"{writer}-{number}")
        except BaseException as error:
            failures.append(error)
        finally:
            own.dispose()

    threads = [threading.Thread(target=work, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not failures
    with reading(engine) as connection:
        assert episodes.status_counts(connection, "run") == {"completed": 200}
    assert one(engine, "SELECT count(*) FROM completed_trades WHERE exit_price IS NULL") == 400
    engine.dispose()


def test_pgbouncer__waiting_for_a_lock__ends_by_our_timeout(pgbouncer, postgres_server, name):
    engine = with_run(postgres_server.create_database(name))
    pooled = open_engine(pgbouncer.url(name), timeout_s=0.3)
    with engine.begin() as connection:
        connection.execute(text("LOCK TABLE episodes"))
        with pytest.raises(OperationalError, match="lock timeout"), pooled.begin() as waiting:
            waiting.execute(text("SELECT count(*) FROM episodes"))
    pooled.dispose()
    engine.dispose()


def test_password__is_found_by_libpq_and_shown_nowhere(pgbouncer, postgres_server, name, tmp_path, monkeypatch):
    postgres_server.create_database(name)
    bare = pgbouncer.url(name, password="")
    with pytest.raises(DatabaseError, match=r"no password supplied; give the password by \$PGPASSWORD"):
        upgrade(open_engine(bare))
    with pytest.raises(DatabaseError) as refused:
        upgrade(open_engine(pgbouncer.url(name, password="not-the-one")))
    assert "not-the-one" not in str(refused.value)
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:*:*:rsc:{pgbouncer.password}\n")
    passwords.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(passwords))
    assert upgrade(open_engine(bare))


def test_pgbouncer__options_in_the_url__are_refused_with_what_to_do(pgbouncer, postgres_server, name):
    postgres_server.create_database(name)
    with pytest.raises(DatabaseError, match="ignore_startup_parameters"):
        upgrade(open_engine(f"{pgbouncer.url(name)}?options=-csearch_path%3Dtrading"))


def test_options__schema_and_timeouts_of_the_user__are_kept(postgres_server, name):
    url = postgres_server.create_database(name)
    with open_engine(url).begin() as connection:
        connection.execute(text("CREATE SCHEMA trading"))
    engine = with_run(f"{url}?options=-csearch_path%3Dtrading%20-cstatement_timeout%3D2min&connect_timeout=9")
    assert one(engine, "SELECT current_setting('statement_timeout')") == "2min"
    assert one(engine, "SELECT current_setting('lock_timeout')") == "5s"
    assert inspect(engine).get_table_names(schema="public") == []
    assert "episodes" in inspect(engine).get_table_names(schema="trading")
    connection = engine.raw_connection().driver_connection
    assert connection.info.get_parameters()["connect_timeout"] == "9"
    assert connection.patience_s > 120
    engine.dispose()


def test_options__schema_that_does_not_exist__is_said(postgres_server, name):
    url = postgres_server.create_database(name)
    with pytest.raises(DatabaseError, match="create the schema that `search_path` names"):
        upgrade(open_engine(f"{url}?options=-csearch_path%3Dmissing"))


def test_several_hosts__the_first_does_not_listen__the_next_is_taken(postgres_server):
    url = f"postgresql://rsc@127.0.0.1:1,127.0.0.1:{postgres_server.port}/postgres"
    assert one(open_engine(url), "SELECT 1") == 1


def test_service_file__names_host_and_database(postgres_server, name, tmp_path, monkeypatch):
    postgres_server.create_database(name)
    services = tmp_path / "services"
    services.write_text(f"[mine]\nhost=127.0.0.1\nport={postgres_server.port}\nuser=rsc\ndbname={name}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert one(open_engine("postgresql://?service=mine"), "SELECT current_database()") == name


@pytest.mark.parametrize(("encoding", "stored"), [("SQL_ASCII", "出错 é"), ("LATIN1", "?? é"), ("UTF8", "出错 é")])
def test_encoding__text_that_the_database_cannot_hold__is_replaced(postgres_server, name, encoding, stored):
    options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    engine = with_run(postgres_server.create_database(name, options=options))
    write(engine, "a", status_reason="出错 é")
    with reading(engine) as connection:
        row = connection.execute(text("SELECT status_reason, status FROM episodes")).one()
        assert tuple(row) == (stored, "completed")
        assert runs.find_run(connection, "没有") is None
    engine.dispose()


def test_encoding__journal_root_that_the_database_cannot_hold__is_refused(postgres_server, name):
    """A root with other letters would be another folder."""
    engine = open_engine(postgres_server.create_database(name, options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'"))
    upgrade(engine)
    with pytest.raises(DatabaseError, match="cannot store it"), engine.begin() as connection:
        runs.start_run(connection, "run", {}, "/数据", NOW)
    engine.dispose()


def test_sql_ascii__bytes_of_another_program__are_read(postgres_server, name):
    options = "ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'"
    engine = with_run(postgres_server.create_database(name, options=options))
    with engine.begin() as connection:
        connection.exec_driver_sql(r"UPDATE training_runs SET notes = E'caf\xe9'")
    with reading(engine) as connection:
        assert runs.all_runs(connection)[0].notes == "caf\N{REPLACEMENT CHARACTER}"
    engine.dispose()


def test_upgrade__database_of_another_tool_with_alembic__keeps_its_version(postgres_server, name):
    engine = open_engine(postgres_server.create_database(name))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('27a6a02d2cf1')"))
    assert upgrade(engine)
    assert not upgrade(engine)
    assert one(engine, "SELECT version_num FROM alembic_version") == "27a6a02d2cf1"
    assert VERSION_TABLE in inspect(engine).get_table_names()
    engine.dispose()


@pytest.mark.parametrize(
    "command",
    [
        ["rsc", "runs"],
        ["rsc", "check", "r1"],
        ["reconciler", "status"],
        ["reconciler", "--all"],
        ["reconciler", "--all", "--audit"],
        ["reconciler", "--all", "--dry-run"],
        ["journal", "info", "1"],
    ],
    ids=" ".join,
)
def test_look__database_of_strangers__makes_no_table_and_says_so(postgres_server, name, command, tmp_path):
    url = postgres_server.create_database(name)
    environment = {**os.environ, "RSC_DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-m", *command], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "has no runs" in done.stderr
    assert "Traceback" not in done.stderr
    engine = open_engine(url)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def test_name_server_that_does_not_answer__costs_the_timeout(monkeypatch):
    answer = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: answer.wait(60) and [])
    began = time.monotonic()
    try:
        with pytest.raises(OperationalError) as failed:
            open_engine("postgresql://u@no.such.host/db", timeout_s=1.0).connect()
        assert time.monotonic() - began < 6
        assert "name server" in first_line(failed.value)
    finally:
        answer.set()


def test_trades__more_than_are_converted_at_once__all_are_stored(postgres_server, name):
    engine = with_run(postgres_server.create_database(name))
    count = 120_000
    numbers = np.arange(1, count + 1, dtype="<i8")
    trades: dict[str, Any] = dict.fromkeys(TRADE_COLUMNS, numbers)
    trades |= {"direction": np.ones(count, "<i8"), "exit_price": np.full(count, np.nan), "pnl": numbers / 3}
    start = {"run_id": "run", "journal_id": "a", "start_time": NOW}
    with engine.begin() as connection:
        row = {"status": "completed", "finalized_by": "callback"}
        assert episodes.end_episode_by_callback(connection, episodes.Ended("a", row, trades), start)
    with reading(engine) as connection:
        stored = connection.execute(
            text("SELECT count(*), count(exit_price), min(entry_time), sum(pnl * 3) FROM completed_trades")
        ).one()
    expected = (count, 0, datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC), count * (count + 1) / 2)
    assert tuple(stored)[:3] == expected[:3]
    assert stored[3] == pytest.approx(expected[3])
    engine.dispose()


def test_postgres_driver__is_named_where_it_is_missing(tmp_path: Path):
    script = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from rsc.db.session import open_engine, DatabaseError\n"
        "try: open_engine('postgresql://u:hush@h/db')\n"
        "except DatabaseError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert "reinforce-strategy-creator[postgres]" in done.stdout
