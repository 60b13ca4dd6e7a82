"""Read journals as three Arrow tables: steps, trades and episodes. Used by `journal export` and by `rsc.load_run`.

All tables have the same identity columns, so they can be joined and filtered. Values that only a database has, such as
an episode's number, come from a `Lookup`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from journal.errors import JournalError
from journal.format.frames import TRADE_TYPE, arrow_schema
from journal.inspect.figures import figure_columns
from journal.inspect.overview import Overview
from journal.read.headers import read_header
from journal.read.reader import Journal, State, read_journal

TABLES = ("steps", "trades", "episodes")
Row = Mapping[str, Any]
Lookup = Callable[[str, Sequence[str]], Mapping[str, Row]]
"""Returns the database's rows of some journals of a run, by journal id. Journals without a row are absent."""

_CHUNK = 500
_TIME = pa.timestamp("us", "UTC")
RUN_ID = pa.field("run_id", pa.string(), nullable=False)
_IDS = [
    RUN_ID,
    pa.field("journal_id", pa.string(), nullable=False),
    pa.field("episode_id", pa.int64()),
    pa.field("in_evaluation", pa.bool_()),
    pa.field("worker_index", pa.int64()),
    pa.field("env_index", pa.int64()),
    pa.field("trial_id", pa.string()),
]
_OF_THE_JOURNAL = [
    pa.field("env", pa.string()),
    pa.field("market", pa.string()),
    pa.field("seed", pa.int64()),
    pa.field("writer_host", pa.string()),
    pa.field("writer_pid", pa.int64()),
    pa.field("start_time", _TIME),
    pa.field("last_step_time", _TIME),
    pa.field("state", pa.string()),
    pa.field("end_reason", pa.string()),
    pa.field("live", pa.bool_()),
    pa.field("steps", pa.int64()),
    pa.field("trades", pa.int64()),
    pa.field("steps_lost", pa.int64()),
    pa.field("trades_lost", pa.int64()),
]
_OF_THE_ROW = [
    pa.field("status", pa.string()),
    pa.field("status_reason", pa.string()),
    pa.field("rllib_episode_id", pa.string()),
    pa.field("start_env_steps", pa.int64()),
]
MISSING = "missing"
"""The state of an episode that has a row and no journal."""


@dataclass
class Met:
    """Problems that were found while steps or trades were read.

    Attributes:
        unreadable: The reason why a journal cannot be read, by path.
        steps_lost: The number of steps that damage destroyed.
        trades_lost: The same for trades.
        cut_short: The number of journals whose tail is missing or whose write failed: later steps are lost, number
            unknown.
    """

    unreadable: dict[str, str] = field(default_factory=dict)
    steps_lost: int = 0
    trades_lost: int = 0
    cut_short: int = 0

    def problem(self, path: str | Path, error: JournalError) -> None:
        """Note a journal that cannot be read."""
        self.unreadable.setdefault(str(path), str(error))

    def count(self, journal: Journal) -> None:
        """Count what a journal has lost."""
        self.steps_lost += journal.steps_lost
        self.trades_lost += journal.trades_lost
        self.cut_short += journal.tail_lost or journal.state is State.FAILED


def nothing_known(run_id: str, journal_ids: Sequence[str]) -> Mapping[str, Row]:
    """Return no rows: the `Lookup` without a database."""
    return {}


def steps_schema(extra: Sequence[str]) -> pa.Schema:
    """Return the columns of steps. ``extra`` are the extra columns of all journals, null in those without them."""
    columns = (column for column in arrow_schema(tuple(extra)) if column.name != "trades")
    return pa.schema([*_IDS, *(column.with_nullable(column.nullable or column.name in extra) for column in columns)])


def trades_schema() -> pa.Schema:
    """Return the columns of trades."""
    return pa.schema([*_IDS, *TRADE_TYPE])


def episodes_schema() -> pa.Schema:
    """Return the columns of episodes: identity, journal, row, and the figures of all installed packages."""
    figures = (pa.field(name, pa.int64() if kind is int else pa.float64()) for name, kind in figure_columns().items())
    ids = [column.with_nullable(column.name != RUN_ID.name) for column in _IDS]
    return pa.schema([*ids, *_OF_THE_JOURNAL, *_OF_THE_ROW, *figures])


def extra_columns(paths: Iterable[str], met: Met) -> tuple[str, ...]:
    """Return the extra columns of all journals, in the order of their first appearance."""
    found: dict[str, None] = {}
    for path in paths:
        try:
            found.update(dict.fromkeys(read_header(path).about.extra_columns))
        except JournalError as error:
            met.problem(path, error)
    return tuple(found)


def step_batches(paths: Iterable[str], extra: Sequence[str], lookup: Lookup, met: Met) -> Iterator[pa.RecordBatch]:
    """Yield the intact steps of all journals, in batches of `steps_schema`."""
    schema = steps_schema(extra)
    for journal, ids in _journals(paths, lookup, met):
        for batch in _batches(journal, met):
            names, rows = set(batch.schema.names), batch.num_rows
            columns = [
                batch.column(column.name) if column.name in names else pa.nulls(rows, column.type)
                for column in list(schema)[len(_IDS) :]
            ]
            yield pa.RecordBatch.from_arrays([*_repeated(ids, rows), *columns], schema=schema)


