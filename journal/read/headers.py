"""Read and decode the header of a journal."""

from __future__ import annotations

from pathlib import Path

from journal.errors import FormatVersionError, NotAJournalError
from journal.format.frames import header_text, metadata_length, verified
from journal.format.header import Header, format_version_of
from journal.format.schema import FORMAT_VERSION, MAX_HEADER
from journal.read.source import FileSource, Source

_THIS_VERSION = b'{"format_version":%d,' % FORMAT_VERSION


def read_header(path: Path | str) -> Header:
    """Read only the header of a journal.

    Raises:
        NotAJournalError: The header is unreadable.
        FormatVersionError: The journal has another format version.
        JournalAccessError: The file cannot be read.
    """
    with FileSource(path) as source:
        size = source.size()
        return header_in(source, source.read(0, min(size, 4096)), size)[0]


def header_in(source: Source, start: bytes, size: int) -> tuple[Header, int]:
    """Return the decoded header and its length; ``start`` is what was already read of the stream."""
    text, length = header_json(source, start, size)
    return parse_header(source.name, text), length


def header_json(source: Source, start: bytes, size: int) -> tuple[bytes, int]:
    """Return the verified JSON of the header, and the header's length; ``start`` is what was already read of the stream."""
    if not size:
        raise NotAJournalError(source.name, "the file is empty")
    length = metadata_length(start[:8], MAX_HEADER)
    if length is None:
        raise NotAJournalError(source.name, "it does not start as an Arrow stream")
    if length > size:
        raise NotAJournalError(source.name, "the header is cut")
    message = start[:length] if length <= len(start) else source.read(0, length)
    text = header_text(message)
    if text is None or not verified(message, 0):
        raise NotAJournalError(source.name, "the header is damaged, or another program wrote it")
    return text, length


def parse_header(name: str, text: bytes) -> Header:
    """Decode the header's JSON; ``name`` is the file's, for errors."""
    try:
        if not text.startswith(_THIS_VERSION):  # as writers of this version begin it
            version = format_version_of(text)
            if version != FORMAT_VERSION:
                raise FormatVersionError(name, version, FORMAT_VERSION)
        return Header.from_json(text)
    except ValueError as error:
        raise NotAJournalError(name, f"the header's content is malformed: {error}") from error
