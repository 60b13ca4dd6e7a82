"""A damaged journal with the header of another journal of the same env, for `recover --header-from`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from journal.errors import RecoverError
from journal.format.decoding import DecodeError, decode
from journal.format.encoding import encode_header
from journal.format.frames import Frame
from journal.format.header import Header, microseconds
from journal.host.paths import parse_journal_path
from journal.inspect.diagnosis import batches_without_header
from journal.read.headers import read_header
from journal.read.source import FileSource


class Spliced:
    """Source with another journal's header. The ids come from the file's own name."""

    def __init__(self, file: FileSource, header_from: Path) -> None:
        self.name = file.name
        self._file = file
        lent = read_header(header_from)
        _, run_id, journal_id = parse_journal_path(file.name)
        started = _start_time_us(journal_id) or lent.start_time_us
        notes = {**lent.about.notes, "header_from": lent.journal_id}
        header = replace(
            lent, run_id=run_id, journal_id=journal_id, start_time_us=started,
            about=replace(lent.about, notes=notes), stream=None, tail_mapped=None,
        )  # fmt: skip
        frames = sorted(batches_without_header(file.name), key=lambda frame: frame.offset)
        self._start = frames[0].offset if frames else file.size()
        self._check_columns(frames, header)
        self._header = encode_header(header.to_json(), header.about.extra_columns)

    def _check_columns(self, frames: list[Frame], header: Header) -> None:
        for frame in frames[:1]:
            try:
                decode(self._file.read(frame.offset, frame.length), header.about.extra_columns, frame.seal)
            except DecodeError as error:
                raise RecoverError(
                    f"the header of {header.about.notes['header_from']} does not fit these batches: {error}",
                    hint="take the header of a journal of the same env",
                ) from error

    def tail(self) -> tuple[bytes, bool] | None:
        return self._file.tail()

    def size(self) -> int:
        return len(self._header) + max(self._file.size() - self._start, 0)

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of header and batches."""
        start = self._header[offset : offset + length]
        if len(start) == length:
            return start
        return start + self._file.read(max(offset - len(self._header), 0) + self._start, length - len(start))


def _start_time_us(journal_id: str) -> int | None:
    """Return the time in an id that `new_journal_id` made."""
    try:
        return microseconds(datetime.strptime(journal_id[:15], "%Y%m%dT%H%M%S").replace(tzinfo=UTC))
    except ValueError:
        return None
