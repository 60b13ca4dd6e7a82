"""Copy journals from a mirror to a temporary root, for a pass. Refuse if the mirror shows that training may go on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from journal.errors import JournalError

if TYPE_CHECKING:
    from journal.mirror import Mirror, MirroredRun


class MovingMirrorError(JournalError):
    """The mirror was written recently, so the machine that writes the journals may still work."""

    hint = "reconcile on the machine that trains, or end its `journal mirror` and wait until the mirror stands still"


def is_url(root: str) -> bool:
    """Return True if a journal root is the URL of a mirror."""
    return "://" in root


@contextmanager
def copy_of_mirror(
    url: str, run_ids: Sequence[str] | None, *, still_s: float | None, say: Callable[[str], None]
) -> Iterator[Path]:
    """Copy the journals of runs to a temporary journal root, which is removed at the end.

    Args:
        url: The mirror.
        run_ids: Names of runs: ids, beginnings of ids, or `latest`. If None, all runs. Names that the mirror does not have
            are ignored.
        still_s: Seconds for which the mirror of each run must stand still. Give it if the pass counts writers that it
            cannot judge as dead. If None, nothing is required.
        say: Called with each remark for the user.

    Yields:
        The temporary journal root.

    Raises:
        MirrorError: The mirror cannot be read.
        MovingMirrorError: The mirror of a run was written in the last ``still_s`` seconds, or its clock is unknown.
    """
    from journal.mirror import open_mirror  # loads numpy and Arrow, and few passes need it

    mirror = open_mirror(url)
    runs = [mirror.run(run_id) for run_id in _named(mirror.runs(), run_ids)]
    if still_s:
        _check_that_they_stand_still(mirror, runs, still_s)
    with tempfile.TemporaryDirectory(prefix="reconcile-mirror-") as folder:
        for run in runs:
            say(f"copying {len(run.journals):,} journals of run {run.run_id} from {mirror.url}")
            for problem in run.problems:
                say(f"{mirror.url}: {problem}")
            for journal_id, problems in run.fetch(run.journals, Path(folder)).items():
                for problem in problems:
                    say(f"{journal_id}: {problem}")
        yield Path(folder)


def _named(known: Sequence[str], names: Sequence[str] | None) -> list[str]:
    if names is None:
        return sorted(known)
    found: list[str] = []
    for name in names:
        if name in known:
            found.append(name)
        elif name == "latest":
            found += sorted(known)[-1:]
        else:
            found += [run_id for run_id in known if run_id.startswith(name)]
    return list(dict.fromkeys(found))


def _check_that_they_stand_still(mirror: Mirror, runs: Sequence[MirroredRun], still_s: float) -> None:
    now = mirror.now()
    if now is None:
        raise MovingMirrorError(
            f"{mirror.url} lets nothing be written, so its clock is unknown, and with it how long the mirror stands still"
        )
    for run in runs:
        if run.moved is not None and (age := (now - run.moved).total_seconds()) < still_s:
            raise MovingMirrorError(
                f"the mirror of run {run.run_id} was written {age:.0f} s ago, so its training may go on; it must"
                f" stand still for {still_s:g} s"
            )
