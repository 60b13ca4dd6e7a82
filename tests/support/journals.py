"""Make realistic journals for tests, damage them, and kill their writers."""

from __future__ import annotations

import enum
import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from crc32c import crc32c

from journal.format.header import About
from journal.format.schema import TRADE_COLUMNS, EndReason, Trade
from journal.format.slots import layout_of
from journal.host.paths import new_journal_id, tail_path
from journal.read.source import FileSource
from journal.write.writer import JournalWriter

DAY_US = 86_400_000_000
ABOUT = About("Model", 10_000.0, 252.0)


class Fate(enum.StrEnum):
    """How the writer of a simulated episode ended without closing the journal."""

    DEAD = "dead"  # SIGKILL: the tail is left, the lock is free
    TORN = "torn"  # SIGKILL in the middle of a step, before `append` returned
    FAILED = "failed"  # a write failed after the last step, then the process died


class DigestFold:
    """A fold for tests. Two states are equal only if the same steps and trades were folded, once each and in order.

    Every bit of every value changes the state. The borders between blocks do not.
    """

    def __init__(self, state: bytes = bytes(24)) -> None:
        self.steps, self.trades, self._step_crc, self._trade_crc = struct.unpack("<QQII", state)

    def fold(self, steps: Mapping[str, Any], trades: Mapping[str, Any]) -> None:
        """Take the next block."""
        known = [name for name in steps if name != "wall_time"]  # the only column that differs between runs
        self._step_crc = crc32c(rows_of(steps, known).tobytes(), self._step_crc)
        self._trade_crc = crc32c(rows_of(trades, list(TRADE_COLUMNS)).tobytes(), self._trade_crc)
        self.steps += len(steps["step"])
        self.trades += len(trades["pnl"])

    def to_bytes(self) -> bytes:
        """Return the state, 24 bytes."""
        return struct.pack("<QQII", self.steps, self.trades, self._step_crc, self._trade_crc)


def rows_of(columns: Mapping[str, Any], names: Sequence[str]) -> np.ndarray[Any, Any]:
    """Return columns as one array of packed rows, so that they can be compared bit for bit."""
    rows = np.empty(len(columns[names[0]]), [(name, columns[name].dtype.newbyteorder("<")) for name in names])
    for name in names:
        rows[name] = columns[name]
    return rows


def trades_of_step(step: int) -> tuple[Trade, ...]:
    """Return the trades that a step of the model closes: none, one or two, depending only on the step's number."""
    count, was = (0, 1, 0, 2, 0)[step % 5], max(1, step - 3)
    price = 10.0 + step
    return tuple(
        Trade(1 - 2 * (index % 2), 1.5 + index, was, was * DAY_US, price, price + 0.5, 0.75 - index, 0.1)
        for index in range(count)
    )


def step_of(step: int) -> tuple[float, float, float, float, float, float, float, float, int]:
    """Return the model's values of a step, in the order of `JournalWriter.append`."""
    price, position = 25.0 + (step * 7919 % 1000) / 100, float(step % 3 - 1)
    value = 10_000.0 + step * 0.25 + position * price
    cash, fees = value - position * price, 0.1 * (step % 2)
    return position, 0.001 * (step % 7 - 3), value, price, cash, position, fees, 0.5 * position, step * DAY_US


def append_step(writer: JournalWriter, step: int, *, terminated: bool = False, truncated: bool = False) -> None:
    """Append a step of the model. ``step`` must be the writer's next step."""
    writer.append(*step_of(step), terminated, truncated, trades_of_step(step))


def write_journal(
    root: Path,
    steps: int,
    *,
    run_id: str = "run",
    journal_id: str = "journal",
    end: EndReason | Fate | None = EndReason.TIME_LIMIT,
    seal_every: int | None = None,
    **settings: Any,
) -> Path:
    """Write a journal of the model's first steps, and return its path.

    Args:
        root: The journal root.
        steps: The number of steps.
        run_id: The run.
        journal_id: The journal.
        end: How the journal was closed, or how its writer ended otherwise. None means DEAD.
        seal_every: Seal after so many steps. If None, only the writer seals.
        settings: Further arguments of `JournalWriter`.
    """
    writer = JournalWriter(root, run_id, journal_id, **{"about": ABOUT, **settings})
    for step in range(1, steps + 1):
        last = step == steps
        append_step(
            writer,
            step,
            terminated=last and end is EndReason.TERMINATED,
            truncated=last and end is EndReason.TIME_LIMIT,
        )
        if seal_every and step % seal_every == 0 and not last:
            writer.checkpoint()
    if isinstance(end, EndReason):
        writer.close(end)
    else:
        _leave(writer, end or Fate.DEAD)
    return writer.path


def simulate_episode(root: Path, steps: int = 250, end: EndReason | Fate = EndReason.TERMINATED, **more: Any) -> Path:
    """Write a journal with a new id and a `DigestFold`, in any state that an episode can leave; see `write_journal`."""
    return write_journal(root, steps, end=end, **{"journal_id": new_journal_id(), "fold": DigestFold(), **more})


