"""`rsc episodes` sorts and filters the rows of a run, and never takes an unknown figure for a number."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, insert, text

from rsc.cli.episodes import command
from rsc.db.models import episodes, training_runs

START = datetime(2026, 1, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"status": "completed", "pnl": 5.0, "total_steps": 250, "total_trades": 3, "sharpe_ratio": 0.5, "volatility": 0.1},
    {"status": "truncated", "pnl": -7.0, "total_steps": 10, "total_trades": 0, "sharpe_ratio": 0.0, "volatility": 0.0},
    {"status": "truncated", "pnl": 9.0, "total_steps": 30, "total_trades": 1, "sharpe_ratio": 1.5, "volatility": 0.1},
    {"status": "started"},
]


@pytest.fixture
def url(engine: Engine) -> str:
    """A run of four episodes, and one of another run."""
    with engine.begin() as connection:
        for run_id in ("one", "other"):
            connection.execute(insert(training_runs).values(run_id=run_id, start_time=START, status="completed"))
        for number, row in enumerate(ROWS):
            given = {
                "run_id": "one",
                "journal_id": f"j{number}",
                "start_time": START,
                "in_evaluation": number == 0,
                **row,
            }
            connection.execute(insert(episodes).values(**given))
        connection.execute(insert(episodes).values(run_id="other", journal_id="x", start_time=START, status="started"))
    return engine.url.render_as_string(hide_password=False)


def run(url: str, *arguments: str) -> Result:
    return CliRunner().invoke(command, ["one", *arguments, "--database-url", url])


def numbers(result: Result) -> list[int]:
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return [int(line.split()[0]) for line in result.stdout.splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), [1, 2, 3, 4]),
        (("--sort", "pnl"), [2, 1, 3, 4]),
        (("--sort", "-pnl"), [3, 1, 2, 4]),
        (("--sort", "-sharpe_ratio"), [3, 1, 2, 4]),
        (("--sort", "-pnl", "--limit", "2"), [3, 1]),
        (("--where", "status = truncated and total_steps > 20"), [3]),
        (("--where", "pnl < 0"), [2]),
        (("--where", "pnl < 100"), [1, 2, 3]),
        (("--where", "sharpe_ratio < 1"), [1]),
        (("--where", "in_evaluation = yes"), [1]),
        (("--where", "start_time >= 2026-01-01", "--where", "status != started"), [1, 2, 3]),
        (("--where", "start_time > 2026-01-01T00:00:01"), []),
    ],
)
def test_episodes__sorted_and_chosen(url: str, arguments: tuple[str, ...], expected: list[int]) -> None:
    """The Sharpe ratio of an account that never moved is undefined: it comes last, and meets no condition."""
    assert numbers(run(url, *arguments)) == expected


def test_episodes__csv_and_json__every_column(url: str) -> None:
    rows = list(csv.DictReader(io.StringIO(run(url, "--csv").stdout)))
    assert [row["pnl"] for row in rows] == ["5.0", "-7.0", "9.0", ""]
    assert rows[0]["start_time"] == "2026-01-01T00:00:00.000000Z"
    document = json.loads(run(url, "--json", "--limit", "1").stdout)
    assert (document["total"], document["episodes"][0]["episode_id"]) == (4, 1)


def test_episodes__more_columns__are_shown(url: str) -> None:
    result = run(url, "--figure", "end_reason", "--figure", "start_time")
    assert result.stdout.splitlines()[1].split()[-2:] == ["-", "2026-01-01T00:00"]
    assert "4 of 4 episodes of run one" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--sort", "pnll"), "there is no column 'pnll'; did you mean pnl"),
        (("--sort", "nothing_like_it"), "there are: episode_id"),
        (("--where", "pnl"), "is not a condition"),
        (("--where", "pnl < much"), "is not a number"),
        (("--where", "nope = 1"), "there is no 'nope'"),
        (("--csv", "--json"), "exclude each other"),
    ],
)
def test_episodes__wrong_usage__one_line(url: str, arguments: tuple[str, ...], message: str) -> None:
    result = run(url, *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_episodes__row_that_cannot_be_read__is_named(sqlite_url: str, made_sqlite: object) -> None:
    import shutil

    from rsc.db.session import open_engine

    shutil.copy(str(made_sqlite), sqlite_url.removeprefix("sqlite:///"))
    engine = open_engine(sqlite_url)
    with engine.begin() as connection:
        connection.execute(insert(training_runs).values(run_id="one", start_time=START, status="completed"))
        for name in ("a", "b"):
            connection.execute(
                insert(episodes).values(run_id="one", journal_id=name, start_time=START, status="started")
            )
        connection.execute(text("UPDATE episodes SET start_time = 'yesterday' WHERE episode_id = 1"))
    engine.dispose()
    result = CliRunner().invoke(command, ["one", "--database-url", sqlite_url], standalone_mode=False)
    assert (result.return_value, "episode 1: its row cannot be read" in result.stderr) == (3, True)
    assert numbers(result) == [2]
