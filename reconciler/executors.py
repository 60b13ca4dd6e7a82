"""Run the slices of a pass, one by one in this process or in parallel in forked processes.

A slice is a list of episodes. Each executor takes the function that reconciles one slice, and yields its results.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

Slice = TypeVar("Slice")
Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1
_YOUNG_OBJECTS = 50_000  # about what a slice makes; all of them die by their reference count
_AHEAD = 2  # slices that wait for each process: enough to keep it busy, and few enough to bound memory


class Turn:
    """A lock that the processes of a pass share. The kernel releases it when its holder dies."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.memfd_create("turn"), "w")  # in memory: no folder may be writable

    def __enter__(self) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN)


def in_turn(work: Callable[[Slice], Result], slices: Iterable[Slice]) -> Iterator[Result]:
    """Yield the result of each slice, computed in this process."""
    yield from map(work, slices)


def in_processes(
    work: Callable[[Slice], Result], slices: Iterable[Slice], processes: int, at_start: Callable[[], object]
) -> Iterator[Result]:
    """Yield the result of each slice, computed in forked processes.

    Use it only in a program without other threads. If a pass is stopped, it still gets the results of the slices that the
    helpers have. If this process is killed, its helpers die too. If a helper is killed, this process computes the
    remaining slices.

    Args:
        work: Computes one slice. Helpers inherit it through the fork; slices and results are pickled.
        slices: The slices, taken as processes become free.
        processes: How many processes share them.
        at_start: Called once in each helper.
    """
    handed_out: deque[tuple[Slice, Future[Result]]] = deque()

    def oldest() -> Result:
        part, answer = handed_out.popleft()
        try:
            return answer.result()
        except BrokenProcessPool:  # rows that a helper wrote have this pass's id, so they count once
            return work(part)

    fork = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes, fork, _enter, (work, os.getpid(), at_start))
    try:
        for part in slices:
            handed_out.append((part, _hand_out(pool, part)))
            if len(handed_out) >= _AHEAD * processes:
                yield oldest()
        while handed_out:
            yield oldest()
    finally:
        pool.shutdown(cancel_futures=True)


def _hand_out(pool: ProcessPoolExecutor, part: Any) -> Future[Any]:
    try:
        return pool.submit(_work_here, part)
    except BrokenProcessPool as error:
        answer: Future[Any] = Future()
        answer.set_exception(error)
        return answer


_work: Callable[[Any], Any] | None = None


def _enter(work: Callable[[Any], Any], parent: int, at_start: Callable[[], object]) -> None:
    """Prepare a helper: leave signals to the parent, and die with it."""
    global _work  # noqa: PLW0603 - a helper serves one pass over one run
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # the parent died before prctl, so the kernel would not end this process
        os._exit(1)
    at_start()
    relax_garbage_collection()
    _work = work


def _work_here(part: Any) -> Any:
    assert _work is not None, "Invariant: a helper knows its work"
    return _work(part)


def relax_garbage_collection() -> None:
    """Collect garbage rarely, in a process that only makes passes: the objects of a slice have no cycles."""
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS)
