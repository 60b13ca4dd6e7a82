"""Databases as people have them: poolers, encodings, other tools' tables, read-only disks, and URLs of every shape."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.attacks.needs import need_mounts
from tests.attacks.places import Place
from tests.attacks.processes import environment, no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene
from tests.attacks.servers import admin, database_with_encoding, pgbouncer, plain, silent_server
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres
MakePlace = Callable[..., Place]
TABLES = ("completed_trades", "episodes", "reconciler_passes", "training_runs")
LOOKS = (
    ("rsc", "runs"),
    ("rsc", "check", "r1"),
    ("reconciler", "status"),
    ("reconciler", "--all", "--dry-run"),
    ("reconciler", "--all", "--audit"),
)


def fresh(server: PostgresServer) -> str:
    """An empty database."""
    return server.create_database(f"attack_{uuid.uuid4().hex}")


def tables_of(url: str) -> set[str]:
    found = admin(url, "SELECT table_schema || '.' || table_name FROM information_schema.tables "
                  "WHERE table_schema NOT IN ('pg_catalog', 'information_schema')")  # fmt: skip
    return {str(name) for (name,) in found}


def dead_episodes(scene: Scene, records: Records, count: int, **steps: object) -> None:
    """A run with dead episodes, recorded in another database than the scene's."""
    writer = scene.writer()
    writer.do(f"m = marker({str(scene.root)!r})")
    options = "".join(f", {name}={value!r}" for name, value in steps.items())
    writer.do(
        f"writers = [begin({str(scene.root)!r}, 'r1', f'j{{n}}') for n in range({count})]\n"
        f"for w in writers:\n    steps(w, 5{options})"
    )
    records.add_run("r1", scene.root)
    for number in range(count):
        records.add_episode("r1", f"j{number}")
    writer.kill()


