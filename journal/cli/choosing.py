"""What `cat`, `head` and `tail` share: options that choose rows, columns and a format, and the writing of rows."""

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

# What fits in 80 columns.
TEXT_STEPS = ("step", "market_time", "action", "reward", "portfolio_value", "price", "position")
TEXT_TRADES = ("direction", "quantity", "entry_step", "entry_price", "exit_step", "exit_price", "pnl")
CHOICES = ("text", "csv", "ndjson", "parquet", "arrow")


def columns_option(command: Any) -> Any:
    return click.option(
        "-c",
        "--columns",
        metavar="A,B,...",
        help="Columns, in this order; `all` for every one. `journal info` and docs name them.",
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
            help="Only rows with, for example, 'reward < 0'; may be repeated.",
        ),
        click.option("--to", "last", metavar="STEP|TIME", help="Up to this step, market time or day, included."),
        click.option(
            "--from",
            "first",
            metavar="STEP|TIME",
            help="From this step or market time on; -100 means the last 100 steps.",
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
            help="A new file, not stdout.",
        ),
        click.option("--format", "form", type=click.Choice(CHOICES), help="Default: what FILE's name says, else text."),
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
    """What the options ask for; raises click.BadParameter for columns, conditions and ends that make no sense."""
    from journal.format.frames import empty_batch
    from journal.inspect.rows import Selection, schema_of

    names = schema_of(journal, trades).names
    try:
        clauses = tuple(clause for text in where for clause in conditions.parse(text, names))
        empty = empty_batch(schema_of(journal, trades))
        for clause in clauses:
            clause.mask(empty)  # a value of the wrong kind is found before anything is printed
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
    """The columns that the selected rows will have."""
    import pyarrow as pa

    from journal.inspect.rows import schema_of

    full = schema_of(journal, selection.trades)
    return full if selection.columns is None else pa.schema([full.field(name) for name in selection.columns])


def chosen_format(form: str | None, output: Path | None) -> str:
    """Return the format by option, else by the file's name; text if the name has no suffix, or without a file."""
    from journal.inspect.tables import BINARY, SUFFIXES, format_of

    named = format_of(output) if output else None
    if output is not None and output.suffix and form is None and named is None:
        raise click.UsageError(
            f"{output.name}: {output.suffix} is not written here, expected {', '.join(SUFFIXES)}, or --format"
        )
    if output is not None and form is not None and named not in (None, form):
        raise click.UsageError(f"{output.name} is the name of a {named} file, but --format is {form}")
    chosen = form or named or "text"
    if chosen in BINARY and output is None and sys.stdout.isatty():
        raise click.UsageError(f"{chosen} is not for terminals: give -o FILE, or a pipe")
    return chosen


@contextmanager
def opened(output: Path | None) -> Iterator[BinaryIO]:
    """Stdout, or a file that appears under its name when it is whole; one that exists is never overwritten."""
    if output is None:
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(output):
        raise FileExistsError(errno.EEXIST, "it exists already, and nothing is overwritten", str(output))
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
    """The hidden file; what hinders it is told of the name that a person gave."""
    try:
        return hidden.open("xb")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(output)) from error


def say_what_was_met(journal: Journal, *, live: bool = False) -> int:
    """Remarks on a journal that is not simply whole; the exit code that it deserves.

    A live one's cut end is a write that is just happening.
    """

    name = journal.header.journal_id
    if journal.tail_lost:
        remark(f"{name}: {TAIL_LOST}")
    elif journal.torn and not live:
        remark(f"{name}: torn, its last write was cut; every acknowledged step is here")
    if journal.state == "failed":
        remark(f"{name}: a write failed behind step {journal.last_step}; later steps are lost, their number is unknown")
    if journal.findings or journal.steps_lost or journal.trades_lost:
        lost = f"{count_text(journal.steps_lost, 'step')} and {count_text(journal.trades_lost, 'trade')} lost"
        remark(f"{name}: damaged, {lost}; `journal info` has the findings")
    lost_data = journal.steps_lost or journal.trades_lost or journal.findings or journal.tail_lost
    lost_data = lost_data or journal.state == "failed"
    return DATA_LOST if lost_data else DONE
