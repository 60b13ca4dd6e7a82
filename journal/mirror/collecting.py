"""Collect the new parts of a journal since the last bundle: whole messages of its stream, verified slots of its tail."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from crc32c import crc32c
from msgspec.structs import replace

from journal.errors import JournalError
from journal.format.checksum import generation_seed, journal_seed
from journal.format.frames import seal_of, verified
from journal.format.schema import MAX_NUMBER
from journal.format.slots import TRADE, SlotLayout, layout_of
from journal.mirror.bundle import Draft, Kind
from journal.read.headers import header_json, parse_header
from journal.read.source import FileSource
from journal.read.walk import Window, read_footer, read_message

MAX_PIECE = 1 << 23  # bytes of a piece; a longer message is split


class Progress(msgspec.Struct, frozen=True):  # copying a dataclass takes several times as long
    """How much of a journal the mirror has.

    Attributes:
        journal_id: The journal.
        sent: Number of bytes of the stream that are sent.
        step: The last sealed step in these bytes.
        ended: True if a batch in these bytes records how the journal ended.
        closed: True if the whole stream of a closed journal is sent, so that nothing follows.
        size: Size of the stream at the last look. Bytes that did not verify then and are unchanged now are sent as they
            are.
        layout: The layout of the slots; None before the header is read, or if it is unreadable.
        mapped: True if the writer reserved the tail's size.
        first: First step of the tail's generation; 0 before the first look.
        slots: Number of slots of that generation that are sent.
        running: The running CRC after these slots.
        tail_kind: The kind of the last piece of the tail.
        raw: CRC of a damaged tail at the last look.
        raw_sent: CRC of a damaged tail that was sent as it is.
        stuck: True if bytes that do not verify were left out. They are sent as they are if the next look finds the same.
    """

    journal_id: str
    sent: int = 0
    step: int = 0
    ended: bool = False
    closed: bool = False
    size: int = -1
    layout: SlotLayout | None = None
    mapped: bool = False
    first: int = 0
    slots: int = 0
    running: int = 0
    tail_kind: Kind | None = None
    raw: int | None = None
    raw_sent: int | None = None
    stuck: bool = False


def collect(folder: Path | str, state: Progress, room: int) -> tuple[list[Draft], Progress]:
    """Read the new parts of a journal.

    The tail is read before the stream. So if the tail holds a new generation, the stream holds the seal of the one before.

    Args:
        folder: The run's folder.
        state: The progress so far.
        room: The approximate limit of the result, in bytes.

    Returns:
        The new parts, and the progress after they are stored.

    Raises:
        JournalError: The journal cannot be read.
    """
    with FileSource(f"{folder}/{state.journal_id}.arrows") as source:
        tail = source.tail()
        size = source.size()
        drafts, state = _stream(source, size, replace(state, stuck=False), room)
    if state.closed or (tail is None and state.ended):
        return drafts, state
    if tail is not None and state.sent == size and sum(len(one.data) for one in drafts) < room:
        found, state = _tail(tail[0], tail[1], state)
        drafts += found
    return drafts, state


def _stream(source: FileSource, size: int, state: Progress, room: int) -> tuple[list[Draft], Progress]:
    before, unchanged = state.sent, state.size == size
    state = replace(state, size=size)
    if size <= state.sent:
        return [], state
    window = Window(source, b"")
    if state.layout is None:
        state = _header(source, size, state)
    step, ended, sent = state.step, state.ended, state.sent
    while sent < size and sent - before < room and not ended:
        message = read_message(window, sent, size)
        if message is None or not verified(message, journal_seed(state.journal_id)):
            break
        sent += len(message)
        seal = seal_of(message)
        if seal is not None:
            step, ended = max(step, seal.last_step), ended or seal.end is not None
    closed = ended and read_footer(window, size, journal_seed(state.journal_id)) is not None
    # Send the rest: the end mark and the footer, or bytes that do not verify. A stream only grows, so the mirror's part
    # stays a prefix.
    if sent < size and sent - before < room and (closed or unchanged):
        sent = size
    if sent == size and ended:
        closed = True
    full = sent == size
    pieces = range(before, sent, MAX_PIECE)
    drafts = []
    for start in pieces:
        end = min(start + MAX_PIECE, sent)
        kind = Kind.LAST if closed and full and end == sent else Kind.STREAM
        drafts.append(Draft(state.journal_id, kind, source.read(start, end - start), start, step))
    stuck = sent < size and sent - before < room
    return drafts, replace(state, sent=sent, step=step, ended=ended, closed=closed and full, stuck=stuck)


def _header(source: FileSource, size: int, state: Progress) -> Progress:
    """Read the header again, because a mirror that starts in the middle of a journal needs it for the tail."""
    try:
        text, length = header_json(source, source.read(0, min(size, 1 << 16)), size)
        header = parse_header(source.name, text)
    except JournalError:
        return state
    layout = layout_of(header.about.extra_columns)
    return replace(state, layout=layout, mapped=header.tail_mapped is True, sent=max(state.sent, length))


def _tail(data: bytes, failed: bool, state: Progress) -> tuple[list[Draft], Progress]:
    """Return the new slots of a tail that verify, or a damaged tail as it is if it has stopped changing."""
    kind = Kind.FAILED if failed else Kind.TAIL
    layout = state.layout
    if layout is None:
        return _raw(data, kind, state, max(layout_of(()).size, 1))
    slots = np.frombuffer(data, layout.dtype, len(data) // layout.size)
    used = int(np.argmin(slots["kind"] != 0)) if len(slots) and not (slots["kind"] != 0).all() else len(slots)
    first = int(slots["step"][0]) if used else state.step + 1
    if not state.step < first < MAX_NUMBER:  # already sealed, but not blanked yet
        used, first = 0, state.step + 1
    again = first != state.first or kind != state.tail_kind
    if again or state.slots > used:
        state = replace(state, slots=0, running=generation_seed(state.journal_id, first))
    good, running = _verified(data, slots, state.slots, used, state.running, layout, state.journal_id)
    if good == state.slots < used and state.slots:  # an interrupted step was removed, so send this generation again
        seed = generation_seed(state.journal_id, first)
        whole, crc = _verified(data, slots, 0, used, seed, layout, state.journal_id)
        if whole > good:
            state, good, running = replace(state, slots=0), whole, crc
    rest = np.frombuffer(data, np.uint8, offset=good * layout.size)
    if (used or state.tail_kind is None) and np.count_nonzero(rest):
        drafts, state = _raw(data, kind, state, layout.size)
        if drafts:
            return drafts, state
    if good == state.slots and not again:
        return [], state
    start = state.slots * layout.size
    room = len(data) if state.mapped else good * layout.size
    draft = Draft(state.journal_id, kind, data[start : good * layout.size], start, first, room)
    return [draft], replace(state, first=first, slots=good, running=running, tail_kind=kind)


def _verified(
    data: bytes, slots: np.ndarray, start: int, used: int, running: int, layout: SlotLayout, journal_id: str
) -> tuple[int, int]:
    """Return how many slots from the front verify, up to the last step or mark, and the running CRC after them."""
    size, mask = layout.size, journal_seed(journal_id)
    while used > start and slots["kind"][used - 1] == TRADE:
        used -= 1
    if used <= start:
        return start, running
    raw = np.frombuffer(data, np.uint8, used * size).reshape(used, size)[start:]
    whole = int(crc32c(np.ascontiguousarray(raw[:, : size - 4]).tobytes(), running))
    if whole ^ mask == int(slots["crc"][used - 1]):
        return used, whole
    good, crc = (start, running), running
    for at in range(start, used):
        crc = int(crc32c(data[at * size : (at + 1) * size - 4], crc))
        if crc ^ mask != int(slots["crc"][at]):
            break
        if slots["kind"][at] != TRADE:
            good = (at + 1, crc)
    return good


def _raw(data: bytes, kind: Kind, state: Progress, size: int) -> tuple[list[Draft], Progress]:
    """Return the whole tail as it is, if it is unchanged since the last look and not sent yet."""
    crc = int(crc32c(data))
    if crc == state.raw_sent:
        return [], state
    if crc != state.raw:
        return [], replace(state, raw=crc, stuck=True)
    written = -(-len(data.rstrip(b"\0")) // size) * size
    draft = Draft(state.journal_id, kind, data[:written], 0, state.step + 1, len(data))
    # The whole tail is sent, so the progress of its slots starts anew.
    return [draft], replace(state, raw_sent=crc, tail_kind=kind, first=0, slots=0)
