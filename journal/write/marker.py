"""The run's marker: proof that a run's folder is the right one, and a lock that tells if its driver lives."""

from __future__ import annotations

import contextlib
import json
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from journal.errors import JournalAccessError, JournalExistsError, NotAJournalError
from journal.format.header import WriterIdentity
from journal.format.untrusted import json_object, mapping
from journal.host.files import NewFile, open_regular, sync_folder, write_all
from journal.host.identity import this_writer
from journal.host.liveness import Liveness, LivenessReport, Observer
from journal.host.paths import marker_path
from journal.write import lease

_MOST_BYTES = 1 << 24
_held: weakref.WeakSet[RunMarker] = weakref.WeakSet()


class RunMarker:
    """Made by a run's driver, locked by it until `close` or its death."""

    def __init__(self, root: Path | str, run_id: str, parameters: Mapping[str, Any]) -> None:
        """Make the marker; raise JournalExistsError if the run has one, UnsafeNameError for a bad id, OSError."""
        self.path = marker_path(root, run_id)
        writer = this_writer()
        text = json.dumps({"run_id": run_id, "writer": vars(writer), "parameters": parameters}, default=str)
        try:
            with NewFile(self.path) as file:
                self._fd = file.fd
                write_all(self._fd, text.encode())
                os.fsync(self._fd)
                file.publish()
            sync_folder(self.path.parent)
        except FileExistsError as error:
            self.close()
            raise JournalExistsError(
                f"run {run_id} exists already in {root}", hint="choose another run id, or leave it out"
            ) from error
        _held.add(self)
        lease.keep(self.path.parent, writer)

    def close(self) -> None:
        """Let go of the lock: the driver is done. The marker stays."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> RunMarker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def marker_liveness(root: Path | str, run_id: str, observer: Observer) -> LivenessReport | None:
    """Is the run's driver alive? None if the run has no marker here; raises JournalAccessError."""
    path = marker_path(root, run_id)
    try:
        writer, _ = read_marker(root, run_id)
        return observer.look(path, writer)
    except JournalAccessError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise
    except NotAJournalError:
        return LivenessReport(Liveness.UNSURE, "the run's marker is unreadable")


def read_marker(root: Path | str, run_id: str) -> tuple[WriterIdentity, dict[str, Any]]:
    """Who made the marker, and the run's parameters; raises JournalAccessError or NotAJournalError."""
    path = marker_path(root, run_id)
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            raw = json_object(file.read(_MOST_BYTES))
        return WriterIdentity.from_json(raw["writer"]), mapping(raw["parameters"])
    except OSError as error:
        raise JournalAccessError(path, error) from error
    except (ValueError, KeyError) as error:
        raise NotAJournalError(path, "the run's marker is damaged") from error


def _drop_in_child() -> None:
    for marker in list(_held):
        with contextlib.suppress(OSError):
            marker.close()


os.register_at_fork(after_in_child=_drop_in_child)
