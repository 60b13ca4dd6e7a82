"""Find a journal or run by path, id, start of an id, `latest`, or the database's episode number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from journal.errors import JournalAccessError, JournalError, UnsafeNameError
from journal.format.schema import FAILED_SUFFIX, STREAM_SUFFIX, TAIL_SUFFIX
from journal.host.paths import journal_path, list_journals, list_runs, marker_path, run_dir
from journal.inspect import plugins

ROOT_VARIABLE = "RSC_JOURNAL_ROOT"
DEFAULT_ROOT = "rsc-data/journal"
LATEST = "latest"


on_found: list[Callable[[Target], None]] = []
"""Functions that are called with each target before its files are read. A mirror copies its journals then."""


class UnknownNameError(JournalError):
    """No run or journal has this name, or several do."""


def journal_root(given: Path | str | None = None) -> Path:
    """Return the folder of all runs: the option, else $RSC_JOURNAL_ROOT, else rsc-data/journal in the current folder."""
    return Path(given or os.environ.get(ROOT_VARIABLE) or DEFAULT_ROOT).absolute()


@dataclass(frozen=True)
class Target:
    """A run's folder, or one journal if ``journal`` is given."""

    folder: Path
    journal: Path | None = None

    def journals(self) -> Iterator[str]:
        """Yield the paths of its journals, oldest id first."""
        if self.journal is not None:
            yield str(self.journal)
            return
        start = f"{self.folder}{os.sep}"
        for journal_id in sorted(list_journals(self.folder.parent, self.folder.name)):
            yield f"{start}{journal_id}{STREAM_SUFFIX}"


def find_target(name: str, given: Path | None) -> Target:
    """Return the run or journal of this name.

    Args:
        name: What the user typed.
        given: The journal root that the user gave, None for the default. Without it, an episode number is looked up
            in the root that its run recorded.

    Raises:
        UnknownNameError: There is no such run or journal, or the name is a folder without journals.
    """
    target = _find_target(name, given)
    if target.journal is None:
        _refuse_empty_folder(target.folder)
    for call in on_found:
        call(target)
    return target


def _refuse_empty_folder(folder: Path) -> None:
    """Refuse a folder without journals, since it may be a typing error. A run that has just begun has its marker."""
    run = folder.name
    try:
        if any(list_journals(folder.parent, run)) or os.path.lexists(marker_path(folder.parent, run)):
            return
    except UnsafeNameError:
        pass
    except OSError as error:
        raise JournalAccessError(folder, error) from error
    if any(any(list_journals(folder, each)) for each in list_runs(folder)):
        raise UnknownNameError(
            f"{folder} is the folder of all runs", hint="name a run in it, or give it as --journal-root"
        )
    raise UnknownNameError(f"{folder} has no journals")


def _find_target(name: str, given: Path | None) -> Target:
    _refuse_empty(name)
    root = journal_root(given)
    if _looks_like_path(name) and (found := _by_path(name)) is not None:
        return found
    if (folder := _exact_run(name, root)) is not None:
        return Target(folder)
    if (path := _exact_journal(name, root)) is not None:
        return Target(path.parent, path)
    special = name == LATEST or _is_number(name)
    if (
        not special and (found := _by_path(name)) is not None
    ):  # after the names under the root, since the current folder may have a file of the same name by chance
        return found
    runs = [] if special else sorted(run for run in list_runs(root) if run.startswith(name))
    if len(runs) == 1 and not any(_beginning_with(name, root)):
        return Target(root / runs[0])
    if runs:
        raise _ambiguous(name, [f"run {run}" for run in runs] + _told_apart(_beginning_with(name, root)))
    path = _find_journal(name, given)
    return Target(path.parent, path)


def find_journal(name: str, given: Path | None) -> Path:
    """Return the path of the one journal of this name; raise UnknownNameError. Arguments as for `find_target`."""
    path = _find_journal(name, given)
    for call in on_found:
        call(Target(path.parent, path))
    return path


def _find_journal(name: str, given: Path | None) -> Path:
    _refuse_empty(name)
    root = journal_root(given)
    if _looks_like_path(name) and (found := _by_path(name)) is not None:
        if found.journal is None:
            raise _too_many(name, "a folder")
        return found.journal
    if (path := _exact_journal(name, root)) is not None:
        return path
    if name == LATEST:
        return _latest(root)
    if _is_number(name):
        return _of_number(int(name), given)
    found_paths = sorted(_beginning_with(name, root))
    if len(found_paths) == 1:
        return found_paths[0]
    if found_paths:
        raise _ambiguous(name, _told_apart(found_paths))
    if any(run.startswith(name) for run in list_runs(root)):
        raise _too_many(name, "a run")
    raise _unknown(name, root)


