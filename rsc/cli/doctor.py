"""`rsc doctor`: check whether training and reconciling will work here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from journal.console import DONE, FAILED, folded, plain, print_json, status_text
from rsc import defaults
from rsc.cli import options

if TYPE_CHECKING:
    from rsc.doctor.check import Check

# Imports inside functions load SQLAlchemy, which `--help` does not need.


@click.command("doctor")
@options.database_url
@options.journal_root
@options.as_json
def command(database_url: str | None, journal_root: Path | None, as_json: bool) -> int:
    """Check whether training and reconciling will work here.

    Each problem is printed with its cure.

    Checks database and clock, journal root, locks, file system, space, limits, versions, and whether Ray starts, which
    takes a few seconds. Creates nothing: a trial file and a trial Ray are removed at once.

    \b
    Exit: 0 nothing failed (there may be warnings), 1 something failed,
    2 wrong usage, 130 interrupted.

    \b
    Examples:
      rsc doctor
      rsc doctor --database-url postgresql://me@host/db --journal-root /journal
    """
    from rsc.doctor.check import Level

    counts: Counter[Level] = Counter()
    found = []
    for check in _checks(defaults.database_url(database_url), defaults.journal_root(journal_root)):
        counts[check.level] += 1
        found.append(asdict(check))
        if not as_json:
            _print(check)
    if as_json:
        print_json({"checks": found, "warned": counts[Level.WARN], "failed": counts[Level.FAIL]})
    else:
        click.echo(f"{len(found)} checks: {counts[Level.WARN]} warned, {counts[Level.FAIL]} failed")
    return FAILED if counts[Level.FAIL] else DONE


def _checks(url: str, root: Path) -> Iterator[Check]:
    from rsc.doctor.database import check_database
    from rsc.doctor.machine import check_machine, check_versions
    from rsc.doctor.places import check_root
    from rsc.doctor.ray_start import check_ray

    yield from check_database(url)
    yield from check_root(root)
    yield from check_machine()
    yield from check_versions()
    yield from check_ray()


def _print(check: Check) -> None:
    for line in folded(plain(check.found), f"{check.level:<5} {check.name:<17} "):
        click.echo(status_text(line[:5], str(check.level)) + line[5:])
    if check.cure:
        for line in folded(plain(check.cure), f"{'':<24}cure: "):
            click.echo(line)
