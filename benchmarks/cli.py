"""How quick the `journal` command is: its starts, ten thousand journals, a million rows.

    python benchmarks/cli.py

Best of five; each is a whole process, start and all. Needs 200 MB of disk for a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from journal import About, EndReason, JournalWriter
from rsc.metrics import RunningMetrics

MANY, LONG = 10_000, 1_000_000
ROUNDS = 5
PROGRAM = [sys.executable, "-m", "journal"]


def write(root: Path, run_id: str, journal_id: str, steps: int) -> Path:
    """A closed episode."""
    fold = RunningMetrics(10_000.0, 252.0)
    writer = JournalWriter(root, run_id, journal_id, about=About("Env", 10_000.0, 252.0), fold=fold)
    for step in range(1, steps + 1):
        value = 10_000.0 + (step * 7919) % 1000 / 3
        writer.append(1.0, 0.001, value, value / 100, 0.0, 100.0, 0.0, 0.0, step * 60_000_000, step == steps, False)
    writer.close(EndReason.TERMINATED)
    return writer.path


def seconds(*arguments: str) -> float:
    """Wall-clock time of one command, its output thrown away."""
    started = time.perf_counter()
    subprocess.run([*PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
    return time.perf_counter() - started


def seconds_to_second_line(*arguments: str) -> float:
    """Until the first line of content behind the headline has come through a pipe."""
    started = time.perf_counter()
    with subprocess.Popen([*PROGRAM, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.stdout.readline()
        waited = time.perf_counter() - started
        child.stdout.close()
    return waited


def starts(one: str) -> Iterator[tuple[str, list[str]]]:
    """Each verb on a small journal."""
    yield "--help", ["--help"]
    for verb in ("ls", "info", "cat", "head", "tail", "verify", "plot", "stats"):
        yield verb, [verb, one]
    yield "diff", ["diff", one, one]
    yield "verify --deep", ["verify", "--deep", one]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        os.environ["RSC_JOURNAL_ROOT"] = folder
        for number in range(MANY):
            write(root, "many", f"ep{number:06d}", 50)
        long = str(write(root, "long", "long", LONG))
        one = str(root / "many" / "ep000000.arrows")
        for name, arguments in starts(one):
            print(f"{name:<28} {min(seconds(*arguments) for _ in range(ROUNDS)):6.2f} s")
        print(
            f"{'ls of 10 000, first line':<28} {min(seconds_to_second_line('ls', 'many') for _ in range(ROUNDS)):6.2f} s"
        )
        for name, arguments in (
            ("ls of 10 000", ["ls", "many"]),
            ("ls of 10 000, by pnl", ["ls", "many", "--sort", "pnl"]),
            ("stats of 10 000", ["stats", "many"]),
            ("verify of 1 000 000 rows", ["verify", long]),
        ):
            print(f"{name:<28} {min(seconds(*arguments) for _ in range(ROUNDS)):6.2f} s")
        cat = min(seconds("cat", long, "--format", "csv") for _ in range(ROUNDS))
        print(f"{'cat of 1 000 000 rows, csv':<28} {cat:6.2f} s, {LONG / cat:,.0f} rows/s")


if __name__ == "__main__":
    main()
