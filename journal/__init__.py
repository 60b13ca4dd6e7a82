"""Journals of episodes that survive kill -9: each is an Arrow stream, and a tail with the steps since the last seal.

>>> from journal import About, JournalWriter, read_journal
>>> with JournalWriter("journals", "my-run", about=About("MyEnv", 10_000.0, 252)) as writer:
...     writer.append(action=1, reward=0.002, portfolio_value=10_020.0)
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
        JournalValueError,
        JournalWriteError,
        NotAJournalError,
        RecoverError,
        UnsafeNameError,
    )
    from journal.format.header import About, FileId, Header, WriterIdentity
    from journal.format.schema import EndReason, Fold, Trade
    from journal.host.liveness import Liveness, LivenessReport, Observer
    from journal.host.paths import journal_path, list_journals, list_runs, new_journal_id, parse_journal_path
    from journal.inspect.audit import Audit, audit
    from journal.inspect.figures import Kernel
    from journal.ops.recover import RecoverMode, Recovery, recover
    from journal.read.findings import Damage, Finding
    from journal.read.follow import Follower, Growth
    from journal.read.headers import read_header
    from journal.read.peek import Peek, peek
    from journal.read.reader import Checkpoint, Journal, State, read_journal
    from journal.read.source import Source
    from journal.write.marker import RunMarker, marker_liveness, read_marker
    from journal.write.writer import Durability, JournalWriter

_HOME = {
    "journal.errors": (
        "FormatVersionError",
        "JournalAccessError",
        "JournalError",
        "JournalExistsError",
        "JournalValueError",
        "JournalWriteError",
        "NotAJournalError",
        "RecoverError",
        "UnsafeNameError",
    ),
    "journal.format.header": (
        "About",
        "FileId",
        "Header",
        "WriterIdentity",
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
    "journal.inspect.audit": (
        "Audit",
        "audit",
    ),
    "journal.inspect.figures": ("Kernel",),
    "journal.ops.recover": (
        "RecoverMode",
        "Recovery",
        "recover",
    ),
    "journal.read.follow": (
        "Follower",
        "Growth",
    ),
    "journal.read.headers": ("read_header",),
    "journal.read.peek": (
        "Peek",
        "peek",
    ),
    "journal.read.reader": (
        "Checkpoint",
        "Journal",
        "State",
        "read_journal",
    ),
    "journal.read.source": ("Source",),
    "journal.read.findings": (
        "Damage",
        "Finding",
    ),
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
    "Audit",
    "Checkpoint",
    "Damage",
    "Durability",
    "EndReason",
    "FileId",
    "Finding",
    "Fold",
    "Follower",
    "FormatVersionError",
    "Growth",
    "Header",
    "Journal",
    "JournalAccessError",
    "JournalError",
    "JournalExistsError",
    "JournalValueError",
    "JournalWriteError",
    "JournalWriter",
    "Kernel",
    "Liveness",
    "LivenessReport",
    "NotAJournalError",
    "Observer",
    "Peek",
    "RecoverError",
    "RecoverMode",
    "Recovery",
    "RunMarker",
    "Source",
    "State",
    "Trade",
    "UnsafeNameError",
    "WriterIdentity",
    "__version__",
    "audit",
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
    "recover",
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
