"""One episode of a loaded run: its row, steps, trades and picture."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from journal import JournalError
from journal.format.schema import STREAM_SUFFIX
from journal.host.liveness import Observer
from journal.inspect.find import UnknownNameError
from journal.inspect.overview import overview
from journal.ops import dataset
from journal.ops.dataset import Lookup, Met
from journal.read.reader import Journal, read_journal
from rsc.loading import html

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SHOWN = (
    "status",
    "status_reason",
    "state",
    "steps",
    "trades",
    "total_return",
    "sharpe_ratio",
    "max_drawdown",
    "win_rate",
    "pnl",
    "total_reward",
    "in_evaluation",
    "trial_id",
    "market",
)


def stream_path(folder: Path, journal_id: str) -> str:
    """Return the path of a journal of a run's folder."""
    return f"{folder}{os.sep}{journal_id}{STREAM_SUFFIX}"


class LoadedEpisode:
    """One episode, returned by `LoadedRun.episode`. Its journal is read again at each call.

    Attributes:
        run_id: The run's id.
        journal_id: The journal's id; None if the row has none.
    """

    def __init__(self, run_id: str, folder: Path, journal_id: str | None, lookup: Lookup) -> None:
        self.run_id = run_id
        self.journal_id = journal_id
        self._path = "" if journal_id is None else stream_path(folder, journal_id)
        self._lookup = lookup

    @cached_property
    def row(self) -> dict[str, Any]:
        """Its row of `LoadedRun.episodes`, by column."""
        found = self._lookup(self.run_id, [self.journal_id or ""])
        row = next(iter(found.values()), {})
        if not os.path.exists(self._path):
            return dataset.episode_of_row(self.run_id, row)
        return dataset.episode_row(overview(self._path, Observer()), row)

    @property
    def journal(self) -> Journal:
        """The whole journal, read and verified.

        Raises:
            journal.JournalError: The journal is missing, or cannot be read.
        """
        if not os.path.exists(self._path):
            raise UnknownNameError(f"{self} has no journal here: it was pruned or moved; only its row can be read")
        return read_journal(self._path)

    def steps(self) -> pa.Table:
        """Return its steps, with the columns of `LoadedRun.steps`. Raises as `journal` does."""
        extra = self.journal.header.about.extra_columns
        met = Met()
        batches = dataset.step_batches([self._path], extra, self._lookup, met)
        return self._table(batches, dataset.steps_schema(extra), met)

    def trades(self) -> pa.Table:
        """Return its closed trades, with the columns of `LoadedRun.trades`. Raises as `journal` does."""
        _, met = self.journal, Met()
        batches = dataset.trade_batches([self._path], self._lookup, met)
        return self._table(batches, dataset.trades_schema(), met)

    def _table(self, batches: Any, schema: pa.Schema, met: Met) -> pa.Table:
        table = pa.Table.from_batches(batches, schema)
        for why in met.unreadable.values():
            raise JournalError(why)
        return table

    def plot(self) -> Figure:
        """Return a picture: portfolio value with trades, drawdown, position, reward.

        Raises:
            ImportError: matplotlib is not installed.
            journal.JournalError: The journal is missing, or cannot be read.
        """
        from journal.plot.pictures import MissingPlotError, draw_episode
        from journal.plot.series import series_of

        journal = self.journal
        try:
            return draw_episode(series_of(overview(self._path, Observer(), whole=True), journal))
        except MissingPlotError as error:
            hint = "pictures need matplotlib: pip install 'reinforce-strategy-creator[plot]'"
            raise ImportError(hint) from error

    def __str__(self) -> str:
        number = self.row["episode_id"]
        return f"journal {self.journal_id}" if number is None else f"episode {number}"

    def __repr__(self) -> str:
        return f"<rsc.LoadedEpisode {self} of run {self.run_id!r}, {self.row['status'] or self.row['state']}>"

    def _repr_html_(self) -> str:
        """Return its figures and its picture for notebooks. If there is no picture, return the reason."""
        facts = [(name, self.row[name]) for name in _SHOWN if self.row.get(name) is not None]
        try:
            below = html.picture(self.plot())
        except (ImportError, JournalError) as error:
            below = html.paragraph(str(error))
        return html.table([("episode", str(self)), ("run", self.run_id), *facts]) + below
