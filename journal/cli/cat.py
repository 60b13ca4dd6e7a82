"""`journal cat`: print rows of one journal."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import click

from journal.cli import choosing, options
from journal.cli.opening import journal_named
from journal.console import Count

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("cat", short_help="Print steps or trades, as text or for programs.")
@options.episode
@choosing.trades_option
@choosing.columns_option
@choosing.range_options
@click.option("-n", "--limit", type=Count(), metavar="N", help="At most N rows.")
@choosing.format_options
@options.root
def command(
    episode: str,
    trades: bool,
    columns: str | None,
    first: str | None,
    last: str | None,
    where: tuple[str, ...],
    limit: int | None,
    form: str | None,
    output: Path | None,
    journal_root: Path | None,
) -> int:
    """Print the steps of an episode, or its closed trades.

    Text shows the usual columns, the other formats show all. Times are UTC. In text and CSV, `trades` is the number
    of trades that a step closed. Damaged rows are left out and counted on stderr.

    \b
    Examples:
      journal cat latest --from -20
      journal cat 42 --where 'reward < -0.05' --columns step,reward,cash
      journal cat 42 --trades --where 'pnl < 0' --format csv > losers.csv
      journal cat 42 -o episode.parquet
    """
    return print_rows(episode, journal_root, trades, columns, first, last, where, limit, form, output)


def print_rows(
    episode: str,
    journal_root: Path | None,
    trades: bool,
    columns: str | None,
    first: str | None,
    last: str | None,
    where: tuple[str, ...],
    limit: int | None,
    form: str | None,
    output: Path | None,
) -> int:
    """Write the selected rows, and report losses of their journal."""
    from journal.inspect.rows import rows
    from journal.inspect.tables import write

    form = choosing.chosen_format(form, output)
    journal = journal_named(episode, journal_root)
    selection = choosing.selection_of(
        journal, trades=trades, columns=columns, first=first, last=last, where=where, limit=limit, form=form
    )
    # Closing ends the decoding thread before an error is reported: at exit a thread inside Arrow aborts the process.
    with closing(rows(journal, selection)) as batches, choosing.opened(output) as sink:
        write(batches, choosing.schema_for(journal, selection), sink, form)
    return choosing.say_what_was_met(journal)
