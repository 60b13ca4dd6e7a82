"""Read a mirror by its URL: a temporary root with a file of the right size for each journal, filled on first use."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from journal.console import fail, remark
from journal.host.paths import list_journals
from journal.inspect import find
from journal.places import shown_as

if TYPE_CHECKING:
    from journal.mirror import Mirror, MirroredRun

# Imports inside functions load numpy or pyarrow, which `--help` does not need.

_views: dict[Path, str] = {}


def view_of(url: str) -> Path:
    """Return a temporary journal root that shows a mirror. It is removed when the process exits. Raises MirrorError."""
    from journal.mirror import open_mirror

    mirror = open_mirror(url)
    return _view(mirror, mirror.runs())


def path_at(url: str) -> str:
    """Return the path of a run, a journal or all of a mirror in a temporary journal root.

    Args:
        url: A mirror's URL, with a run's name and an episode's name behind it or without. Names may be cut short.

    Raises:
        MirrorError: There is no mirror there, or the store does not answer.
        UnknownNameError: The mirror has no such run or journal, or several.
    """
    from journal.mirror.reading import find_mirror

    mirror, names = find_mirror(url, most=2)
    runs = mirror.runs()
    if names:
        runs = [run for run in runs if run == names[0]] or [run for run in runs if run.startswith(names[0])]
    root = _view(mirror, runs)
    if not names:
        return str(root)
    if len(names) == 2 and len(runs) == 1:
        return str(_journal(root / runs[0], names[1].removesuffix(".arrows")))
    target = find.find_target("/".join(names), root)
    return str(target.journal or target.folder)


def _journal(run: Path, name: str) -> Path:
    if name == find.LATEST:
        name = max(list_journals(run.parent, run.name), default=name)
    return find.find_journal(f"{run.name}/{name}", run.parent)


def _view(mirror: Mirror, run_ids: Iterable[str]) -> Path:
    runs = {run_id: mirror.run(run_id) for run_id in run_ids}
    root = Path(tempfile.mkdtemp(prefix="journal-mirror-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    shown_as[str(root)] = mirror.url
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


def whole_mirror(targets: Iterable[str]) -> Path | None:
    """Return the temporary root if the only target is all of a mirror."""
    named = [Path(one) for one in targets]
    return named[0] if len(named) == 1 and named[0] in _views else None


def refuse_mirror(root: Path | None, verb: str, hint: str, targets: Iterable[str] = ()) -> None:
    """End the command if the root, or a target, is in a mirror."""
    for place in [*([] if root is None else [root]), *map(Path, targets)]:
        for view, url in _views.items():
            if place.is_relative_to(view):
                fail(f"journal {verb} cannot work on the mirror {url}", hint)
