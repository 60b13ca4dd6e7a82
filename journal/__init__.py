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
        JournalAccessError,
        JournalError,
        JournalExistsError,
        JournalWriteError,
        NewerFormatError,
        NotAJournalError,
        UnsafeNameError,
    )
    from journal.figures import Fold
    from journal.glances import Glance, glance
    from journal.header import About, Header, WriterIdentity
    from journal.lock import Liveness, Look, Observer
    from journal.marker import RunMarker, look_at_marker, read_marker
    from journal.paths import journal_path, list_journals, list_runs, new_journal_id, parse_journal_path
    from journal.reader import Checkpoint, Journal, State, read_header, read_journal
    from journal.schema import EndReason, Trade
    from journal.walk import Damage, Finding
    from journal.writer import Durability, JournalWriter

_HOME = {
    "journal.errors": (
        "JournalAccessError",
        "JournalError",
        "JournalExistsError",
        "JournalWriteError",
        "NewerFormatError",
        "NotAJournalError",
        "UnsafeNameError",
    ),
    "journal.figures": ("Fold",),
    "journal.glances": ("Glance", "glance"),
    "journal.header": ("About", "Header", "WriterIdentity"),
    "journal.lock": ("Liveness", "Look", "Observer"),
    "journal.marker": ("RunMarker", "look_at_marker", "read_marker"),
    "journal.paths": ("journal_path", "list_journals", "list_runs", "new_journal_id", "parse_journal_path"),
    "journal.reader": ("Checkpoint", "Journal", "State", "read_header", "read_journal"),
    "journal.schema": ("EndReason", "Trade"),
    "journal.walk": ("Damage", "Finding"),
    "journal.writer": ("Durability", "JournalWriter"),
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
    "Glance",
    "Header",
    "Journal",
    "JournalAccessError",
    "JournalError",
    "JournalExistsError",
    "JournalWriteError",
    "JournalWriter",
    "Liveness",
    "Look",
    "NewerFormatError",
    "NotAJournalError",
    "Observer",
    "RunMarker",
    "State",
    "Trade",
    "UnsafeNameError",
    "WriterIdentity",
    "glance",
    "journal_path",
    "list_journals",
    "list_runs",
    "look_at_marker",
    "new_journal_id",
    "parse_journal_path",
    "read_header",
    "read_journal",
    "read_marker",
]


def __getattr__(name: str) -> Any:
    module = _MODULE_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'journal' has no attribute {name!r}")
    return getattr(importlib.import_module(module), name)
