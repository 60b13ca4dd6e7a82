"""The run's marker: a file that the driver makes in the run's folder, and locks while it lives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from journal.errors import JournalAccessError, JournalExistsError, NotAJournalError
from journal.format.header import FileId, Origin, WriterIdentity
from journal.format.schema import MAX_SIDE_FILE
from journal.format.values import decoder_of, plain
from journal.host.files import NewFile, open_regular, sync_folder, write_all
from journal.host.forks import no_fork
from journal.host.identity import this_writer
from journal.host.liveness import Liveness, LivenessReport, Observer
from journal.host.paths import marker_path
from journal.write import lease
from journal.write.tail import discard_spares

_LOOKS_S = 0.5  # who judges whether a driver is alive holds its lock for microseconds, so a held lock is tried again
_held: weakref.WeakSet[RunMarker] = weakref.WeakSet()


@dataclass(frozen=True)
class _Marker:
    """The JSON in a marker file."""

    run_id: str
    writer: WriterIdentity
    parameters: dict[str, Any]
    file: FileId | None = None
    folder: str = ""
    node_id: str = ""
    unused: bool = False


_decode = decoder_of(_Marker)


class RunMarker:
    """The marker of a run. Its driver makes it, and holds its lock until `close` or its death.

    Args:
        root: Folder of the journals.
        run_id: The run.
        parameters: Facts about the run, for its row if the database loses it.
        resume: Replace the marker of an earlier driver of this run, if there is one.
        node_id: The driver's node of a cluster; empty if unknown.

    Raises:
        JournalExistsError: The run has a marker, and is not to be resumed, or its driver still lives.
        UnsafeNameError: The id is no name of a folder.
        OSError: The marker cannot be written.
    """

    def __init__(
        self, root: Path | str, run_id: str, parameters: Mapping[str, Any], *, resume: bool = False, node_id: str = ""
    ) -> None:
        self.path = marker_path(root, run_id)
        earlier = _lock_of_earlier(self.path, run_id) if resume else None
        self._place = lease.keep(self.path.parent)
        try:
            with no_fork, NewFile(self.path) as file:
                self._fd = file.fd
                _held.add(self)
                state = os.fstat(self._fd)
                made = FileId(state.st_dev, state.st_ino)
                self._facts = _Marker(run_id, this_writer(), plain(parameters)[0], made, self._place.folder, node_id)
                write_all(self._fd, msgspec.json.encode(self._facts))
                self._place.hold(self.path.name, self)
                os.fsync(self._fd)
                file.publish(replacing=earlier is not None)
            sync_folder(self.path.parent)
        except FileExistsError as error:
            self.close()
            raise JournalExistsError(
                f"run {run_id} exists already in {root}", hint="choose another run id, or leave it out"
            ) from error
        finally:
            if earlier is not None:
                os.close(earlier)

    def set_node(self, node_id: str) -> None:
        """Record the driver's node of a cluster, if the marker was made before it was known.

        Raises:
            OSError: The marker cannot be written.
        """
        self._change(replace(self._facts, node_id=node_id))

    def set_unused(self) -> None:
        """Record that no episode of the run was ever begun, on any machine. Call it when the run ends.

        Raises:
            OSError: The marker cannot be written.
        """
        self._change(replace(self._facts, unused=True))

    def _change(self, facts: _Marker) -> None:
        """Write other facts into the file.

        It is changed in place, because its lock shows that the driver lives. A reader that sees a part of the change
        finds the marker unreadable, and judges nothing by it.
        """
        if self._fd < 0 or facts == self._facts:
            return
        fcntl.fcntl(self._fd, fcntl.F_SETFL, fcntl.fcntl(self._fd, fcntl.F_GETFL) & ~os.O_APPEND)
        os.lseek(self._fd, 0, os.SEEK_SET)
        write_all(self._fd, data := msgspec.json.encode(facts))
        os.ftruncate(self._fd, len(data))
        os.fsync(self._fd)
        self._facts = facts

    def close(self) -> None:
        """Release the lock and this process's spare tails of the run: the driver is done. The marker stays."""
        if self._fd >= 0:
            discard_spares(self.path.parent)
            self._place.release(self.path.name, self)
            os.close(self._fd)
            self._fd = -1

    def held_files(self) -> tuple[str, ...]:
        """Return no names: a run goes on without its marker."""
        return ()

    def hand_over(self, error: OSError) -> None:
        """Do nothing: the run's journals notice by themselves."""

    def __enter__(self) -> RunMarker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock_of_earlier(path: Path, run_id: str) -> int | None:
    """Lock an earlier driver's marker, which it holds while it lives; return its descriptor, None without a marker."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    until = time.monotonic() + _LOOKS_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return fd
        except BlockingIOError as error:
            if time.monotonic() < until:
                time.sleep(_LOOKS_S / 50)
                continue
            os.close(fd)
            raise JournalExistsError(
                f"run {run_id} is being recorded by another process",
                hint="wait until it ends, or choose another run id",
            ) from error


def marker_liveness(root: Path | str, run_id: str, observer: Observer) -> LivenessReport | None:
    """Judge whether the run's driver is alive.

    Args:
        root: The journal root.
        run_id: The run.
        observer: Judges the driver. Keep one for repeated calls.

    Returns:
        The judgement: UNSURE if the marker is unreadable, None if the run has no marker under this root.

    Raises:
        JournalAccessError: The marker cannot be opened.
    """
    path = marker_path(root, run_id)
    try:
        marker = _read(path)
        return observer.look(path, Origin(marker.writer, marker.file, marker.folder))
    except JournalAccessError as error:
        if isinstance(error.__cause__, FileNotFoundError | NotADirectoryError):
            return None
        raise
    except NotAJournalError:
        return LivenessReport(Liveness.UNSURE, "the run's marker is unreadable")


def read_marker(root: Path | str, run_id: str) -> tuple[WriterIdentity, dict[str, Any]]:
    """Return the process that made the marker, and the run's parameters.

    Args:
        root: The journal root.
        run_id: The run.

    Raises:
        JournalAccessError: The marker cannot be opened.
        NotAJournalError: The file is not a readable marker.
    """
    marker = _read(marker_path(root, run_id))
    return marker.writer, marker.parameters


def node_of_marker(root: Path | str, run_id: str) -> str:
    """Return the node of the driver that made the marker; empty if it is unknown, or the marker cannot be read."""
    try:
        return _read(marker_path(root, run_id)).node_id
    except (JournalAccessError, NotAJournalError):
        return ""


def is_unused(root: Path | str, run_id: str) -> bool:
    """Return True if the driver recorded that no episode was ever begun; False if the marker cannot be read."""
    try:
        return _read(marker_path(root, run_id)).unused
    except (JournalAccessError, NotAJournalError):
        return False


def _read(path: Path) -> _Marker:
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return _decode(file.read(MAX_SIDE_FILE))
    except OSError as error:
        raise JournalAccessError(path, error) from error
    except ValueError as error:
        raise NotAJournalError(path, "the run's marker is damaged") from error


def _drop_in_child() -> None:
    for marker in list(_held):
        with contextlib.suppress(OSError):
            marker.close()


os.register_at_fork(after_in_child=_drop_in_child)
