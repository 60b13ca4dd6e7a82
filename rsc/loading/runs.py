"""`load_run`: read a run's episodes, steps and trades as Arrow tables, from its journals and rows."""

from __future__ import annotations

import logging
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex

import pyarrow as pa

from journal.host.liveness import Observer
from journal.host.paths import list_journals
from journal.inspect.find import LATEST, UnknownNameError
from journal.inspect.overview import overview
from journal.inspect.rows import ahead, pieces
from journal.ops import dataset
from journal.ops.dataset import Met
from rsc.loading import html
from rsc.loading.episodes import LoadedEpisode, stream_path
from rsc.records.names import find_run
from rsc.records.rows import RunRows

if TYPE_CHECKING:
    from rsc.records.names import Place

# Imports inside functions load modules that are slow to import and not always needed.

log = logging.getLogger("rsc")
_NAMED = 3
_AHEAD = 4
Table = Literal["episodes", "steps", "trades"]


def load_run(run_id: str, *, database_url: str | None = None, journal_root: Path | str | None = None) -> LoadedRun:
    """Open the record of a run for reading. It may still be training, and its database and files may be read-only.

    Args:
        run_id: The run's id, its unique beginning, or `latest`.
        database_url: None: $RSC_DATABASE_URL, else the file rsc-data/rsc.db. If there is none, only journals are read.
        journal_root: None: the root that the run recorded, else $RSC_JOURNAL_ROOT, else rsc-data/journal.

    Returns:
        The run. Each of its tables is read when you ask for it, and read again each time.

    Raises:
        rsc.db.errors.UnknownRunError: There is no such run, or several.
        rsc.db.session.DatabaseError: The given database cannot be used.
    """
    return LoadedRun(find_run(run_id, database_url, journal_root))


