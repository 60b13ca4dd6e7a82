"""What a person types at `rsc`, and what he gets for it: in this process, and always before Ray would start."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import ray
from ray.rllib.algorithms.ppo import PPOConfig

import rsc
from journal import About, EndReason, JournalWriter
from rsc import defaults
from rsc.cli import main
from rsc.db import runs
from rsc.db.episodes import start_episode
from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
from rsc.rllib.attach import Run, new_run_id
from rsc.rllib.configs import TrainingPlan
from rsc.rllib.train import _counts, _in_words, _summary
from rsc.runs import incomplete_journals
from rsc.trading.env import TradingEnv
from tests.rsc.trading.test_market import columns_of

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which nobody has trained yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(defaults.DATABASE_VARIABLE, raising=False)
    monkeypatch.delenv(defaults.JOURNAL_VARIABLE, raising=False)
    return tmp_path


def error_line(capsys: Captured) -> str:
    """The one line of the error, after what the command says that it does."""
    doing, line = ["reading prices", *capsys.readouterr().err.splitlines()][-2:]
    assert doing == "reading prices"
    return line


def exit_of(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["rsc", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def file_of(path: Path, **changed: object) -> Path:
    """A CSV file of good prices, but for these columns; None takes one away."""
    columns = {**columns_of(), **changed}
    names = [name for name, values in columns.items() if values is not None]
    lines = zip(*(columns[name] for name in names), strict=True)
    path.write_text("\n".join(",".join(map(str, line)) for line in [names, *lines]))
    return path


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"feee": 0.1}, "did you mean 'fee'?"),
        ({"fee": 7}, "fee must be a fraction"),
        ({"features": ["nope"]}, "no feature 'nope'"),
        ({"start_date": "hello"}, "start_date must be a date"),
        ({"start_date": "2030-01-01"}, "no bars to play"),
        ({"market": "MSFT"}, "market must be"),
        ({"actions": "continuous"}, "DQN chooses among discrete actions"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_train__settings_that_cannot_be_played__one_line_and_no_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, settings: dict[str, object], said: str
) -> None:
    """Said at once, not after Ray has started and the run has a row."""
    (folder / "env.json").write_text(json.dumps(settings))
    assert exit_of(monkeypatch, "train", "--algo", "dqn", "--env-config", "env.json") == 1
    line = error_line(capsys)
    assert said in line
    assert not ray.is_initialized()
    assert not (folder / "rsc-data").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"low": None}, "no column for low"), ({"close": [-1.0] * 150}, "prices must be positive")],
)
def test_train__file_that_is_no_market__one_line_and_no_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, changed: dict[str, object], said: str
) -> None:
    path = file_of(folder / "prices.csv", **changed)
    assert exit_of(monkeypatch, "train", "--data", path) == 1
    line = error_line(capsys)
    assert said in line
    assert not (folder / "rsc-data").exists()


def test_train__forerunners_key_in_another_unit__is_said_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """As a remark of the program, not as Python shows warnings."""
    (folder / "env.json").write_text('{"transaction_fee_percent": 0.1}')
    bad = file_of(folder / "prices.csv")
    assert exit_of(monkeypatch, "train", "--env-config", "env.json", "--data", bad, "--run-id", "../x") == 1
    doing, first, *_, last = capsys.readouterr().err.splitlines()
    assert doing == "reading prices"
    assert first.startswith("warning: env_config transaction_fee_percent=0.1")
    assert "is not a run id" in last


@pytest.mark.parametrize("verb", [("runs",), ("check", "r1")], ids=" ".join)
def test_look__where_nobody_trained__says_so_and_makes_no_database(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, verb: tuple[str, ...]
) -> None:
    assert exit_of(monkeypatch, *verb) == 1
    assert "there is no database" in capsys.readouterr().err
    assert not (folder / "rsc-data").exists()


def test_runs__ids_that_train_makes__a_line_each_of_80_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """An id that is folded cannot be copied."""
    engine = open_engine(defaults.database_url())
    upgrade(engine)
    run_id = new_run_id()
    with engine.begin() as connection:
        runs.start_run(connection, run_id, {}, str(folder), datetime.now(UTC))
        runs.end_run(connection, run_id, "interrupted", datetime.now(UTC))
    assert exit_of(monkeypatch, "runs") == 0
    head, line = capsys.readouterr().out.splitlines()
    day, time, *rest = line.removeprefix(run_id).split()
    started = datetime.strptime(f"{datetime.now(UTC):%Y}-{day} {time} +0000", "%Y-%m-%d %H:%M %z")
    assert timedelta() <= datetime.now(UTC) - started < timedelta(minutes=10)
    assert rest == ["interrupted", *["0"] * 4]
    assert max(len(head), len(line)) <= 80


def test_runs__evaluation__names_the_run_of_its_policy(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    engine = open_engine(defaults.database_url())
    upgrade(engine)
    with engine.begin() as connection:
        runs.start_run(connection, "ppo-1", {}, str(folder), datetime.now(UTC))
        facts = {"parent_run_id": "ppo-1"}
        runs.start_run(connection, "played", {}, str(folder), datetime.now(UTC) + timedelta(seconds=1), facts)
    assert exit_of(monkeypatch, "runs") == 0
    _, played, trained = capsys.readouterr().out.splitlines()
    assert (played.split()[-2:], trained.split()[-1]) == (["of", "ppo-1"], "0")


@pytest.mark.parametrize(("mean", "said"), [(float("nan"), "7 steps"), (0.5, "7 steps, mean return +0.5000")])
def test_progress__rllib_knows_no_mean_return__says_none(mean: float, said: str) -> None:
    """RLlib's word for "no episode ended lately" is NaN."""
    assert _in_words({"env_runners": {"num_env_steps_sampled_lifetime": 7.0, "episode_return_mean": mean}}) == said


