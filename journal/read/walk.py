"""Walk over a stream: find every message that verifies, and classify everything that does not."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from journal.format.flatbuffer import message_length, row_count
from journal.format.footer import Footer, decode_footer, footer_length
from journal.format.frames import (
    CONTINUATION,
    END_OF_STREAM,
    Frame,
    Seal,
    metadata_length,
    record_type_of,
    seal_in,
    seal_of,
    stated_length,
    verified,
)
from journal.format.schema import MAX_FOOTER, MAX_MESSAGE, MAX_METADATA
from journal.read.findings import Damage, Finding
from journal.read.source import Source

_WINDOW = 1 << 20
_NEAR = 1 << 12  # a search starts small, because a small message often follows damage
_ZERO = b"\0"
# The start of a message: the mark, and a length up to MAX_METADATA. A failing disk may return only FF bytes.
_START = re.compile(re.escape(CONTINUATION) + rb"..[\x00-\x10]\x00", re.DOTALL)


@dataclass
class Walk:
    """The result of a walk. ``frames`` are sorted by step and do not overlap."""

    frames: list[Frame] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    torn: bool = False
    footer: Footer | None = None
    stream_end: int = 0  # where the next message of an open journal starts
    claim: Seal | None = None  # the seal of a damaged last batch, which is not verified
    search_bytes: int = 0  # how many bytes may still be searched for a good message
    unknown: Counter[str] = field(default_factory=Counter)  # records of types that this version does not know


class Window:
    """A read cache over a source: it reads large pieces and returns small ones. One message bounds its memory."""

    def __init__(self, source: Source, start: bytes) -> None:
        self._source = source
        self._base = 0
        self._data = start

    def read(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset``; fewer only at the end of the source."""
        at = offset - self._base
        if at < 0 or at + length > len(self._data):
            self._data = self._source.read(offset, max(length, _WINDOW))
            self._base = offset
            at = 0
        return self._data[at : at + length]

    def peek(self, offset: int, length: int) -> bytes:
        """Read like `read`, but do not move the cache."""
        at = offset - self._base
        if at >= 0 and at + length <= len(self._data):
            return self._data[at : at + length]
        return self._source.read(offset, length)


def walk(window: Window, start: int, journal_seed: int, size: int) -> Walk:
    """Walk over the messages between ``start``, where the header ends, and ``size``."""
    found = Walk(footer=read_footer(window, size, journal_seed), search_bytes=4 * size + (1 << 26))
    offset = start
    while offset < size:
        message = read_message(window, offset, size)
        if message is not None and verified(message, journal_seed):
            _take(found, offset, message)
            offset += len(message)
        elif _has_ended(found) and window.read(offset, 8) == END_OF_STREAM:
            break  # at other places these bytes are a batch whose length is damaged
        else:
            offset = _behind_damage(found, window, offset, size, journal_seed)
    found.stream_end = min(offset, size)
    _put_in_order(found)
    return found


def read_message(window: Window, offset: int, size: int) -> bytes | None:
    """Return the message that starts here, with the length that it states; None if there is none, or it is cut."""
    metadata = metadata_length(window.read(offset, 8))
    if metadata is None or offset + metadata > size:
        return None
    length = stated_length(window.read(offset, metadata))
    if length is None or not metadata <= length <= min(MAX_MESSAGE, size - offset):
        return None
    return window.read(offset, length)


def read_footer(window: Window, size: int, journal_seed: int) -> Footer | None:
    """Return the footer at the end of the stream, or None if there is no undamaged one of this journal."""
    end = window.peek(max(0, size - 4096), min(size, 4096))
    length = footer_length(end[-16:])
    if length is None or length > size:
        return None
    if length > len(end):
        end = window.peek(size - length, length)
    return decode_footer(end, size, journal_seed)


def _take(found: Walk, offset: int, message: bytes) -> None:
    seal = seal_of(message)
    if seal is None and (kind := record_type_of(message)) is not None:
        found.unknown[kind] += 1
    elif seal is None or not _makes_sense(seal):
        found.findings.append(Finding(Damage.CONTENT, "a batch without a readable seal", offset))
    else:
        found.frames.append(Frame(offset, len(message), seal))


def _makes_sense(seal: Seal) -> bool:
    """Return True if a writer can have written these numbers. Only steps close trades."""
    counts_right = seal.steps > 0 or seal.steps == seal.trades == 0
    return counts_right and seal.trades >= 0 and seal.first_step >= 1 and seal.first_trade >= 1


