"""Take a consistent view of a journal's bytes, tail first and then stream, while its writer may be appending."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from journal.format.checksum import journal_seed
from journal.format.footer import footer_length
from journal.format.frames import End, Frame
from journal.format.header import Header
from journal.format.scan import TailScan, scan_tail
from journal.format.schema import MAX_TAIL_BYTES
from journal.format.slots import layout_of
from journal.read.findings import Damage, Finding
from journal.read.source import Source
from journal.read.walk import Walk, Window, walk

# A writer may seal during each try. Then the last try counts.
_MOST_TRIES = 4


@dataclass(frozen=True)
class Snapshot:
    """A consistent view of a journal.

    Attributes:
        walk: What the walk over the stream found.
        frames: Intact batches with rows or an end.
        end: How the episode ended; None for an open journal.
        scan: The rows in the tail, which follow those of the batches.
        tail_size: Bytes of the tail; None if there is no tail.
        tail_failed: Whether the tail is a failed one.
        size: Bytes of the stream.
        whole: All bytes of the stream of a short closed journal, of which all frames are verified.
    """

    walk: Walk
    frames: list[Frame]
    end: End | None
    scan: TailScan
    tail_size: int | None
    tail_failed: bool
    size: int
    whole: bytes | None = None

    @property
    def sealed_step(self) -> int:
        return self.frames[-1].seal.last_step if self.frames else 0


def take_snapshot(source: Source, start: bytes, header: Header, header_end: int) -> Snapshot:
    """Read and verify a journal; ``start`` is what was already read of the stream.

    The tail is read before the stream, because rows move from tail to stream and never back. If the writer seals the tail
    meanwhile, the tail looks damaged. So it is read again if it looks damaged and has changed.
    """
    closed = _read_closed(source, start, header, header_end)
    if closed is not None:
        return closed
    tail = source.tail()
    seen = _read_once(source, tail, start, header, header_end)
    for _ in range(_MOST_TRIES - 1):
        if not _looks_damaged(seen) or (now := source.tail()) == tail:
            break
        tail = now
        seen = _read_once(source, tail, start, header, header_end)
    return seen


def _read_closed(source: Source, start: bytes, header: Header, header_end: int) -> Snapshot | None:
    """Return the view of a short closed journal without damage, else None. Its stream has all rows, so no tail is read.

    Training reads each ended episode this way.
    """
    size = len(start)
    if footer_length(start[-16:]) is None or source.size() != size:
        return None
    found = walk(Window(source, start), header_end, journal_seed(header.journal_id), size)
    last = found.frames[-1].seal if found.frames else None
    if (
        last is None
        or last.end is None
        or found.footer is None
        or found.findings
        or found.footer.steps != last.last_step
    ):
        return None
    frames = [frame for frame in found.frames if frame.seal.steps or frame.seal.end]
    blank = np.empty(0, layout_of(header.about.extra_columns).dtype)
    return Snapshot(found, frames, last.end, TailScan(blank), None, False, size, start)


def _read_once(
    source: Source, tail: tuple[bytes, bool] | None, start: bytes, header: Header, header_end: int
) -> Snapshot:
    size = source.size()
    found = walk(Window(source, start), header_end, journal_seed(header.journal_id), size)
    frames = [frame for frame in found.frames if frame.seal.steps or frame.seal.end]
    end = next((frame.seal.end for frame in reversed(frames) if frame.seal.end), None)
    end = end or (found.footer.end if found.footer else None)
    sealed = frames[-1].seal.last_step if frames else 0
    layout = layout_of(header.about.extra_columns)
    data = tail[0] if tail else b""
    most = MAX_TAIL_BYTES // layout.size * layout.size
    if not end and data[most:].strip(b"\0"):
        text = f"the tail is longer than {MAX_TAIL_BYTES >> 20} MiB, and the rest is not read"
        found.findings.append(Finding(Damage.SLOT, text, most // layout.size))
    scan = scan_tail(data[:most], layout, header.journal_id, sealed)
    if end:  # the stream of a closed journal has all rows; its tail may belong to another episode by now
        scan = replace(scan, damaged=(), lost_end=0)
    return Snapshot(found, frames, end, scan, len(tail[0]) if tail else None, tail is not None and tail[1], size)


def _looks_damaged(seen: Snapshot) -> bool:
    if seen.scan.damaged:
        return True
    steps = seen.scan.slots["step"]
    return len(steps) > 0 and (int(steps[0]) != seen.sealed_step + 1 or bool((steps[1:] - steps[:-1] > 1).any()))
