"""Measure the speed of the `journal` command: its start, ten thousand journals, a million rows.

    python benchmarks/cli.py

A figure is the best of five. Each includes the start of a process. Needs 200 MB of disk for a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness import Table, parser_of, report

from journal import About, EndReason, JournalWriter
from rsc.metrics import RunningMetrics

MANY, LONG = 10_000, 1_000_000
PROGRAM = [sys.executable, "-m", "journal"]


def write(root: Path, run_id: str, journal_id: str, steps: int) -> Path:
    """Write a closed episode."""
    fold = RunningMetrics(10_000.0, 252.0)
    writer = JournalWriter(root, run_id, journal_id, about=About("Env", 10_000.0, 252.0), fold=fold)
    for step in range(1, steps + 1):
        value = 10_000.0 + (step * 7919) % 1000 / 3
        writer.append(1.0, 0.001, value, value / 100, 0.0, 100.0, 0.0, 0.0, step * 60_000_000, step == steps, False)
    writer.close(EndReason.TERMINATED)
    return writer.path


def seconds(*arguments: str) -> float:
    """Return the wall-clock time of one command in seconds. Its output is discarded."""
    started = time.perf_counter()
    subprocess.run([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def seconds_to_second_line(*arguments: str) -> float:
    """Return the seconds until the first line after the headline arrives through a pipe."""
    started = time.perf_counter()
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()
        waited = time.perf_counter() - started
        child.stdout.close()
    return waited


def starts(one: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each verb with its arguments on a small journal."""
    yield "--help", ["--help"]
    for verb in ("ls", "info", "cat", "head", "tail", "verify", "plot", "stats"):
        yield verb, [verb, one]
    yield "diff", ["diff", one, one]
    yield "verify --deep", ["verify", "--deep", one]


def main() -> None:
    given = parser_of(__doc__, rounds=5).parse_args()
    many, rows, rounds = (100, 10_000, 1) if given.quick else (MANY, LONG, given.rounds)
    table = Table(("command", "seconds"))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["RSC_JOURNAL_ROOT"] = folder
        for number in range(many):
            write(root, "many", f"ep{number:06d}", 50)
        long = str(write(root, "long", "long", rows))
        for name, arguments in starts(str(root / "many" / "ep000000.arrows")):
            table.rows.append((name, min(seconds(*arguments) for _ in range(rounds))))
        first = min(seconds_to_second_line("ls", "many") for _ in range(rounds))
        table.rows.append((f"ls of {many:,}, first line", first))
        for name, arguments in (
            (f"ls of {many:,}", ["ls", "many"]),
            (f"ls of {many:,}, by pnl", ["ls", "many", "--sort", "pnl"]),
            (f"stats of {many:,}", ["stats", "many"]),
            (f"verify of {rows:,} rows", ["verify", long]),
            (f"cat of {rows:,} rows, csv", ["cat", long, "--format", "csv"]),
        ):
            table.rows.append((name, min(seconds(*arguments) for _ in range(rounds))))
    report("cli", [table], given)


if __name__ == "__main__":
    main()
