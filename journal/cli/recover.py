"""`journal recover`: copy the intact part of a journal into a new one."""

from __future__ import annotations

import errno
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from journal.cli import options
from journal.cli.lines import count_text
from journal.console import DATA_LOST, DONE, fail, print_json, remark, work_without_output
from journal.errors import NotAJournalError
from journal.format.schema import TAIL_LOST
from journal.host.liveness import is_locked
from journal.inspect.find import find_journal

if TYPE_CHECKING:
    from journal.errors import NotAJournalError
    from journal.ops.recover import Recovery

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("recover", short_help="Make a new journal from what is intact.")
@options.episode
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(),
    metavar="NEW",
    help="A new file, or a folder for it.",
)
@click.option(
    "--mode",
    type=click.Choice(["strict", "prefix", "salvage"]),
    default="salvage",
    show_default=True,
    help="On damage: refuse, keep the steps before it, or keep every intact batch.",
)
@click.option(
    "--header-from",
    metavar="EPISODE",
    type=options.JournalName("episode", runs=False),
    help="Use the header of this journal of the same env in place of a damaged one.",
)
@options.as_json
@options.root
def command(
    episode: str, output: str, mode: str, header_from: str | None, as_json: bool, journal_root: Path | None
) -> int:
    """Copy the intact part of a journal into a new, valid journal.

    The source is only read. Intact batches are copied byte by byte, so metrics stay exact if a checkpoint follows the
    damage. The tail of a killed writer becomes a batch. Losses are reported, and noted in the new journal's header.
    The copy is synced and verified before it gets its name; no file is overwritten.

    Exit status: 0 nothing was lost, 3 something was lost, 1 refused.

    \b
    Examples:
      journal recover 42 -o rescued/
      journal recover damaged.arrows --mode strict -o copy.arrows
      journal recover headerless.arrows --header-from latest -o rescued/
    """
    from journal.ops.recover import RecoverMode, recover

    work_without_output()
    path = find_journal(episode, journal_root)
    place = _place(output, path.name)
    lender = find_journal(header_from, journal_root) if header_from else None
    _remark_on_a_live_writer(path)
    try:
        done = recover(path, place, RecoverMode(mode), lender)
    except NotAJournalError as error:
        _refuse(path, error)
    if as_json:
        print_json({**asdict(done), "output": str(done.output)})
    else:
        _tell(done)
    unknown = done.write_failed or done.tail_lost
    return DATA_LOST if unknown or done.steps_lost or done.trades_lost or done.findings else DONE


def _place(output: str, name: str) -> Path:
    """Return the output file: as named, or in a folder under the journal's name. A name ending in a slash is created."""
    folder = Path(output)
    if output.endswith(os.sep):
        folder.mkdir(exist_ok=True)
    if folder.is_dir():
        return folder / name
    if not folder.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "there is no such folder", str(folder.parent))
    return folder


def _refuse(path: Path, error: NotAJournalError) -> NoReturn:
    from journal.inspect.diagnosis import diagnosed

    if error.path is not None and str(error.path) != str(path):
        raise error
    why = diagnosed(str(path), error)
    hint = "--header-from a journal of the same env brings them back" if "behind it" in why else ""
    fail(f"{path} is not a readable journal: {why}", hint)


def _remark_on_a_live_writer(path: Path) -> None:

    if is_locked(path):
        remark(f"{path.stem}: its writer is alive; the copy holds what it has written so far")


def _tell(done: Recovery) -> None:

    tail = f", {count_text(done.tail_steps, 'step')} of them from the tail" if done.tail_steps else ""
    end = f"ended as {done.end_reason}" if done.end_reason else "without a record of how it ended"
    click.echo(f"{done.output}")
    click.echo(f"  kept    {count_text(done.steps, 'step')}, {count_text(done.trades, 'trade')}{tail}; {end}")
    least = "at least " if done.write_failed or done.tail_lost else ""
    click.echo(f"  lost    {least}{count_text(done.steps_lost, 'step')}, {count_text(done.trades_lost, 'trade')}")
    if done.write_failed:
        click.echo("  failed  a write failed; later steps are lost, number unknown")
    if done.tail_lost:
        click.echo(f"  tail    {TAIL_LOST}")
    elif done.torn:
        click.echo("  torn    the last write is incomplete; env.step() did not return its step, so nothing is lost")
    for kind, count in sorted(done.findings.items()):
        click.echo(f"  damage  {count} x {kind}")
