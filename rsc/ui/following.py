"""Follow runs: read the rows and journals that may have changed since the last look. This module only reads."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING, Any

from sqlalchemy import or_

from journal.format.schema import STREAM_SUFFIX
from journal.host.liveness import Observer
from journal.host.paths import list_journals
from journal.inspect.overview import overview
from rsc.db import episodes
from rsc.db.models import episode_metrics
from rsc.db.session import reading
from rsc.db.tolerant import UnreadableRow
from rsc.records.rows import RunRows
from rsc.report.reading import ReportedRun, episode_of, name_of

if TYPE_CHECKING:
    from journal.inspect.overview import Overview
    from rsc.records.names import Place

Row = Mapping[str, Any]
_VIEW = episode_metrics.c
_NEVER = datetime.max.replace(tzinfo=UTC)
versions = count(1)
"""Numbers of looks that found a change. They rise over all runs, so one number tells what a page of several runs has."""


class LiveRun:
    """A run whose rows and journals may change.

    A look reads the rows that are new, started, or ended since the last look, and the journals that may grow. The
    journal of an episode whose row has ended is not read. Not thread-safe.

    Args:
        place: The run's database and folder.

    Attributes:
        place: The run's database and folder.
        version: The number of the last look that found a change.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.version = 0
        self._rows = RunRows(place.run_id, place.engine)
        self._observer = Observer()
        self._run: dict[str, Any] | None = None
        self._by_key: dict[str, Row] = {}
        self._newest = 0
        self._last_end: datetime | None = None
        self._journals: Set[str] = frozenset()
        self._cannot_grow: set[str] = set()
        self._episodes: dict[str, tuple[int, dict[str, Any]]] = {}
        self._unreadable: dict[str, str] = {}

    def look(self) -> None:
        """Read the rows and journals that may have changed.

        Raises:
            rsc.db.session.DatabaseError: The database cannot be used.
        """
        run = self._rows.of_the_run()
        rows = {_key(row): row for row in self._changed_rows()}
        rows = {key: row for key, row in rows.items() if row != self._by_key.get(key)}
        self._by_key.update(rows)
        journals = set(list_journals(self.place.folder.parent, self.place.run_id))
        may_grow = {key for key in journals - self._cannot_grow if self._status(key) in (None, "started")}
        came_or_went, self._journals = journals ^ self._journals, journals
        changed = {}
        for key in {*rows, *may_grow, *came_or_went}:
            episode = self._episode(key)
            if self._episodes.get(key, (0, None))[1] != episode:
                changed[key] = episode
        if changed or run != self._run:
            self.version = next(versions)
            self._run = run
            self._episodes.update((key, (self.version, episode)) for key, episode in changed.items())

    def changed_since(self, version: int) -> list[dict[str, Any]]:
        """Return the episodes that changed after a version, oldest first."""
        found = [episode for changed, episode in self._episodes.values() if changed > version]
        return sorted(found, key=lambda one: (one.get("start") or _NEVER, one["name"]))

    def reported(self) -> ReportedRun:
        """Return the run as `rsc report` shows it."""
        return ReportedRun(
            self.place.run_id,
            self._run,
            self.changed_since(0),
            without_journal=sum(key not in self._journals for key in self._by_key),
            without_row=sum(key not in self._by_key for key in self._journals),
            unreadable=dict(self._unreadable),
        )

    def _status(self, key: str) -> str | None:
        row = self._by_key.get(key)
        return None if row is None else row["status"]

    def _changed_rows(self) -> Iterator[Row]:
        found = list(self._rows_where(or_(*self._may_have_changed()))) if self._by_key else None
        if found is None or not self._counts_fit(found):
            found = list(self._rows_where())
        for row in found:
            self._newest = max(self._newest, row["episode_id"])
            end = row["finalized_at"]
            self._last_end = end if self._last_end is None else max(self._last_end, end or self._last_end)
        yield from found

    def _may_have_changed(self) -> Iterator[Any]:
        yield _VIEW.status == "started"
        yield _VIEW.episode_id > self._newest
        if self._last_end is not None:
            yield _VIEW.finalized_at > self._last_end

    def _counts_fit(self, found: list[Row]) -> bool:
        """Return True if the known rows match the database's counts.

        The clocks of hosts differ, so a query for the rows that ended after the last known end may miss some.
        """
        statuses = {**self._by_key, **{_key(row): row for row in found}}
        counts: dict[str, int] = {}
        for row in statuses.values():
            counts[row["status"]] = counts.get(row["status"], 0) + 1
        return counts == self._rows.counts()

    def _rows_where(self, *guards: Any) -> Iterator[Row]:
        if self.place.engine is None:
            return
        with reading(self.place.engine) as connection:
            found = episodes.chosen_episodes(connection, self.place.run_id, guards, (), None)
        for row in found:
            if isinstance(row, UnreadableRow):
                self._unreadable[f"episode {row.key}"] = f"its row cannot be read: {row.reason}"
            else:
                yield dict(row._mapping)

    def _episode(self, key: str) -> dict[str, Any]:
        row = self._by_key.get(key, {})
        if key not in self._journals:
            return episode_of(row, None, self.place.run_id)
        ended = bool(row) and row["status"] != "started"
        one = None if ended else self._overview(key, row)
        episode = episode_of(row, one, self.place.run_id)
        episode.pop("no_curve", None)
        return {**episode, "curve": 0}  # the scripts request the curve when it is shown

    def _overview(self, journal_id: str, row: Row) -> Overview:
        one = overview(f"{self.place.folder}{os.sep}{journal_id}{STREAM_SUFFIX}", self._observer)
        if one.source is None:
            self._unreadable[name_of(row, one)] = f"its journal cannot be read: {one.problem}"
        elif not one.live:
            self._cannot_grow.add(journal_id)
        return one


def _key(row: Row) -> str:
    """Return the key of an episode: the id of its journal if it has one, because journals are created before rows."""
    return row["journal_id"] or f"#{row['episode_id']}"
