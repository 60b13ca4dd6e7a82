"""`journal export`: a dataset that DuckDB, pandas, polars and Arrow read, with every row and each figure."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd
import polars as pl
import pyarrow.dataset as ds
import pytest

from journal import EndReason, read_journal
from rsc.metrics import figures
from tests.journal.cli.world import RUN, World, play, run, writer

READABLE = 12


@pytest.fixture(scope="module")
def dataset(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "dataset"
    result = world.run("export", RUN, "-o", folder)
    assert result.code == 3, "some files could not be looked at, and some rows are lost"
    assert "empty is not a readable journal: it is empty" in result.err
    assert "damage cost 65 steps and 5 trades" in result.err
    assert "1 journal cut short: later steps are lost, number unknown" in result.err
    return folder


def test_export__parquet__holds_every_intact_row_of_every_episode(world: World, dataset: Path):
    query = f"select journal_id, count(*) from '{dataset}/steps/*/*.parquet' group by 1"
    counts = dict(duckdb.sql(query).fetchall())
    for kind in ("finished", "killed", "torn", "flipped", "live", "extra"):
        assert counts[kind] == read_journal(world.path(kind)).step_count
    trades = pl.read_parquet(dataset / "trades").filter(pl.col("journal_id") == "finished").sort("trade_number")
    assert trades["pnl"].to_list() == read_journal(world.path("finished")).trades()["pnl"].to_pylist()


def test_export__episodes__have_their_figures_and_how_they_ended(world: World, dataset: Path):
    rows = pd.read_parquet(dataset / "episodes").set_index("journal_id")
    assert len(rows) == READABLE
    assert rows.loc["finished", "end_reason"] == "terminated"
    assert rows.loc["flipped", "steps_lost"] == 59
    assert (rows.loc["live", "live"], rows.loc["killed", "live"]) == (True, False)
    assert rows.loc["limit", "worker_index"] == 2
    expected = figures(read_journal(world.path("killed")))
    found = {name: rows.loc["killed", name] for name in expected}
    assert {name: None if pd.isna(value) else value for name, value in found.items()} == expected
    assert set(rows["run_id"]) == {RUN}


def test_export__extra_columns__are_null_where_an_episode_has_none(dataset: Path):
    steps = pl.read_parquet(dataset / "steps")
    assert steps.filter(pl.col("journal_id") == "extra")["spread"].null_count() == 0
    other = steps.filter(pl.col("journal_id") == "finished")
    assert other["spread"].null_count() == len(other)


@pytest.mark.parametrize("form", ["csv", "arrow"])
def test_export__other_formats__hold_the_same(world: World, dataset: Path, tmp_path: Path, form: str):
    folder = tmp_path / "out"
    world.run("export", RUN, "-o", folder, "--format", form)
    for table in ("steps", "trades", "episodes"):
        read = ds.dataset(folder / table, format=form).to_table()
        expected = ds.dataset(dataset / table).to_table()
        assert read.column_names == expected.column_names
        assert read.num_rows == expected.num_rows
        assert read["journal_id"].to_pylist() == expected["journal_id"].to_pylist()
    assert (folder / "trades" / f"run_id={RUN}" / f"part-0.{form}").exists()


def test_export__two_runs__are_partitions(tmp_path: Path):
    for run_id in ("a", "b"):
        play(writer(tmp_path / "root", "one", run_id), 30, end=EndReason.CLOSED)
    result = run("export", "a", "b", "-o", tmp_path / "out", "--json", "--journal-root", tmp_path / "root")
    assert result.json()["rows"] == {"steps": 60, "trades": 4, "episodes": 2}
    assert result.json()["runs"] == ["a", "b"]
    counts = duckdb.sql(
        f"select run_id, count(*) from read_parquet('{tmp_path}/out/steps/*/*.parquet', hive_partitioning=true) "
        "group by 1 order by 1"
    ).fetchall()
    assert counts == [("a", 30), ("b", 30)]


def test_export__one_table__alone(world: World, tmp_path: Path):
    result = world.run("export", "finished", "-o", tmp_path / "out", "--table", "trades")
    assert result.code == 0
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["trades"]


def test_export__folder_exists__is_not_touched(world: World, tmp_path: Path):
    (tmp_path / "mine").write_text("mine")
    result = world.run("export", "finished", "-o", tmp_path)
    assert result.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
    assert list(tmp_path.parent.glob(f".{tmp_path.name}.*")) == [], "nothing half done is left"


def test_export__nothing_readable__leaves_an_empty_dataset_and_exits_3(world: World, tmp_path: Path):
    result = world.run("export", "empty", "-o", tmp_path / "out")
    assert result.code == 3
    assert (tmp_path / "out").is_dir()


def test_export__folder_that_is_not_utf_8__is_refused_in_one_line(world: World, tmp_path: Path):
    result = world.run("export", "finished", "-o", tmp_path / "ex\udcff")
    assert (result.code, "is not UTF-8" in result.err, list(tmp_path.iterdir())) == (1, True, [])
