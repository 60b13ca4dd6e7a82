"""Databases as people have them: poolers, encodings, other tools' tables, read-only disks, large episodes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from tests.attacks.needs import need_mounts
from tests.attacks.places import Place
from tests.attacks.processes import environment, no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene, until
from tests.attacks.servers import (
    LOOKS,
    TABLES,
    admin,
    database_with_encoding,
    dead_episodes,
    fresh,
    plain,
    reconcile,
    tables_of,
)
from tests.postgres import Pgbouncer, PostgresServer

pytestmark = pytest.mark.postgres
MakePlace = Callable[..., Place]


def test_pgbouncer__transaction_mode__every_command_works(
    scene: Scene, postgres_server: PostgresServer, pgbouncer: Pgbouncer
) -> None:
    """No startup parameters, no prepared statements that outlive a transaction, no session settings."""
    direct = fresh(postgres_server)
    url = pgbouncer.url(direct.rsplit("/", 1)[-1])
    made = run("rsc", "db", "upgrade", "--database-url", url)
    assert made.returncode == 0, said(made)
    records = Records(direct)
    dead_episodes(scene, records, 300, trades=1)
    with ThreadPoolExecutor(1) as pool:  # a second pass over the same server connections, at the same time
        other = pool.submit(lambda: subprocess.run(
            [sys.executable, "-m", "reconciler", "--all", "--wait", "0s", "--database-url", url],
            capture_output=True, text=True, timeout=60, check=False, env=environment(),
        ))  # fmt: skip
        done = reconcile(url)
    assert done.returncode == 0, said(done)
    assert other.result().returncode == 0, said(other.result())
    assert records.sql("SELECT status, count(*) AS n FROM episodes GROUP BY status") == [
        {"status": "truncated", "n": 300}
    ]
    assert records.sql("SELECT count(*) AS n FROM completed_trades")[0]["n"] == 1500
    page = str(scene.folder / "page.html")
    more = (("rsc", "episodes", "r1"), ("rsc", "report", "r1", "-o", page), ("rsc", "doctor"))
    for words in (*LOOKS, *more):
        looked = run(words[0], *words[1:], "--database-url", url)
        assert looked.returncode == 0, said(looked)


# --- other people's databases


def test_alembic_of_another_tool__its_version_stays_and_ours_has_its_own_table(postgres_server: PostgresServer) -> None:
    """mlflow and others keep theirs in `alembic_version`."""
    direct = fresh(postgres_server)
    admin(direct, "CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    admin(direct, "INSERT INTO alembic_version VALUES ('867495a8f9d4')")
    for _ in range(2):
        done = run("rsc", "db", "upgrade", "--database-url", direct)
        assert done.returncode == 0, said(done)
    assert admin(direct, "SELECT * FROM alembic_version") == [("867495a8f9d4",)]
    assert {f"public.{name}" for name in TABLES} <= tables_of(direct)
    assert reconcile(direct).returncode == 0


def test_strangers_database__looked_at__gets_no_table(postgres_server: PostgresServer) -> None:
    direct = fresh(postgres_server)
    admin(direct, "CREATE TABLE customers (id int)")
    for words in (*LOOKS, ("journal", "info", "1")):
        done = run(words[0], *words[1:], env={"RSC_DATABASE_URL": direct})
        no_traceback(done)
        assert tables_of(direct) == {"public.customers"}, words
        assert done.returncode != 0, f"{words}: {said(done)}"


def test_strangers_sqlite_file__looked_at__is_the_same_bytes(folder: Path) -> None:
    """Not even its journal mode is changed."""
    import sqlite3

    file = folder / "customers.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE customers (id int)")
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    for words in (*LOOKS, ("journal", "info", "1")):
        done = run(words[0], *words[1:], env={"RSC_DATABASE_URL": f"sqlite:///{file}"})
        no_traceback(done)
        assert hashlib.sha256(file.read_bytes()).hexdigest() == before, words
        assert [path.name for path in folder.iterdir()] == ["customers.db"], words


LACKING = {
    "a table": "DROP TABLE reconciler_passes",
    "trades": "DROP TABLE completed_trades",
    "the view": "DROP VIEW episode_metrics",
    "a column": "DROP VIEW episode_metrics; ALTER TABLE episodes DROP COLUMN status_reason",
    "its revision": "UPDATE rsc_version SET version_num = ''",
    "the row of its revision": "DELETE FROM rsc_version",
}


@pytest.mark.parametrize("what", LACKING)
def test_restored_database__lacks_something__looks_name_the_command_that_mends_it(scene: Scene, what: str) -> None:
    """A dump that was restored by hand, in part."""
    scene.live().kill()
    for statement in LACKING[what].split("; "):
        scene.records.sql(statement)
    done = run("rsc", "runs", "--database-url", scene.records.url)
    assert done.returncode == 1, said(done)
    assert "rsc db upgrade" in done.stderr, said(done)
    assert len(done.stderr.splitlines()) == 1
    assert run("rsc", "db", "upgrade", "--database-url", scene.records.url).returncode == 0
    assert run("rsc", "runs", "--database-url", scene.records.url).returncode == 0
    done = scene.reconcile()
    assert scene.records.episode("j1")["status"] == "truncated", said(done)


def test_missing_sqlite_file__looked_at__is_not_made(folder: Path) -> None:
    for words in (*LOOKS, ("journal", "info", "1")):
        done = run(words[0], *words[1:], env={"RSC_DATABASE_URL": f"sqlite:///{folder}/deep/rsc.db"}, cwd=folder)
        no_traceback(done)
        assert done.returncode in (1, 2), said(done)
        assert list(folder.iterdir()) == [], words


# --- encodings

WORDS = "价格错误 price ‽ \U0001f4b8"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "UTF8"])
def test_encoding__cannot_hold_a_message__it_is_replaced_and_the_row_is_written(
    scene: Scene, postgres_server: PostgresServer, encoding: str
) -> None:
    """Text that the server cannot store must not make a row that can never be written."""
    url = database_with_encoding(postgres_server.url(), f"attack_{uuid.uuid4().hex}", encoding)
    made = run("rsc", "db", "upgrade", "--database-url", url)
    assert made.returncode == 0, said(made)
    writer = scene.writer()
    writer.do(f"m = marker({str(scene.root)!r}, 'r1', {{'note': {WORDS!r}}})")
    for name, message in (("j0", WORDS), ("j1", "plain"), ("j2", "a\0b \ud800")):
        writer.do(f"w = begin({str(scene.root)!r}, 'r1', {name!r}, about=about(env='环境Env')); steps(w, 3)")
        writer.do(f"w.close(EndReason.ERROR, {message!r})")
    writer.kill()
    records = Records(url)
    records.add_run("r1", scene.root)
    for name in ("j0", "j1"):  # j2 is adopted
        records.add_episode("r1", name)
    done = reconcile(url, "--grace", "0s")
    assert done.returncode == 0, said(done)
    assert admin(url, "SELECT count(*) FROM episodes WHERE status = 'error' AND total_steps = 3") == [(3,)]
    for words in LOOKS:
        looked = run(words[0], *words[1:], "--database-url", url)
        no_traceback(looked)
        assert looked.returncode == 0, said(looked)
    checked = run("rsc", "check", "r1", "--database-url", url)
    assert "price" in checked.stdout, "what can be stored of a message is"


# --- SQLite where nothing can be written


@pytest.mark.parametrize("left_over", [False, True], ids=["closed well", "with a left-over log"])
@pytest.mark.parametrize("what", ["mount", "file"])
def test_read_only_sqlite__looks_work_and_writing_is_refused_in_one_line(
    scene: Scene, make_place: MakePlace, what: str, left_over: bool
) -> None:
    """A snapshot, a CD, somebody else's folder; perhaps with the write-ahead log of a process that was killed."""
    need_mounts()
    writer = scene.live()
    writer.kill()
    file = Path(scene.records.url.removeprefix("sqlite:///"))
    if left_over:
        kill_in_mid_write(file)
    else:
        scene.records.sql("UPDATE training_runs SET notes = 'seen'")
    home, shown = file.parent, scene.folder / "shown"
    place = make_place()
    shown.mkdir()
    place.bind(home, shown, read_only=True)
    url = f"sqlite:///{shown / file.name}"
    if what == "file":
        url = f"sqlite:///{file}"
        place.bind(file, file, read_only=True)
    for words in (
        ("rsc", "runs", "--json"),
        ("rsc", "check", "r1"),
        ("reconciler", "status"),
        ("reconciler", "--all", "--dry-run"),
    ):
        done = run(words[0], *words[1:], "--database-url", url, place=place)
        no_traceback(done)
        assert done.returncode == (1 if "check" in words else 0), said(done)
        if "runs" in words:
            assert "r1" in done.stdout
            assert "seen" in done.stdout, "what was committed is shown, and no older state"
    info = run("journal", "info", "1", env={"RSC_DATABASE_URL": url}, place=place)
    assert info.returncode == 0, said(info)
    refused = run("reconciler", "--all", "--wait", "0s", "--database-url", url, place=place)
    no_traceback(refused)
    assert refused.returncode == 1, said(refused)
    assert len(refused.stderr.splitlines()) <= 2, refused.stderr


