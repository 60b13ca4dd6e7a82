"""Copy pieces from the store into files: read ranges of objects, and check each piece."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from crc32c import crc32c

from journal.mirror.store import Store

_THREADS = 8
_NEAR = 1 << 16  # one request reads pieces that are at most so many bytes apart
_MOST = 1 << 23  # bytes of a request, unless one piece is longer
_FF = b"\xff" * (1 << 16)


@dataclass(slots=True)  # a run has at least one for each journal
class Part:
    """A piece to copy: its place in the store, and its place in a file."""

    name: str
    place: int
    length: int
    crc: int
    file: Path
    start: int
    problem: str = ""
    is_spare: bool = False  # used only if another copy of these bytes is damaged


Job = tuple[str, Part]


def copy_parts(store: Store, folder: Path, jobs: Iterable[Job]) -> Iterator[tuple[str, str]]:
    """Copy parts into files.

    If a piece is damaged or missing, another copy of the same bytes replaces it. Without an intact copy, a damaged piece
    is written as it is, and a missing piece as FF.

    Args:
        store: The mirror's store.
        folder: The folder of the files.
        jobs: Journal ids with the parts to copy.

    Yields:
        Each problem, as a journal id and a text for people.
    """
    every = list(jobs)
    spares: dict[tuple[Path, int, int], list[Part]] = {}
    for _, part in every:
        if part.is_spare:
            spares.setdefault((part.file, part.start, part.length), []).append(part)
    groups = iter(_groups([job for job in every if not job[1].is_spare]))
    with ThreadPoolExecutor(_THREADS) as pool:
        while window := list(islice(groups, 2 * _THREADS)):  # the window bounds memory use
            for found in pool.map(lambda group: _copy_group(store, folder, group, spares), window):
                yield from found


def _groups(jobs: list[Job]) -> Iterator[list[Job]]:
    """Yield groups of neighbouring parts in one object. One request reads a group."""
    group: list[Job] = []
    for job in sorted(jobs, key=lambda job: (job[1].name, job[1].place)):
        part = job[1]
        if group:
            first, last = group[0][1], group[-1][1]
            end = max(one.place + one.length for _, one in group[-1:])
            near = part.name == last.name and part.place - end <= _NEAR
            if not near or part.place + part.length - first.place > _MOST or part.problem or last.problem:
                yield group
                group = []
        group.append(job)
    if group:
        yield group


def _copy_group(
    store: Store, folder: Path, group: list[Job], spares: dict[tuple[Path, int, int], list[Part]]
) -> list[tuple[str, str]]:
    first = group[0][1]
    problems: list[tuple[str, str]] = []
    length = max(part.place + part.length for _, part in group) - first.place
    data = None if first.problem.endswith("is missing") else store.get_range(first.name, first.place, length)
    for journal_id, part in group:
        found = None if data is None else data[part.place - first.place : part.place - first.place + part.length]
        if found is None or len(found) != part.length or crc32c(found) != part.crc:
            spare = next(
                (one for one in spares.get((part.file, part.start, part.length), []) if one.crc == part.crc), None
            )
            other = None if spare is None else store.get_range(spare.name, spare.place, spare.length)
            if other is not None and crc32c(other) == part.crc:
                found = other
            if not part.problem:
                what = "is missing" if found is None else "has bytes that do not match their checksum"
                problems.append((journal_id, f"{part.name} {what}"))
        path = folder / part.file
        if found is None or len(found) < part.length:
            _fill_ends(path, part.start, part.length)
        if found:
            _write(path, part.start, found)
    return problems


def fill(path: Path, start: int, length: int) -> None:
    """Write FF bytes, which no reader can mistake for a torn end."""
    for at in range(start, start + length, len(_FF)):
        _write(path, at, _FF[: min(len(_FF), start + length - at)])


def _fill_ends(path: Path, start: int, length: int) -> None:
    """Write FF bytes at both ends of a missing piece. The rest stays a hole, so a forged index cannot fill a disk."""
    fill(path, start, min(length, len(_FF)))
    fill(path, start + max(length - len(_FF), 0), min(length, len(_FF)))


def _write(path: Path, start: int, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        view = memoryview(data)
        while view:
            written = os.pwrite(fd, view, start)
            view, start = view[written:], start + written
    finally:
        os.close(fd)
