"""Databases of an attack, and a server that never answers."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import uuid
from collections.abc import Iterator

import psycopg

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