def reconcile(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = run("reconciler", "--all", "--wait", "0s", "--database-url", url, *arguments)
    no_traceback(done)
    return done


# --- pgbouncer


@pytest.fixture(scope="module")
def bouncer(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("pgbouncer")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    with pgbouncer(folder, postgres_server.port) as port:
        yield port


def test_pgbouncer__transaction_mode__every_command_works(
    scene: Scene, postgres_server: PostgresServer, bouncer: int
) -> None:
    """No startup parameters, no prepared statements that outlive a transaction, no session settings."""
    direct = fresh(postgres_server)
    url = plain(direct).replace(str(postgres_server.port), str(bouncer))
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
    for words in LOOKS:
        looked = run(words[0], *words[1:], "--database-url", url)
        assert looked.returncode == 0, said(looked)


# --- passwords

SECRET = "tr0ub4dor-and-3"
MISTYPED = {
    "port": "postgresql://u:{}@localhost:54x/db",
    "scheme": "postgress://u:{}@localhost/db",
    "driver": "postgresql+nonesuch://u:{}@localhost/db",
    "mysql": "mysql://u:{}@localhost/db",
    "query": "postgresql://localhost:1/db?password={}",
    "query, mistyped port": "postgresql://localhost:x/db?password={}&user=u",
    "unescaped @": "postgresql://u:{}@more@localhost:1/db",
    "unescaped /": "postgresql://u:{}/more@localhost:1/db",
    "unescaped #": "postgresql://u:{}#more@localhost:1/db",
    "unescaped :": "postgresql://u:{}:more@localhost:1/db",
    "unescaped [": "postgresql://u:{}[more@localhost:1/db",
    "unescaped %": "postgresql://u:{}%zz@localhost:1/db",
    "no slashes": "postgresql:u:{}@localhost/db",
    "one slash": "postgresql:/u:{}@localhost/db",
    "sqlite slip": "sqlite://u:{}@localhost/db",
    "key=value": "host=localhost port=1 password={} dbname=x",
    "key=value, mistyped": "host=localhost port=x passwrd={} dbname=x",
    "sslpassword": "postgresql://localhost:1/db?sslpassword={}",
    "refused": "postgresql://u:{}@127.0.0.1:1/db",
    "unknown option": "postgresql://u:{}@127.0.0.1:1/db?nonesuch=1",
}


@pytest.mark.parametrize("slip", list(MISTYPED))
def test_password__in_a_url_that_does_not_work__is_not_printed(slip: str, folder: Path) -> None:
    """The message names the database without it, in one line, by option as by environment."""
    url = MISTYPED[slip].format(SECRET)
    number = list(MISTYPED).index(slip)
    others = [
        (("reconciler", "--all", "--wait", "0s"), {"RSC_DATABASE_URL": url}),
        (("rsc", "db", "upgrade"), {"RSC_DATABASE_URL": url}),
        (("journal", "info", "1"), {"RSC_DATABASE_URL": url}),
    ]
    for words, env in ((("rsc", "runs", "--database-url", url), None), others[number % 3]):
        done = run(words[0], *words[1:], env=env, cwd=folder)
        no_traceback(done)
        assert done.returncode in (1, 2), said(done)
        assert SECRET not in said(done), said(done)
        assert len(done.stderr.splitlines()) <= 4, done.stderr
    assert not [file for file in folder.rglob("*") if SECRET in str(file)], "it became a file's name"


def test_password__in_a_url_that_works__is_not_printed_or_stored(scene: Scene, postgres_server: PostgresServer) -> None:
    direct = fresh(postgres_server)
    url = plain(direct).replace("rsc@", f"rsc:{SECRET}@")
    env = {"RSC_DATABASE_URL": url}
    told = [run("rsc", "db", "upgrade", env=env)]
    dead_episodes(scene, Records(direct), 3)
    for words in (("reconciler", "--all", "--wait", "0s"), *LOOKS):
        told.append(run(words[0], *words[1:], env=env))
    assert not [done for done in told if done.returncode or SECRET in said(done)]
    for table in TABLES:
        assert SECRET not in str(Records(direct).sql(f"SELECT * FROM {table}"))


# --- what a URL says is done


def test_url_options__search_path__tables_are_made_there(postgres_server: PostgresServer) -> None:
    direct = fresh(postgres_server)
    admin(direct, "CREATE SCHEMA trading")
    url = f"{plain(direct)}?options=-csearch_path%3Dtrading"
    made = run("rsc", "db", "upgrade", "--database-url", url)
    assert made.returncode == 0, said(made)
    assert {name.split(".")[0] for name in tables_of(direct)} == {"trading"}
    assert run("rsc", "runs", "--database-url", url).returncode == 0


def test_url_options__read_only__nothing_is_written_and_the_reason_is_told(postgres_server: PostgresServer) -> None:
    direct = fresh(postgres_server)
    url = f"{plain(direct)}?options=-c%20default_transaction_read_only%3Don"
    done = run("rsc", "db", "upgrade", "--database-url", url)
    no_traceback(done)
    assert done.returncode == 1
    assert "read-only" in said(done)
    assert tables_of(direct) == set()


def test_url_options__statement_timeout__is_the_one_that_holds(scene: Scene, postgres_server: PostgresServer) -> None:
    """Somebody else holds a lock on the rows for longer than the URL allows a statement to take."""
    import psycopg

    direct = fresh(postgres_server)
    run("rsc", "db", "upgrade", "--database-url", direct)
    url = f"{plain(direct)}?options=-c%20statement_timeout%3D700"
    dead_episodes(scene, Records(direct), 1)
    with psycopg.connect(plain(direct)) as holder:
        holder.execute("LOCK TABLE episodes IN ACCESS EXCLUSIVE MODE")
        begun = time.monotonic()
        done = reconcile(url)
        took = time.monotonic() - begun
    assert done.returncode == 1, said(done)
    assert took < 4.5, f"{took:.1f} s: our own lock_timeout of 5 s held"


def test_url_options__connect_timeout__is_the_one_that_holds() -> None:
    """A server that accepts and says nothing."""
    with silent_server() as port:
        begun = time.monotonic()
        done = run("rsc", "runs", "--database-url", f"postgresql://u@127.0.0.1:{port}/db?connect_timeout=2")
        took = time.monotonic() - begun
    no_traceback(done)
    assert done.returncode == 1, said(done)
    assert took < 4.5, f"{took:.1f} s"


def test_url_options__application_name__is_shown_by_the_server(scene: Scene, postgres_server: PostgresServer) -> None:
    direct = fresh(postgres_server)
    run("rsc", "db", "upgrade", "--database-url", direct)
    url = f"{plain(direct)}?application_name=night-shift"
    daemon = subprocess.Popen(
        [sys.executable, "-m", "reconciler", "--all", "--every", "0.2s", "--database-url", url],
        env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 20
        while not admin(direct, "SELECT 1 FROM pg_stat_activity WHERE application_name = 'night-shift'"):
            assert time.monotonic() < until, "no connection has this name"
            time.sleep(0.02)
    finally:
        daemon.kill()
        daemon.wait(timeout=30)


def forms(server: PostgresServer, direct: str) -> dict[str, tuple[str, dict[str, str | None]]]:
    """URLs that libpq and SQLAlchemy take for this database, with what the environment adds."""
    name, port = direct.rsplit("/", 1)[1], server.port
    socket_folder = next(str(row[0]) for row in admin(direct, "SHOW unix_socket_directories"))
    variables = {"PGHOST": "127.0.0.1", "PGPORT": str(port), "PGUSER": "rsc", "PGDATABASE": name}
    service = f"[attack]\nhost=127.0.0.1\nport={port}\nuser=rsc\ndbname={name}\n"
    return {
        "postgres://": (f"postgres://rsc@127.0.0.1:{port}/{name}", {}),
        "postgresql://": (f"postgresql://rsc@127.0.0.1:{port}/{name}", {}),
        "+psycopg": (f"postgresql+psycopg://rsc@127.0.0.1:{port}/{name}", {}),
        "two hosts": (f"postgresql://rsc@127.0.0.1:1,127.0.0.1:{port}/{name}", {}),
        "two hosts in the query": (f"postgresql://rsc@/{name}?host=127.0.0.1:1&host=127.0.0.1:{port}", {}),
        "target_session_attrs": (f"postgresql://rsc@127.0.0.1:{port}/{name}?target_session_attrs=read-write", {}),
        "sslmode": (f"postgresql://rsc@127.0.0.1:{port}/{name}?sslmode=prefer", {}),
        "socket": (f"postgresql://rsc@/{name}?host={socket_folder}&port={port}", {}),
        "socket, encoded": (f"postgresql://rsc@{socket_folder.replace('/', '%2F')}:{port}/{name}", {}),
        "service": ("postgresql:///?service=attack", {"SERVICE": service}),
        "PG variables": ("postgresql://", variables),
        "key=value": (f"host=127.0.0.1 port={port} user=rsc dbname={name}", {}),
        "blanks around": (f" postgresql://rsc@127.0.0.1:{port}/{name}\n", {}),
        "keepalives": (f"postgresql://rsc@127.0.0.1:{port}/{name}?keepalives_idle=30&keepalives=1", {}),
    }


FORMS = (
    "postgres://", "postgresql://", "+psycopg", "two hosts", "two hosts in the query", "target_session_attrs", "sslmode",
    "socket", "socket, encoded", "service", "PG variables", "key=value", "blanks around", "keepalives",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(postgres_server: PostgresServer) -> str:
    direct = fresh(postgres_server)
    assert run("rsc", "db", "upgrade", "--database-url", direct).returncode == 0
    Records(direct).add_run("the-right-database", None)
    return direct


@pytest.mark.parametrize("form", FORMS)
def test_url__of_every_form_that_libpq_takes__is_the_right_database(
    postgres_server: PostgresServer, made: str, folder: Path, form: str
) -> None:
    url, env = forms(postgres_server, made)[form]
    if "SERVICE" in env:
        (folder / "pg_service.conf").write_text(str(env.pop("SERVICE")))
        env["PGSERVICEFILE"] = str(folder / "pg_service.conf")
    done = run("rsc", "runs", env={**env, "RSC_DATABASE_URL": url}, cwd=folder)
    assert done.returncode == 0, said(done)
    assert "the-right-database" in done.stdout
    assert [file.name for file in folder.iterdir() if file.suffix == ".db"] == []


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@localhost:abc/db", "postgresql://u@localhost:99999/db", "postgresql://u@[::1/db",
        "sqlite+aiosqlite:///x.db", "postgresql+asyncpg://u@localhost/db", "mysql://u@localhost/db", "rsc.db", "",
        "http://localhost/db", "sqlite://", "sqlite:///", "sqlite:///:memory:", "postgresql://u@no-such-host.invalid/db",
        "postgresql://u@127.0.0.1:1/db?sslmode=nonsense", "sqlite:////proc/none/x.db", "sqlite:////etc/passwd",
    ],
)  # fmt: skip
def test_url__that_cannot_work__is_one_line_and_no_file(folder: Path, url: str) -> None:
    """In memory there is nothing to look at: that is told, too, and not an empty success."""
    done = run("rsc", "runs", "--database-url", url, cwd=folder)
    no_traceback(done)
    assert done.returncode in (1, 2), said(done)
    assert len(done.stderr.splitlines()) <= 4, done.stderr
    assert list(folder.iterdir()) == []


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
