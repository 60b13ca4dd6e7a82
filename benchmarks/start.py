"""Measure what recording adds to the start of a training: importing rsc, attaching a config, and creating the database.

    python benchmarks/start.py

Two kinds of processes take turns: one imports RLlib and creates a config, the other also calls `rsc.attach` with a new
SQLite file. A figure is the difference of the medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Table, parser_of, report

BARE = """
from ray.rllib.algorithms.ppo import PPOConfig
import gymnasium
config = PPOConfig().environment("CartPole-v1")
"""
ATTACHED = (
    BARE
    + """
import rsc
account = rsc.Account.from_rewards("simple")
run = rsc.attach(config, account=account, run_id="start", journal_root=FOLDER + "/j", database_url=f"sqlite:///{FOLDER}/d.db")
"""
)
TOLD = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def seconds_of(program: str) -> tuple[float, float]:
    """Return the seconds of a new process that runs a program, by the clock and in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", f"FOLDER = {folder!r}\n{program}"]
        subprocess.run(command, check=True, env=TOLD, capture_output=True, timeout=120)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    given = parser_of(__doc__, rounds=9).parse_args()
    programs = {"RLlib alone": BARE, "with rsc.attach": ATTACHED}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
    seconds_of(ATTACHED)  # brings the files into the page cache
    for _ in range(1 if given.quick else given.rounds):
        for name, program in programs.items():
            measured[name].append(seconds_of(program))
    table = Table(("start", "seconds", "seconds of CPU"))
    medians = {name: [statistics.median(each) for each in zip(*measured[name], strict=True)] for name in programs}
    table.rows += [(name, *each) for name, each in medians.items()]
    alone, attached = medians.values()
    table.rows.append(("beyond RLlib", *(b - a for a, b in zip(alone, attached, strict=True))))
    report("start", [table], given)


if __name__ == "__main__":
    main()
