"""A small language for tests that train with a real RLlib, by the commands that a user types."""

from __future__ import annotations

import functools
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from sqlalchemy import Engine, select

from journal import journal_path, read_journal
from rsc.db import episodes, runs
from rsc.db.models import completed_trades
from rsc.db.session import open_engine, reading

SMALL = ("--train-batch-size", "1000", "--run-id", "r1", "--seed", "3")


class Project:
    """A folder in which somebody trains."""

    def __init__(self, folder: Path, env_config: str = '{"episode_length": 90}') -> None:
        self.folder = folder
        (folder / "env.json").write_text(env_config)
        self.url = f"sqlite:///{folder / 'rsc-data' / 'rsc.db'}"
        self.root = folder / "rsc-data" / "journal"

    @functools.cached_property
    def engine(self) -> Engine:
        """One for all questions: each engine holds a connection until a collector finds it, and a server has 100."""
        return open_engine(self.url)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start `rsc train` in a session of its own."""
        command = [sys.executable, "-m", "rsc", "train", "--env-config", "env.json", *SMALL, *arguments]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def run(self, module: str, *arguments: str, expect: int = 0) -> str:
        """Run one of the programs to its end."""
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == expect, (
            f"{module} {arguments} exited {done.returncode}:\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout + done.stderr

    def train(self, *arguments: str) -> str:
        return self.run("rsc", "train", "--env-config", "env.json", *SMALL, *arguments)

    def rows(self, run_id: str = "r1") -> list[Any]:
        return list(episodes.episodes_of(self.engine, run_id))

    def run_row(self, run_id: str = "r1") -> Any:
        with reading(self.engine) as connection:
            return runs.find_run(connection, run_id)

    def trades_of(self, episode_id: int) -> list[Any]:
        with reading(self.engine) as connection:
            query = select(completed_trades).where(completed_trades.c.episode_id == episode_id)
            return list(connection.execute(query.order_by(completed_trades.c.trade_number)))

    def reconcile_and_check(self) -> None:
        """After `reconcile` nothing is started, nothing NULL, every row its journal's; again changes nothing."""
        self.run("reconciler", "--run-id", "r1", "--wait", "120s")
        self.run("rsc", "check", "r1")
        before = self.rows()
        assert before
        assert not [row for row in before if row.status == "started"]
        for row in before:
            self.assert_row_is_its_journals(row)
        assert "nothing to do: no episode is left to end" in self.run("reconciler", "--run-id", "r1")
        assert self.rows() == before

    def assert_row_is_its_journals(self, row: Any) -> None:
        """An independent reading of the journal, with formulas of its own, gives the row."""
        journal = read_journal(journal_path(self.root, row.run_id, row.journal_id))
        table = journal.steps()
        values = np.concatenate(([row.initial_portfolio_value], table["portfolio_value"].to_numpy()))
        returns = values[1:] / values[:-1] - 1
        pnls = [trade["pnl"] for step in table["trades"].to_pylist() for trade in step]
        assert row.total_steps == len(table) == row.evidence_steps
        assert math.isclose(row.final_portfolio_value, values[-1])
        assert math.isclose(row.pnl, values[-1] - values[0], abs_tol=1e-9)
        assert math.isclose(row.total_reward, math.fsum(table["reward"].to_pylist()), abs_tol=1e-9)
        peak = np.maximum.accumulate(values)
        assert math.isclose(row.max_drawdown, float(np.max(1 - values / peak)), abs_tol=1e-12)
        if len(returns) > 1 and returns.std() > 1e-12:
            sharpe = returns.mean() / returns.std(ddof=1) * math.sqrt(252)
            assert math.isclose(row.sharpe_ratio, sharpe, rel_tol=1e-9, abs_tol=1e-9)
        assert math.isclose(row.win_rate, float(np.mean([pnl > 0 for pnl in pnls])) if pnls else 0.0)
        assert [trade.pnl for trade in self.trades_of(row.episode_id)] == pnls
        assert row.total_trades == len(pnls)
        unrealized = table["unrealized_pnl"].to_pylist()[-1] if len(table) else 0.0
        assert math.isclose(row.pnl, sum(pnls) + unrealized, abs_tol=1e-6)


def descendants(pid: int) -> list[psutil.Process]:
    """All processes below one, for killing what a test started and nothing else."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def kill_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