def trade_batches(paths: Iterable[str], lookup: Lookup, met: Met) -> Iterator[pa.RecordBatch]:
    """Yield the intact trades of all journals, in batches of `trades_schema`."""
    for journal, ids in _journals(paths, lookup, met):
        for batch in _batches(journal, met):
            trades = batch.column("trades").flatten()
            if len(trades):
                columns = [*_repeated(ids, len(trades)), *trades.flatten()]
                yield pa.RecordBatch.from_arrays(columns, schema=trades_schema())


def episode_batches(rows: Iterable[Row]) -> Iterator[pa.RecordBatch]:
    """Convert rows of `episode_row` and `episode_of_row` to batches of `episodes_schema`."""
    schema, rows = episodes_schema(), iter(rows)
    while chunk := list(islice(rows, _CHUNK)):
        yield pa.RecordBatch.from_pylist(chunk, schema)


def with_rows(paths: Iterable[str], lookup: Lookup) -> Iterator[tuple[str, Row]]:
    """Yield each journal's path and its row in the database, {} if it has none. Asks for many rows at once."""
    paths = iter(paths)
    while chunk := list(islice(paths, _CHUNK)):
        by_run: dict[str, list[str]] = {}
        for path in chunk:
            by_run.setdefault(Path(path).parent.name, []).append(Path(path).stem)
        found = {run_id: lookup(run_id, journal_ids) for run_id, journal_ids in by_run.items()}
        for path in chunk:
            yield path, found[Path(path).parent.name].get(Path(path).stem, {})


def episode_row(one: Overview, row: Row) -> dict[str, Any]:
    """Return one row of the table of episodes, by column.

    Figures are those of the database if the episode has ended there, else those of its journal as it is now.

    Args:
        one: The episode's journal. If it is unreadable, only its name and its row are known.
        row: Its row in the database, {} if it has none.
    """
    header = one.header
    if header is None:
        return {**episode_of_row(one.run_id, row), "journal_id": one.journal_id, "state": str(one.condition)}
    about = header.about
    return {
        **_ids_of(one.run_id, one.journal_id, about, row),
        "env": about.env,
        "market": about.market,
        "seed": about.seed,
        "writer_host": header.writer.host,
        "writer_pid": header.writer.pid,
        "start_time": header.start_time,
        "last_step_time": one.last_time,
        "state": str(one.condition),
        "end_reason": row.get("end_reason") if _has_ended(row) else one.end_reason,
        "live": one.live,
        "steps": one.steps,
        "trades": one.trades,
        "steps_lost": one.steps_lost,
        "trades_lost": one.trades_lost,
        **{column.name: row.get(column.name) for column in _OF_THE_ROW},
        **(_figures_of(row) if _has_ended(row) else one.figures()),
    }


def episode_of_row(run_id: str, row: Row) -> dict[str, Any]:
    """Return one row of the table of episodes, for an episode without a readable journal."""
    own = {column.name: row.get(column.name) for column in (*_IDS, *_OF_THE_ROW)}
    return {
        **own,
        "run_id": run_id,
        "env": row.get("env_class"),
        "market": row.get("market"),
        "seed": row.get("seed"),
        "writer_host": row.get("writer_host"),
        "start_time": row.get("start_time"),
        "last_step_time": row.get("end_time"),
        "state": MISSING,
        "end_reason": row.get("end_reason"),
        "live": None,
        "steps": row.get("total_steps"),
        "trades": row.get("total_trades"),
        "steps_lost": row.get("steps_lost"),
        "trades_lost": row.get("trades_lost"),
        **_figures_of(row),
    }


def _has_ended(row: Row) -> bool:
    return row.get("status") not in (None, "started")


def _figures_of(row: Row) -> dict[str, Any]:
    return {name: row.get(name) for name in figure_columns()}


def _ids_of(run_id: str, journal_id: str, about: Any, row: Row) -> dict[str, Any]:
    """Return the identity columns. The journal's header has all except the number; the row may have more."""
    known = {
        name: getattr(about, name) if getattr(about, name) is not None else row.get(name)
        for name in ("in_evaluation", "worker_index", "env_index", "trial_id")
    }
    return {"run_id": run_id, "journal_id": journal_id, "episode_id": row.get("episode_id"), **known}


def _journals(paths: Iterable[str], lookup: Lookup, met: Met) -> Iterator[tuple[Journal, dict[str, Any]]]:
    for path, row in with_rows(paths, lookup):
        try:
            journal = read_journal(path)
        except JournalError as error:
            met.problem(path, error)
            continue
        met.count(journal)
        header = journal.header
        yield journal, _ids_of(Path(path).parent.name, header.journal_id, header.about, row)


def _batches(journal: Journal, met: Met) -> Iterator[pa.RecordBatch]:
    """Yield a journal's batches up to the first unreadable one."""
    try:
        yield from journal.batches()
    except JournalError as error:
        met.problem(journal.path, error)


def _repeated(ids: Row, rows: int) -> list[pa.Array]:
    return [pa.repeat(pa.scalar(ids[column.name], column.type), rows) for column in _IDS]
