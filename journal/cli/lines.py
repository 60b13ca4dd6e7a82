"""Write lines to stdout as they are produced, and format values for people."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from journal.console import jsonable, plain
from journal.inspect.condition import Condition
from journal.read.findings import Damage, Finding

_FLUSH_S = 0.1
_COLOURS = {
    Condition.CLOSED: None,
    Condition.OPEN: "cyan",
    Condition.TORN: "yellow",
    Condition.FAILED: "red",
    Condition.DAMAGED: "red",
    Condition.UNREADABLE: "red",
}


class Lines:
    """Line writer for stdout. It flushes the first line at once and later ones every 0.1 s."""

    def __init__(self) -> None:
        self._flushed = 0.0

    def write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        now = time.monotonic()
        if now - self._flushed > _FLUSH_S:
            sys.stdout.flush()
            self._flushed = now


def json_line(value: Mapping[str, Any]) -> str:
    """Return one JSON object in one line; see `journal.console.jsonable`."""

    return json.dumps(jsonable(value))


def painted(text: str, condition: Condition, colours: bool) -> str:
    """Return a condition's text in its colour."""
    colour = _COLOURS[condition] if colours else None
    return click.style(text, fg=colour) if colour else text


def size_text(size: int) -> str:
    """Format bytes in at most five characters: 812, 9.8K, 123K, 1.2M."""
    if size < 1000:
        return str(size)
    value, unit = size / 1024, "K"
    for larger in "MGTP":
        if value < 999.5:
            break
        value, unit = value / 1024, larger
    return f"{value:.1f}{unit}" if value < 99.5 else f"{value:.0f}{unit}"


def age_text(time_: datetime | None, now: datetime) -> str:
    """Format an age in at most four characters: 12s, 3m, 5h, 12d; `-` without a time."""
    if time_ is None:
        return "-"
    seconds = max((now - time_).total_seconds(), 0.0)
    for unit, length, most in (("s", 1, 100), ("m", 60, 100), ("h", 3600, 48), ("d", 86400, 10_000)):
        if seconds < most * length:
            return f"{int(seconds / length)}{unit}"
    return "old"


def time_text(time_: datetime | None) -> str:
    """Format a time in UTC, to the second."""
    return "-" if time_ is None else f"{time_.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"


def lost_text(steps: int, trades: int) -> str:
    """Format losses: `1 step and 2 trades lost`."""
    return f"{count_text(steps, 'step')} and {count_text(trades, 'trade')} lost"


def finding_text(finding: Finding) -> str:
    """Format a finding with its place. The message of a slot contains its number already."""
    place = "" if finding.kind is Damage.SLOT else f" at byte {finding.offset:,}"
    return f"{finding.kind}{place}: {finding.message}"


def unknown_text(records: Mapping[str, int]) -> str:
    """Format `Journal.unknown_records`: counts of records that a newer writer added, by type."""
    counts = ", ".join(f"{count:,} of type {plain(name.strip())!r}" for name, count in records.items())
    return f"skipped records that this version does not know: {counts}"


def cut_short_text(count: int) -> str:
    """Format the number of journals that lost an unknown number of steps (`Overview.cut_short`)."""
    return f"{count_text(count, 'journal')} cut short: later steps are lost, number unknown"


def count_text(count: int, noun: str) -> str:
    """Format a count: `1 step`, `2 steps`, `1 batch`, `2 batches`."""
    plural = noun + ("es" if noun.endswith(("ch", "s")) else "s")
    return f"{count:,} {noun if count == 1 else plural}"
