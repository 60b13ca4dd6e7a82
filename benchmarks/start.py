"""Measure what recording adds to the start of a training: importing rsc, attaching a config, and creating the database.

    python benchmarks/start.py

A new process imports RLlib and creates a config. Then it imports `rsc`, calls `rsc.attach` with a new SQLite file, and
ends the run. The process itself measures each part. Figures are medians over several processes.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from harness import Table, parser_of, report

PROGRAM = """
import json, time
def now():
    return time.perf_counter(), time.process_time()
begun = now()
from ray.rllib.algorithms.ppo import PPOConfig
import gymnasium
config = PPOConfig().environment("CartPole-v1")
bare = now()
import rsc
account = rsc.Account.from_rewards("simple")
run = rsc.attach(config, account=account, run_id="start", journal_root=FOLDER + "/j", database_url=f"sqlite:///{FOLDER}/d.db")
attached = now()
run.end()
print(json.dumps([begun, bare, attached, now()]))
"""
PARTS = ("import RLlib, make a config", "import rsc, attach", "end the run")
TOLD = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def parts_of_a_start() -> list[tuple[float, float]]:
    """Return the seconds of each part of PARTS in a new process, by the clock and in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", f"FOLDER = {folder!r}\n{PROGRAM}"]
        done = subprocess.run(command, check=True, env=TOLD, capture_output=True, text=True, timeout=120)
    times = json.loads(done.stdout.splitlines()[-1])
    return [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(times)]


def main() -> None:
    given = parser_of(__doc__, rounds=15).parse_args()
    parts_of_a_start()  # writes the bytecode, and brings the files into the page cache
    starts = [parts_of_a_start() for _ in range(1 if given.quick else given.rounds)]
    table = Table(("part", "seconds", "seconds of CPU"))
    for name, *measured in zip(PARTS, *starts, strict=True):
        table.rows.append((name, *(statistics.median(each) for each in zip(*measured, strict=True))))
    report("start", [table], given)


if __name__ == "__main__":
    main()