def _behind_damage(found: Walk, window: Window, offset: int, size: int, journal_seed: int) -> int:
    """Record what is at ``offset``, and return where the next good message starts; ``size`` if there is none."""
    end = _next_message(found, window, offset + 1, size, journal_seed)
    if end is None and _has_ended(found):
        return size  # only end mark and footer are damaged; the batches have everything
    if end is None and found.footer is not None:
        end = found.footer.stream_bytes - len(END_OF_STREAM)
        if end <= offset:
            return size
    given_up = found.search_bytes <= 0  # what follows is unknown, so this is not a torn end
    if end is not None or given_up or _was_written_whole(window, offset, size):
        found.findings.append(Finding(Damage.BATCH, f"{(end or size) - offset} bytes do not verify", offset))
        found.claim = _claim(window.read(offset, min(size - offset, MAX_METADATA))) if end is None else None
    else:
        found.torn = True
    return size if end is None else end


def _has_ended(found: Walk) -> bool:
    return bool(found.frames) and found.frames[-1].seal.end is not None


def _claim(damaged: bytes) -> Seal | None:
    """Return the seal of a damaged batch if it agrees with Arrow's own count of rows.

    Its position is unknown, because the length of the metadata may be damaged.
    """
    seal, rows = seal_in(damaged), row_count(damaged)
    return seal if seal is not None and seal.steps == rows else None


def _next_message(found: Walk, window: Window, offset: int, size: int, journal_seed: int) -> int | None:
    """Return the next offset where a message of this journal verifies, or None.

    All searches of a walk share one limit, so that a hostile file cannot make the search quadratic.
    """
    reach = _NEAR
    while offset < size and found.search_bytes > 0:
        piece = window.read(offset, min(reach, size - offset))
        if not piece:
            break  # the file has shrunk
        reach = min(2 * reach, _WINDOW)
        start = _START.search(piece)
        while start is not None and found.search_bytes > 0:
            at = start.start()
            message = read_message(window, offset + at, size)
            if message is not None:
                if verified(message, journal_seed):
                    return offset + at
                found.search_bytes -= len(message)
            found.search_bytes -= metadata_length(piece[at : at + 8]) or 0
            start = _START.search(piece, at + 1)
        offset += max(len(piece) - 7, 1)
    return None


def _was_written_whole(window: Window, offset: int, size: int) -> bool:
    """Return True if the rest is damage, and False if one interrupted write can be the cause.

    A crash leaves a message shorter than it states, or zeros instead of it.
    """
    if size - offset > MAX_MESSAGE + MAX_FOOTER:
        return True  # more than one write
    rest = window.read(offset, min(size - offset, _WINDOW))
    if len(rest) < 8:
        return False
    if not rest.strip(_ZERO):
        return not _is_blank(window, offset, size)
    # The frame and Arrow's metadata both state the length, so one survives a bit flip in the other.
    stated = (stated_length(rest), message_length(rest))
    lengths = [length for length in stated if length is not None and length <= MAX_MESSAGE]
    return size - offset >= min(lengths, default=metadata_length(rest[:8]) or 0)


def _is_blank(window: Window, offset: int, size: int) -> bool:
    while offset < size:
        piece = window.read(offset, min(size - offset, _WINDOW))
        if not piece:
            break  # the file has shrunk
        if piece.strip(_ZERO):
            return False
        offset += len(piece)
    return True


def _put_in_order(found: Walk) -> None:
    """Sort the batches by their step numbers, and drop duplicates."""
    ordered = sorted(found.frames, key=lambda frame: (frame.seal.first_step, frame.offset))
    kept: list[Frame] = []
    for frame in ordered:
        if kept and (frame.seal.first_step <= kept[-1].seal.last_step or frame.seal == kept[-1].seal):
            text = f"the batch of steps {frame.seal.first_step} to {frame.seal.last_step} is there twice"
            found.findings.append(Finding(Damage.ORDER, text, frame.offset))
        else:
            kept.append(frame)
    if [frame.offset for frame in kept] != sorted(frame.offset for frame in kept):
        found.findings.append(
            Finding(Damage.ORDER, "batches are in another order than they were written", kept[0].offset)
        )
    found.frames = kept
