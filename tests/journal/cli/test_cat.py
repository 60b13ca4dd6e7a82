"""`journal cat` and `head`: the chosen rows, in every format, from every kind of journal."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from journal import read_journal
from tests.journal.cli.world import STEPS, World


def test_cat__csv__is_every_column_of_every_step(world: World):
    result = world.run("cat", "finished", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(result.out)))
    table = read_journal(world.path("finished")).steps()
    assert len(rows) == STEPS
    assert [float(row["portfolio_value"]) for row in rows] == table["portfolio_value"].to_pylist()
    assert rows[0]["market_time"] == table["market_time"][0].as_py().isoformat(timespec="microseconds")[:-6] + "Z"
    assert [int(row["trades"]) for row in rows] == [len(trades) for trades in table["trades"].to_pylist()]


def test_cat__ndjson__nests_trades_and_knows_no_nan(world: World):
    rows = world.run("cat", "finished", "--format", "ndjson", "--where", "trades > 0").ndjson()
    assert len(rows) == 26
    assert rows[0]["trades"][0]["trade_number"] == 1
    assert rows[0]["market_time"].endswith("Z")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("extra", [[], ["--trades"]])
def test_cat__parquet_and_arrow__hold_the_same_table(world: World, tmp_path: Path, form: str, extra: list[str]):
    journal = read_journal(world.path("finished"))
    file = tmp_path / f"rows.{form}"
    assert world.run("cat", "finished", "-o", file, *extra).code == 0
    table = pq.read_table(file) if form == "parquet" else pa.ipc.open_stream(file.read_bytes()).read_all()
    expected = journal.trades() if extra else journal.steps()
    assert table.to_pylist() == expected.to_pylist()


def test_cat__output_exists__is_not_overwritten(world: World, tmp_path: Path):
    file = tmp_path / "rows.csv"
    file.write_text("mine")
    result = world.run("cat", "finished", "-o", file)
    assert (result.code, file.read_text()) == (1, "mine")
    assert "no file is overwritten" in result.err
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        (["--from", 298], [298, 299, 300]),
        (["--from", -2], [299, 300]),
        (["--from", 5, "--to", 7], [5, 6, 7]),
        (["--to", 2], [1, 2]),
        (["--from", 64, "--limit", 2], [64, 65]),
        (["--from", "2017-07-15", "--to", "2017-07-17"], [1, 2, 3]),
        (["--where", "terminated = true"], [300]),
        (["--where", "step > 3 and step <= 5"], [4, 5]),
        (["--where", "market_time < 2017-07-16"], [1]),
        (["--limit", 0], []),
    ],
)
def test_cat__selections__choose_steps(world: World, arguments: list[object], steps: list[int]):
    rows = world.run("cat", "finished", "--format", "ndjson", "--columns", "step", *arguments).ndjson()
    assert [row["step"] for row in rows] == steps


def test_cat__trades__chosen_by_exit_and_value(world: World):
    trades = read_journal(world.path("finished")).trades().to_pylist()
    rows = world.run("cat", "finished", "--trades", "--format", "ndjson", "--from", 100, "--where", "pnl < 0").ndjson()
    expected = [trade["trade_number"] for trade in trades if trade["exit_step"] >= 100 and trade["pnl"] < 0]
    assert [row["trade_number"] for row in rows] == expected
    assert len(expected) > 2


def test_cat__text__fits_80_columns(world: World):
    for arguments in ([], ["--trades"]):
        result = world.run("cat", "finished", *arguments)
        assert max(len(line) for line in result.lines) <= 80
    assert len(world.run("cat", "finished").lines) == STEPS + 1


@pytest.mark.parametrize(
    ("kind", "code", "rows", "says"),
    [
        ("live", 0, 100, ""),
        ("killed", 0, 210, ""),
        ("torn", 0, 209, "torn: torn: its last write is incomplete"),
        ("flipped", 3, 241, "59 steps and 5 trades lost"),
        ("flipped_end", 3, 294, "6 steps and 0 trades lost"),
        ("footer", 0, 300, ""),
        ("nosteps", 0, 0, ""),
        ("cut", 3, 176, "its tail is missing"),
    ],
)
def test_cat__any_kind__prints_what_is_intact_and_says_what_it_met(
    world: World, kind: str, code: int, rows: int, says: str
):
    result = world.run("cat", kind, "--format", "csv")
    assert (result.code, len(result.lines) - 1) == (code, rows)
    assert says in result.err
    assert bool(says) == bool(result.err)


@pytest.mark.parametrize("kind", ["empty", "foreign", "headerless"])
def test_cat__unreadable__fails_in_one_line(world: World, kind: str):
    result = world.run("cat", kind)
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)


def test_cat__extra_columns__are_columns(world: World):
    row = world.run("head", "extra", "-n", 1, "--format", "ndjson").ndjson()[0]
    assert (row["spread"], row["rsi"]) == (1.0, 1.0)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--columns", "nix"],
        ["--columns", "step,step"],
        ["--where", "nix=1"],
        ["--where", "step=abc"],
        ["--from", "soon"],
        ["--format", "xml"],
    ],
)
def test_cat__nonsense__is_wrong_usage(world: World, arguments: list[str]):
    result = world.run("cat", "finished", *arguments)
    assert (result.code, result.out) == (2, "")


@pytest.mark.parametrize("name", ["a.xlsx", "a.json", "a.feather", "a.csv.gz", "a.pq"])
def test_cat__file_of_a_format_that_is_not_written__is_refused(world: World, tmp_path: Path, name: str):
    result = world.run("cat", "finished", "-o", tmp_path / name)
    assert (result.code, list(tmp_path.iterdir())) == (2, [])
    assert ".parquet" in result.err
    assert world.run("cat", "finished", "--format", "csv", "-o", tmp_path / name).code == 0


def test_cat__name_of_one_format_and_option_of_another__is_refused(world: World, tmp_path: Path):
    result = world.run("cat", "finished", "--format", "csv", "-o", tmp_path / "a.parquet")
    assert (result.code, list(tmp_path.iterdir())) == (2, [])


def test_cat__output_that_cannot_be_made__is_told_by_the_name_that_was_given(world: World):
    for place, why in (
        ("/nowhere/x.csv", "/nowhere: there is no such folder"),
        ("/proc/x.csv", "/proc/x.csv: No such"),
    ):
        result = world.run("cat", "finished", "-o", place)
        assert result.code == 1
        assert result.err.startswith(f"error: {why}")


def test_head__closed_pipe__is_quiet(world: World):
    program = [sys.executable, "-c", "from journal.cli import main; main()"]
    cat = subprocess.Popen(
        [*program, "cat", str(world.path("finished"))], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert cat.stdout is not None
    assert cat.stderr is not None
    cat.stdout.readline()
    cat.stdout.close()
    assert (cat.wait(timeout=60), cat.stderr.read()) == (0, "")
