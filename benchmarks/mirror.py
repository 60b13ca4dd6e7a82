"""Measure what mirroring costs on one node: CPU time, bytes and requests of a tick of `journal mirror`.

    python benchmarks/mirror.py

Each row writes episodes of 250 steps with 64 envs, and mirrors them into a folder after each 5 s of training. The CPU time
is that of a tick, without that of the writers. "Closed before" journals are already in the mirror, and lie in the
same folder. Needs 1 GB of memory in /dev/shm.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import Table, parser_of, report

from journal import About, EndReason, JournalWriter
from journal.mirror.service import MirrorService
from journal.mirror.store import Store
from rsc.metrics import RunningMetrics

ENVS, LENGTH, TICK_S = 64, 250, 5.0
SLOT = 96  # bytes of a step in the tail
WAYS = ((3_200, 0), (32_000, 0), (3_200, 20_000))
"""Steps a second of all envs, and the number of journals that were closed before."""


class Node:
    """The journals of one node. Episodes end one after the other, not all at once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._writers = [self._open() for _ in range(ENVS)]
        self.written = 0
        for number, writer in enumerate(self._writers):
            self._step(writer, number * LENGTH // ENVS)

    def train(self, steps: int) -> None:
        """Make so many steps with each env."""
        for number, writer in enumerate(self._writers):
            left, open_writer = steps, writer
            while left:
                part = min(left, LENGTH - open_writer.steps)
                self._step(open_writer, part)
                left -= part
                if open_writer.steps == LENGTH:
                    open_writer.close(EndReason.TERMINATED)
                    self.written += open_writer.path.stat().st_size
                    open_writer = self._writers[number] = self._open()

    def close(self) -> None:
        for writer in self._writers:
            writer.close(EndReason.CLOSED)

    def _open(self) -> JournalWriter:
        fold = RunningMetrics(10_000.0, 252.0)
        return JournalWriter(self._root, "run", about=About("Env", 10_000.0, 252.0), fold=fold)

    def _step(self, writer: JournalWriter, count: int) -> None:
        for step in range(writer.steps + 1, writer.steps + 1 + count):
            value = 10_000.0 + (step * 7919) % 1000 / 3
            writer.append(1.0, 0.001, value, value / 100, 0.0, 100.0, 0.0, 0.0, step * 60_000_000, False, False)
        self.written += count * SLOT


def measure(home: Path, rate: int, before: int, ticks: int) -> tuple[Any, ...]:
    """Measure one way, and return its row of the table."""
    node = Node(home / "root")
    for _ in range(before // ENVS):
        node.train(LENGTH)
    service = MirrorService(Store(str(home / "mirror"), make=True), home / "root")
    while service.tick():
        pass
    first, written, times = service.totals(), node.written, []
    for _ in range(ticks):
        node.train(int(rate * TICK_S) // ENVS)
        started = time.process_time()
        service.tick()
        times.append(time.process_time() - started)
    last = service.totals()
    node.close()
    sent = (last["bytes"] - first["bytes"]) / (node.written - written)
    tick_s = statistics.median(times)
    requests = (last["bundles"] - first["bundles"]) / ticks
    us_a_step = tick_s / (rate * TICK_S) * 1e6
    return f"{rate:,}", f"{before:,}", tick_s * 1e3, tick_s / TICK_S * 100, us_a_step, sent, requests


def main() -> None:
    given = parser_of(__doc__).parse_args()
    ways = ((3_200, 100),) if given.quick else WAYS
    costs = "ms of CPU a tick", "% of a core", "us a step", "bytes sent / written", "requests a tick"
    table = Table(("steps/s", "closed before", *costs))
    for rate, before in ways:
        with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rsc-bench-") as home:
            table.rows.append(measure(Path(home), rate, before, 3 if given.quick else 20))
    report("mirror", [table], given)


if __name__ == "__main__":
    main()
