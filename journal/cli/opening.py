"""Find the journals that the names on a command line mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from journal.console import fail
from journal.errors import NotAJournalError
from journal.inspect.find import find_journal, find_target

if TYPE_CHECKING:
    from journal.read.reader import Journal

# Imports inside functions load numpy or pyarrow, which `--help` does not need.


def journal_named(name: str, journal_root: Path | None) -> Journal:
    """Read and verify the named journal. End the command with the reason if it is unreadable."""
    from journal.inspect.diagnosis import diagnosed
    from journal.read.reader import read_journal

    path = find_journal(name, journal_root)
    try:
        return read_journal(path)
    except NotAJournalError as error:
        fail(f"{path} is not a readable journal: {diagnosed(str(path), error)}")


def paths_of(targets: Iterable[str], journal_root: Path | None) -> Iterator[str]:
    """Yield the paths of all journals that the targets name, each once."""
    found = [find_target(name, journal_root) for name in targets]
    seen: set[str] = set()
    for target in found:
        for path in target.journals():
            if path not in seen:
                seen.add(path)
                yield path
