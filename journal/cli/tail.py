"""`journal tail`: print the last rows of a journal, and follow new ones."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from journal.cli import choosing, mirrored, options
from journal.cli.opening import journal_named
from journal.console import DURATION, Count, plain, remark
from journal.host.liveness import Liveness, Observer

if TYPE_CHECKING:
    import pyarrow as pa

    from journal.inspect.rows import Selection
    from journal.read.follow import Follower, Growth
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

_POLL_S = 0.2
_LOOK_S = 1.0  # how often to check whether a silent writer is alive


@click.command("tail", short_help="Print the last rows, and follow a live episode.")
@options.episode
@click.option("-n", "--lines", type=Count(), default=10, show_default=True, metavar="N", help="The last N rows.")
@click.option("-f", "--follow", is_flag=True, help="Print new rows until the episode ends or its writer dies.")
@click.option(
    "--idle-timeout", type=DURATION, metavar="DURATION", help="With -f: stop after this long without a new row."
)
@choosing.trades_option
@choosing.columns_option
@click.option(
    "-w",
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only rows that meet the condition, for example 'reward < 0'.",
)
@click.option("--format", "form", type=click.Choice(["text", "csv", "ndjson"]), default="text", show_default=True)
@options.root
def command(
    episode: str,
    lines: int,
    follow: bool,
    idle_timeout: float | None,
    trades: bool,
    columns: str | None,
    where: tuple[str, ...],
    form: str,
    journal_root: Path | None,
) -> int:
    """Print the last rows of an episode. With -f, print each new row too.

    Following stops when the episode ends, when its writer dies, when a write of its journal fails, or after
    --idle-timeout without a new row. The reason goes to stderr. The command waits for a write in progress.

    \b
    Examples:
      journal tail latest -n 3
      journal tail -f latest --trades --idle-timeout 5m
    """

    from journal.inspect.tables import write

    if idle_timeout is not None and not follow:
        raise click.UsageError("--idle-timeout is for --follow")
    if follow:
        mirrored.refuse_mirror(journal_root, "tail -f", "call it without -f", [episode])
    journal = journal_named(episode, journal_root)
    selection = choosing.selection_of(journal, trades=trades, columns=columns, where=where, form=form)
    following = _Following(journal, idle_timeout) if follow else None
    batches = _last(journal, selection, lines)
    sys.stdout.flush()
    if following is not None:
        batches = _both(batches, following.batches(selection))
    write(batches, choosing.schema_for(journal, selection), sys.stdout.buffer, form)
    sys.stdout.buffer.flush()
    return following.say_why_it_ended() if following else choosing.say_what_was_met(journal)


def _last(journal: Journal, selection: Selection, count: int) -> Iterator[pa.RecordBatch]:
    """Yield the last selected rows. Steps without a condition are found without reading the others."""

    from journal.inspect.rows import rows

    if not selection.trades and not selection.where:
        selection = replace(selection, first_step=max(journal.last_step - count + 1, 1))
    kept: deque[pa.RecordBatch] = deque()
    held = 0
    for batch in rows(journal, selection):
        kept.append(batch)
        held += batch.num_rows
        while kept and held - kept[0].num_rows >= count:
            held -= kept.popleft().num_rows
    for index, batch in enumerate(kept):
        yield batch if index else batch.slice(max(held - count, 0))


def _both(first: Iterator[pa.RecordBatch], then: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from first
    yield from then


class _Following:
    """Follow a journal until it ends, its writer dies, or the idle timeout passes."""

    def __init__(self, journal: Journal, idle_timeout: float | None) -> None:
        from journal.read.follow import Follower

        self._journal = journal
        self._follower: Follower | None = None if journal.end else Follower(journal)
        self._observer = Observer()
        self._idle_timeout = idle_timeout
        self._why = ""
        if journal.end is not None:
            self._why = _ended(str(journal.end_reason), journal.end_message, journal.last_step)

    def batches(self, selection: Selection) -> Iterator[pa.RecordBatch]:
        """Yield the selected rows as they are written."""
        from journal.inspect.rows import picked

        while self._follower is not None and not self.stopped:
            for batch in self._new(self._follower):
                found = picked(batch, selection)
                if found.num_rows:
                    yield found

    def _new(self, follower: Follower) -> Iterator[pa.RecordBatch]:
        """Wait for the next rows and yield them. Yield nothing if there is a reason to stop."""
        since = time.monotonic()
        looked = since - _LOOK_S
        while True:
            growth = follower.look()
            yield from growth.batches
            self._note_end(growth)
            now = time.monotonic()
            if not growth.batches and now - looked >= _LOOK_S:
                looked = now
                yield from self._look_at_writer(follower)
            if growth.batches or self.stopped:
                return
            if self._idle_timeout is not None and now - since >= self._idle_timeout:
                self._why = (
                    f"no row for {self._idle_timeout:g} s after step {follower.last_step}; its writer may continue"
                )
                return
            time.sleep(_POLL_S)

    def _look_at_writer(self, follower: Follower) -> Iterator[pa.RecordBatch]:
        """Yield the rows that a dead writer wrote between the last read and the check of its lock."""

        look = self._observer.look(follower.path, follower.header.origin)
        if look.liveness is not Liveness.DEAD:
            return
        growth = follower.look(final=True)
        yield from growth.batches
        self._note_end(growth)
        if not self.stopped:
            self._why = f"its writer died after step {follower.last_step}: {look.reason}"

    def _note_end(self, growth: Growth) -> None:
        if self._follower is None:
            return
        if growth.end is not None:
            self._why = _ended(growth.end.reason, growth.end.message, self._follower.last_step)
        elif growth.failed:
            self._why = f"a write of it failed after step {self._follower.last_step}; no more rows will come"

    @property
    def stopped(self) -> bool:
        """True if there is a reason to stop."""
        return bool(self._why)

    def say_why_it_ended(self) -> int:
        """Report why following stopped and what the journal has lost, and return the exit code."""
        from journal.read.reader import read_journal

        remark(f"{self._journal.header.journal_id}: {self._why}")
        over = self._follower is None or "may continue" not in self._why
        return choosing.say_what_was_met(read_journal(self._journal.path), live=not over)


def _ended(reason: str, message: str, last_step: int) -> str:

    return f"ended as {reason} after step {last_step}" + (f": {plain(message)}" if message else "")
