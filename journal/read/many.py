"""Read many journals of killed writers at once, where each holds nothing but its header and a short undamaged tail.

A pass after a crash reads thousands of such journals. Each other journal is left to `read_journal`.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

from journal.errors import JournalError
from journal.format.header import Header
from journal.format.schema import STREAM_SUFFIX
from journal.format.slots import SlotLayout, layout_of
from journal.format.tails import MOST_BYTES, decode_tails, used_bytes
from journal.host.files import open_regular
from journal.host.liveness import Probe
from journal.host.paths import tail_file
from journal.read.headers import header_in
from journal.read.reader import Journal
from journal.read.source import FileSource

_MOST_HEADER = 1 << 14
_MOST_TOTAL = 1 << 24  # bytes of all tails together


class Found(NamedTuple):
    """A journal whose lock is free, and the probe of its stream before it was read."""

    probe: Probe
    journal: Journal


class _Raw(NamedTuple):
    path: str
    probe: Probe
    header: Header
    header_end: int
    tail: bytes
    tail_size: int


def read_killed(folder: str, journal_ids: Iterable[str], look: Callable[[Header], object]) -> dict[str, Found]:
    """Read those journals of a folder that are open, unlocked, short and undamaged; the caller reads the others.

    Args:
        folder: The folder.
        journal_ids: Their journals.
        look: Called with each header before the tail is read, to look at the writer's process: once that is gone, nothing
            more is written, and so the tail has all.
    """
    buffer, left = bytearray(MOST_BYTES), _MOST_TOTAL
    raws: dict[SlotLayout, list[_Raw]] = {}
    for journal_id in journal_ids:
        if left < MOST_BYTES:
            break
        try:
            raw = _read_one(f"{folder}/{journal_id}{STREAM_SUFFIX}", journal_id, look, buffer)
        except (OSError, JournalError):  # `read_journal` says what it is
            continue
        if raw is not None:
            left -= len(raw.tail)
            raws.setdefault(layout_of(raw.header.about.extra_columns), []).append(raw)
    found = {}
    for layout, of_layout in raws.items():
        ids = [raw.header.journal_id for raw in of_layout]
        for raw, rows in zip(of_layout, decode_tails([raw.tail for raw in of_layout], layout, ids), strict=True):
            if rows is not None:
                journal = Journal.of_tail(raw.path, raw.header, raw.header_end, rows, raw.tail_size)
                if journal.has_tail:  # else it was cut
                    found[journal.header.journal_id] = Found(raw.probe, journal)
    return found


def _read_one(path: str, journal_id: str, look: Callable[[Header], object], buffer: bytearray) -> _Raw | None:
    """Read a journal's header, and then its tail into the buffer; None if it is one for `read_journal`."""
    with FileSource(path) as source:
        fd = source.fileno()
        state = os.fstat(fd)
        if not 0 < state.st_size <= _MOST_HEADER or not _is_unlocked(fd):
            return None
        header, header_end = header_in(source, source.read(0, state.st_size), state.st_size)
        if header_end != state.st_size or header.journal_id != journal_id:
            return None
        look(header)
        size, used = _read_tail(tail_file(path), layout_of(header.about.extra_columns), buffer)
        if not used or source.size() != header_end:
            return None
    return _Raw(
        path, Probe(False, state.st_dev, state.st_ino), header, header_end, bytes(memoryview(buffer)[:used]), size
    )


def _is_unlocked(fd: int) -> bool:
    """Return True if no process holds the file's lock. Holds none afterwards."""
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(fd, fcntl.LOCK_UN)
    return True


def _read_tail(path: str, layout: SlotLayout, buffer: bytearray) -> tuple[int, int]:
    """Read a tail into the buffer; return its size, and how much of it holds slots: 0 if it is not for this module."""
    fd = open_regular(path)
    try:
        size = os.preadv(fd, [buffer], 0)
        if size == MOST_BYTES or size != os.fstat(fd).st_size:
            return size, 0
    finally:
        os.close(fd)
    return size, used_bytes(buffer, size, layout)
