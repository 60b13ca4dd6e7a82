"""The tasks that a pass runs on a node of a cluster: list a run's journals there, and judge some of them.

Their results are plain data.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from journal import LivenessReport, Observer, list_journals
from journal.host.identity import this_writer
from reconciler.evidence import gather_evidence, run_state
from reconciler.judging import Work, work_of
from reconciler.report import Item, PassReport, item_of
from reconciler.rules import Action, JournalState, decide
from reconciler.settings import Settings


@dataclass(frozen=True)
class Place:
    """A run's folder on one node.

    Attributes:
        host: The host name of the node.
        root_id: The folder's random id; empty if there is no folder.
        marker: Whether the run's driver is alive, by its marker; None if the folder has no marker.
        journals: The ids of the journals in the folder.
    """

    host: str
    root_id: str
    marker: LivenessReport | None
    journals: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """The verdicts of a node.

    Attributes:
        report: The counts of verdicts, and complaints.
        items: Each verdict for people, if the pass shows them.
        works: The changes that the driver must write.
    """

    report: PassReport = field(default_factory=PassReport)
    items: list[Item] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)


@functools.cache
def _observer() -> Observer:
    """Return the observer of this process.

    Ray reuses a worker process, so one observer can watch leases over several passes.
    """
    return Observer()


def list_here(run_id: str, root: Path) -> Place:
    """Return a run's folder as it is on this machine."""
    run = run_state(run_id, root, _observer())
    return Place(this_writer().host, run.root_id, run.marker, tuple(list_journals(root, run_id)))


def judge_here(
    run_id: str,
    root: Path,
    candidates: Sequence[tuple[str, Any]],
    settings: Settings,
    now: datetime,
    pass_id: str,
    listening: bool,
    driver: LivenessReport | None = None,
) -> Judged:
    """Judge episodes by the files and locks of this machine. Write nothing.

    A journal that raises an error is reported, and the others are judged.

    Args:
        run_id: The run.
        root: The journal root on this node.
        candidates: The episodes: the id of each journal, and the row or None.
        settings: The settings of the pass.
        now: The current time.
        pass_id: The id of the pass.
        listening: Whether to return items for people.
        driver: Whether the run's driver is alive, judged by the driver's node, which alone has the run's marker.
    """
    run, judged = run_state(run_id, root, _observer()), Judged()
    if run.marker is None and run.root_id:  # a folder with an id is not a copy
        run = replace(run, marker=driver)
    for journal_id, row in candidates:
        judged.report.judged += 1
        try:
            evidence = gather_evidence(run, journal_id, row, settings, now)
            if row is None and evidence.facts.journal is JournalState.MISSING:
                continue
            verdict = decide(evidence.facts)
            if verdict.action is Action.LEAVE:
                continue
            item = item_of(run, journal_id, row, evidence, verdict) if listening else None
            work = None
            if verdict.action is not Action.WAIT:
                work = work_of(run, journal_id, row, evidence, verdict, now, pass_id)
        except Exception as error:  # invariant V3
            judged.report.complain(f"{run_id}/{journal_id}: {type(error).__name__}: {error}")
            continue
        judged.report.count(verdict, evidence, run, journal_id, row)
        judged.items.extend([] if item is None else [item])
        judged.works.extend([] if work is None else [work])
    return judged