def _refuse_empty(name: str) -> None:
    """Refuse an empty name: every id starts with it, and it is often a script's unset variable."""
    if not name.strip():
        raise UnknownNameError("the name is empty", hint="`journal ls` lists the runs")


def _is_number(name: str) -> bool:
    """Return True for an episode number. Eight digits are a date, the start of an id."""
    return name.isdecimal() and len(name) < 8


def _looks_like_path(name: str) -> bool:
    return os.sep in name or name.endswith((STREAM_SUFFIX, TAIL_SUFFIX, FAILED_SUFFIX))


def _by_path(name: str) -> Target | None:
    path = Path(os.path.abspath(name))
    if path.is_dir():
        return Target(path)
    if path.suffix in (TAIL_SUFFIX, FAILED_SUFFIX):
        path = path.with_suffix(STREAM_SUFFIX)
    if path.exists() or path.is_symlink():
        return Target(path.parent, path)
    if path.suffix == STREAM_SUFFIX:
        raise JournalAccessError(path, FileNotFoundError(2, "no such file"))
    return None


def _exact_run(name: str, root: Path) -> Path | None:
    try:
        folder = run_dir(root, name)
    except UnsafeNameError:
        return None
    return folder if folder.is_dir() else None


def _exact_journal(name: str, root: Path) -> Path | None:
    run, _, journal_id = name.rpartition("/")
    for run_id in [run] if run else list_runs(root):
        try:
            path = journal_path(root, run_id, journal_id)
        except UnsafeNameError:
            return None
        if path.exists():
            return path
    return None


def _beginning_with(name: str, root: Path) -> Iterator[Path]:
    run, _, start = name.rpartition("/")
    for run_id in list_runs(root):
        if not run or run_id.startswith(run):
            for journal_id in list_journals(root, run_id):
                if journal_id.startswith(start):
                    yield journal_path(root, run_id, journal_id)


def newest_run(root: Path) -> str | None:
    """Return the run with the newest journal under a root, None if there is no journal."""
    newest = _newest(root)
    return None if newest is None else newest[1]


def _newest(root: Path) -> tuple[str, str] | None:
    every = ((journal_id, run) for run in list_runs(root) for journal_id in list_journals(root, run))
    return max(every, default=None)


def _latest(root: Path) -> Path:
    newest = _newest(root)
    if newest is None:
        raise _unknown(LATEST, root)
    return journal_path(root, newest[1], newest[0])


def _of_number(number: int, given: Path | None) -> Path:
    journal_of = plugins.load(plugins.EPISODES).get("journal_of")
    if journal_of is None:
        raise UnknownNameError(f"{number} is an episode number, but no database is installed to look it up")
    place = journal_of(number)
    if place is None:
        raise UnknownNameError(
            f"the database has no journal of an episode {number}; `rsc episodes RUN` lists the episodes of a run"
        )
    recorded, run_id, journal_id = place
    return journal_path(recorded if given is None else journal_root(given), run_id, journal_id)


def _too_many(name: str, what: str) -> UnknownNameError:
    return UnknownNameError(f"{name} is {what}, but this command takes one journal", hint=f"try: journal ls {name}")


def _told_apart(paths: Iterable[Path]) -> list[str]:
    """Return the ids. Add the run's id where several runs contain the same journal id."""
    every = list(paths)
    counts = Counter(path.stem for path in every)
    return [path.stem if counts[path.stem] == 1 else f"{path.parent.name}/{path.stem}" for path in every]


def _ambiguous(name: str, candidates: Iterable[str]) -> UnknownNameError:
    every = list(candidates)
    shown = ", ".join(every[:3]) + (f" and {len(every) - 3} more" if len(every) > 3 else "")
    return UnknownNameError(f"{name} is the beginning of {shown}", hint="give more letters of it")


def _unknown(name: str, root: Path) -> UnknownNameError:
    if not root.is_dir():
        return UnknownNameError(
            f"no journal {name!r}: there is no folder {root}", hint=f"give --journal-root, or set ${ROOT_VARIABLE}"
        )
    return UnknownNameError(f"no run or journal {name!r} in {root}", hint="`journal ls` lists the runs")
