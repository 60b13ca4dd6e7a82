"""Run the server until it receives a signal: `serve`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import uvicorn

from rsc.db.upgrade import open_existing
from rsc.ui.app import make_app
from rsc.ui.project import Project

_SHUTDOWN_S = 1  # time for open requests to finish


class _Server(uvicorn.Server):
    """A server that stops at a signal, and does not raise the signal again."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: A name or an address of this machine.
        port: The port. If 0, any free port.

    Raises:
        OSError: The port is in use, or the host does not belong to this machine.
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
        sock: A socket from `listening`. It is closed at the end.
        host: The host that the user chose.
        database_url: The database.
        journal_root: The journal root. If None, the roots that the runs recorded.
        ready: Called before the first request is answered.

    Raises:
        rsc.db.errors.DatabaseError: The database does not exist, or cannot be used.
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
