"""Exceptions of the `journal` package. Readers raise only these."""

from __future__ import annotations

from pathlib import Path


class JournalError(Exception):
    """Base class of all errors of this package.

    Attributes:
        hint: What the user can do next; empty if nothing is known. A traceback prints it as a note.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(hint)


class UnsafeNameError(JournalError):
    """A run id or journal id that could leave the journal root, or that no journal can have."""


class JournalValueError(JournalError, ValueError):
    """A value that a journal cannot hold.

    Attributes:
        name: The name of the column or field.
        value: The value that was given.
    """

    def __init__(self, name: str, value: object, expected: str) -> None:
        try:
            shown = repr(value)
        except Exception:  # a user's __repr__ may fail in any way
            shown = f"<{type(value).__name__}>"
        shown = shown if len(shown) <= 100 else shown[:97] + "..."
        super().__init__(f"{name} must be {expected}, got {shown}")
        self.name = name
        self.value = value


class JournalExistsError(JournalError):
    """A journal of this name already exists. Journals are never overwritten."""


class NotAJournalError(JournalError):
    """The file's header cannot be read, because the file is not a journal, or is empty or damaged.

    Attributes:
        path: The file.
        reason: Why the header cannot be read.
    """

    def __init__(self, path: Path | str, reason: str, *, hint: str = "") -> None:
        super().__init__(f"{path} is not a readable journal: {reason}", hint=hint)
        self.path = path
        self.reason = reason


class FormatVersionError(JournalError):
    """The journal has a format version that this package does not read.

    Attributes:
        found: The journal's version.
        known: The version that this package reads.
    """

    def __init__(self, path: Path | str, found: int, known: int) -> None:
        newer = "upgrade reinforce-strategy-creator on this machine"
        older = "record the run again: formats before version 2 were never released"
        super().__init__(
            f"{path} has format version {found}, this package reads version {known}",
            hint=newer if found > known else older,
        )
        self.found = found
        self.known = known


class JournalAccessError(JournalError):
    """The journal cannot be read: it is missing, permission is denied, or the disk failed.

    Attributes:
        path: The file.
        errno: The error number of the operating system; None if there is none.
    """

    def __init__(self, path: Path | str, error: OSError) -> None:
        super().__init__(f"cannot read {path}: {error.strerror or error}")
        self.path = path
        self.errno = error.errno


class JournalWriteError(JournalError):
    """A write failed, and the writer has ``on_error="raise"``."""


class RecoverError(JournalError):
    """The journal cannot be recovered in this mode."""
