"""Crash-proof journals of episodes: one Arrow stream each, and a tail for the steps since the last seal.

>>> from journal import About, EndReason, JournalWriter, new_journal_id, read_journal
>>> writer = JournalWriter("journals", "my-run", new_journal_id(), about=About("MyEnv", 10_000.0, 252))
>>> writer.append(1.0, 0.02, 10_020.0, 25.1, 7_510.0, 100.0, 1.0, 20.0, 1_700_000_000_000_000, False, False)
>>> writer.close(EndReason.CLOSED)
>>> read_journal(writer.path).steps().num_rows
1

Names are imported when they are first used, so that `import journal` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from journal.errors import (
        FormatVersionError,
        JournalAccessError,
        JournalError,
        JournalExistsError,
        JournalWriteError,
        NotAJournalError,
        UnsafeNameError,
    )
    from journal.format.header import About, Header, WriterIdentity
    from journal.format.schema import EndReason, Fold, Trade
    from journal.host.liveness import Liveness, LivenessReport, Observer
    from journal.host.paths import journal_path, list_journals, list_runs, new_journal_id, parse_journal_path
    from journal.read.findings import Damage, Finding
    from journal.read.peek import Peek, peek
    from journal.read.reader import Checkpoint, Journal, State, read_header, read_journal
    from journal.write.marker import RunMarker, marker_liveness, read_marker
    from journal.write.writer import Durability, JournalWriter

_HOME = {
    "journal.errors": (
        "JournalAccessError",
        "JournalError",
        "JournalExistsError",
        "JournalWriteError",
        "FormatVersionError",
        "NotAJournalError",
        "UnsafeNameError",
    ),
    "journal.format.header": (
        "About",
        "Header",
        "WriterIdentity",
        "__version__",
    ),
    "journal.format.schema": (
        "EndReason",
        "Fold",
        "Trade",
    ),
    "journal.host.liveness": (
        "Liveness",
        "LivenessReport",
        "Observer",
    ),
    "journal.host.paths": (
        "journal_path",
        "list_journals",
        "list_runs",
        "new_journal_id",
        "parse_journal_path",
    ),
    "journal.read.peek": (
        "Peek",
        "peek",
    ),
    "journal.read.reader": (
        "Checkpoint",
        "Journal",
        "State",
        "read_header",
        "read_journal",
    ),
    "journal.read.findings": ("Damage", "Finding"),
    "journal.write.marker": (
        "RunMarker",
        "marker_liveness",
        "read_marker",
    ),
    "journal.write.writer": (
        "Durability",
        "JournalWriter",
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "About",
    "Checkpoint",
    "Damage",
    "Durability",
    "EndReason",
    "Finding",
    "Fold",
    "FormatVersionError",
    "Header",
    "Journal",
    "JournalAccessError",
    "JournalError",
    "JournalExistsError",
    "JournalWriteError",
    "JournalWriter",
    "Liveness",
    "LivenessReport",
    "NotAJournalError",
    "Observer",
    "Peek",
    "RunMarker",
    "State",
    "Trade",
    "UnsafeNameError",
    "WriterIdentity",
    "__version__",
    "journal_path",
    "list_journals",
    "list_runs",
    "marker_liveness",
    "new_journal_id",
    "parse_journal_path",
    "peek",
    "read_header",
    "read_journal",
    "read_marker",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slow to import, and rarely asked for

        return version("reinforce-strategy-creator")
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'journal' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
