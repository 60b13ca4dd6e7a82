"""Describe a file that is not a readable journal. The text is for people; no code depends on it."""

from __future__ import annotations

import errno
import os

from journal.errors import FormatVersionError, JournalAccessError, JournalError, NotAJournalError
from journal.format.checksum import journal_seed
from journal.format.frames import CONTINUATION, Frame, header_text, metadata_length
from journal.format.schema import MAX_HEADER
from journal.read.source import FileSource
from journal.read.walk import Window, walk

_FOREIGN = {
    b"ARROW1": "an Arrow file, not a stream",
    b"PAR1": "a Parquet file",
    b"SQLite format 3": "a SQLite database",
    b"\x1f\x8b": "a gzip file",
    b"PK\x03\x04": "a zip file",
}


def diagnosed(path: str, error: JournalError) -> str:
    """Return why this file is not a readable journal, without its path, which the caller adds."""
    if isinstance(error, JournalAccessError):
        return _of_access(error)
    if isinstance(error, FormatVersionError):
        return f"it has format version {error.found}, this package reads version {error.known}"
    if not isinstance(error, NotAJournalError):
        return str(error)
    try:
        with FileSource(path) as source:
            start = source.read(0, MAX_HEADER)
        return _of_bytes(path, start) or error.reason
    except JournalError:
        return error.reason


def _of_access(error: JournalAccessError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a symbolic link, which readers do not follow"
    cause = error.__cause__
    reason = (
        cause.strerror if isinstance(cause, OSError) and cause.strerror else str(error).partition(f"{error.path}: ")[2]
    )
    return f"it cannot be read: {reason or error}"


def _of_bytes(path: str, start: bytes) -> str | None:
    if not start:
        return "it is empty"
    if not start.strip(b"\0"):
        return "it holds only zeros"
    for magic, name in _FOREIGN.items():
        if start.startswith(magic):
            return f"it is {name}"
    batches = len(batches_without_header(path))
    if batches:
        return f"its header is damaged; intact batches behind it: {batches}"
    length = metadata_length(start[:8], MAX_HEADER)
    if length is not None and length <= len(start) and header_text(start[:length]) is None:
        return "it is another program's Arrow stream"
    if start[:4] == CONTINUATION[: len(start[:4])]:
        return None
    return "it is not an Arrow stream"


def batches_without_header(path: str) -> list[Frame]:
    """Return the batches that verify for the journal id in the file's name. Raises JournalAccessError."""
    stem = os.path.basename(path).rpartition(".")[0]
    with FileSource(path) as source:
        size = source.size()
        return walk(Window(source, b""), 0, journal_seed(stem), size).frames
