"""Give each run folder on each node a random id, so that a row records the folder in which its journal was written."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from journal.errors import JournalAccessError
from journal.format.schema import MAX_ROOT_FILE, NEW_SUFFIX, ROOT_ID_FILE
from journal.format.values import Natural, decoder_of
from journal.host.files import open_regular, take_name


@dataclass(frozen=True)
class _Stored:
    """The JSON in the file."""

    root_id: str
    inode: Natural


_decode = decoder_of(_Stored)


def read_root_id(run_folder: Path) -> str:
    """Return the id of a run's folder; empty if it has none, or if the id was copied from another folder."""
    try:
        with os.fdopen(open_regular(run_folder / ROOT_ID_FILE), "rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            stored = _decode(file.read(MAX_ROOT_FILE))
    except (JournalAccessError, OSError, ValueError):
        return ""
    return stored.root_id if stored.inode == inode else ""


def root_id_of(run_folder: Path) -> str:
    """Return the id of a run's folder; create one if it has none of its own. Raises OSError."""
    path = run_folder / ROOT_ID_FILE
    if known := read_root_id(run_folder):
        return known
    root_id = secrets.token_hex(8)
    hidden = run_folder / f".{ROOT_ID_FILE}.{root_id}{NEW_SUFFIX}"
    try:
        with hidden.open("xb") as file:
            stored = {"root_id": root_id, "inode": os.fstat(file.fileno()).st_ino}
            file.write(json.dumps(stored).encode())
        try:
            take_name(hidden, path)
        except FileExistsError:
            if known := read_root_id(run_folder):  # another process was faster
                return known
            os.replace(hidden, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(hidden)
    return root_id
