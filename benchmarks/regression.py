"""Check in a minute that recording has not become slower: compare ratios to a floor with those of benchmarks/ratios.json.

    python benchmarks/regression.py              exit status 1 if a ratio is more than 30 % above the kept ratio
    python benchmarks/regression.py --keep       measure, and keep the ratios

Times differ by machine, and so do those of system calls. So the floors do the same kinds of work. The floor of a step packs
and checksums a row. The floor of an episode also creates, locks, writes and renames a file. The floor of a pass over stale
episodes reads and checksums their files, and inserts the same rows. Times are CPU time of this thread. A ratio compares the
best rounds, because every disturbance makes a round slower. A ratio that is too high is measured again, up to four times,
because only a real regression persists.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import shutil
import sqlite3
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from append import ABOUT, ROWS, TRADE
from crc32c import crc32c
from env import EPISODE, FEATURES_ON, TICKER
from harness import Table, parser_of, report
from reconcile import answers, make_stale, timed_floor, timed_pass

from journal import EndReason, JournalWriter, new_journal_id
from rsc.metrics import RunningMetrics
from rsc.recording.episode import JournalSettings
from rsc.recording.recorder import Recorder
from rsc.recording.vector import VectorRecorder
from rsc.trading.env import TradingEnv
from rsc.trading.vector_env import TradingVectorEnv

KEPT = Path(__file__).with_name("ratios.json")
SLACK = 1.3
ATTEMPTS = 5
ENVS = 64
STALE = 200  # episodes
HEADER = {f"setting {number}": number / 3 for number in range(40)}
PACK = struct.Struct("<q8dqI").pack
Figure = tuple[Callable[[], float], Callable[[], float]]
"""Microseconds of CPU time of one unit of work, and of its floor."""


def spent(work: Callable[[], Any], units: int) -> float:
    """Return the microseconds of CPU time for each unit."""
    gc.collect()
    started = time.thread_time_ns()
    work()
    return (time.thread_time_ns() - started) / 1000 / units


def pack_rows(steps: int) -> list[bytes]:
    """Do the minimum that any journal does for a step: pack and checksum it."""
    running, packed = 0, []
    for number, row in enumerate(ROWS[:steps]):
        data = PACK(number, *row, 0)
        running = crc32c(data, running)
        packed.append(data + running.to_bytes(4, "little"))
    return packed


def plain_file(folder: Path, steps: int) -> None:
    """Do the minimum that any journal does for an episode: write a header and rows to a locked file, and rename it."""
    hidden, path = folder / f".{new_journal_id()}", folder / new_journal_id()
    fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps(HEADER).encode())
    os.rename(hidden, path)
    os.write(fd, b"".join(pack_rows(steps)))
    os.close(fd)


def writer_in(folder: Path) -> JournalWriter:
    return JournalWriter(folder, "run", about=ABOUT, fold=RunningMetrics(10_000.0, 252.0))


def appended(folder: Path, steps: int, trades: Any = ()) -> float:
    """Return the microseconds a step of a journal, with ``trades`` in every other step."""
    writer = writer_in(folder)
    append = writer.append

    def work() -> None:
        for number, row in enumerate(ROWS[:steps]):
            append(*row, False, False, trades if number & 1 else ())

    each = spent(work, steps)
    writer.close(EndReason.CLOSED)
    return each


def episode(folder: Path, steps: int) -> None:
    writer = writer_in(folder)
    for row in ROWS[:steps]:
        writer.append(*row, False, False)
    writer.close(EndReason.CLOSED)


def played(env: Any, steps: int) -> Callable[[], float]:
    """Return a function that measures the microseconds a step of an env."""
    actions = np.random.default_rng(0).integers(0, 3, steps).tolist()

    def work() -> None:
        for action in actions:
            _, _, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                env.reset()

    env.reset()
    return lambda: spent(work, steps)


def played_vector(env: Any, steps: int) -> Callable[[], float]:
    actions = np.random.default_rng(0).integers(0, 3, (steps, ENVS))

    def work() -> None:
        for each in actions:
            env.step(each)

    env.reset()
    return lambda: spent(work, steps * ENVS)


def figures(folder: Path) -> dict[str, Figure]:
    settings, game = JournalSettings(str(folder), "bench"), {"ticker": TICKER, **FEATURES_ON}

    def packed() -> float:
        return spent(lambda: pack_rows(2000), 2000)

    def file_of(steps: int) -> Callable[[], float]:
        return lambda: spent(lambda: [plain_file(folder, steps) for _ in range(10)], 10)

    def episode_of(steps: int) -> Callable[[], float]:
        return lambda: spent(lambda: [episode(folder, steps) for _ in range(10)], 10)

    stale = make_stale(folder / "stale", STALE)
    timed_pass(stale, "first", 1)
    with sqlite3.connect(stale.home / "first.db") as connection:
        batches = answers(connection)

    return {
        "a stale episode": (
            lambda: spent(lambda: timed_pass(stale, "pass", 1), STALE),
            lambda: spent(lambda: timed_floor(stale, batches), STALE),
        ),
        "a step": (lambda: appended(folder, 2000), packed),
        "a step, a trade every other step": (lambda: appended(folder, 2000, TRADE), packed),
        "open + 3 steps + close": (episode_of(3), file_of(3)),
        "open + 250 steps + close": (episode_of(250), file_of(250)),
        "TradingEnv with a journal": (played(Recorder(TradingEnv(game), settings), 4 * EPISODE), packed),
        "TradingVectorEnv, 64 envs with journals": (
            played_vector(VectorRecorder(TradingVectorEnv(game, ENVS), settings), EPISODE // 2), packed,
        ),
    }  # fmt: skip


def measured(chosen: dict[str, Figure], rounds: int) -> dict[str, float]:
    """Return the ratios of the best rounds."""
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, (ours, floor) in chosen.items():
            before = best.get(name, (float("inf"), float("inf")))
            best[name] = min(before[0], ours()), min(before[1], floor())
    return {name: ours / floor for name, (ours, floor) in best.items()}


def main() -> int:
    parser = parser_of(__doc__, rounds=9)
    parser.add_argument("--keep", action="store_true", help=f"keep what is measured in {KEPT.name}")
    given = parser.parse_args()
    kept: dict[str, float] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    folder = Path(tempfile.mkdtemp(prefix="rsc-regression-"))
    try:
        chosen = figures(folder)
        found = measured(chosen, 3 if given.quick else given.rounds)
        for _ in range(0 if given.keep else ATTEMPTS - 1):
            slower = {name: chosen[name] for name, ratio in found.items() if ratio > kept.get(name, 0.0) * SLACK}
            for name, ratio in measured(slower, given.rounds).items():
                found[name] = min(found[name], ratio)
    finally:
        shutil.rmtree(folder)
    if given.keep:
        KEPT.write_text(json.dumps({name: round(ratio, 2) for name, ratio in found.items()}, indent=2) + "\n")
        kept = found
    table = Table(("work", "x floor", "kept", "of it"))
    table.rows += [
        (name, ratio, kept.get(name, "-"), ratio / kept.get(name, float("nan"))) for name, ratio in found.items()
    ]
    report("regression", [table], given)
    slower_names = [name for name, ratio in found.items() if not ratio <= kept.get(name, 0.0) * SLACK]
    for name in slower_names:
        print(f"slower than kept by more than 30 %: {name}", file=sys.stderr)
    return 1 if slower_names else 0


if __name__ == "__main__":
    raise SystemExit(main())
