"""A PostgreSQL server of the tests' own: private folder, loopback port, no trace left."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "max_connections": "60",
    "shared_buffers": "64MB",
}


def find_programs() -> Path | None:
    """The folder with initdb and postgres, wherever this machine has them."""
    folders = [os.path.dirname(found) for found in (shutil.which("initdb"),) if found]
    folders += sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)
    folders += sorted(glob.glob("/usr/pgsql-*/bin"), reverse=True)
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False, timeout=30)
        folders.append(answer.stdout.strip())
    homes = (Path(folder).resolve() for folder in folders if folder)
    return next((home for home in homes if (home / "initdb").exists() and (home / "postgres").exists()), None)


class PostgresServer:
    """Start, stop and start again; the data stays until `remove`. Runs as another user where this one is root."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._user = _unprivileged_user()
        self._home = Path(tempfile.mkdtemp(prefix="rsc-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        if self._user:
            shutil.chown(self._home, self._user)
        initdb = [programs / "initdb", "-D", self._home / "data", "-U", "rsc", "-A", "trust", "-E", "UTF8", "-N"]
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, timeout=120, user=self._user, cwd="/")

    def url(self, database: str = "postgres") -> str:
        """The database's URL."""
        return f"postgresql+psycopg://rsc@127.0.0.1:{self.port}/{database}"

    @property
    def folder(self) -> Path:
        """Where its socket is, for clients in other network namespaces."""
        return self._home

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it answers."""
        options = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        command = [self._programs / "postgres", "-D", self._home / "data", "-p", str(self.port), "-k", self._home]
        log = (self._home / "log").open("ab")
        self._process = subprocess.Popen([*command, *options], stdout=log, stderr=log, user=self._user, cwd="/")
        log.close()
        deadline = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._home / "log").read_text())
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: SIGINT disconnects everybody first, SIGQUIT is as good as a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=60)
            self._process = None

    def create_database(self, name: str, template: str = "template0", options: str = "") -> str:
        """Make an empty database, or a copy of another one, and return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {options}')
        return self.url(name)

    def execute(self, statement: str) -> None:
        """Execute a statement outside of the project's own code."""
        import psycopg

        with psycopg.connect(self.url().replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(statement)

    def remove(self) -> None:
        """Stop, and remove everything."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url().replace("+psycopg", ""), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True


class Pgbouncer:
    """A pgbouncer before a server, in transaction mode: one session serves all clients, who must give a password.

    A client that opens a connection while it holds a transaction on another one waits for ever.
    """

    def __init__(self, program: str, server: PostgresServer, password: str) -> None:
        user = _unprivileged_user()
        self._home = Path(tempfile.mkdtemp(prefix="rsc-pgbouncer-"))
        self._port = _free_port()
        self.password = password
        (self._home / "users").write_text(f'"rsc" "{password}"\n')
        settings = {
            "listen_addr": "127.0.0.1", "listen_port": self._port, "unix_socket_dir": "", "auth_type": "plain",
            "auth_file": self._home / "users", "pool_mode": "transaction", "default_pool_size": 1,
        }  # fmt: skip
        lines = [f"{name} = {value}" for name, value in settings.items()]
        databases = f"[databases]\n* = host=127.0.0.1 port={server.port} user=rsc\n[pgbouncer]\n"
        (self._home / "ini").write_text(databases + "\n".join(lines) + "\n")
        if user:
            for path in (self._home, *self._home.iterdir()):
                shutil.chown(path, user)
        with (self._home / "log").open("wb") as log:
            command = [program, self._home / "ini"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd="/")
        self._wait()

    def url(self, database: str, password: str | None = None) -> str:
        """The URL of a database, through the pooler; "" is no password."""
        secret = self.password if password is None else password
        return f"postgresql://rsc{':' + secret if secret else ''}@127.0.0.1:{self._port}/{database}"

    def remove(self) -> None:
        """Stop, and remove everything."""
        self._process.kill()
        self._process.wait(timeout=60)
        shutil.rmtree(self._home, ignore_errors=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise RuntimeError((self._home / "log").read_text())
            time.sleep(0.05)


def _unprivileged_user() -> str | None:
    """The server refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    raise RuntimeError("root can start a PostgreSQL server only as another user, and there is none")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
