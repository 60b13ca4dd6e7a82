"""Renew the leases of this process: heartbeat files for observers that cannot see its locks.

One thread renews one lease in each run folder, and checks the files that the process holds open there. Mapped writes do
not notice a read-only file system or a removed file, so writers rely on this check. `journal.host.leases` reads leases.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from journal.format.schema import LEASE_INTERVAL_S, NEW_SUFFIX, WRITERS_DIR
from journal.format.values import text
from journal.host.forks import no_fork
from journal.host.identity import this_writer
from journal.host.leases import LEASE_SUFFIX
from journal.host.roots import root_id_of

log = logging.getLogger("journal")

_LOST = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR)


class Held(Protocol):
    """Protocol of an object with open files in a run's folder, such as a writer."""

    def held_files(self) -> Iterable[str]:
        """Return the names of the files that must exist; none after it is closed."""
        ...

    def hand_over(self, error: OSError) -> None:
        """Handle an error that the renewing thread found. Called in that thread."""
        ...


@dataclass
class Place:
    """A run's folder in which this process holds files.

    Attributes:
        folder: Its absolute path without symbolic links, when it was first used; empty if it could not be opened.
        root_id: The random id of this folder on this node; empty if it could not be made.
    """

    folder: str = ""
    root_id: str = ""
    _identity: tuple[int, int] = (0, 0)
    _writers_fd: int = -1
    _held: dict[str, weakref.ref[Held]] = field(default_factory=dict)
    _inodes: dict[str, int] = field(default_factory=dict)

    def hold(self, name: str, held: Held) -> None:
        """List a file in the lease from the next renewal on. Call it before the file gets its name."""
        reference = weakref.ref(held, lambda gone: self._drop(name, gone))
        if _keeper is not None and self.folder:
            _keeper.hold(self, name, reference)

    def release(self, name: str, held: Held) -> None:
        """Stop listing a file."""
        reference = self._held.get(name)
        if reference is not None and reference() is held:
            del self._held[name]

    def _drop(self, name: str, gone: weakref.ref[Held]) -> None:
        """Stop listing a file whose writer was deleted without being closed."""
        if self._held.get(name) is gone:
            del self._held[name]


class _Keeper(threading.Thread):
    """Renews the leases of this process, with one thread for all its runs. A failed renewal is retried next time."""

    def __init__(self, interval_s: float) -> None:
        super().__init__(name="journal-lease", daemon=True)
        self._interval_s = interval_s
        self._places: dict[tuple[int, int], Place] = {}  # by device and inode: a folder may get another name
        self._lock = threading.Lock()
        self._beat = 0

    def place(self, run_folder: Path) -> Place:
        """Return the folder's place after writing its lease. Raises OSError."""
        with no_fork, self._lock:
            identity = _identity_of(run_folder)
            place = self._places.get(identity)
            if place is None:
                place = _open_place(run_folder, identity)
                self._renew(place)
                self._places[identity] = place
        return place

    def hold(self, place: Place, name: str, held: weakref.ref[Held]) -> None:
        """List a file. If the place was released meanwhile, it is renewed again."""
        with no_fork, self._lock, contextlib.suppress(OSError):
            place._held.setdefault(name, held)
            if place._writers_fd < 0:
                place._writers_fd = _open_writers(Path(place.folder))
                self._renew(place)
                self._places[place._identity] = place

    def run(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._interval_s):
            self.beat()

    def beat(self) -> None:
        """Check and renew every place once."""
        self._beat += 1
        for place in list(self._places.values()):
            try:
                self._check(place)
                if place._held:
                    self._renew(place)
                else:
                    self._let_go(place)
            except OSError as error:
                log.debug("lease in %s not renewed: %s", place.folder, error)
                if (
                    error.errno == errno.EROFS
                ):  # the file system refuses writes, which stores to mapped pages do not notice
                    _hand_over(place, lambda held: OSError(errno.EROFS, os.strerror(errno.EROFS)))
            except Exception:  # any error; the other leases are renewed anyway
                log.exception("lease in %s not renewed", place.folder)

    def _check(self, place: Place) -> None:
        """End each journal that has lost a file, with a warning (invariant J6)."""
        names = _hand_over(place, lambda held: _trouble_of(place, held))
        for name in place._inodes.keys() - names:
            del place._inodes[name]

    def _renew(self, place: Place, *, ended: bool = False) -> None:
        """Replace the lease atomically, so that an observer never reads a part of it."""
        token = this_writer().token
        hidden, name = f".{token}{NEW_SUFFIX}", f"{token}{LEASE_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with no_fork, os.fdopen(os.open(hidden, flags, 0o644, dir_fd=place._writers_fd), "wb") as file:
            state = {"beat": self._beat, "interval_s": self._interval_s, "inode": os.fstat(file.fileno()).st_ino}
            file.write(json.dumps({**state, "files": list(place._held), "ended": ended}).encode())
        os.replace(hidden, name, src_dir_fd=place._writers_fd, dst_dir_fd=place._writers_fd)

    def _let_go(self, place: Place) -> None:
        """Record in the lease that no files are held here, and close the folder.

        Otherwise the descriptors of finished runs would accumulate, and their disks could not be unmounted.
        """
        with no_fork, self._lock:
            if place._held:  # by another thread, just now
                return
            try:
                self._renew(place, ended=True)
            finally:
                del self._places[place._identity]
                fd, place._writers_fd = place._writers_fd, -1
                os.close(fd)

    def forget(self) -> None:
        """Close the descriptors that a forked child inherited."""
        for place in self._places.values():
            os.close(place._writers_fd)
            place._writers_fd = -1


