"""Remove journals that were not written for a given time, and whose rows in the database are final."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from journal.errors import JournalError
from journal.format.schema import NEW_SUFFIX, SPARE_SUFFIX
from journal.host.liveness import Liveness, Observer, is_locked
from journal.host.paths import failed_path, tail_path
from journal.inspect import plugins
from journal.inspect.overview import overview

_LONGEST_MAKING_S = 3600.0


class PruneError(JournalError):
    """Pruning is not possible, for example without a database."""


@dataclass(frozen=True)
class Verdict:
    """Decision on one journal. ``why`` says why it stays; it is empty if it may be removed."""

    path: Path
    why: str
    files: tuple[Path, ...]
    size_bytes: int


def judge(paths: Iterable[str], older_than_s: float, now_s: float | None = None) -> Iterator[Verdict]:
    """Decide on each journal. The age is that of the last write to any of its files.

    Raises PruneError if there is no database, and the database's own errors.
    """
    settled_of = plugins.load(plugins.EPISODES).get("settled_journals")
    if settled_of is None:
        raise PruneError("no database is installed to ask which episodes have ended", hint="nothing was touched")
    settled: dict[str, set[str] | None] = {}
    observer, now = Observer(), time.time() if now_s is None else now_s
    for path in map(Path, paths):
        run_id = path.parent.name
        if run_id not in settled:
            settled[run_id] = settled_of(run_id)
        files = tuple(file for file in (tail_path(path), failed_path(path), path) if os.path.lexists(file))
        states = [file.lstat() for file in files]
        age = now - max((state.st_mtime for state in states), default=now)
        why = _why_not(path, settled[run_id], age, older_than_s, observer)
        yield Verdict(path, why, files, sum(state.st_size for state in states))


def _why_not(path: Path, settled: set[str] | None, age_s: float, older_than_s: float, observer: Observer) -> str:
    """Return why a journal stays, empty if it may be removed. Cheap checks come first."""
    if age_s < older_than_s:
        return "too young"
    if settled is None:
        return "the database does not know its run"
    if path.stem not in settled:
        return "its row is missing or not final: run `reconcile` first"
    one = overview(str(path), observer)
    if one.source is None:
        return f"it is not a readable journal: {one.problem}"
    if one.writer is not None and one.writer.liveness is not Liveness.DEAD:
        return f"its writer is {one.writer.liveness}: {one.writer.reason}"
    return ""


def litter(folder: Path, older_than_s: float) -> Iterator[tuple[Path, int]]:
    """Return the hidden files, with sizes, that killed programs left: blank tails and unfinished new files.

    Removing them is safe: a live writer replaces a missing blank tail, and finishes a new file in less than an hour.
    """
    latest = time.time() - max(older_than_s, _LONGEST_MAKING_S)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") and entry.name.endswith((SPARE_SUFFIX, NEW_SUFFIX)):
                state = entry.stat(follow_symlinks=False)
                if state.st_mtime < latest:
                    yield Path(entry.path), state.st_size


def remove(verdict: Verdict) -> bool:
    """Remove the files of a journal. Return False if a writer holds its lock.

    The stream is removed last, so that an interrupted removal is found and repeated.
    """
    assert not verdict.why, "Invariant: only what was judged to be final is removed"
    if is_locked(verdict.path):
        return False
    for file in verdict.files:
        file.unlink(missing_ok=True)
    return True
