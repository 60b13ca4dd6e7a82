"""List the runs under a root for `journal ls`, counted by file names, without opening a journal."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from journal.cli.lines import Lines, age_text, json_line, size_text
from journal.console import fail, remark
from journal.format.schema import FAILED_SUFFIX, STREAM_SUFFIX, TAIL_SUFFIX
from journal.host.liveness import Observer
from journal.host.paths import list_runs
from journal.inspect.find import ROOT_VARIABLE
from journal.write.marker import marker_liveness


@dataclass(frozen=True)
class RunSummary:
    """Summary of a run's folder. ``unfinished`` counts tails: episodes that are running, or whose writer died."""

    run_id: str
    episodes: int
    unfinished: int
    failed: int
    size_bytes: int
    last_write: datetime | None
    driver: str
    driver_reason: str


def summary_of(root: Path, run_id: str, observer: Any) -> RunSummary:
    """Count a run's files. Raises JournalError if its marker cannot be read."""

    kinds: Counter[str] = Counter()
    size, newest = 0, 0.0
    with os.scandir(root / run_id) as entries:
        for entry in entries:
            suffix = os.path.splitext(entry.name)[1]
            if suffix in (STREAM_SUFFIX, TAIL_SUFFIX, FAILED_SUFFIX) and not entry.name.startswith("."):
                try:
                    state = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # an episode that ends retires its tail
                    continue
                kinds[suffix] += 1
                size += state.st_size
                newest = max(newest, state.st_mtime)
    look = marker_liveness(root, run_id, observer)
    return RunSummary(
        run_id,
        kinds[STREAM_SUFFIX],
        kinds[TAIL_SUFFIX],
        kinds[FAILED_SUFFIX],
        size,
        datetime.fromtimestamp(newest, UTC) if newest else None,
        str(look.liveness) if look else "unknown",
        look.reason if look else "the run has no marker here",
    )


def list_all(root: Path, ids: bool, as_json: bool, limit: int | None, reverse: bool) -> int:
    """Print every run, ordered by id."""

    if not root.is_dir():
        fail(f"there is no folder {root}", f"give --journal-root, or set ${ROOT_VARIABLE}")
    runs = sorted(list_runs(root), reverse=reverse)[:limit]
    lines, observer, now = Lines(), Observer(), datetime.now(UTC)
    width = max([len(run) for run in runs], default=3)
    if not ids and not as_json:
        lines.write(f"{'RUN':<{width}} {'EPISODES':>8} {'UNFINISHED':>10} {'SIZE':>5} {'AGE':>4} DRIVER")
    for run_id in runs:
        one = summary_of(root, run_id, observer)
        if ids:
            lines.write(run_id)
        elif as_json:
            lines.write(json_line({name: getattr(one, name) for name in RunSummary.__dataclass_fields__}))
        else:
            unfinished = one.unfinished + one.failed
            lines.write(
                f"{run_id:<{width}} {one.episodes:>8} {unfinished:>10} {size_text(one.size_bytes):>5} "
                f"{age_text(one.last_write, now):>4} {one.driver}"
            )
    if not runs:
        remark(f"no runs in {root}")
    return 0
