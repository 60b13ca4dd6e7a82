"""`rsc episodes`: list the episodes of a run, sorted and filtered by any column of their rows."""

from __future__ import annotations

import csv
import difflib
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from journal.console import DATA_LOST, DONE, Count, print_json, remark, status_text
from rsc import defaults
from rsc.cli import options

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement

# Imports inside functions load SQLAlchemy, which `--help` does not need.

_SHOWN = ("status", "total_steps", "total_trades", "pnl", "sharpe_ratio", "max_drawdown", "win_rate")
_HEADINGS = {"total_steps": "STEPS", "total_trades": "TRADES", "sharpe_ratio": "SHARPE", "max_drawdown": "DRAWDOWN"}


@click.command("episodes")
@options.run_id
@click.option(
    "-s",
    "--sort",
    metavar="COLUMN",
    type=options.ColumnName(),
    help="Sort by a column, for example pnl; -pnl for the largest first. Unknown last.",
)
@click.option(
    "-w",
    "--where",
    "conditions",
    multiple=True,
    metavar="CONDITION",
    help="Only episodes that meet the condition, for example 'status = truncated and total_steps > 20'.",
)
@click.option("-n", "--limit", type=Count(1), metavar="N", help="At most N episodes.")
@click.option(
    "-f", "--figure", "more", multiple=True, metavar="COLUMN", type=options.ColumnName(), help="Also show this column."
)
@click.option("--csv", "as_csv", is_flag=True, help="Print every column as CSV.")
@options.as_json
@options.database_url
def command(
    run_id: str,
    sort: str | None,
    conditions: Sequence[str],
    limit: int | None,
    more: Sequence[str],
    as_csv: bool,
    as_json: bool,
    database_url: str | None,
) -> int:
    """List the episodes of a run with their metrics.

    RUN_ID is a run's id, the unique beginning of one, or `latest`. Columns are those of the view `episode_metrics`,
    in which an undefined metric is NULL; a condition never holds for NULL.

    A column name that does not exist lists all. `journal plot NUMBER -o episode.html` draws an episode by its number,
    and `journal cat NUMBER --trades` prints its trades.

    Exit: 0, 3 if the row of an episode cannot be read.

    \b
    Examples:
      rsc episodes latest --sort pnl --limit 1
      rsc episodes latest --sort -sharpe_ratio --limit 10
      rsc episodes latest --where 'status = truncated and total_steps > 20'
      rsc episodes latest --figure buy_and_hold_return --csv > episodes.csv
    """
    if as_csv and as_json:
        raise click.UsageError("--csv and --json exclude each other")
    from rsc.db import episodes, runs
    from rsc.db.session import reading
    from rsc.db.tolerant import UnreadableRow
    from rsc.db.upgrade import open_existing

    guards, order, extra = _guards(conditions), _order(sort), [_column(name).name for name in more]
    with reading(open_existing(defaults.database_url(database_url), may_upgrade=False)) as connection:
        run = runs.run_named(connection, run_id)
        found = episodes.chosen_episodes(connection, run.run_id, guards, order, limit)
        total = sum(episodes.status_counts(connection, run.run_id).values())
    rows = [dict(row._mapping) for row in found if not isinstance(row, UnreadableRow)]
    if as_json:
        print_json({"run_id": run.run_id, "episodes": rows, "total": total})
    elif as_csv:
        _print_csv(rows)
    else:
        _print_table(rows, (*_SHOWN, *(name for name in extra if name not in _SHOWN)))
        remark(f"{len(rows):,} of {total:,} episodes of run {run.run_id}")
    unreadable = [row for row in found if isinstance(row, UnreadableRow)]
    for row in unreadable:
        remark(f"episode {row.key}: its row cannot be read: {row.reason}")
    return DATA_LOST if unreadable else DONE


def _column(name: str) -> ColumnElement[Any]:
    from rsc.db.models import episode_metrics

    if name not in episode_metrics.c:
        near = difflib.get_close_matches(name, episode_metrics.c.keys(), n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(episode_metrics.c.keys())}"
        raise click.UsageError(f"there is no column {name!r}; {hint}")
    return episode_metrics.c[name]


def _order(sort: str | None) -> list[ColumnElement[Any]]:
    if sort is None:
        return []
    column = _column(sort.removeprefix("-"))
    return [column.is_(None), column.desc() if sort.startswith("-") else column]


def _guards(conditions: Sequence[str]) -> list[ColumnElement[bool]]:
    from journal.inspect.where import OPERATORS, parse
    from rsc.db.models import episode_metrics

    found = []
    for text in conditions:
        try:
            for clause in parse(text, episode_metrics.c.keys()):
                column = _column(clause.name)
                found.append(OPERATORS[clause.op](column, clause.value_as(column.type.python_type)))
        except ValueError as error:
            raise click.UsageError(str(error)) from None
    return found


def _print_table(rows: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    widths = [max(10, len(name)) if name not in _HEADINGS else max(9, len(_HEADINGS[name])) for name in names]
    line = " ".join(["{:>7}", *(f"{{:>{width}}}" for width in widths)]).format
    click.echo(line("EPISODE", *(_HEADINGS.get(name, name.upper()) for name in names)))
    for row in rows:
        words = [f"{_text(row[name]):>{width}}" for name, width in zip(names, widths, strict=True)]
        click.echo(line(row["episode_id"], *map(status_text, words)))


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M}"
    text = f"{value:.5g}" if isinstance(value, float) else str(value)
    return text if text.isprintable() else ascii(text)


def _print_csv(rows: Sequence[dict[str, Any]]) -> None:
    from journal.console import jsonable
    from rsc.db.models import episode_metrics

    writer = csv.DictWriter(sys.stdout, episode_metrics.c.keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(jsonable(row) for row in rows)
