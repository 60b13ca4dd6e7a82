"""Read a mirror by its URL: a temporary root with a file of the right size for each journal, filled when it is asked for."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from journal.console import fail, remark
from journal.inspect import find

if TYPE_CHECKING:
    from journal.mirror import MirroredRun

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

_views: dict[Path, str] = {}


def view_of(url: str) -> Path:
    """Return a temporary journal root that shows a mirror. It is removed when the process exits. Raises MirrorError."""
    from journal.mirror import open_mirror

    mirror = open_mirror(url)
    runs = {run_id: mirror.run(run_id) for run_id in mirror.runs()}
    root = Path(tempfile.mkdtemp(prefix="journal-mirror-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    for run in runs.values():
        run.outline(root)
        for problem in run.problems:
            remark(f"{mirror.url}: {problem}")
    filler = _Filler(root, runs)
    find.on_found.append(filler.fill)
    _views[root] = mirror.url
    return root


class _Filler:
    """Copies journals into a view, each once."""

    def __init__(self, root: Path, runs: dict[str, MirroredRun]) -> None:
        self._root, self._runs = root, runs
        self._filled: set[tuple[str, str]] = set()

    def fill(self, target: find.Target) -> None:
        run = self._runs.get(target.folder.name)
        if run is None or target.folder.parent != self._root:
            return
        wanted = list(run.journals) if target.journal is None else [target.journal.stem]
        wanted = [name for name in wanted if (run.run_id, name) not in self._filled]
        self._filled.update((run.run_id, name) for name in wanted)
        for journal_id, problems in run.fetch(wanted, self._root).items():
            for problem in problems:
                remark(f"{journal_id}: {problem}")


def refuse_mirror(root: Path | None, verb: str, hint: str) -> None:
    """End the command if the root is a mirror's."""
    if root in _views:
        fail(f"journal {verb} cannot work on the mirror {_views[root]}", hint)
