"""File states that a daemon keeps between passes, to skip files that have not changed."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from journal.format.schema import FAILED_SUFFIX, STREAM_SUFFIX, TAIL_SUFFIX

_TICK_S = 0.05  # file times have the resolution of the kernel's tick


class FileState(NamedTuple):
    """The state of a file. ``changed_ns`` is the time of the last change of content or inode."""

    inode: int
    size: int
    changed_ns: int

    def is_older_than(self, moment: datetime) -> bool:
        """Return whether the file last changed before this moment."""
        return self.changed_ns / 1e9 + _TICK_S < moment.timestamp()


Files = tuple[FileState | None, ...]
"""The states of a journal's stream, tail and failed tail; None for each that is missing."""


@dataclass
class Memory:
    """The states of files at the last pass.

    Attributes:
        folders: Run id to `folder_state`, for run folders in which the last pass had nothing to judge.
        nodes: Run id to the live nodes of a cluster, for ended runs in which the last pass over them had nothing to judge.
        files: Journal id to `files_of`, for verdicts that were not final and that these files confirmed.
    """

    folders: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, frozenset[str]] = field(default_factory=dict)
    files: dict[str, Files] = field(default_factory=dict)


def folder_state(folder: Path) -> int:
    """Return the time in nanoseconds when a name was last added to the folder or removed; 0 if there is no folder."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:
        return 0


def files_of(folder: Path, journal_id: str) -> Files:
    """Return the state of a journal's files. Never raises."""
    return tuple(_state(f"{folder}/{journal_id}{suffix}") for suffix in (STREAM_SUFFIX, TAIL_SUFFIX, FAILED_SUFFIX))


def _state(path: str) -> FileState | None:
    try:
        state = os.stat(path, follow_symlinks=False)
    except (OSError, ValueError):
        return None
    return FileState(state.st_ino, state.st_size, state.st_ctime_ns)
