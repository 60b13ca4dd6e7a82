"""Keep one mirror process running on a node while any process of a run lives there.

    node = NodeMirror(Order(...), log.warning, lambda: "")    # starts a thread and, if none runs, the mirror process
    node.finish(10.0)                                         # this process is done; True once everything is stored

The mirror process (`journal.mirror.agent`) is not a child of these processes, so it outlives them. Three files in the
folder `.mirror` of the run's folder coordinate the processes. Their names begin with the host's name:

    HOST.present    each process of the run holds a shared lock; the mirror process ends when it gets an exclusive lock
    HOST.lock       the mirror process inherits the lock of this file and holds it, so there is never a second one
    HOST.log        output of the mirror process; one process of the run holds its lock and repeats messages to the user
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from journal.host.identity import this_writer
from journal.host.paths import run_dir
from journal.host.roots import root_id_of
from journal.mirror.store import host_in_mirror

CHECK_S = 5.0
_SOON_S = 1.0
_LONGEST_PAUSE_S = 300.0  # the longest pause between two starts if the mirror process ends at once
_POLL_S = 0.05
_MOST_SAID = 1 << 16  # bytes of the log that one check repeats
_DETACHED = ("/bin/sh", "-c", '"$@" &', "sh")  # the shell exits at once, so the process has no parent in the run


class Order(msgspec.Struct, frozen=True):
    """The task of a node's mirror process.

    Attributes:
        root: The journal root.
        run_id: The run.
        url: The mirror's URL. It must not hold secrets: every user of the machine can read a process's arguments.
        every_s: Seconds between two looks.
        node_id: The node of the cluster; empty if unknown.
    """

    root: str
    run_id: str
    url: str
    every_s: float
    node_id: str = ""


@dataclass(frozen=True)
class Files:
    """The files that the processes of a run on this host share with its mirror process."""

    present: Path
    lock: Path
    log: Path

    @classmethod
    def of(cls, order: Order) -> Files:
        """Return the paths of the files, and create their folder. Raises OSError."""
        folder = run_dir(order.root, order.run_id) / ".mirror"
        folder.mkdir(parents=True, exist_ok=True)
        start = host_in_mirror(this_writer().host)
        return cls(*(folder / f"{start}.{name}" for name in ("present", "lock", "log")))


def opened(path: Path) -> int:
    """Open a file for locking and appending. Raises OSError."""
    return os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)


def try_lock(fd: int, kind: int = fcntl.LOCK_EX) -> bool:
    """Lock a file without waiting; return False if another process holds its lock.

    Raises:
        OSError: The file system has no locks.
    """
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_anyone_present(fd: int) -> bool:
    """Return True if a process of the run lives on this host. ``fd`` is the open file `HOST.present`."""
    if not try_lock(fd):
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


class NodeMirror:
    """Keep a mirror process running on this node until `finish`.

    Only the mirror process talks to the store, so neither the constructor nor the thread waits for it.

    Args:
        order: What to mirror. The result of ``node_id`` replaces its node id.
        say: Called with each line for the user.
        node_id: Returns the id of this node, or None if it is not known yet.
    """

    def __init__(self, order: Order, say: Callable[[str], None], node_id: Callable[[], str | None]) -> None:
        self._order, self._say, self._node_id = order, say, node_id
        self._done = threading.Event()
        self._present = self._log = -1
        self._read = 0
        self._starts, self._started = 0, 0.0
        self._said: set[str] = set()
        self._thread = threading.Thread(target=self._watch, name="journal-mirror", daemon=True)
        self._thread.start()

    def finish(self, timeout_s: float) -> bool:
        """Report that this process is done. If it is the last one of the run on this host, wait for the mirror process.

        Args:
            timeout_s: The longest time to wait.

        Returns:
            True if everything is stored, or if other processes of the run still live. False if the mirror process still
            runs after the timeout, or did not store everything, or could not be started.
        """
        self._done.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive() or self._present < 0:
            return False
        try:
            return self._finish(time.monotonic() + timeout_s)
        except OSError as error:
            self._say_once(self._cannot(error))
            return False
        finally:
            for fd in (self._present, self._log):
                if fd >= 0:
                    _child_closes.discard(fd)  # before the close: the next open file may get the same number
                    os.close(fd)
            self._present = self._log = -1

    def _finish(self, deadline: float) -> bool:
        files = Files.of(self._order)
        self._start_if_none(files, self._node_id() or "")
        fcntl.flock(self._present, fcntl.LOCK_UN)
        if is_anyone_present(self._present):
            return True
        lock = opened(files.lock)
        try:
            while not try_lock(lock, fcntl.LOCK_SH):
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_S)
            return _last_line(files.log) == COMPLETE
        finally:
            os.close(lock)
            self._repeat()

    @property
    def works(self) -> bool:
        """True while the thread runs: until `finish`, and not in a forked child."""
        return self._thread.is_alive() and not self._done.is_set()

    def _watch(self) -> None:
        while not self._done.is_set():
            again_s = CHECK_S
            try:
                again_s = CHECK_S if self._check() else _SOON_S
            except OSError as error:
                self._say_once(self._cannot(error))
            self._done.wait(again_s)

    def _check(self) -> bool:
        """Start the mirror process if it is this process's turn and none runs. Return False to be called again soon."""
        files = Files.of(self._order)
        if self._present < 0:
            root_id_of(files.present.parent.parent)  # creates the id, which the bundles name
            present = opened(files.present)
            if not try_lock(present, fcntl.LOCK_SH):  # the mirror process is testing the lock
                os.close(present)
                return False
            self._present = present
        if self._log < 0:
            log = opened(files.log)
            if not try_lock(log):  # another process of the run starts it and repeats its messages
                os.close(log)
                return True
            self._log, self._read = log, os.fstat(log).st_size
            _child_closes.add(log)
        node_id = self._node_id()
        if node_id is not None and time.monotonic() >= self._started + min(2**self._starts, _LONGEST_PAUSE_S):
            self._start_if_none(files, node_id)
        self._repeat()
        return node_id is not None

    def _start_if_none(self, files: Files, node_id: str) -> None:
        lock = opened(files.lock)
        try:
            if not try_lock(lock):
                return
            self._starts, self._started = self._starts + 1, time.monotonic()
            if self._starts == 2:
                self._say(
                    f"the mirror process of run {self._order.run_id} ended, and is started again; see {files.log}"
                )
            _start(msgspec.structs.replace(self._order, node_id=node_id), lock, files.log)
        finally:
            os.close(lock)  # the new process holds it

    def _repeat(self) -> None:
        """Repeat the new messages of the mirror process."""
        if self._log < 0:
            return
        data = os.pread(self._log, _MOST_SAID, self._read)
        end = data.rfind(b"\n") + 1
        self._read += end
        for line in data[:end].decode("utf-8", "replace").splitlines():
            if line.startswith(SAID):
                self._say_once(line.removeprefix(SAID))

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def _cannot(self, error: OSError) -> str:
        return f"run {self._order.run_id} is not mirrored from here: {error.strerror or error}: {error.filename or ''}"


