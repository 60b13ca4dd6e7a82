"""Create engines on SQLite files."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import DisconnectionError

from rsc.db.errors import DatabaseError
from rsc.db.urls import file_of


def sqlite_engine(url: URL, timeout_s: float, to_json: Callable[[Any], str], looking: bool) -> Engine:
    """Return an engine on a SQLite database. It never creates the file.

    Args:
        url: Its query may set arguments of `sqlite3.connect`; defaults are added.
        timeout_s: How long to wait for another writer, in seconds.
        to_json: Serialises JSON columns.
        looking: Open only for queries: nothing is written, so a read-only file or folder is enough.
    """
    defaults = {"timeout": timeout_s, "check_same_thread": False}
    arguments = {key: value for key, value in defaults.items() if key not in url.query}
    engine = create_engine(url, connect_args=arguments, json_serializer=to_json)
    file = file_of(url)

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if file is None:  # in memory, or a URI with its own open mode
            return None
        how = _how_to_look(file) if looking else "mode=rw"
        kwargs["uri"] = True
        connection = sqlite3.connect(f"file:{quote(str(file.absolute()))}?{how}", *args[1:], **kwargs)
        if "vfs=unix-none" in how:  # keeps the index of the write-ahead log in memory, not in a file
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        return connection

    @event.listens_for(engine, "checkout")
    def check_file(connection: Any, record: Any, _: Any) -> None:
        """Reconnect if the file was removed or replaced, because writes to the old file would be lost."""
        if file is not None and record.info.get("file") != _identity(file):
            raise DisconnectionError(f"{file} was removed or replaced")

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        record.info["file"] = None if file is None else _identity(file)
        connection.isolation_level = None  # only the listener below sends BEGIN
        if looking:
            connection.execute("PRAGMA query_only = ON")
            return
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # If another writer is active, a deferred transaction fails at its first write; an immediate one waits.
        reading = looking or connection.get_execution_options().get("rsc_reading", False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    """Return device and inode, None if there is no file."""
    try:
        state = file.stat()
    except OSError:
        return None
    return state.st_dev, state.st_ino


def create_file(url: URL) -> None:
    """Create the empty file of a SQLite database, and its folder, if they do not exist.

    Raises:
        DatabaseError: They cannot be created.
    """
    file = file_of(url)
    if file is None or file.exists():
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    except OSError as error:
        raise DatabaseError(f"cannot create the database {file}: {error.strerror}") from error


def _how_to_look(file: Path) -> str:
    """Return the options to open a file for queries, by the permissions, so that no files are left behind.

    To read a file in WAL mode, SQLite uses two files beside it, ``-wal`` and ``-shm``. It creates and removes them if the
    folder is writable. Otherwise it needs options to work without them.
    """
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        return "mode=rw"
    log, index = (Path(f"{file}{suffix}") for suffix in ("-wal", "-shm"))
    if Path(f"{file}-journal").exists() or (_size(log) and index.exists()):
        return "mode=ro"
    return "mode=ro&vfs=unix-none" if _size(log) else "immutable=1"


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
