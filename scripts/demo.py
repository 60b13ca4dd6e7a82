"""Run the demo of `make demo`: train, kill -9 in mid-episode, reconcile, check, report. Each shown command is real."""

from __future__ import annotations

import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

TRAIN = (
    "rsc train --algo ppo --ticker MSFT --iterations 50 --num-env-runners 2 --num-envs-per-env-runner 4 --run-id demo"
)
ROWS = """
SELECT episode_id, status, pnl, sharpe_ratio, max_drawdown, win_rate, total_steps,
    (SELECT count(*) FROM completed_trades t WHERE t.episode_id = e.episode_id)
FROM episodes e WHERE run_id = 'demo' ORDER BY episode_id
"""
_TIMEOUT_S = 300


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def run(command: str, lines: int | None = None) -> int:
    """Run a command as a user would type it, and show its output.

    Args:
        command: The command line.
        lines: Show only this many lines of the output, and the exit code. If None, show everything.

    Returns:
        The exit code.
    """
    print(f"$ {command}", flush=True)
    stdout = None if lines is None else subprocess.PIPE
    result = subprocess.run(shlex.split(command), text=True, stdout=stdout, timeout=_TIMEOUT_S, check=False)
    if lines is not None:
        output = result.stdout.splitlines()
        hidden = [f"... and {len(output) - lines} lines more"] if len(output) > lines else []
        print("\n".join([*output[:lines], *hidden]), flush=True)
    return result.returncode


def train_until_killed() -> bool:
    """Start a training and kill its process after the first iteration. Return True if it completed that iteration.

    An iteration plays 375 steps in each env, and an episode has 250, so every env is then in mid-episode.
    """
    print(f"$ {TRAIN}", flush=True)
    training = subprocess.Popen(shlex.split(TRAIN), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert training.stdout is not None
    for line in training.stdout:
        if not line.startswith("["):  # Ray's own log
            print(line, end="", flush=True)
        if line.startswith("iteration 1 "):
            print(f"$ kill -9 {training.pid}", flush=True)
            training.send_signal(signal.SIGKILL)
            training.wait(_TIMEOUT_S)
            return True
    training.wait(_TIMEOUT_S)
    return False


def show_rows() -> int:
    """Print rows of the run directly from the database, three of each status. Return the number of started rows."""
    form = "{:>7} {:10} {:>10} {:>8} {:>9} {:>9} {:>6} {:>6}".format
    print(form("episode", "status", "pnl", "Sharpe", "drawdown", "win rate", "steps", "trades"))
    with sqlite3.connect("rsc-data/rsc.db") as connection:
        rows = connection.execute(ROWS).fetchall()
    for status in dict.fromkeys(row[1] for row in rows):
        of_status = [row for row in rows if row[1] == status]
        for row in of_status[:3]:
            print(form(*map(_text, row)))
        if len(of_status) > 3:
            print(f"    ... and {len(of_status) - 3} more {status}")
    return sum(row[1] == "started" for row in rows)


def _text(value: object) -> str:
    return "NULL" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="rsc-demo-"))
    os.chdir(folder)
    say("1. Train PPO on real prices, 2 env runners x 4 envs, and kill the training in mid-episode.")
    if not train_until_killed():
        return 1
    say("2. The database now: started rows with NULL metrics. RLlib has no hook that could end them.")
    show_rows()
    say("3. Each step was in a journal before its env returned it. The reconciler reads the journals:")
    run("reconcile --run-id demo")
    say("4. Every episode is on record, with its metrics and its trades:")
    left = show_rows()
    say("5. The check agrees:")
    code = run("rsc check demo", lines=4)
    print(f"rsc check exits {code}: " + ("every episode is complete." if code == 0 else "something is missing."))
    say("6. One rescued episode:")
    with sqlite3.connect("rsc-data/rsc.db") as connection:
        query = "SELECT max(episode_id) FROM episodes WHERE status = 'truncated'"
        (rescued,) = connection.execute(query).fetchone()
    if rescued is not None:
        run(f"journal plot {rescued}")
    say("7. One page about the run, for a browser:")
    run("rsc report demo")
    say("Everything is in this folder, which stays:")
    python = Path(sys.executable).parent
    print(f"  cd {folder}; export PATH={python}:$PATH")
    print("  xdg-open demo.html")
    print("  rsc episodes demo --sort -sharpe_ratio")
    print("  rsc train --algo ppo --ticker IBM --iterations 5 && rsc evaluate latest")
    return code or int(left > 0)


if __name__ == "__main__":
    raise SystemExit(main())
