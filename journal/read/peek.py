"""Read only the header and the footer of a closed journal, in one or two small reads. The batches are not verified."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from journal.errors import NotAJournalError
from journal.format.checksum import journal_seed
from journal.format.footer import Footer, decode_footer, footer_length
from journal.format.frames import End
from journal.format.header import Header, from_microseconds
from journal.format.schema import EndReason
from journal.read.headers import header_json, parse_header
from journal.read.reader import Journal, read_journal
from journal.read.source import FileSource

if TYPE_CHECKING:
    from journal.format.schema import Fold

_WHOLE = 1 << 14  # up to this size, one read of the whole file is cheaper than two
_PIECE = 1 << 12

F = TypeVar("F", bound="Fold")


@dataclass(frozen=True)
class Peek:
    """The footer of a closed journal, and its header. `peek` checks the header's CRC; first use decodes the header.

    Attributes:
        path: The journal's stream.
        header_text: The header's JSON.
        footer: The decoded footer.
        size_bytes: The size of the stream.
    """

    path: Path | str
    header_text: bytes
    footer: Footer
    size_bytes: int

    @functools.cached_property
    def header(self) -> Header:
        """The decoded header; raises NotAJournalError or FormatVersionError."""
        return parse_header(str(self.path), self.header_text)

    @property
    def steps(self) -> int:
        return self.footer.steps

    @property
    def trades(self) -> int:
        return self.footer.trades

    @property
    def end(self) -> End:
        return self.footer.end

    @property
    def end_reason(self) -> EndReason:
        """How the episode ended; an unknown reason counts as an error."""
        try:
            return EndReason(self.footer.end.reason)
        except ValueError:
            return EndReason.ERROR

    @property
    def checkpoint(self) -> bytes | None:
        return self.footer.checkpoint

    @property
    def last_step_time(self) -> datetime | None:
        """Wall-clock time of the last step, UTC."""
        try:
            return from_microseconds(self.footer.wall_time_us) if self.footer.steps else None
        except ValueError:
            return None

    def folded(self, make: Callable[[], F], restore: Callable[[bytes], F]) -> F:
        """Return the final running metrics, as `Journal.folded` does. The journal must have had a fold, or no steps."""
        return make() if self.footer.checkpoint is None else restore(self.footer.checkpoint)

    # A checkpoint of another version must be recomputed from all rows, so the whole journal is read.

    @functools.cached_property
    def whole(self) -> Journal:
        """The whole journal, read and verified."""
        return read_journal(self.path)

    @property
    def steps_lost(self) -> int:
        return self.whole.steps_lost

    def replayed(self, make: Callable[[], F]) -> F:
        """Return the metrics computed from every row, as `Journal.replayed` does."""
        return self.whole.replayed(make)


def peek(path: Path | str) -> Peek | None:
    """Return the peek of a closed journal with an intact footer. Otherwise return None; use `read_journal` then.

    Raises:
        NotAJournalError: The header is unreadable.
        FormatVersionError: The journal has another format version.
        JournalAccessError: The file cannot be read.
    """
    with FileSource(path) as source:
        size = source.size()
        start = source.read(0, size if size <= _WHOLE else _PIECE)
        text, _ = header_json(source, start, size)
        end = start if len(start) == size else source.read(size - _PIECE, _PIECE)
        length = footer_length(end[-16:])
        if length is None or length > size:
            return None
        end = end[-length:] if length <= len(end) else source.read(size - length, length)
    footer = _footer_of(path, text, end, size)
    return None if footer is None else Peek(path, text, footer, size)


def _footer_of(path: Path | str, header_text: bytes, end: bytes, size: int) -> Footer | None:
    """Decode the footer. Its CRC is seeded with the journal id, so it verifies only under the journal's own name."""
    name = os.path.basename(path)
    stem = name.rpartition(".")[0] or name
    footer = decode_footer(end, size, journal_seed(stem))
    if footer is not None:
        return footer
    header = parse_header(str(path), header_text)
    if header.journal_id != stem and os.path.basename(os.path.dirname(os.path.abspath(path))) == header.run_id:
        raise NotAJournalError(path, f"it holds journal {header.journal_id} of run {header.run_id}")
    return decode_footer(end, size, journal_seed(header.journal_id))
