"""Measure the cost of writing a step: the floor, this project's journal, and other formats, in turns in one run.

    python benchmarks/append.py
    python benchmarks/append.py --folder /mnt/xfs      on another file system

Figures are medians over the rounds, in microseconds of CPU time a step (system calls included), and ratios to the floor
with CRC. durability=step is measured by the clock, because it waits for the disk. Machines are noisy, so read the ratios.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import statistics
import struct
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from crc32c import crc32c
from harness import Table, between, in_turns, parser_of, ratios, report

from journal import About, EndReason, JournalWriter, Trade, new_journal_id
from rsc.metrics import RunningMetrics

STEPS = 20_000
FLOOR, CLOCKED = "floor + CRC", ", by the clock"
ABOUT = About("Bench", 10_000.0, 252.0)
NAMES = ("action", "reward", "value", "price", "cash", "position", "fees", "unrealized")


def rows() -> list[tuple[Any, ...]]:
    """Return the rows of a realistic episode: prices with four digits, and positions that last some bars."""
    rng = np.random.default_rng(0)
    price = np.round(25 * np.exp(np.cumsum(rng.normal(0, 0.01, STEPS))), 4)
    position = np.repeat(rng.integers(-1, 2, STEPS // 4), 4) * 31.25
    cash = np.repeat(rng.normal(10_000, 500, STEPS // 4), 4)
    reward = rng.normal(0, 0.01, STEPS)
    fees = np.where(np.arange(STEPS) % 4 == 0, 0.8, 0.0)
    columns = (np.sign(position), reward, cash + position * price, price, cash, position, fees, position * price - 700)
    times = (np.arange(STEPS) * 86_400_000_000).tolist()
    return [
        (*row, time_us) for row, time_us in zip(zip(*(c.tolist() for c in columns), strict=True), times, strict=True)
    ]


ROWS = rows()
TRADE = [Trade(1, 31.25, 1, 0, 25.0, 26.0, 30.0, 1.6)]


def timed(work: Callable[[], Any], clock: Callable[[], int] = time.thread_time_ns) -> float:
    """Return the microseconds of CPU time of this thread, including system calls.

    Other processes disturb CPU time less than time by the clock.
    """
    start = clock()
    work()
    return (clock() - start) / 1000


def floor(folder: Path, crc: bool) -> float:
    """Return the microseconds a step of struct.pack and one os.write, with or without a running CRC."""
    fd = os.open(folder / new_journal_id(), os.O_WRONLY | os.O_CREAT)
    pack, write = struct.Struct("<q8dqI").pack, os.write

    def plain() -> None:
        for index, row in enumerate(ROWS):
            write(fd, pack(index, *row, 0))

    def checked() -> None:
        body, end, running = struct.Struct("<q8dq").pack, struct.Struct("<I").pack, 0
        for index, row in enumerate(ROWS):
            data = body(index, *row)
            running = crc32c(data, running)
            write(fd, data + end(running))

    spent = timed(checked if crc else plain) / STEPS
    os.close(fd)
    return spent


def ours(
    folder: Path, *, trades: bool = False, fold: bool = True, mapped: bool = True, steps: int = STEPS, **settings: Any
) -> float:
    """Return the microseconds a step of JournalWriter.append, with CRC, checkpoints and compression."""
    os.environ["RSC_MAPPED_TAIL"] = "1" if mapped else "0"
    running = RunningMetrics(10_000.0, 252.0) if fold else None
    run = f"run-{mapped}"  # separate folders, because a folder keeps spare mapped tails
    writer = JournalWriter(folder, run, new_journal_id(), about=ABOUT, fold=running, **settings)
    append = writer.append

    def plain() -> None:
        for row in ROWS[:steps]:
            append(*row, False, False)

    def trading() -> None:
        for index, row in enumerate(ROWS[:steps]):
            append(*row, False, False, TRADE if index & 1 else ())

    waits = settings.get("durability") == "step"  # waiting for the disk takes no CPU time
    clock = time.perf_counter_ns if waits else time.thread_time_ns
    spent = timed(trading if trades else plain, clock) / steps
    writer.close(EndReason.CLOSED)
    return spent


def open_and_close(folder: Path, steps: int = 3) -> float:
    """Return the microseconds of a whole journal of a few steps."""

    def episode() -> None:
        writer = JournalWriter(folder, "run", new_journal_id(), about=ABOUT, fold=RunningMetrics(10_000.0, 252.0))
        for row in ROWS[:steps]:
            writer.append(*row, False, False)
        writer.close(EndReason.CLOSED)

    return timed(episode)


def make_a_file(folder: Path) -> float:
    """Return the microseconds to create one file, which is the floor of a new journal."""

    def create() -> None:
        fd = os.open(folder / new_journal_id(), os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(fd, b"x" * 4096)
        os.close(fd)

    return timed(create)


def arrow_batch_a_step(folder: Path) -> float:
    schema = pa.schema([(name, pa.float64()) for name in NAMES])
    with pa.OSFile(str(folder / new_journal_id()), "wb") as file, pa.ipc.new_stream(file, schema) as stream:

        def write() -> None:
            for row in ROWS[:2000]:
                stream.write_batch(pa.record_batch([[value] for value in row[:8]], schema=schema))

        return timed(write) / 2000


def mcap_unchunked(folder: Path) -> float:
    from mcap.writer import Writer

    with (folder / new_journal_id()).open("wb") as file:
        writer = Writer(file, use_chunking=False)
        writer.start()
        channel = writer.register_channel("steps", "raw", writer.register_schema("step", "raw", b""))
        pack = struct.Struct("<8d").pack

        def write() -> None:
            for row in ROWS:
                writer.add_message(channel, row[8], pack(*row[:8]), row[8])
                file.flush()

        return timed(write) / STEPS


def sqlite_commit(folder: Path) -> float:
    connection = sqlite3.connect(folder / new_journal_id(), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute(f"CREATE TABLE steps (number INTEGER PRIMARY KEY, {', '.join(NAMES)})")

    def write() -> None:
        for index, row in enumerate(ROWS[:5000]):
            connection.execute("INSERT INTO steps VALUES (?,?,?,?,?,?,?,?,?)", (index, *row[:8]))

    spent = timed(write) / 5000
    connection.close()
    return spent


def bytes_per_step(folder: Path, steps: int) -> float:
    """Return the bytes a step of a closed journal without trades. Without compression, a row has 96 bytes."""
    writer = JournalWriter(folder, "size", new_journal_id(), about=ABOUT, fold=RunningMetrics(10_000.0, 252.0))
    for row in ROWS[:steps]:
        writer.append(*row, False, False)
        time.time_ns()
    writer.close(EndReason.CLOSED)
    return writer.path.stat().st_size / steps


def ways_in(folder: Path) -> dict[str, Callable[[], float]]:
    return {
        "floor: struct.pack + os.write": lambda: floor(folder, crc=False),
        FLOOR: lambda: floor(folder, crc=True),
        "journal": lambda: ours(folder),
        "journal, a trade every other step": lambda: ours(folder, trades=True),
        "journal, no metrics": lambda: ours(folder, fold=False),
        "journal, written tail": lambda: ours(folder, mapped=False),
        "journal, durability=checkpoint": lambda: ours(folder, durability="checkpoint"),
        f"journal, durability=step{CLOCKED}": lambda: ours(folder, durability="step", steps=200),
        "MCAP, unchunked, flushed": lambda: mcap_unchunked(folder),
        "SQLite WAL, commit a step": lambda: sqlite_commit(folder),
        "Arrow stream, a batch a step": lambda: arrow_batch_a_step(folder),
    }


def episodes_in(folder: Path) -> dict[str, Callable[[], float]]:
    """Return the ways to measure whole episodes. Each takes a median, because one episode is shorter than a disturbance."""

    def median_of(count: int, work: Callable[[], float]) -> Callable[[], float]:
        return lambda: statistics.median(work() for _ in range(count))

    return {
        "open + 3 steps + close": median_of(30, lambda: open_and_close(folder)),
        "open + 250 steps + close": median_of(10, lambda: open_and_close(folder, 250)),
        "making one file": median_of(30, lambda: make_a_file(folder)),
    }


def main() -> int:
    parser = parser_of(__doc__, rounds=9)
    parser.add_argument("--folder", help="where to write, by default a temporary folder")
    given = parser.parse_args()
    rounds = 2 if given.quick else given.rounds
    # Files are removed only at the end: ext4 without a journal of its own does not reuse an inode for some minutes, and
    # searches for others.
    folders = [Path(tempfile.mkdtemp(dir=given.folder)) for _ in range(rounds)]
    measured: dict[str, list[float]] = {}
    for folder in folders:
        for name, values in in_turns(ways_in(folder), 1).items():
            measured.setdefault(name, []).extend(values)
        os.environ["RSC_MAPPED_TAIL"] = "1"
        for name, values in in_turns(episodes_in(folder), 1).items():
            measured.setdefault(name, []).extend(values)
    sizes = {steps: bytes_per_step(folders[0], steps) for steps in (250, 3000, 20_000)}
    for folder in folders:
        shutil.rmtree(folder)
    table = Table(("way", "us of CPU a step", "x floor + CRC", "quartiles"))
    whole = Table(("an episode", "us of CPU", "x floor + CRC", "quartiles"))
    for name, (lower, middle, upper) in ratios(measured, FLOOR).items():
        row: tuple[str | float, ...] = (name, statistics.median(measured[name]), middle, between(lower, upper))
        if name.endswith(CLOCKED):
            row = (*row[:2], "-", "-")
        (whole if name in episodes_in(folders[0]) else table).rows.append(row)
    size = Table(("steps of a closed journal", "bytes a step"), [(f"{steps:,}", each) for steps, each in sizes.items()])
    report("append", [table, whole, size], given)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
