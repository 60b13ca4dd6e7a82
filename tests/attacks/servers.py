"""Servers of an attack: a pgbouncer, a name server and a database that never answer. Each ends with its block."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.attacks.needs import need_program
from tests.attacks.processes import no_traceback, run
from tests.attacks.records import Records
from tests.attacks.scene import Scene
from tests.postgres import PostgresServer

TABLES = ("completed_trades", "episodes", "reconciler_passes", "training_runs")
LOOKS = (
    ("rsc", "runs"),
    ("rsc", "check", "r1"),
    ("reconciler", "status"),
    ("reconciler", "--all", "--dry-run"),
    ("reconciler", "--all", "--audit"),
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain(url: str) -> str:
    """A URL as libpq takes it."""
    return url.replace("+psycopg", "")


def admin(url: str, statement: str) -> list[tuple[object, ...]]:
    """Run one statement outside of a transaction."""
    with psycopg.connect(plain(url), autocommit=True) as connection:
        done = connection.execute(statement)
        return done.fetchall() if done.description else []


def database_with_encoding(server_url: str, name: str, encoding: str) -> str:
    """Make an empty database that stores text in this encoding; return its URL."""
    how = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    admin(server_url, f'CREATE DATABASE "{name}" {how}')
    return server_url.rsplit("/", 1)[0] + f"/{name}"


@contextlib.contextmanager
def pgbouncer(folder: Path, server_port: int) -> Iterator[int]:
    """A pgbouncer in transaction mode with few server connections, as hosted databases have it; gives its port."""
    port = free_port()
    (folder / "users.txt").write_text('"rsc" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""
[databases]
* = host=127.0.0.1 port={server_port} user=rsc
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
logfile = {folder}/pgbouncer.log
"""
    )
    (folder / "pgbouncer.log").touch()
    for file in ("users.txt", "pgbouncer.ini", "pgbouncer.log"):
        (folder / file).chmod(0o666)
    process = subprocess.Popen(
        [need_program("pgbouncer"), "-u", "nobody", str(folder / "pgbouncer.ini")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for_port(port, process)
        yield port
    finally:
        process.kill()
        process.wait(timeout=30)


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, f"exit {process.returncode}"
            assert time.monotonic() < until, "it does not listen"
            time.sleep(0.02)


@contextlib.contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        yield int(listener.getsockname()[1])


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
