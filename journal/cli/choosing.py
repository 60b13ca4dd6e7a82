"""Shared options and output of `cat`, `head` and `tail`."""

from __future__ import annotations

import errno
import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from journal.cli.lines import count_text
from journal.console import DATA_LOST, DONE, remark
from journal.format.schema import TAIL_LOST
from journal.host.files import take_name
from journal.inspect import where as conditions
from journal.inspect.where import time_of

if TYPE_CHECKING:
    from datetime import datetime

    import pyarrow as pa

    from journal.inspect.rows import Selection
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

# These fit in 80 columns.
TEXT_STEPS = ("step", "market_time", "action", "reward", "portfolio_value", "price", "position")
TEXT_TRADES = ("direction", "quantity", "entry_step", "entry_price", "exit_step", "exit_price", "pnl")
CHOICES = ("text", "csv", "ndjson", "parquet", "arrow")


def columns_option(command: Any) -> Any:
    return click.option(
        "-c",
        "--columns",
        metavar="A,B,...",
        help="Columns in this order, or `all`. `journal schema` lists them.",
    )(command)


trades_option = click.option("--trades", is_flag=True, help="Closed trades instead of steps.")


def range_options(command: Any) -> Any:
    """--from, --to, --where."""
    for option in (
        click.option(
            "-w",
            "--where",
            multiple=True,
            metavar="CONDITION",
            help="Only rows that meet the condition, for example 'reward < 0'. Repeatable.",
        ),
        click.option("--to", "last", metavar="STEP|TIME", help="Last step, market time or day, inclusive."),
        click.option(
            "--from",
            "first",
            metavar="STEP|TIME",
            help="First step or market time; -100 means the last 100 steps.",
        ),
    ):
        command = option(command)
    return command


def format_options(command: Any) -> Any:
    """--format and --output."""
    for option in (
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            metavar="FILE",
            help="Write a new file instead of stdout.",
        ),
        click.option("--format", "form", type=click.Choice(CHOICES), help="Default: by FILE's suffix, else text."),
    ):
        command = option(command)
    return command


def selection_of(
    journal: Journal,
    *,
    trades: bool = False,
    columns: str | None = None,
    first: str | None = None,
    last: str | None = None,
    where: tuple[str, ...] = (),
    limit: int | None = None,
    form: str = "text",
) -> Selection:
    """Return the selection that the options ask for. Raises click.BadParameter for unknown columns or bad conditions."""
    from journal.format.frames import empty_batch
    from journal.inspect.rows import Selection, schema_of

    names = schema_of(journal, trades).names
    try:
        clauses = tuple(clause for text in where for clause in conditions.parse(text, names))
        empty = empty_batch(schema_of(journal, trades))
        for clause in clauses:
            clause.mask(empty)  # refuse a value of the wrong type before anything is printed
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--where") from None
    first_step, since = _end(first, "--from")
    last_step, until = _end(last, "--to")
    if last_step is not None and last_step < 0:
        last_step += journal.last_step
    chosen = _columns(columns, names, trades, form)
    return Selection(trades, chosen, first_step, last_step, since, until, clauses, limit)


def _columns(text: str | None, names: list[str], trades: bool, form: str) -> tuple[str, ...] | None:
    if text is None:
        return (TEXT_TRADES if trades else TEXT_STEPS) if form == "text" else None
    if text.strip() == "all":
        return None
    chosen = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in chosen:
        if name not in names:
            raise click.BadParameter(
                f"there is no column {name!r}, there are: {', '.join(names)}", param_hint="--columns"
            )
    if not chosen or len(set(chosen)) < len(chosen):
        raise click.BadParameter("name each column once", param_hint="--columns")
    return chosen


def _end(text: str | None, option: str) -> tuple[int | None, datetime | None]:

    if text is None:
        return None, None
    try:
        return int(text), None
    except ValueError:
        pass
    try:
        time = time_of(text)
        whole_day = option == "--to" and len(text) == len("2020-03-01")
        return None, time + timedelta(days=1, microseconds=-1) if whole_day else time
    except ValueError as error:
        raise click.BadParameter(f"{error}, or the number of a step", param_hint=option) from None


def schema_for(journal: Journal, selection: Selection) -> pa.Schema:
    """Return the schema of the selected rows."""
    import pyarrow as pa

    from journal.inspect.rows import schema_of

    full = schema_of(journal, selection.trades)
    return full if selection.columns is None else pa.schema([full.field(name) for name in selection.columns])


def chosen_format(form: str | None, output: Path | None) -> str:
    """Return the format: the option, else by the file's suffix; text without either."""
    from journal.inspect.tables import BINARY, SUFFIXES, format_of

    named = format_of(output) if output else None
    if output is not None and output.suffix and form is None and named is None:
        raise click.UsageError(
            f"{output.name}: {output.suffix} is not supported, expected {', '.join(SUFFIXES)}, or --format"
        )
    if output is not None and form is not None and named not in (None, form):
        raise click.UsageError(f"{output.name} is the name of a {named} file, but --format is {form}")
    chosen = form or named or "text"
    if chosen in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{chosen} is not for terminals: give -o FILE, or a pipe")
    return chosen


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Open stdout, or a new file that gets its name when it is complete. Existing files are never overwritten."""
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(output):
        raise FileExistsError(errno.EEXIST, "it exists already, and no file is overwritten", str(output))
    if not output.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(output.parent))
    hidden = output.with_name(f".{output.name}.{secrets.token_hex(4)}.new")
    try:
        with _created(hidden, output) as sink:
            yield sink
        take_name(hidden, output)
    finally:
        hidden.unlink(missing_ok=True)


def _created(hidden: Path, output: Path) -> BinaryIO:
    """Create the hidden file. Errors name the file that the user gave."""
    try:
        return hidden.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(output)) from error


def say_what_was_met(journal: Journal, *, live: bool = False) -> int:
    """Report what a journal has lost, and return the exit code.

    With ``live``, an incomplete last record is a write in progress.
    """

    name = journal.header.journal_id
    if journal.tail_lost:
        remark(f"{name}: {TAIL_LOST}")
    elif journal.torn and not live:
        remark(f"{name}: torn: its last write is incomplete; no step that env.step() returned is missing")
    if journal.state == "failed":
        remark(f"{name}: a write failed after step {journal.last_step}; later steps are lost, number unknown")
    if journal.findings or journal.steps_lost or journal.trades_lost:
        lost = f"{count_text(journal.steps_lost, 'step')} and {count_text(journal.trades_lost, 'trade')} lost"
        remark(f"{name}: damaged, {lost}; `journal info` has the findings")
    lost_data = journal.steps_lost or journal.trades_lost or journal.findings or journal.tail_lost
    lost_data = lost_data or journal.state == "failed"
    return DATA_LOST if lost_data else DONE