class LoadedRun:
    """The record of a run, returned by `rsc.load_run`.

    Each table is read when you ask for it. Unreadable journals and rows are left out, with one warning.

    Attributes:
        run_id: The run's id.
        folder: The folder of its journals.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self.run_id = place.run_id
        self.folder = place.folder
        self._rows = RunRows(place.run_id, place.engine)

    @property
    def row(self) -> dict[str, Any] | None:
        """The run's row now: status, parameters, algorithm and so on; None without a database."""
        return self._rows.of_the_run()

    def episodes(self) -> pa.Table:
        """Return one row for each episode: identity, status, metrics. Undefined and unknown metrics are null."""
        return self.reader("episodes").read_all()

    def steps(self) -> pa.Table:
        """Return all steps. For a run larger than memory, use ``reader("steps")``."""
        return self.reader("steps").read_all()

    def trades(self) -> pa.Table:
        """Return all closed trades."""
        return self.reader("trades").read_all()

    def reader(self, table: Table) -> pa.RecordBatchReader:
        """Return a table as a stream of record batches, so that a run larger than memory can be read.

        Episodes come in the order of their start, those without a journal last.

        Raises:
            ValueError: There is no such table.
        """
        make: dict[str, Callable[[], tuple[pa.Schema, Iterator[pa.RecordBatch]]]] = {
            "episodes": self._episodes,
            "steps": self._steps,
            "trades": self._trades,
        }
        if table not in make:
            raise ValueError(f"there is no table {table!r}; there are {', '.join(make)}")
        schema, batches = make[table]()
        # Consumers may pull from Arrow's own threads, and decoding in them would deadlock.
        return pa.RecordBatchReader.from_batches(schema, ahead(pieces(batches), _AHEAD))

    def episode(self, which: SupportsIndex | str) -> LoadedEpisode:
        """Return one episode.

        Args:
            which: Its number, as `rsc check` prints it; or its journal's id, the id's unique beginning, or `latest`.

        Raises:
            journal.JournalError: The run has no such episode, or several.
        """
        if isinstance(which, str):
            journal_id = self._journal_id(which)
            return LoadedEpisode(self.run_id, self.folder, journal_id, self._rows.of_journals)
        number = operator.index(which)
        row = self._rows.of_numbers([number]).get(number)
        if row is None or row["run_id"] != self.run_id:
            raise UnknownNameError(f"run {self.run_id} has no episode {number}", hint=self._rows.numbers_in_words())
        return LoadedEpisode(self.run_id, self.folder, row["journal_id"], lambda *_: {row["journal_id"]: row})

    def report(self, path: Path | str | None = None) -> Path:
        """Write the page of `rsc report` about the run, and return its path.

        Args:
            path: The file. None: `RUN_ID.html` in the current folder. An existing report is replaced.

        Raises:
            rsc.report.writing.ReportError: The run has no episode, or another file has this name.
        """
        from rsc.report.writing import report_of

        return report_of(path, [self._place]).path

    def to_minari(self, dataset_id: str, **options: Any) -> Any:
        """Write the run's episodes as a local Minari dataset, for offline reinforcement learning.

        The run must have been recorded with ``observations=True``. Box and Discrete spaces are kept; the numbers of other
        spaces become a Box. An episode ends at its first lost step. If its env did not end it, its last step is marked
        truncated. Episodes with unknown numbers are left out, with a warning.

        Args:
            dataset_id: Minari's name of the dataset, such as `trading/my-run-v0`.
            options: Passed to `minari.create_dataset_from_buffers`, for example ``algorithm_name`` or ``data_format``.

        Returns:
            The `minari.MinariDataset`.

        Raises:
            ImportError: Minari is not installed.
            journal.JournalError: No episode has observations.
            ValueError: Minari refuses the name, or has a dataset of this name already.
        """
        from rsc.loading.minari import to_minari

        return to_minari(self.run_id, self._paths(), dataset_id, **options)

    def journal_ids(self) -> list[str]:
        """Return the ids of all current journals, oldest first."""
        return sorted(list_journals(self.folder.parent, self.run_id))

    def _journal_id(self, name: str) -> str:
        ids = self.journal_ids()
        found = ids[-1:] if name == LATEST else [name] if name in ids else [one for one in ids if one.startswith(name)]
        if not name.strip() or not found:
            raise UnknownNameError(f"run {self.run_id} has no journal {name!r} in {self.folder}")
        if len(found) > 1:
            shown = ", ".join(found[:_NAMED])
            raise UnknownNameError(
                f"{name} is the beginning of {len(found)} journals: {shown}", hint="give more letters of it"
            )
        return found[0]

    def _paths(self) -> list[str]:
        return [stream_path(self.folder, journal_id) for journal_id in self.journal_ids()]

    def _episodes(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        return dataset.episodes_schema(), dataset.episode_batches(self._episode_rows())

    def _episode_rows(self) -> Iterator[dict[str, Any]]:
        met, observer, without_row, running = Met(), Observer(), 0, 0
        ids = self.journal_ids()
        for path, row in dataset.with_rows((stream_path(self.folder, one) for one in ids), self._rows.of_journals):
            one = overview(path, observer)
            without_row += not row
            running += one.live
            if one.header is None:
                met.unreadable[path] = one.problem
            yield dataset.episode_row(one, row)
        missing = 0
        for row in self._rows.without_journal(set(ids)):
            missing += 1
            yield dataset.episode_of_row(self.run_id, row)
        self._say(met)
        if missing:
            self._warn("%d episodes have a row and no journal in %s: their steps are unknown", missing, self.folder)
        if without_row and self._rows.known and not running:
            self._warn("%d journals have no row; `reconcile --run-id %s` writes them", without_row, self.run_id)

    def _steps(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        met, paths = Met(), self._paths()
        extra = dataset.extra_columns(paths, met)
        batches = dataset.step_batches(paths, extra, self._rows.of_journals, met)
        return dataset.steps_schema(extra), self._saying(batches, met)

    def _trades(self) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        met, ids = Met(), self.journal_ids()
        paths = (stream_path(self.folder, one) for one in ids)
        batches = dataset.trade_batches(paths, self._rows.of_journals, met)
        return dataset.trades_schema(), self._saying(batches, met)

    def _saying(self, batches: Iterable[pa.RecordBatch], met: Met) -> Iterator[pa.RecordBatch]:
        """Yield the batches, then log a warning about the problems that were found."""
        yield from batches
        self._say(met)

    def _say(self, met: Met) -> None:
        if met.unreadable:
            named = [f"{Path(path).stem}: {why}" for path, why in islice(met.unreadable.items(), _NAMED)]
            more = len(met.unreadable) - len(named)
            self._warn(
                "%d journals cannot be read: %s%s",
                len(met.unreadable),
                "; ".join(named),
                f"; and {more} more" * (more > 0),
            )
        if met.steps_lost or met.trades_lost:
            self._warn("damage cost %d steps and %d trades", met.steps_lost, met.trades_lost)
        if met.cut_short:
            self._warn("%d journals are cut short: later steps are lost, number unknown", met.cut_short)

    def _warn(self, message: str, *arguments: Any) -> None:
        log.warning(f"run %s: {message}", self.run_id, *arguments)

    def __repr__(self) -> str:
        return f"<rsc.LoadedRun {self.run_id!r} in {str(self.folder.parent)!r}>"

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        return html.table(self.summary().items())

    def summary(self) -> Mapping[str, Any]:
        """Return the main facts: status, times, and the number of episodes by status."""
        row = self.row or {}
        facts = {
            name: row.get(name) for name in ("status", "algorithm", "start_time", "end_time", "seed", "git_commit")
        }
        known = {name: value for name, value in facts.items() if value is not None}
        return {"run": self.run_id, **known, **self._rows.counts(), "journals": len(self.journal_ids())}