def kill_in_mid_write(file: Path) -> None:
    """A process with an open connection dies: its write-ahead log stays, and holds what it had committed."""
    code = f"""
import os, sqlite3
connection = sqlite3.connect({str(file)!r}, isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("UPDATE training_runs SET notes = 'seen'")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", code], timeout=30, check=False)
    assert os.path.exists(f"{file}-wal")


def test_small_disk_of_the_database__fills_up_in_a_pass__is_told_and_the_rest_comes_later(
    scene: Scene, make_place: MakePlace, template: Path
) -> None:
    """Whatever was not written is written by a pass that finds room."""
    need_mounts()
    place, disk = make_place(), scene.folder / "disk"
    place.tmpfs(disk, size_kib=900)
    place.run("cp", template, disk / "rsc.db")
    dead_episodes(scene, scene.records, 40, trades=40)
    place.run("cp", scene.records.url.removeprefix("sqlite:///"), disk / "rsc.db")
    url = f"sqlite:///{disk}/rsc.db"
    done = run("reconciler", "--all", "--wait", "0s", "--database-url", url, place=place)
    no_traceback(done)
    assert done.returncode in (0, 1), said(done)
    place.run("mount", "-o", "remount,size=64m", disk)
    done = run("reconciler", "--all", "--wait", "0s", "--database-url", url, place=place)
    assert done.returncode == 0, said(done)
    checked = run("rsc", "check", "r1", "--database-url", url, place=place)
    assert checked.returncode == 0, said(checked)[-500:]


# --- large episodes


def peak_kib(url: str) -> int:
    """The largest size of a pass, in KiB."""
    process = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--all", "--processes", "1", "--wait", "0s", "--database-url", url],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    _, status, usage = os.wait4(process.pid, 0)
    assert process.stderr is not None
    assert os.waitstatus_to_exitcode(status) == 0, process.stderr.read()
    process.stderr.close()
    return usage.ru_maxrss


def test_many_trades__in_many_stale_episodes__memory_does_not_grow_with_the_episodes(
    scene: Scene, template: Path
) -> None:
    """A slice is bounded by trades as well as by episodes."""
    sizes = []
    for count in (2, 12):
        records = Records.copy_of(template, scene.folder / f"{count}.db")
        root = scene.folder / f"root{count}"
        writer = scene.writer()
        writer.do(f"m = marker({str(root)!r})")
        records.add_run("r1", root)
        for number in range(count):
            writer.do(f"w = begin({str(root)!r}, 'r1', 'c{count}-{number}'); steps(w, 300, trades=100)")
            records.add_episode("r1", f"c{count}-{number}")
        writer.kill()
        sizes.append(peak_kib(records.url))
        assert records.sql("SELECT count(*) AS n FROM completed_trades")[0]["n"] == count * 30_000
    assert sizes[1] - sizes[0] < 60 * 1024, f"{sizes} KiB for 60 000 and 360 000 trades"


def test_daemon__its_sqlite_file_is_removed__says_so_and_makes_no_empty_one(scene: Scene) -> None:
    file = Path(scene.records.url.removeprefix("sqlite:///"))
    scene.live()
    scene.daemon("--grace", "0s")
    scene.wait_for_passes()
    file.rename(file.with_name("moved.db"))
    until(lambda: "the database is gone" in scene.log.read_text(), what="a line that says so")
    assert not file.exists(), "an empty database was made"
    file.with_name("moved.db").rename(file)
    until(lambda: "the database is back" in scene.log.read_text(), what="a line that says so")


def test_row_lock__another_program_holds_one_row__the_other_episodes_are_ended(
    scene: Scene, postgres_server: PostgresServer
) -> None:
    url = fresh(postgres_server)
    run("rsc", "db", "upgrade", "--database-url", url)
    records = Records(url)
    dead_episodes(scene, records, 3)
    with psycopg.connect(plain(url)) as holder:
        holder.execute("SELECT 1 FROM episodes WHERE journal_id = 'j1' FOR UPDATE")
        done = reconcile(url)
        assert {row["journal_id"]: row["status"] for row in records.episodes()} == {
            "j0": "truncated", "j1": "started", "j2": "truncated"
        }, said(done)  # fmt: skip
        assert done.returncode == 1, said(done)
        assert "r1/j1 not written" in done.stderr
    assert reconcile(url).returncode == 0
    assert records.episode("j1")["status"] == "truncated"


SETTINGS = {
    "dates": ("ALTER DATABASE {} SET datestyle = 'German, DMY'", 0, ""),
    "read-only": ("ALTER DATABASE {} SET default_transaction_read_only = on", 1, "as a role that may write"),
    "statement timeout": ("ALTER DATABASE {} SET statement_timeout = '1ms'", 1, "statement_timeout"),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_of_the_database__are_kept_and_a_pass_works_or_says_why(
    scene: Scene, postgres_server: PostgresServer, name: str
) -> None:
    url = fresh(postgres_server)
    run("rsc", "db", "upgrade", "--database-url", url)
    dead_episodes(scene, Records(url), 3)
    statement, code, words = SETTINGS[name]
    admin(url, statement.format(url.rpartition("/")[2].partition("?")[0]))
    done = reconcile(url)
    assert done.returncode == code, said(done)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 1, done.stderr
