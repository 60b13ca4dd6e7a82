"""Servers of an attack: a pgbouncer, a name server and a database that never answer. Each ends with its block."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from tests.attacks.needs import need_program


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
