"""Database URLs: passwords stay secret, what a URL says is done, and what cannot work is one line."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.attacks.processes import environment, no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene
from tests.attacks.servers import LOOKS, TABLES, admin, dead_episodes, fresh, plain, reconcile, silent_server, tables_of
from tests.postgres import PostgresServer

pytestmark = pytest.mark.postgres

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
