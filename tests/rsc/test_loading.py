"""`load_run`: the tables hold what was played, in any state of the run, and say what they cannot read."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pyarrow.dataset as ds
import pytest
from sqlalchemy import delete

import rsc
from journal import JournalError
from journal.ops.export import export
from rsc.db.errors import DatabaseError, UnknownRunError
from rsc.db.models import completed_trades, episodes
from rsc.db.session import open_engine
from rsc.journal_plugins import rows_of
from tests.journal.cli.world import flip
from tests.support.walks import ACCOUNT, Walk

LENGTH = 20


class Counter(gym.Wrapper[Any, Any, Any, Any]):
    """Counts outside of the recorder what the trainer sees."""

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        self.observations: list[Any] = []
        self.steps: list[tuple[Any, float, bool, bool]] = []

    def reset(self, **more: Any) -> Any:
        observation, info = self.env.reset(**more)
        self.observations.append(observation)
        return observation, info

    def step(self, action: Any) -> Any:
        observation, reward, terminated, truncated, info = self.env.step(action)
        self.observations.append(observation)
        self.steps.append((action, reward, terminated, truncated))
        return observation, reward, terminated, truncated, info


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSC_JOURNAL_ROOT", str(tmp_path / "journals"))
    monkeypatch.setenv("RSC_DATABASE_URL", f"sqlite:///{tmp_path / 'rsc.db'}")


def play(env: gym.Env[Any, Any], steps: int) -> None:
    env.action_space.seed(1)
    env.reset(seed=1)
    for _ in range(steps):
        *_, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            env.reset()


def record(run_id: str = "mine", steps: int = 50, **more: Any) -> Counter:
    with rsc.start_run(run_id, **more) as run:
        counter = Counter(run.record(Walk(LENGTH), ACCOUNT, in_evaluation=False))
        play(counter, steps)
    return counter


def stream(tmp_path: Path, number: int) -> Path:
    found = rsc.load_run("mine").episode(number)
    return tmp_path / "journals" / "mine" / f"{found.journal_id}.arrows"


def test_load__finished_run__has_every_step_trade_and_metric(tmp_path: Path) -> None:
    counter = record()
    run = rsc.load_run("mine")
    rows = run.episodes().to_pandas().set_index("episode_id").sort_index()
    assert rows["status"].tolist() == ["completed", "completed", "truncated"]
    assert rows["steps"].tolist() == [20, 20, 10]
    assert (rows["in_evaluation"] == False).all()  # noqa: E712 - a column
    steps = run.steps().to_pandas().sort_values(["episode_id", "step"])
    assert steps["reward"].tolist() == [reward for _, reward, *_ in counter.steps]
    assert steps["action"].tolist() == [action for action, *_ in counter.steps]
    assert steps.groupby("episode_id").size().to_dict() == rows["steps"].to_dict()
    trades = run.trades().to_pandas()
    assert trades.groupby("episode_id").size().to_dict() == rows["total_trades"].to_dict()
    assert run.row is not None
    assert run.row["status"] == "completed"


def test_load__tables__are_those_of_journal_export(tmp_path: Path) -> None:
    record()
    run = rsc.load_run("mine")
    paths = [str(tmp_path / "journals" / "mine" / f"{one}.arrows") for one in run.journal_ids()]
    export(paths, tmp_path / "out", "parquet", lookup=rows_of)
    for name in ("steps", "trades", "episodes"):
        written = ds.dataset(tmp_path / "out" / name, partitioning="hive").to_table()
        read = run.reader(name).read_all()
        assert set(written.column_names) == set(read.column_names)
        assert repr(written.select(read.column_names).to_pylist()) == repr(read.to_pylist()), "repr: NaN equals NaN"


def test_load__run_that_plays__has_all_acknowledged_steps() -> None:
    with rsc.start_run("mine") as recording:
        env = recording.record(Walk(LENGTH), ACCOUNT)
        play(env, 50)
        run = rsc.load_run("latest")
        assert run.steps().num_rows == 50
        row = run.episode(run.journal_ids()[0]).row
        assert row["episode_id"] is None
        rows = run.episodes().to_pylist()
        assert sorted((row["state"], row["live"], row["steps"]) for row in rows) == [
            ("closed", False, 20), ("closed", False, 20), ("open", True, 10),
        ]  # fmt: skip
        play(env, 5)
        assert run.steps().num_rows == 55, "each call reads anew"
    assert {row["status"] for row in run.episodes().to_pylist()} == {"completed", "truncated"}


def test_load__pruned_journal__keeps_its_row_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record()
    stream(tmp_path, 1).unlink()
    run = rsc.load_run("mine")
    rows = {row["episode_id"]: row for row in run.episodes().to_pylist()}
    assert (rows[1]["state"], rows[1]["status"], rows[1]["total_steps"]) == ("missing", "completed", 20)
    assert rows[1]["pnl"] is not None
    assert "1 episodes have a row and no journal" in caplog.text
    assert run.steps().num_rows == 30
    episode = run.episode(1)
    assert episode.row["state"] == "missing"
    with pytest.raises(JournalError, match="episode 1 has no journal"):
        episode.steps()
    assert "has no journal" in episode._repr_html_()


def test_load__journals_without_rows__are_read_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    record()
    with open_engine(os.environ["RSC_DATABASE_URL"]).begin() as connection:
        connection.execute(delete(completed_trades))
        connection.execute(delete(episodes))
    run = rsc.load_run("mine")
    rows = run.episodes().to_pylist()
    assert [row["episode_id"] for row in rows] == [None] * 3
    assert all(row["pnl"] is not None for row in rows), "the journals' figures"
    assert "3 journals have no row; `reconcile --run-id mine` writes them" in caplog.text
    with pytest.raises(JournalError, match="run mine has no episode 1"):
        run.episode(1)


def test_load__no_database__reads_journals_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record()
    monkeypatch.setenv("RSC_DATABASE_URL", f"sqlite:///{tmp_path / 'none.db'}")
    run = rsc.load_run("mine")
    assert "only its journals are read" in caplog.text
    assert (run.row, run.steps().num_rows, run.episodes().num_rows) == (None, 50, 3)
    assert not (tmp_path / "none.db").exists()
    with pytest.raises(DatabaseError, match="there is no database"):
        rsc.load_run("mine", database_url=f"sqlite:///{tmp_path / 'none.db'}")


def test_load__damaged_journals__give_what_is_intact_and_say_what_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record(checkpoint_every_steps=5)
    path = stream(tmp_path, 1)
    flip(path, path.stat().st_size // 2)
    stream(tmp_path, 2).write_bytes(b"nonsense")
    run = rsc.load_run("mine")
    steps = run.steps().to_pandas()
    assert 0 < (steps["episode_id"] == 1).sum() < 20
    assert (steps["episode_id"] == 3).sum() == 10
    assert "damage cost" in caplog.text
    assert "1 journals cannot be read" in caplog.text
    rows = {row["episode_id"]: row for row in run.episodes().to_pylist()}
    assert (rows[2]["state"], rows[2]["status"], rows[2]["total_steps"]) == ("unreadable", "completed", 20)
    with pytest.raises(JournalError):
        run.episode(2).steps()


def test_load__reader__streams_in_batches() -> None:
    record()
    reader = rsc.load_run("mine").reader("steps")
    assert sum(batch.num_rows for batch in reader) == 50
    with pytest.raises(ValueError, match="there is no table 'step'"):
        rsc.load_run("mine").reader("step")  # type: ignore[arg-type]


def test_load__reading__makes_and_changes_no_file(tmp_path: Path) -> None:
    record()

    def files() -> dict[Path, int]:
        """Without the lease, which the recording process renews."""
        found = (
            path for path in (tmp_path / "journals").rglob("[!.]*") if path.is_file() and path.parent.name != "writers"
        )
        return {path: path.stat().st_mtime_ns for path in found}

    before = files()
    run = rsc.load_run("mine")
    run.steps(), run.trades(), run.episodes(), run.episode(1).plot(), run._repr_html_()
    assert "run" in {path.name for path in before}
    assert files() == before


def test_load__names__are_those_of_the_programs() -> None:
    record("alpha-1", 5)
    record("alpha-2", 5)
    assert rsc.load_run("alpha-2").run_id == "alpha-2"
    assert rsc.load_run("latest").run_id == "alpha-2"
    for name, words in {
        "alpha": "alpha is the beginning of alpha-1, alpha-2",
        "beta": "there is no run 'beta'",
        " ": "the name of the run is empty",
    }.items():
        with pytest.raises(UnknownRunError, match=words):
            rsc.load_run(name)
    record("beta", 5)
    assert rsc.load_run("bet").run_id == "beta"


def test_load__run_without_episodes__has_empty_tables_of_the_same_columns() -> None:
    record(steps=5)
    with rsc.start_run("empty"):
        pass
    empty, run = rsc.load_run("empty"), rsc.load_run("mine")
    for name in ("steps", "trades", "episodes"):
        table = empty.reader(name).read_all()
        assert (table.num_rows, table.column_names) == (0, run.reader(name).read_all().column_names)


def test_load__notebook__shows_picture_and_figures() -> None:
    record()
    run = rsc.load_run("mine")
    page = run.episode(1)._repr_html_()
    assert "<svg" in page
    assert "time limit" in page
    assert "<td>2</td>" in run._repr_html_(), "two are completed"


def test_load__imports__neither_ray_nor_gymnasium(tmp_path: Path) -> None:
    record(steps=5)
    code = (
        "import rsc, sys; run = rsc.load_run('mine'); assert run.steps().num_rows == 5; run.episode(1).plot();"
        "print(sorted({'ray', 'torch', 'gymnasium'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_minari__read_back__equals_what_was_counted_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Observations with that of the reset, actions, rewards and endings; the episode that did not end is truncated."""
    minari = pytest.importorskip("minari", reason="Minari is not installed, so its data sets are NOT tested")
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    counter = record(observations=True)
    with pytest.warns(UserWarning, match="author"):
        rsc.load_run("mine").to_minari("rsc/mine-v0")
    data = minari.load_dataset("rsc/mine-v0")
    assert (data.total_episodes, data.total_steps) == (3, 50)
    assert data.observation_space == Walk.observation_space
    assert data.action_space == Walk().action_space
    for place, episode in enumerate(data.iterate_episodes()):
        start, count = place * LENGTH, len(episode.rewards)
        first = start + place  # each episode before has one observation more than it has steps
        assert np.array_equal(episode.observations, counter.observations[first : first + count + 1])
        assert episode.observations.dtype == np.float32
        played = counter.steps[start : start + count]
        assert episode.actions.tolist() == [action for action, *_ in played]
        assert episode.rewards.tolist() == [reward for _, reward, *_ in played]
        assert episode.terminations.tolist() == [False] * count
        assert episode.truncations.tolist() == [False] * (count - 1) + [True]
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_minari__run_without_observations__is_refused_in_one_line() -> None:
    pytest.importorskip("minari", reason="Minari is not installed, so its data sets are NOT tested")
    record(steps=5)
    with pytest.raises(JournalError, match=r"rsc\.attach\(\.\.\., observations=True\)"):
        rsc.load_run("mine").to_minari("rsc/none-v0")


def test_load__any_database__gives_the_same_tables(database_url: str) -> None:
    """PostgreSQL stores times with a zone and numbers as doubles, SQLite does not."""
    counter = record(database_url=database_url)
    run = rsc.load_run("mine", database_url=database_url)
    rows = run.episodes().to_pylist()
    assert [row["status"] for row in rows] == ["completed", "completed", "truncated"]
    assert run.steps()["reward"].to_pylist() == [reward for _, reward, *_ in counter.steps]
    assert {row["episode_id"] for row in run.trades().to_pylist()} <= {row["episode_id"] for row in rows}
    assert run.episode(rows[0]["episode_id"]).row == rows[0]
