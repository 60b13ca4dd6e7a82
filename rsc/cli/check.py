"""`rsc check`: is the record of a run whole?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from journal.console import fail, print_json, remark, work_without_output
from rsc import defaults
from rsc.cli import options

# Imports inside functions load SQLAlchemy or Ray, which `--help` does not need.

KEY_METRICS = (
    "end_time",
    "initial_portfolio_value",
    "final_portfolio_value",
    "pnl",
    "sharpe_ratio",
    "max_drawdown",
    "win_rate",
    "total_reward",
    "total_steps",
    "total_trades",
)


@click.command("check")
@click.argument("run_id")
@options.database_url
@options.as_json
def command(run_id: str, database_url: str | None, as_json: bool) -> int:
    """Say whether a run's record is complete.

    Shows every episode with its key metrics. Exit 0 when each has ended, with every key metric and all its trades; 1
    otherwise, naming the others.

    \b
    Example: rsc check 20261122-120000-1a2b3c
    """
    from rsc.db import episodes, runs, trades
    from rsc.db.session import reading
    from rsc.db.upgrade import open_existing

    work_without_output()  # the exit code is the answer
    engine = open_existing(defaults.database_url(database_url))
    with reading(engine) as connection:
        run = runs.find_run(connection, run_id)
        stored = trades.trade_counts(connection, run_id)
    if run is None:
        fail(f"run {run_id} is not in the database", "`rsc runs` lists those that are")
    rows = (dict(row._mapping) for row in episodes.episodes_of(engine, run_id))
    return _report(run_id, rows, stored, as_json)


def _report(run_id: str, rows: Iterable[dict[str, Any]], stored: dict[int, int], as_json: bool) -> int:
    listed, missing, total = [], [], 0
    for row in rows:
        total += 1
        row["missing"] = missing_of(row, stored.get(row["episode_id"], 0))
        if row["missing"]:
            missing.append(f"episode {row['episode_id']}: {', '.join(row['missing'])}")
        if as_json:
            listed.append(row)
        else:
            click.echo(_block(row))
    if as_json:
        print_json({"run_id": run_id, "complete": not missing, "episodes": listed})
    else:
        click.echo(f"{total - len(missing)} of {total} episodes complete")
    for line in missing:
        remark(line)
    if missing:
        remark(f"try: reconcile --run-id {run_id}")
    return 1 if missing else 0


def missing_of(row: dict[str, Any], stored_trades: int) -> list[str]:
    """What an episode's row lacks to be complete, in words; nothing if it is."""
    if row["status"] == "started":
        return ["still started"]
    lacks = [f"no {name}" for name in KEY_METRICS if row[name] is None]
    if row["total_trades"] is not None and stored_trades + (row["trades_lost"] or 0) < row["total_trades"]:
        lacks.append(f"{stored_trades} of {row['total_trades']} trades stored")
    return lacks


def _block(row: dict[str, Any]) -> str:
    """Four lines, of 80 columns but for long reasons."""
    why = f" ({row['end_reason']}: {row['status_reason']})" if row["end_reason"] else ""
    trades = f"{row['total_trades']} trades" if row["total_trades"] else "no closed trades"
    return (
        f"episode {row['episode_id']}  {row['status']}{why}\n"
        f"  rllib {row['rllib_episode_id'] or '-'}  {_text(row['total_steps'], '{} steps')}  {trades}\n"
        f"  {_when(row['start_time'])} to {_when(row['end_time'])} UTC"
        f"  value {_text(row['initial_portfolio_value'], '{:.2f}')} to {_text(row['final_portfolio_value'], '{:.2f}')}\n"
        f"  pnl {_text(row['pnl'], '{:+.2f}')}  reward {_text(row['total_reward'], '{:+.4f}')}"
        f"  Sharpe {_text(row['sharpe_ratio'], '{:+.3f}')}  drawdown {_text(row['max_drawdown'], '{:.1%}')}"
        f"  win rate {_text(row['win_rate'], '{:.1%}')}"
    )


def _when(time: Any) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "NULL"


def _text(value: Any, form: str) -> str:
    return "NULL" if value is None else form.format(value)
