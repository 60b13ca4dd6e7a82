"""Any Arrow tool opens a journal: a closed one whole, an open one up to its last seal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb
import polars
import pyarrow as pa
import pytest

from journal import EndReason, read_journal
from tests.support.journals import DigestFold, Fate, simulate_episode, write_journal

STEPS, SEAL = 1300, 520  # zstd, zstd, and LZ4 or a tail


def by_pyarrow(path: Path) -> pa.Table:
    with path.open("rb") as file:
        return pa.ipc.open_stream(file).read_all()


def by_pyarrow_mapped(path: Path) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        return pa.ipc.open_stream(file).read_all()


def by_polars(path: Path) -> pa.Table:
    return polars.read_ipc_stream(path).to_arrow()


def by_duckdb(path: Path) -> pa.Table:
    """Over Arrow: it scans the reader of a stream."""
    with path.open("rb") as file:
        return duckdb.from_arrow(pa.ipc.open_stream(file)).to_arrow_table()


READERS: list[Callable[[Path], pa.Table]] = [by_pyarrow, by_pyarrow_mapped, by_polars, by_duckdb]


def assert_same(found: pa.Table, expected: pa.Table) -> None:
    """Each value of each column, trades included; polars and duckdb have string and list types of their own."""
    assert found.column_names == expected.column_names
    for name in expected.column_names:
        assert found.column(name).to_pylist() == expected.column(name).to_pylist(), name


def written(root: Path, end: EndReason | Fate) -> Path:
    return write_journal(root, STEPS, end=end, seal_every=SEAL, fold=DigestFold(), checkpoint_every_steps=9999)


@pytest.mark.parametrize("read", READERS)
def test_closed_journal__read_by_others__is_all_there(tmp_path: Path, read: Callable[[Path], pa.Table]) -> None:
    """The footer stands behind the end of the stream, and disturbs nobody."""
    path = written(tmp_path, EndReason.TIME_LIMIT)
    assert_same(read(path), read_journal(path).steps())


@pytest.mark.parametrize("end", [Fate.DEAD, Fate.TORN, Fate.FAILED])
@pytest.mark.parametrize("read", READERS)
def test_open_journal__read_by_others__is_there_up_to_the_last_seal(
    tmp_path: Path, read: Callable[[Path], pa.Table], end: Fate
) -> None:
    """It has no end mark yet; the rows behind the seal are in the tail, which only a journal's reader knows."""
    path = written(tmp_path, end)
    sealed = STEPS // SEAL * SEAL
    assert_same(read(path), read_journal(path).steps().slice(0, sealed))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("end", [EndReason.CLOSED, Fate.DEAD])
def test_journal_without_steps__read_by_others__is_empty(
    tmp_path: Path, read: Callable[[Path], pa.Table], end: EndReason | Fate
) -> None:
    """Its columns are there."""
    path = simulate_episode(tmp_path, 0, end)
    assert_same(read(path), read_journal(path).steps())


def test_many_journals__one_query(tmp_path: Path) -> None:
    """What one does with them: the trades of a run, unnested in SQL."""
    paths = [simulate_episode(tmp_path, 40) for _ in range(3)]
    rows = pa.concat_tables([by_pyarrow(path) for path in paths])
    assert rows.num_rows == 120
    query = "select count(*), sum(trade.pnl) from (select unnest(trades) as trade from rows)"
    count, pnl = duckdb.from_arrow(rows).query("rows", query).fetchall()[0]
    expected = [read_journal(path).trades() for path in paths]
    assert count == sum(table.num_rows for table in expected)
    assert pnl == pytest.approx(sum(sum(table["pnl"].to_pylist()) for table in expected))