def _leave(writer: JournalWriter, fate: Fate) -> None:
    if fate is Fate.TORN:
        append_step(writer, writer.steps + 1)
    if fate is Fate.FAILED:
        writer._fail(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    abandon(writer)
    if fate is Fate.TORN:
        tail = tail_path(writer.path)
        end = len(tail.read_bytes().rstrip(b"\0"))
        zero(tail, end - layout_of(writer.about.extra_columns).size // 2, end)


def abandon(writer: JournalWriter) -> None:
    """Abandon a writer as the death of its process would: leave the files as they are, and free the lock."""
    writer._abandon()


def tear(path: Path, length: int) -> None:
    """Cut a file to its first ``length`` bytes."""
    os.truncate(path, length)


def flip(path: Path, bit: int) -> None:
    """Flip one bit of a file."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def zero(path: Path, start: int, end: int) -> None:
    """Zero a range of a file."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(end - start))


class MemorySource:
    """A journal's bytes in memory: a source for `read_journal` that tests can damage without writing files."""

    def __init__(self, path: Path, stream: bytes, tail: bytes | None = None, *, failed: bool = False) -> None:
        self.name = os.fspath(path)
        self.stream, self._tail, self._failed = stream, tail, failed

    @classmethod
    def of(cls, path: Path) -> MemorySource:
        """Return the current bytes of a journal on disk."""
        with FileSource(path) as source:
            tail, failed = source.tail() or (None, False)
            return cls(path, source.read(0, source.size()), tail, failed=failed)

    def but(self, *, stream: bytes | None = None, tail: bytes | None = None) -> MemorySource:
        """Return a copy with another stream or tail."""
        old = self._tail if tail is None else tail
        return MemorySource(Path(self.name), self.stream if stream is None else stream, old, failed=self._failed)

    def tail(self) -> tuple[bytes, bool] | None:
        return None if self._tail is None else (self._tail, self._failed)

    def size(self) -> int:
        return len(self.stream)

    def read(self, offset: int, length: int) -> bytes:
        return self.stream[offset : offset + length]


class FailingOs:
    """The module `os` with a fault: from the ``at``-th call on, the function ``name`` raises, or a write is short."""

    def __init__(self, name: str, at: int, error: OSError | None) -> None:
        self.calls = 0
        self.failed = 0
        self._name = name
        self._at = at
        self._error = error

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        return self._faulty(real) if name == self._name else real

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            self.calls += 1
            if self.calls < self._at:
                return real(*arguments, **options)
            self.failed += 1
            if self._error is not None:
                raise self._error
            fd, data = arguments
            return real(fd, bytes(data)[: max(1, len(data) // 2)]) if self.failed == 1 else 0

        return call


@contextmanager
def failing(module: Any, name: str, at: int, error: OSError | None) -> Iterator[FailingOs]:
    """Make the function ``name`` of a module's `os` fail from its ``at``-th call on. Without ``error``, writes are short."""
    fault = FailingOs(name, at, error)
    real, module.os = module.os, fault
    try:
        yield fault
    finally:
        module.os = real


def told_steps(
    root: Path, *, kill_after: int, journals: int = 1, seal_every: int = 64, mapped: bool = True
) -> list[int]:
    """Start a process that appends as fast as it can, kill it with SIGKILL, and return the last steps that it reported.

    The process reports each step after `append` has returned. Its journals are ``j0``, ``j1``, ... of run ``run``.

    Args:
        root: The journal root.
        kill_after: Kill the process after so many reports.
        journals: The number of journals. The process appends to them in turn.
        seal_every: Seal after so many steps.
        mapped: Whether tails are memory-mapped.

    Returns:
        The last reported step of each journal.
    """
    command = [sys.executable, "-m", "journals", str(root), str(journals), str(seal_every)]
    environment = {**os.environ, "RSC_MAPPED_TAIL": "1" if mapped else "0"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    told = [0] * journals
    got = 0
    try:
        while got < kill_after and (record := process.stdout.read(8)):
            told[record[0]] = int.from_bytes(record[1:], "little")
            got += 1
        process.kill()
        rest = process.stdout.read()
    finally:
        process.kill()
        process.wait(30)
        process.stdout.close()
    for at in range(0, len(rest) - 7, 8):
        told[rest[at]] = int.from_bytes(rest[at + 1 : at + 8], "little")
    return told


def append_and_tell(root: Path, journals: int, seal_every: int) -> None:
    """Append steps, and write 8 bytes to stdout after each step. Runs in the child process of `told_steps`."""
    about = About("Model", 10_000.0, 252.0)
    writers = [
        JournalWriter(root, "run", f"j{number}", about=about, checkpoint_every_steps=seal_every)
        for number in range(journals)
    ]
    step = 0
    while True:
        step += 1
        for number, writer in enumerate(writers):
            append_step(writer, step)
            os.write(1, bytes([number]) + step.to_bytes(7, "little"))


def model_columns(steps: int) -> dict[str, np.ndarray[Any, Any]]:
    """Return the model's columns, to compare them with those of a journal."""
    names = (
        "action",
        "reward",
        "portfolio_value",
        "price",
        "cash",
        "position",
        "fees",
        "unrealized_pnl",
        "market_time",
    )
    rows = np.array([step_of(step) for step in range(1, steps + 1)]).reshape(steps, len(names))
    return dict(zip(names, rows.T, strict=True))


def model_trades(steps: int) -> list[tuple[Any, ...]]:
    """Return the model's trades, with values in the order of `schema.TRADE_COLUMNS`."""
    rows: list[tuple[Any, ...]] = []
    for step in range(1, steps + 1):
        for trade in trades_of_step(step):
            direction, quantity, entry_step, entry_time, entry_price, exit_price, pnl, costs = trade
            times = (step, step * DAY_US)
            rows.append(
                (
                    len(rows) + 1,
                    direction,
                    quantity,
                    entry_step,
                    entry_time,
                    entry_price,
                    *times,
                    exit_price,
                    pnl,
                    costs,
                )
            )
    return rows


if __name__ == "__main__":
    append_and_tell(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
