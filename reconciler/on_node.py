"""What a task does on a node of a cluster: list a run's journals there, and judge some of them. Results are plain data."""

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
        host: The name of the host there.
        root_id: The folder's random id; empty if there is no folder.
        marker: The judgement of the run's driver, None where the run has no marker.
        journals: The ids of its journals.
    """

    host: str
    root_id: str
    marker: LivenessReport | None
    journals: tuple[str, ...]


@dataclass(frozen=True)
class Judged:
    """What a node found: the verdicts counted, as items for people if they are wanted, and what the driver must write."""

    report: PassReport = field(default_factory=PassReport)
    items: list[Item] = field(default_factory=list)
    works: list[Work] = field(default_factory=list)


@functools.cache
def _observer() -> Observer:
    """The observer of this process. Ray uses a worker process again, and so leases are watched from look to look."""
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
    """Judge episodes by the files and locks of this machine; write nothing. One bad journal stops no other.

    ``driver``: the judgement of the run's driver by its own node. Only the driver's node has the run's marker.
    """
    run, judged = run_state(run_id, root, _observer()), Judged()
    if run.marker is None and run.root_id:  # the folder is no copy
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
