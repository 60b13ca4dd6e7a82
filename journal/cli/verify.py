"""`journal verify`: check that journals are complete and intact."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from journal.cli import options
from journal.cli.lines import Lines, count_text, finding_text, json_line, painted, unknown_text
from journal.cli.opening import paths_of
from journal.console import DATA_LOST, DONE, coloured, fail, remark, work_without_output
from journal.format.schema import TAIL_LOST
from journal.host.liveness import Observer
from journal.inspect.figures import kernel

if TYPE_CHECKING:
    from journal.inspect.audit import Audit
    from journal.inspect.figures import Kernel
    from journal.inspect.overview import Overview

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


@click.command("verify", short_help="Check every byte, row and checkpoint.")
@options.targets
@click.option("--deep", is_flag=True, help="Also recompute every checkpoint from its rows.")
@click.option("--strict", is_flag=True, help="Treat oddities in intact rows as failures.")
@click.option("-q", "--quiet", is_flag=True, help="Print nothing; use the exit status.")
@options.as_json
@options.root
def command(
    targets: tuple[str, ...], deep: bool, strict: bool, quiet: bool, as_json: bool, journal_root: Path | None
) -> int:
    """Check every byte against its CRC, every batch against its seal, and the rows for consistency.

    An incomplete last write is not damage. Oddities in intact rows (an account that does not add up, time that runs
    backwards) come from the env; they are reported, and fail only with --strict. Steps that an earlier recovery gave
    up are reported too.

    Exit status: 0 nothing is lost, 3 damage was found or a file is unreadable.

    \b
    Examples:
      journal verify 20261122-120000 --deep
      journal verify -q latest && echo intact
    """

    work_without_output()  # the exit code is the answer
    kernel = _kernel() if deep else None
    printer = _Printer(quiet, as_json, strict)
    observer = Observer()
    for path in paths_of(targets, journal_root):
        printer.print(*_checked(path, observer, kernel))
    return printer.finish()


def _kernel() -> Kernel:

    found = kernel()
    if found is None:
        fail("no package that computes metrics is installed, so checkpoints cannot be recomputed")
    return found


def _checked(path: str, observer: Any, kernel: Kernel | None) -> tuple[Overview, Audit | None]:
    from journal.inspect.audit import audit
    from journal.inspect.overview import overview
    from journal.read.reader import Journal

    one = overview(path, observer, whole=True)
    return one, audit(one.source, kernel) if isinstance(one.source, Journal) else None


class _Printer:
    """Return the lines of one journal: its state, then its findings."""

    def __init__(self, quiet: bool, as_json: bool, strict: bool) -> None:

        self._lines, self._colours = Lines(), coloured()
        self._quiet, self._as_json, self._strict = quiet, as_json, strict
        self._counts: Counter[str] = Counter()
        self._bad = 0

    def print(self, one: Overview, audit: Audit | None) -> None:
        bad = audit is None or not audit.intact or one.condition == "failed" or (self._strict and bool(audit.oddities))
        self._bad += bad
        word = verdict_of(one, audit)
        self._counts[word] += 1
        if self._quiet:
            return
        if self._as_json:
            self._lines.write(json_line(facts_of(one, audit, word)))
            return
        for line in self._text(one, audit, word):
            self._lines.write(line)

    def _text(self, one: Overview, audit: Audit | None, word: str) -> list[str]:

        state = painted(f"{word:<10}", one.condition, self._colours)
        if audit is None:
            return [f"{state} {one.journal_id}: {one.problem}"]
        lines = [f"{state} {one.journal_id}: {count_text(one.steps, 'step')}, {count_text(one.trades, 'trade')}"]
        if audit.steps_lost or audit.trades_lost:
            lines[0] += f"; lost {count_text(audit.steps_lost, 'step')}, {count_text(audit.trades_lost, 'trade')}"
        if audit.known_lost or audit.known_trades_lost:
            given_up = f"{count_text(audit.known_lost, 'step')}, {count_text(audit.known_trades_lost, 'trade')}"
            lines[0] += f"; {given_up} given up by an earlier recovery"
        if audit.write_failed:
            lines[0] += "; recovered from a journal of which a write failed: later steps are unknown"
        if audit.known_tail_lost:
            lines[0] += "; recovered from a journal without its tail: later steps are unknown"
        if audit.checkpoints is not None:
            lines[0] += f"; {count_text(audit.checkpoints, 'checkpoint')} recomputed"
        if audit.strange_checkpoints:
            lines[0] += f"; {count_text(audit.strange_checkpoints, 'checkpoint')} of another version"
        if audit.tail_lost:
            lines.append(f"  {TAIL_LOST}")
        lines += [f"  {finding_text(finding)}" for finding in audit.findings[:20]]
        if len(audit.findings) > 20:
            lines.append(f"  and {len(audit.findings) - 20} findings more")
        if audit.unknown_records:
            lines.append(f"  {unknown_text(audit.unknown_records)}")
        lines += [f"  odd: {_oddity(odd)}" for odd in audit.oddities]
        return lines

    def finish(self) -> int:
        """Print the message and return the exit code."""

        total = sum(self._counts.values())
        if not self._quiet and not self._as_json and total != 1:
            counts = ", ".join(f"{count:,} {word}" for word, count in self._counts.most_common())
            remark(f"{total:,} journals" + (f": {counts}" if counts else ""))
        return DATA_LOST if self._bad else DONE


def _oddity(odd: Any) -> str:
    if not odd.step:
        return str(odd.message)
    return f"{odd.message}, first at step {odd.step}" + (f" ({odd.count:,} times)" if odd.count > 1 else "")


def verdict_of(one: Overview, audit: Audit | None) -> str:
    """Return one word: intact, torn, failed, damaged or unreadable."""
    if audit is None:
        return "unreadable"
    if not audit.intact:
        return "damaged"
    return str(one.condition) if one.condition in ("torn", "failed") else "intact"


def facts_of(one: Overview, audit: Audit | None, word: str) -> dict[str, Any]:
    """Return what --json prints for a journal."""
    facts: dict[str, Any] = {"id": one.journal_id, "run": one.run_id, "path": one.path, "verdict": word}
    facts |= {"steps": one.steps, "trades": one.trades, "problem": one.problem or None}
    if audit is None:
        return facts
    return {
        **facts,
        "torn": one.condition == "torn",
        "tail_lost": audit.tail_lost,
        "steps_lost": audit.steps_lost,
        "trades_lost": audit.trades_lost,
        "steps_lost_before_recovery": audit.known_lost,
        "trades_lost_before_recovery": audit.known_trades_lost,
        "write_failed_before_recovery": audit.write_failed,
        "tail_lost_before_recovery": audit.known_tail_lost,
        "checkpoints_recomputed": audit.checkpoints,
        "checkpoints_of_another_version": audit.strange_checkpoints,
        "unknown_records": dict(audit.unknown_records),
        "findings": [{**vars(finding), "kind": str(finding.kind)} for finding in audit.findings],
        "oddities": [vars(odd) for odd in audit.oddities],
    }
