"""What recording adds to the start of a training: importing rsc, attaching a config, and making the database.

    python benchmarks/start.py

Each way is a process of its own: importing RLlib and making a config, and the same with `rsc.attach` to a new SQLite file.
They take turns; a figure is the difference of the medians.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from harness import Table, in_turns, parser_of, report

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


def seconds_of(program: str, *, cpu: bool) -> float:
    """Seconds of a new process that runs this program, by the clock or in CPU time."""
    with tempfile.TemporaryDirectory() as folder:
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", f"FOLDER = {folder!r}\n{program}"]
        subprocess.run(command, check=True, env=TOLD, capture_output=True, timeout=120)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime if cpu else seconds


def main() -> None:
    given = parser_of(__doc__, rounds=9)
    options = given.parse_args()
    programs = {"RLlib alone": BARE, "with rsc.attach": ATTACHED}
    table = Table(("start", "seconds", "seconds of CPU"))
    medians = []
    for cpu in (False, True):
        ways: dict[str, Callable[[], float]] = {
            name: lambda program=program, cpu=cpu: seconds_of(program, cpu=cpu)  # type: ignore[misc]
            for name, program in programs.items()
        }
        seconds_of(ATTACHED, cpu=cpu)  # the files are in the page cache
        measured = in_turns(ways, 1 if options.quick else options.rounds)
        medians.append({name: statistics.median(each) for name, each in measured.items()})
    for name in programs:
        table.rows.append((name, *(each[name] for each in medians)))
    table.rows.append(("beyond RLlib", *(each["with rsc.attach"] - each["RLlib alone"] for each in medians)))
    report("start", [table], options)


if __name__ == "__main__":
    main()