@pytest.fixture
def run_of_two(folder: Path) -> Run:
    """A run with two journals, and one row."""
    config = PPOConfig().environment(TradingEnv)
    run = rsc.attach(config, run_id="r1")
    for number in (1, 2):
        about = About("TradingEnv", 10_000.0, 252.0)
        JournalWriter(run.journal_root, "r1", f"j{number}", about=about).close(EndReason.CLOSED)
    now = datetime.now(UTC)
    with open_engine(run.database_url).begin() as connection:
        start_episode(connection, {"run_id": "r1", "journal_id": "j1", "env_class": "TradingEnv", "start_time": now})
    return run


def test_summary__journals_beyond_the_rows__are_counted_and_reconciled(run_of_two: Run, capfd: Captured) -> None:
    """While a database is down its rows are missing; "0 left" would be no truth."""
    run_of_two.end("completed")
    assert _summary(run_of_two, TrainingPlan(), _counts(run_of_two)) == 0
    first, last = capfd.readouterr().out.splitlines()
    assert first.startswith("episodes: none ended; 1 left running by RLlib; 1 without a row")
    assert last == "to end them: reconcile --run-id r1"
    assert _summary(run_of_two, TrainingPlan(reconcile=True), _counts(run_of_two)) == 0
    assert "2 episodes ended" in capfd.readouterr().out
    assert _summary(run_of_two, TrainingPlan(), _counts(run_of_two)) == 0
    assert capfd.readouterr().out == "episodes: 2 truncated; 0 left running by RLlib\n"


def test_incomplete_journals__failed_writes_and_missing_files__are_counted(run_of_two: Run) -> None:
    """A full disk: `rsc train` exits with 3."""
    root = run_of_two.journal_root
    assert incomplete_journals(root, "r1", 2) == []
    (root / "r1" / "j1.failed").touch()
    failed, missing = incomplete_journals(root, "r1", 5)
    assert "because a write failed: 1;" in failed
    assert "without a journal: 3 of 5;" in missing
    run_of_two.end("completed")


def test_summary__database_that_is_gone__one_line_and_the_command_for_later(
    run_of_two: Run, capfd: Captured, caplog: pytest.LogCaptureFixture
) -> None:
    """The journals are there; exit 1, since nothing can be said of the record."""
    run_of_two.database_url = "postgresql://nobody@127.0.0.1:1/none"
    run_of_two.end("completed")
    assert "\n" not in caplog.messages[-1]
    assert _summary(run_of_two, TrainingPlan(), _counts(run_of_two)) == 1
    out, err = capfd.readouterr()
    assert out == "to end them: reconcile --run-id r1\n"
    (line,) = err.splitlines()
    assert line.startswith("episodes: unknown, because the database does not answer")


def test_runs__trials_of_a_sweep__stand_below_their_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    url = f"sqlite:///{tmp_path / 'rsc.db'}"
    engine = open_engine(url)
    upgrade(engine)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    with engine.begin() as connection:
        runs.start_run(connection, "sweep", {}, None, start)
        for number, trial in enumerate(["a1", "a1", "b2"]):
            row = {"run_id": "sweep", "journal_id": f"j{number}", "start_time": start, "trial_id": trial}
            assert start_episode(connection, row)
        runs.add_trial(connection, "sweep", "b2", {"lr": 0.1}, start)
        runs.add_trial(connection, "sweep", "b2", {"lr": 0.2}, start)
    monkeypatch.setenv("RSC_DATABASE_URL", url)
    assert exit_of(monkeypatch, "runs") == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["sweep", "2024-01-01", "running", "3", "0", "0", "0"],
        ["a1", "trial", "2", "0", "0", "0"],
        ["b2", "trial", "1", "0", "0", "0", "lr=0.2"],
    ]
