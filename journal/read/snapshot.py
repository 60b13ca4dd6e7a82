"""One consistent look at a journal's bytes: its tail, then its stream, while its writer may be at work."""

from __future__ import annotations

from dataclasses import dataclass, replace

from journal.format.checksum import journal_seed
from journal.format.frames import End, Frame
from journal.format.header import Header
from journal.format.scan import TailScan, scan_tail
from journal.format.schema import MAX_TAIL_BYTES
from journal.format.slots import layout_of
from journal.read.findings import Damage, Finding
from journal.read.source import Source
from journal.read.walk import Walk, Window, walk

# A writer that seals in each of them is not to be outrun; the last one counts.
_MOST_TRIES = 4


@dataclass(frozen=True)
class Snapshot:
    """What a look found. ``frames`` are the intact batches that say anything, ``scan`` the rows behind them."""

    walk: Walk
    frames: list[Frame]
    end: End | None
    scan: TailScan
    tail: tuple[bytes, bool] | None
    size: int

    @property
    def sealed_step(self) -> int:
        return self.frames[-1].seal.last_step if self.frames else 0


def take_snapshot(source: Source, start: bytes, header: Header, header_end: int) -> Snapshot:
    """Read and verify all of it; ``start`` is what was read of the stream already.

    The tail is read before the stream: rows move from the one to the other, never back. Reading a tail takes time, in
    which its writer may seal it and begin anew; that shows as damage that is gone when one looks again.
    """
    seen = _read_once(source, start, header, header_end)
    for _ in range(_MOST_TRIES - 1):
        if not _looks_damaged(seen) or source.tail() == seen.tail:
            break
        seen = _read_once(source, start, header, header_end)
    return seen


def _read_once(source: Source, start: bytes, header: Header, header_end: int) -> Snapshot:
    tail = source.tail()
    size = source.size()
    found = walk(source, Window(source, start), header_end, journal_seed(header.journal_id), size)
    frames = [frame for frame in found.frames if frame.seal.steps or frame.seal.end]
    end = next((frame.seal.end for frame in reversed(frames) if frame.seal.end), None)
    end = end or (found.footer.end if found.footer else None)
    sealed = frames[-1].seal.last_step if frames else 0
    layout = layout_of(header.about.extra_columns)
    data = tail[0] if tail else b""
    most = MAX_TAIL_BYTES // layout.size * layout.size
    if not end and data[most:].strip(b"\0"):
        text = f"the tail is longer than {MAX_TAIL_BYTES >> 20} MiB, and what stands behind is not read"
        found.findings.append(Finding(Damage.SLOT, text, most // layout.size))
    scan = scan_tail(data[:most], layout, header.journal_id, sealed)
    if end:  # all rows of a closed journal live in its stream; its tail may be another episode's by now
        scan = replace(scan, damaged=(), lost_end=0)
    return Snapshot(found, frames, end, scan, tail, size)


def _looks_damaged(seen: Snapshot) -> bool:
    if seen.scan.damaged:
        return True
    steps = seen.scan.slots["step"]
    return len(steps) > 0 and (int(steps[0]) != seen.sealed_step + 1 or bool((steps[1:] - steps[:-1] > 1).any()))
