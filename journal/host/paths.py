"""Convert (root, run id, journal id) to paths and back. Invalid run and journal ids are refused."""

from __future__ import annotations

import functools
import os
import secrets
import time
from collections.abc import Container, Iterator
from datetime import UTC, datetime
from pathlib import Path

from journal.errors import UnsafeNameError
from journal.format.header import NAME_PATTERN, is_name
from journal.format.schema import FAILED_SUFFIX, RUN_MARKER, STREAM_SUFFIX, TAIL_SUFFIX


def check_name(name: str, what: str) -> str:
    """Return ``name`` if it is a safe run or journal id; raise UnsafeNameError otherwise."""
    if not is_name(name):
        raise UnsafeNameError(
            f"{name!r} is not a {what}",
            hint="use letters, digits, '.', '_' and '-', at most 128, starting with a letter or digit",
        )
    return name


def new_journal_id() -> str:
    """Return a journal id that sorts by time and is unique across hosts: ``20261122T235959-9f3a2b7c4d5e``.

    The first five digits after the dash are the microsecond, the other seven are random.
    """
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return f"{_second(seconds)}-{nanoseconds // 1000:05x}{secrets.token_hex(4)[:7]}"


@functools.lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}"


@functools.lru_cache(maxsize=64)
def run_dir(root: Path | str, run_id: str) -> Path:
    """Return the folder of a run's journals."""
    return Path(root) / check_name(run_id, "run id")


def journal_path(root: Path | str, run_id: str, journal_id: str) -> Path:
    """Return the path of a journal's stream.

    Args:
        root: The journal root.
        run_id: The run.
        journal_id: The journal.

    Raises:
        UnsafeNameError: An id is not a safe name.
    """
    return Path(stream_file(root, run_id, journal_id))


def stream_file(root: Path | str, run_id: str, journal_id: str) -> str:
    """Return `journal_path` as text, for the writer: creating a Path is measurable there."""
    return f"{run_dir(root, run_id)}/{check_name(journal_id, 'journal id')}{STREAM_SUFFIX}"


def tail_file(stream: str) -> str:
    """Return `tail_path` as text."""
    return stream.removesuffix(STREAM_SUFFIX) + TAIL_SUFFIX


def parse_journal_path(path: Path | str) -> tuple[Path, str, str]:
    """Split a journal's path into the journal root, the run id and the journal id.

    Raises:
        UnsafeNameError: The path is not that of a journal's stream.
    """
    path = Path(os.path.abspath(path))  # not resolve(): a symlink is refused when it is opened, not followed
    if path.suffix != STREAM_SUFFIX:
        raise UnsafeNameError(f"{path.name!r} is no journal: its name does not end in {STREAM_SUFFIX}")
    return path.parent.parent, check_name(path.parent.name, "run id"), check_name(path.stem, "journal id")


def tail_path(stream: Path) -> Path:
    """Return the path of the tail beside a stream. It exists while the episode runs, or if its writer died."""
    return stream.with_suffix(TAIL_SUFFIX)


def failed_path(stream: Path) -> Path:
    """Return the path of the tail of a journal whose writing failed."""
    return stream.with_suffix(FAILED_SUFFIX)


def marker_path(root: Path | str, run_id: str) -> Path:
    """Return the path of the run's marker, which the driver creates and locks."""
    return run_dir(root, run_id) / RUN_MARKER


def list_runs(root: Path | str) -> Iterator[str]:
    """Yield the ids of all runs under a root, unsorted; none if the root does not exist."""
    for entry in _scan(Path(root)):
        if NAME_PATTERN.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False):
            yield entry.name


def list_journals(root: Path | str, run_id: str, known: Container[str] = ()) -> Iterator[str]:
    """Yield the ids of all journals of a run, unsorted. Skip names that no writer creates.

    Args:
        root: The journal root.
        run_id: The run.
        known: Ids to leave out.

    Raises:
        UnsafeNameError: The run id is not a safe name.
    """
    for entry in _scan(run_dir(root, run_id)):
        name = entry.name
        if not name.endswith(STREAM_SUFFIX) or (stem := name[: -len(STREAM_SUFFIX)]) in known:
            continue
        if NAME_PATTERN.fullmatch(stem):
            yield stem


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    try:
        entries = os.scandir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    with entries:
        yield from entries
