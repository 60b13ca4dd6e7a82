"""`serve`: run the server until it is asked to stop."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from rsc.db.upgrade import open_existing
from rsc.ui.app import make_app
from rsc.ui.project import Project

_SHUTDOWN_S = 1  # for requests that are being answered


class _Server(uvicorn.Server):
    """A server that a signal ends, and that does not raise the signal again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: A name or an address of this machine.
        port: 0: any free one.

    Raises:
        OSError: The port is in use, or the host is not this machine's.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    found = socket.socket(family, kind, protocol)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen()
    except OSError:
        found.close()
        raise
    return found


def serve(
    sock: socket.socket, host: str, database_url: str, journal_root: Path | None, ready: Callable[[], None]
) -> None:
    """Serve the pages of a database until SIGINT or SIGTERM.

    Args:
        sock: From `listening`. It is closed at the end.
        host: The host that the user chose.
        database_url: The database.
        journal_root: None: the roots that the runs recorded.
        ready: Called before the first request is answered.

    Raises:
        rsc.db.errors.DatabaseError: There is no such database, or it cannot be used.
    """
    engine = open_existing(database_url, may_upgrade=False)
    server: _Server | None = None

    def stopping() -> bool:
        return server is not None and server.should_exit

    app = make_app(Project(engine, database_url, journal_root), host, stopping)
    server = _Server(
        uvicorn.Config(
            app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
            server_header=False, timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )  # fmt: skip
    ready()
    server.run(sockets=[sock])