SAID = "said: "
"""The prefix of lines in the log that are for the user."""
COMPLETE = "complete"
"""The log's last line if everything is stored."""

_child_closes: set[int] = set()
"""Locked logs. A forked child closes them, so that it does not keep their locks."""


def _close_in_child() -> None:
    for fd in _child_closes:
        os.close(fd)
    _child_closes.clear()


os.register_at_fork(after_in_child=_close_in_child)


_here: dict[tuple[str, str], NodeMirror] = {}


def mirror_here(order: Order, say: Callable[[str], None], node_id: Callable[[], str | None]) -> NodeMirror:
    """Return the `NodeMirror` of this process for a run. Create it if there is none. The arguments are the same."""
    key = (order.root, order.run_id)
    found = _here.get(key)
    if found is None or not found.works:
        found = _here[key] = NodeMirror(order, say, node_id)
    return found


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(os.fstat(file.fileno()).st_size - 4096, 0))
        lines = file.read().decode("utf-8", "replace").splitlines()
    return lines[-1] if lines else ""


def _start(order: Order, lock: int, log: Path) -> None:
    """Start the mirror process in its own session, and hand it the lock. Raises OSError."""
    place = str(Path(__file__).parents[2])
    path = [os.path.abspath(one) for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if one]
    arguments = [sys.executable, "-m", "journal.mirror.agent", str(lock), msgspec.json.encode(order).decode()]
    with log.open("ab") as output:
        output.write(f"started with {order}\n".encode())
        output.flush()
        shell = subprocess.Popen(
            [*_DETACHED, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join([*path, place])},
            pass_fds=(lock,),
            start_new_session=True,
        )
    shell.wait()
