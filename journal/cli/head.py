"""`journal head`: print the first rows of one journal."""

from __future__ import annotations

from pathlib import Path

import click

from journal.cli import choosing, options
from journal.cli.cat import print_rows
from journal.console import Count


@click.command("head", short_help="Print the first rows.")
@options.episode
@click.option("-n", "--limit", type=Count(), default=10, show_default=True, metavar="N", help="At most N rows.")
@choosing.trades_option
@choosing.columns_option
@choosing.format_options
@options.root
def command(
    episode: str,
    limit: int,
    trades: bool,
    columns: str | None,
    form: str | None,
    output: Path | None,
    journal_root: Path | None,
) -> int:
    """Print the first steps of an episode, or its first closed trades.

    \b
    Example: journal head latest -n 3 --format ndjson
    """

    return print_rows(episode, journal_root, trades, columns, None, None, (), limit, form, output)