def _hand_over(place: Place, trouble_of: Callable[[Held], OSError | None]) -> set[str]:
    """Pass errors to the writers, and return the names of all files that must exist."""
    names: set[str] = set()
    for name, reference in list(place._held.items()):
        held = reference()
        if held is None:
            continue
        error = trouble_of(held)
        # A closing writer is released before its files are removed, so a writer that is still held has lost them.
        if error is not None and place._held.get(name) is reference:
            held.hand_over(error)
        names.update(held.held_files())
    return names


def _trouble_of(place: Place, held: Held) -> OSError | None:
    """Return an error if a file has lost its name. Temporary errors, such as those of a network, are ignored."""
    for name in held.held_files():
        try:
            inode = os.stat(f"../{name}", dir_fd=place._writers_fd, follow_symlinks=False).st_ino
        except OSError as error:
            if error.errno in _LOST:
                return OSError(error.errno, f"{name} was removed")
            continue
        if place._inodes.setdefault(name, inode) != inode:
            return OSError(errno.ESTALE, f"another file has taken the name {name}")
    return None


def _identity_of(folder: Path) -> tuple[int, int]:
    try:
        state = os.stat(folder)
    except FileNotFoundError:
        folder.mkdir(parents=True, exist_ok=True)
        state = os.stat(folder)
    return state.st_dev, state.st_ino


def _open_place(run_folder: Path, identity: tuple[int, int]) -> Place:
    root_id = root_id_of(run_folder)
    return Place(text(os.path.realpath(run_folder)), root_id, identity, _open_writers(run_folder))


def _open_writers(run_folder: Path) -> int:
    writers = run_folder / WRITERS_DIR
    writers.mkdir(exist_ok=True)
    return os.open(writers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


_keeper: _Keeper | None = None


def keep(run_folder: Path) -> Place:
    """Renew the lease of this process in this run's folder as long as it holds files there.

    If no lease can be written, the place is blank, and observers that need the lease are unsure and wait.
    """
    global _keeper  # noqa: PLW0603 - one thread a process, made when the first journal is
    if _keeper is None:
        _keeper = _Keeper(LEASE_INTERVAL_S)
        _keeper.start()
    try:
        return _keeper.place(run_folder)
    except OSError as error:
        log.debug("no lease in %s: %s", run_folder, error)
        return Place()


def _forget_in_child() -> None:
    """Reset in a forked child: it does not have the thread, and the leases belong to the parent."""
    global _keeper
    keeper, _keeper = _keeper, None
    if keeper is not None:
        keeper.forget()


os.register_at_fork(after_in_child=_forget_in_child)
