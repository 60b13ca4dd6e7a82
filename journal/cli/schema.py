"""`journal schema`: explain the columns of steps and trades."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from journal.cli import options
from journal.cli.opening import journal_named
from journal.console import print_json

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

STEPS = {
    "step": "number of the step, from 1 without gaps",
    "wall_time": "when it was journaled, UTC",
    "market_time": "the market's time, UTC",
    "action": "the agent's action, as a number",
    "reward": "the reward of the step",
    "portfolio_value": "cash and position, in the account's currency",
    "price": "the asset's price",
    "cash": "cash in the account",
    "position": "units held, below zero for short",
    "fees": "costs of this step",
    "unrealized_pnl": "profit if the position were closed now, or NaN",
    "terminated": "the env reached a terminal state",
    "truncated": "the env's time limit ended the episode",
}
TRADES = {
    "trade_number": "number of the closed trade, from 1",
    "direction": "+1 long, -1 short",
    "quantity": "units, positive",
    "entry_step": "step of the entry",
    "entry_time": "market time of the entry, UTC",
    "entry_price": "price of the entry",
    "exit_step": "step that closed it",
    "exit_time": "market time of that step, UTC",
    "exit_price": "price of the exit",
    "pnl": "profit or loss, net of costs",
    "costs": "fees, slippage and borrow cost of both legs",
}
_LIST = "the trades that this step closed, as below"


@click.command("schema", short_help="Explain the columns of steps and trades.")
@click.argument("episode", required=False, type=options.JournalName("episode", runs=False))
@options.as_json
@options.root
def command(episode: str | None, as_json: bool, journal_root: Path | None) -> int:
    """Explain the columns of steps and trades, with EPISODE also the columns that its env added.

    \b
    Example: journal schema latest
    """

    tables = _tables(_extra(episode, journal_root))
    if as_json:
        print_json(tables)
        return 0
    for table, columns in tables.items():
        click.echo(f"{table}")
        for column in columns:
            click.echo(f"  {column['name']:<16} {column['type']:<12} {column['meaning']}")
    return 0


def _extra(episode: str | None, journal_root: Path | None) -> tuple[str, ...]:

    return journal_named(episode, journal_root).header.about.extra_columns if episode else ()


def _tables(extra: tuple[str, ...]) -> dict[str, list[dict[str, str]]]:
    from journal.format.frames import TRADE_TYPE, arrow_schema

    steps = [_column(field, STEPS.get(field.name, "a column that the env added")) for field in arrow_schema(extra)]
    return {"steps": steps, "trades": [_column(field, TRADES[field.name]) for field in TRADE_TYPE]}


def _column(field: Any, meaning: str) -> dict[str, str]:
    name, kind = str(field.name), str(field.type)
    if kind.startswith("list"):
        return {"name": name, "type": "list", "meaning": _LIST}
    return {"name": name, "type": "time" if kind.startswith("timestamp") else kind, "meaning": meaning}
