"""Passes of a daemon over a Ray cluster, in a process apart.

Ray ends the process that joined a cluster when the cluster's head is gone for a minute. The daemon must outlive that.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from reconciler.cluster import ClusterPass
from reconciler.executors import relax_garbage_collection
from reconciler.memory import Memory
from reconciler.passes import record_pass
from reconciler.ray_nodes import RayNodes
from reconciler.report import Hooks, PassReport
from reconciler.settings import Settings
from rsc.db.session import DatabaseError, first_line, open_engine
from rsc.ray_address import ClusterError, cluster_address

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event

_LOOK_S = 0.2  # between two looks at whether the pass has ended
_FAREWELL_S = 60.0  # after its deadline a pass still writes a batch
_HINT = "the daemon tries again at the next pass; is the head running?"


class ClusterPasses:
    """Makes passes over a Ray cluster in another process, which stays joined between passes.

    Args:
        url: The database.
        settings: What a pass may do.
        address: The cluster's address, or ``auto``.
        stop: Ends a pass after its batch.
    """

    def __init__(self, url: str, settings: Settings, address: str, stop: threading.Event) -> None:
        self._given = url, settings, address
        self._stop = stop
        self._context = multiprocessing.get_context("spawn")
        self._told = self._context.Event()
        self._pool: ProcessPoolExecutor | None = None

    def record(self, run_ids: Sequence[str] | None, pass_id: str, deadline_s: float) -> PassReport:
        """Make a pass and record it, as `record_pass` does.

        Raises:
            ClusterError: The cluster cannot be used. The next call joins it again.
            DatabaseError: The database does not answer.
            UnknownRunError: The database does not know one of the runs.
        """
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, self._context, _enter, (*self._given, self._told))
        until = time.monotonic() + deadline_s + _FAREWELL_S
        try:
            answer = self._pool.submit(_record, run_ids, pass_id, deadline_s)
            while not wait([answer], timeout=_LOOK_S).done:
                if self._stop.is_set():
                    self._told.set()
                if time.monotonic() > until:
                    raise ClusterError(f"a pass over the cluster did not end within {deadline_s:g} s", _HINT)
            return answer.result()
        except BrokenProcessPool:
            self._leave()
            raise ClusterError("the process that joined the Ray cluster has ended", _HINT) from None
        except ClusterError:
            self._leave()
            raise

    def _leave(self) -> None:
        """End the process, so that the next pass joins the cluster anew."""
        if self._pool is not None:
            for process in (self._pool._processes or {}).values():  # no public function ends a process that hangs
                process.kill()
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None


_joined: tuple[Engine, Settings, RayNodes, Memory] | None = None
_given: tuple[str, Settings, str, Event] | None = None


def _enter(url: str, settings: Settings, address: str, told: Event) -> None:
    """Prepare the process: leave signals to the daemon, and end with it."""
    global _given  # noqa: PLW0603 - a process serves one daemon
    _given = url, settings, address, told
    _ignore_signals()
    relax_garbage_collection()
    threading.Thread(target=_end_with_the_daemon, daemon=True).start()


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _end_with_the_daemon() -> None:
    daemon: Any = multiprocessing.parent_process()
    daemon.join()
    os._exit(1)


def _record(run_ids: Sequence[str] | None, pass_id: str, deadline_s: float) -> PassReport:
    """Make a pass in this process. The connection to the cluster and the memory are those of the pass before."""
    global _joined  # noqa: PLW0603 - Ray's connection belongs to the process
    assert _given is not None, "Invariant: a process knows its work"
    url, settings, address, told = _given
    over = time.monotonic() + deadline_s

    def should_stop() -> bool:
        return told.is_set() or time.monotonic() > over

    if _joined is None:
        _joined = open_engine(url), settings, RayNodes(address), Memory()
        _ignore_signals()  # again: Ray's own handler for SIGTERM ends the process
    engine, settings, nodes, memory = _joined
    cluster_address(nodes.address, _HINT)  # before each pass: Ray waits for a head that does not answer
    nodes.should_stop, nodes.deadline = told.is_set, over
    try:
        return record_pass(
            ClusterPass(engine, settings, Hooks(should_stop=should_stop), nodes, pass_id, memory), run_ids
        )
    except SQLAlchemyError as error:  # not each can be pickled
        raise DatabaseError(first_line(error)) from None
