"""Measure whether `rsc train` learns: `rsc evaluate` plays its policy out of sample, beside simple strategies.

    python benchmarks/learning.py planted                a synthetic market whose returns are partly predictable
    python benchmarks/learning.py real --ticker MSFT     the bundled prices: trained until 2009, played from 2010 on

The simple strategies are buy-and-hold, random and flat accounts. The planted signal is a hidden drift that fades by 5 % a
bar, so past returns predict it. Its mean is zero, so holding earns nothing on average. Costs are a fee of 0.1 % and 2 basis
points of slippage per leg. Runs, journals and policies stay in --folder.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from harness import Table, parser_of, report


def write_planted(
    path: Path, seed: int, bars: int = 6000, drift: float = 0.004, noise: float = 0.01, lasting: float = 0.95
) -> None:
    """Write daily bars whose mean return is an AR(1) process of standard deviation ``drift``."""
    random = np.random.default_rng(seed)
    shocks = random.normal(0.0, drift * np.sqrt(1.0 - lasting**2), bars)
    hidden = np.zeros(bars)
    for t in range(1, bars):
        hidden[t] = lasting * hidden[t - 1] + shocks[t]
    close = 100.0 * np.exp(np.cumsum(hidden + random.normal(0.0, noise, bars)))
    opened = np.concatenate(([100.0], close[:-1]))
    high, low = np.maximum(opened, close) * 1.002, np.minimum(opened, close) * 0.998
    days = np.datetime64("2000-01-01") + np.arange(bars)
    volume = random.uniform(1e6, 2e6, bars)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("date", "open", "high", "low", "close", "volume"))
        writer.writerows(zip(days.tolist(), *map(np.ndarray.tolist, (opened, high, low, close, volume)), strict=True))


def rsc(folder: Path, *arguments: str) -> str:
    """Run a command of `rsc` in the folder, and return what it prints."""
    command = [sys.executable, "-m", "rsc", *arguments]
    return subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True).stdout


def evaluated(folder: Path, prices: list[str], until: str, seed: int, iterations: int) -> dict[str, Any]:
    """Train, and evaluate on all later bars; return what `rsc evaluate --json` prints."""
    rsc(
        folder, "train", *prices, "--env-config", "costs.json", "--train-until", until, "--run-id", f"seed-{seed}",
        "--seed", str(seed), "--iterations", str(iterations), "--num-env-runners", "0", "--num-envs-per-env-runner", "8",
    )  # fmt: skip
    found: dict[str, Any] = json.loads(rsc(folder, "evaluate", f"seed-{seed}", "--json"))
    return found


def row(name: str, account: dict[str, Any]) -> tuple[str, ...]:
    sharpe = account["sharpe_ratio"]
    shown = "-" if sharpe is None else f"{sharpe:.2f}"
    return name, f"{account['total_return']:.1%}", shown, f"{account['max_drawdown']:.1%}", str(account["trades"])


def measured(given: argparse.Namespace, folder: Path) -> Table:
    (folder / "costs.json").write_text('{"fee": 0.001, "slippage_bps": 2.0}', encoding="utf-8")
    prices, until = ["--ticker", given.ticker], "2009-12-31"
    if given.what == "planted":
        write_planted(folder / "planted.csv", given.market_seed)
        prices, until = ["--data", "planted.csv"], "2011-12-31"
    table = Table(("out of sample, costs included", "return", "Sharpe", "drawdown", "trades"))
    for number, seed in enumerate(map(int, given.seeds.split(","))):
        found = evaluated(folder, prices, until, seed, 1 if given.quick else given.iterations)
        table.rows.append(row(f"PPO, seed {seed}", found["policy"]))
        if number == 0:
            by_return = sorted(found["random"], key=lambda account: account["total_return"])
            others = {
                "buy and hold": found["buy_and_hold"],
                "random, median": by_return[len(by_return) // 2],
                "random, best 5 %": by_return[int(len(by_return) * 0.95)],
            }
    table.rows += [row(name, account) for name, account in others.items()]
    return table


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("what", choices=["planted", "real"])
    parser.add_argument("--ticker", default="MSFT")
    parser.add_argument("--seeds", default="1", help="of the training, separated by commas")
    parser.add_argument("--market-seed", type=int, default=1)
    parser.add_argument("--iterations", type=int, default=25, help="of 3 000 steps each")
    parser.add_argument("--folder", type=Path, help="for runs and policies, by default a temporary folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        report(f"learning-{given.what}", [measured(given, given.folder or Path(temporary))], given)


if __name__ == "__main__":
    main()
