"""`make demo`: train, be cut off, see what RLlib left behind, reconcile, check. Each line shown is a real command."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n{text}", flush=True)


def show(command: str, lines: int | None = None) -> int:
    """Run a command as a user would type it, and show its output as it comes, or its first lines at its end."""
    print(f"$ {command}", flush=True)
    stdout = None if lines is None else subprocess.PIPE
    result = subprocess.run(shlex.split(command), text=True, stdout=stdout, timeout=600, check=False)
    if lines is not None:
        output = result.stdout.splitlines()
        print("\n".join([*output[:lines], f"... and {len(output) - lines} lines more"]), flush=True)
    return result.returncode


def show_rows(run_id: str) -> None:
    """The rows of the run, straight from the database."""
    import sqlite3

    query = (
        "SELECT episode_id, status, pnl, sharpe_ratio, max_drawdown, win_rate, total_steps,"
        " (SELECT count(*) FROM completed_trades t WHERE t.episode_id = e.episode_id)"
        " FROM episodes e WHERE run_id = ? ORDER BY episode_id"
    )
    print(
        f"{'episode':>7} {'status':10} {'pnl':>10} {'Sharpe':>8} {'drawdown':>9} {'win rate':>9} {'steps':>6} {'trades':>6}"
    )
    with sqlite3.connect("rsc-data/rsc.db") as connection:
        for row in connection.execute(query, (run_id,)):
            texts = [
                "NULL" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value) for value in row
            ]
            print("{:>7} {:10} {:>10} {:>8} {:>9} {:>9} {:>6} {:>6}".format(*texts))


def main() -> int:
    folder = Path(tempfile.mkdtemp(prefix="rsc-demo-"))
    os.chdir(folder)
    print(f"(everything happens in {folder})")
    say("1. Train PPO on real prices: 2 env runners x 4 envs, until its one iteration is done.")
    if show(
        "rsc train --algo ppo --ticker MSFT --iterations 1 --num-env-runners 2 --num-envs-per-env-runner 4 --run-id demo"
    ):
        return 1
    say(
        "2. RLlib has dropped the episodes that were still running: their rows say `started`, with NULL metrics, for ever."
    )
    show_rows("demo")
    say("3. But each step was journaled before its env returned it. The reconciler reads the journals:")
    show("reconcile --run-id demo")
    say("4. Every episode is on record now, with its metrics and its trades:")
    show_rows("demo")
    say("5. And the check agrees:")
    code = show("rsc check demo", lines=8)
    print(f"rsc check exits {code}: " + ("every episode is complete." if code == 0 else "something is missing."))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
