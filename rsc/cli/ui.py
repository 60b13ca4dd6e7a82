"""`rsc ui`: serve the pages of runs, and keep them up to date while training goes on."""

from __future__ import annotations

import errno
import ipaddress
import socket
from importlib.util import find_spec
from pathlib import Path

import click

from journal.console import fail, remark
from rsc import defaults
from rsc.cli import options

# Imports inside functions load Starlette, SQLAlchemy and numpy, which `--help` does not need.

PORT = 8400


@click.command("ui")
@click.option(
    "-p",
    "--port",
    type=click.IntRange(0, 65535),
    default=PORT,
    show_default=True,
    metavar="PORT",
    help="0 takes any free port.",
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="HOST",
    help="Address or name to listen on. By default only this machine can connect.",
)
@options.database_url
@click.option(
    "--journal-root", metavar="DIR", type=click.Path(path_type=Path), help="Default: the roots that the runs recorded."
)
def command(port: int, host: str, database_url: str | None, journal_root: Path | None) -> None:
    """Serve a live page for each run of a database.

    The pages are those of `rsc report`, kept up to date while a training goes on.

    The first page lists the runs and the last passes of the reconciler. /runs/RUN_ID shows a run with its running
    episodes, /runs/RUN_ID,RUN_ID compares runs; `latest` and the unique beginning of an id work, too. Ctrl-C ends the
    server. It reads only: it changes neither database nor journals.

    There is no password: with --host, everyone who can reach the port can read the runs. From another machine, use
    `ssh -L 8400:127.0.0.1:8400 HOST` instead.

    Exit: 0 ended by Ctrl-C or SIGTERM, 1 the port is in use or there is no
    database, 2 wrong usage.

    \b
    Examples:
      rsc ui
      rsc ui --port 0 --database-url postgresql://user@db.example/rsc
    """
    missing = [name for name in ("starlette", "uvicorn") if find_spec(name) is None]
    if missing:
        fail(f"rsc ui needs {', '.join(missing)}", "pip install 'reinforce-strategy-creator[ui]'")
    from rsc.ui.serving import listening, serve

    try:
        sock = listening(host, port)
    except OSError as error:
        _explain(error, host, port)
    with sock:
        place = _url(sock, host)
        if not _is_loopback(sock):
            remark("everyone who can reach this port can read the runs; there is no password")
        serve(
            sock,
            host,
            defaults.database_url(database_url),
            journal_root,
            ready=lambda: click.echo(f"{place} (Ctrl-C ends it)"),
        )


def _explain(error: OSError, host: str, port: int) -> None:
    if error.errno == errno.EADDRINUSE:
        fail(f"port {port} of {host} is in use", "another `rsc ui` may be running; choose another port with --port")
    if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
        fail(f"{host} is no address of this machine", "leave out --host to serve this machine alone")
    if error.errno == errno.EACCES:
        fail(f"port {port} needs root", f"choose one above 1023, such as {PORT}")
    fail(f"cannot listen on port {port} of {host}: {error}")


def _url(sock: socket.socket, host: str) -> str:
    shown = f"[{host}]" if ":" in host else host
    return f"http://{shown}:{sock.getsockname()[1]}/"


def _is_loopback(sock: socket.socket) -> bool:
    return ipaddress.ip_address(sock.getsockname()[0]).is_loopback
