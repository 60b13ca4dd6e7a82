"""Read what a page shows of a run: its row, a row for each episode, and the curves of episodes that have a journal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from journal.format.schema import STREAM_SUFFIX
from journal.host.liveness import Observer
from journal.host.paths import list_journals
from journal.inspect.overview import Overview, overview
from journal.plot.page import named_figures, row_of
from journal.read.reader import Journal
from rsc.records.rows import RunRows

if TYPE_CHECKING:
    from journal.plot.packing import Curves
    from rsc.records.names import Place

Row = Mapping[str, Any]
_MISSING = "Its journal is not there: it was pruned, or is elsewhere. Only its row is known, so there are no charts."


@dataclass
class ReportedRun:
    """A run as a page shows it.

    Attributes:
        run_id: The run's id.
        row: The run's row in the database; None if there is none.
        episodes: One mapping for each episode, with the keys of `journal.plot.page.row_of` and of `_of_row`.
        without_journal: Number of episodes with a row and no journal.
        without_row: Number of journals without a row.
        unreadable: Why an episode's row or journal cannot be read, by the episode's name.
    """

    run_id: str
    row: Row | None
    episodes: list[dict[str, Any]] = field(default_factory=list)
    without_journal: int = 0
    without_row: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


class RunReader:
    """Reads one run. The constructor lists the episodes, so that their number is known before any journal is read.

    Args:
        place: The run's database and folder.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._observer = Observer()
        self._reported = ReportedRun(place.run_id, RunRows(place.run_id, place.engine).of_the_run())
        self._rows = list(self._read_rows())
        self._journals = sorted(list_journals(place.folder.parent, place.run_id))

    def __len__(self) -> int:
        """Return the number of episodes."""
        known = {row["journal_id"] for row in self._rows}
        return len(self._rows) + sum(journal_id not in known for journal_id in self._journals)

    def _read_rows(self) -> Iterator[Row]:
        # SQLAlchemy is slow to import, and only needed to read rows.
        from rsc.db.episodes import chosen_episodes
        from rsc.db.models import episode_metrics
        from rsc.db.session import reading
        from rsc.db.tolerant import UnreadableRow

        if self._place.engine is None:
            return
        with reading(self._place.engine) as connection:
            # The reconciler creates rows in no order of time, so their ids do not sort the episodes.
            found = chosen_episodes(connection, self._place.run_id, (), (episode_metrics.c.start_time,), None)
        for row in found:
            if isinstance(row, UnreadableRow):
                self._reported.unreadable[f"episode {row.key}"] = f"its row cannot be read: {row.reason}"
            else:
                yield dict(row._mapping)

    def read(self, curves: Curves, step: Callable[[], object]) -> ReportedRun:
        """Return the run, and add the curves of its episodes.

        Args:
            curves: Collects the curves.
            step: Called after each episode.
        """
        run, waiting = self._reported, dict.fromkeys(self._journals)
        for row in self._rows:
            has_journal = row["journal_id"] in waiting
            waiting.pop(row["journal_id"], None)
            run.without_journal += not has_journal
            run.episodes.append(self._episode(row, row["journal_id"] if has_journal else None, curves))
            step()
        for journal_id in waiting:
            run.without_row += 1
            run.episodes.append(self._episode({}, journal_id, curves))
            step()
        return run

    def _episode(self, row: Row, journal_id: str | None, curves: Curves) -> dict[str, Any]:
        one, curve = None, None
        if journal_id is not None:
            one = overview(f"{self._place.folder}{os.sep}{journal_id}{STREAM_SUFFIX}", self._observer, whole=True)
        if one is not None and isinstance(one.source, Journal):
            curve = curves.add(one, one.source)
        elif one is not None:
            self._reported.unreadable[name_of(row, one)] = f"its journal cannot be read: {one.problem}"
        return {**episode_of(row, one, self._place.run_id), "curve": curve}


def name_of(row: Row, one: Overview) -> str:
    """Return the name of an episode in messages."""
    return f"episode {row['episode_id']}" if row else f"journal {one.journal_id}"


def episode_of(row: Row, one: Overview | None, run_id: str) -> dict[str, Any]:
    """Return an episode as a page shows it, from its row and its journal. Either may be missing.

    Args:
        row: The episode's row of `episode_metrics`; empty if there is none.
        one: The episode's journal; None if there is none.
        run_id: The episode's run.
    """
    made: dict[str, Any] = {"run": run_id, "status": None}
    if one is not None and one.source is not None:
        made |= row_of(one) | {"end_reason": one.end_reason}
    elif one is not None:
        unreadable = f"Its journal cannot be read: {one.problem}."
        made |= {"name": one.journal_id, "journal": one.journal_id, "no_curve": unreadable}
    else:
        made["no_curve"] = _MISSING
    return made | _of_row(row, one) if row else made


def _of_row(row: Row, one: Overview | None) -> dict[str, Any]:
    """Return the values that come from a row. If the episode has not ended, its figures come from its journal."""
    told = {
        "name": str(row["episode_id"]),
        "number": row["episode_id"],
        "journal": row["journal_id"],
        "status": row["status"],
        "reason": row["status_reason"],
        "evaluation": row["in_evaluation"],
        "trial": row["trial_id"],
        "iteration": row["start_iteration"],
        "start": row["start_time"],
    }
    if row["status"] == "started" and one is not None:
        return told
    return told | {
        "end_reason": row["end_reason"],
        "ended_by": row["finalized_by"],
        "market": row["market"],
        "from": row["market_start"],
        "to": row["market_end"],
        "steps": row["total_steps"],
        "trades": row["total_trades"],
        "steps_lost": row["steps_lost"],
        "trades_lost": row["trades_lost"],
        "evidence": row["evidence_steps"],
        "not_told": row["not_told"],
        **named_figures(row),
    }
