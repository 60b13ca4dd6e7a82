"""Run the mirror process of a node. `journal.mirror.node` starts it, and it ends when the run has ended on this host."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import msgspec

from journal.console import SignalEvent
from journal.mirror.node import COMPLETE, SAID, Files, Order, is_anyone_present, opened
from journal.mirror.service import MirrorService
from journal.mirror.store import MirrorError, Store

_LOOK_S = 0.25  # seconds between two checks whether the run's processes are alive
_PATIENCE_S = 600.0  # seconds for which it tries to reach the store after the run's processes have exited


def main(lock: int, order: Order) -> int:
    """Mirror one run until none of its processes lives on this host.

    Args:
        lock: The descriptor of a locked file. Its lock shows other processes that a mirror process runs.
        order: What to mirror.

    Returns:
        The exit code: 0 if everything is stored, else 1.
    """
    os.set_inheritable(lock, False)
    stop = SignalEvent()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    present = opened(Files.of(order).present)
    try:
        store = Store(order.url, make=True)
    except MirrorError as error:
        _write(f"{SAID}run {order.run_id} is not mirrored: {error}")
        return 1
    service = MirrorService(store, Path(order.root), (order.run_id,), order.node_id, lambda line: _write(SAID + line))
    ticks = _mirror(service, order.every_s, stop, present)
    usage = os.times()
    _write(f"{ticks} looks, {usage.user + usage.system:.2f} s of CPU time, {service.totals()}")
    _write(COMPLETE if service.reachable else f"{SAID}run {order.run_id}: {_left(service, order)}")
    return 0 if service.reachable else 1


def _mirror(service: MirrorService, every_s: float, stop: SignalEvent, present: int) -> int:
    ticks = 0
    while True:
        gone_since: float | None = None
        while not stop.is_set():
            started = time.monotonic()
            service.tick()
            ticks += 1
            if not is_anyone_present(present):
                gone_since = started if gone_since is None else gone_since
                if service.reachable or started - gone_since > _PATIENCE_S:
                    break
            else:
                gone_since = None
            _wait(started + every_s, stop, present if gone_since is None else None)
        service.settle()
        if stop.is_set() or not is_anyone_present(present):
            return ticks + 1


def _wait(until: float, stop: SignalEvent, present: int | None) -> None:
    """Wait for the next look, a signal, or the end of the run's processes."""
    while (left := until - time.monotonic()) > 0 and not stop.wait(min(left, _LOOK_S)):
        if present is not None and not is_anyone_present(present):
            return


def _left(service: MirrorService, order: Order) -> str:
    return (
        f"the end is not mirrored, because {service.store.url} does not answer;"
        f" `journal mirror {order.root} {order.url} --run-id {order.run_id} --once` stores it"
    )


def _write(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), msgspec.json.decode(sys.argv[2], type=Order)))
