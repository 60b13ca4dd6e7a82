"""What `journal` asks of the database, through its entry points: numbers of episodes, and which rows are final."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Engine, insert

from journal import EndReason, read_journal
from journal.ops.dataset import TABLES
from rsc import defaults
from rsc import journal_plugins as lookup
from rsc.db.models import episodes, training_runs
from rsc.db.session import DatabaseError, open_engine
from rsc.db.upgrade import upgrade
from rsc.metrics import figures
from tests.journal.cli.world import play, run, writer

NOW = datetime(2026, 11, 22, tzinfo=UTC)
RUN = "run-1"


@pytest.fixture
def engine(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setenv(defaults.DATABASE_VARIABLE, sqlite_url)
    made = open_engine(sqlite_url)
    upgrade(made)
    return made


def add_run(engine: Engine, root: Path) -> None:
    with engine.begin() as connection:
        connection.execute(
            insert(training_runs).values(run_id=RUN, start_time=NOW, status="running", journal_root=str(root))
        )


def add_episode(engine: Engine, journal_id: str, **row) -> int:
    given = {
        "run_id": RUN,
        "journal_id": journal_id,
        "start_time": NOW,
        "status": "completed",
        "finalized_by": "callback",
    }
    with engine.begin() as connection:
        return connection.execute(insert(episodes).values(**{**given, **row})).inserted_primary_key[0]


def test_export__database_knows_the_run__rows_have_number_status_and_its_figures(engine: Engine, tmp_path: Path):
    """Steps, trades and episodes can be joined by number; what has not ended keeps its journal's figures."""
    root, facts = tmp_path / "root", {"in_evaluation": True, "env_index": 3, "trial_id": "trial_1"}
    play(writer(root, "ended", about=facts), 30, end=EndReason.TERMINATED)
    play(writer(root, "started"), 30)
    play(writer(root, "without-row"), 30, end=EndReason.TERMINATED)
    add_run(engine, root)
    number = add_episode(engine, "ended", pnl=12.5, win_rate=0.0, total_trades=0, rllib_episode_id="r1")
    other = add_episode(engine, "started", status="started", finalized_by=None)
    result = run("export", RUN, "-o", tmp_path / "out", "--journal-root", root)
    assert (result.code, result.err.count("unknown")) == (0, 0)
    tables = {name: pd.read_parquet(tmp_path / "out" / name).set_index("journal_id") for name in TABLES}
    rows = tables["episodes"]
    assert rows.loc["ended", ["episode_id", "status", "pnl", "rllib_episode_id"]].tolist() == [
        number, "completed", 12.5, "r1",
    ]  # fmt: skip
    assert np.isnan(rows.loc["ended", "win_rate"]), "the row's 0.0 without trades means undefined"
    assert rows.loc["started", "episode_id"] == other
    assert rows.loc["started", "pnl"] == figures(read_journal(root / RUN / "started.arrows"))["pnl"]
    assert np.isnan(rows.loc["without-row", "episode_id"])
    for table in ("steps", "trades"):
        ended = tables[table].loc["ended"]
        assert len(ended) == {"steps": 30, "trades": 2}[table]
        assert (ended["episode_id"] == number).all()
        assert ended[["in_evaluation", "worker_index", "env_index", "trial_id"]].iloc[0].tolist() == [
            True,
            1,
            3,
            "trial_1",
        ]


def test_export__database_that_cannot_be_used__is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(defaults.DATABASE_VARIABLE, f"sqlite:///{tmp_path / 'none.db'}")
    play(writer(tmp_path / "root", "one"), 30, end=EndReason.TERMINATED)
    result = run("export", RUN, "-o", tmp_path / "out", "--journal-root", tmp_path / "root")
    assert (result.code, result.err.count("numbers and statuses of episodes are unknown")) == (0, 1)
    assert pd.read_parquet(tmp_path / "out" / "steps").shape[0] == 30


def test_journal__number__is_the_databases_episode(engine: Engine, tmp_path: Path):
    play(writer(tmp_path / "root", "one"), 30, end=EndReason.TERMINATED)
    add_run(engine, tmp_path / "root")
    number = add_episode(engine, "one")
    result = run("info", number, "--json")
    assert (result.code, result.json()["id"]) == (0, "one")
    assert run("ls", number, "-q").lines == ["one"]
    unknown = run("info", number + 1)
    assert (unknown.code, "has no journal of an episode" in unknown.err) == (1, True)


def test_lookup__number_and_root__the_root_that_was_given_counts(engine: Engine, tmp_path: Path):
    """A copy, or a volume that is mounted elsewhere."""
    recorded, copy = tmp_path / "recorded", tmp_path / "copy"
    add_run(engine, recorded)
    add_episode(engine, "one")
    for root, steps in ((recorded, 10), (copy, 20)):
        play(writer(root, "one"), steps, end=EndReason.TERMINATED)
    for arguments, steps in (((), 10), (("--journal-root", copy), 20)):
        result = run("info", "1", "--json", *arguments)
        assert (result.code, result.ndjson()[0]["steps"]) == (0, steps)
    missing = run("info", "1", "--journal-root", tmp_path / "nowhere")
    assert (missing.code, str(tmp_path / "nowhere") in missing.err) == (1, True)


def test_lookup__settled__are_rows_that_nothing_can_change(engine: Engine, tmp_path: Path):
    assert lookup.settled_journals(RUN) is None
    add_run(engine, tmp_path)
    add_episode(engine, "callback")
    add_episode(engine, "started", status="started", finalized_by=None)
    add_episode(engine, "final", status="truncated", finalized_by="reconciler", evidence_final=True)
    add_episode(engine, "improvable", status="truncated", finalized_by="reconciler", evidence_final=False)
    assert lookup.settled_journals(RUN) == {"callback", "final"}


def test_lookup__no_database__makes_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv(defaults.DATABASE_VARIABLE, f"sqlite:///{tmp_path}/none.db")
    with pytest.raises(DatabaseError, match="there is no database"):
        lookup.journal_of(1)
    assert list(tmp_path.iterdir()) == []


def test_journal_root__is_the_same_for_all_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    from journal.inspect.find import ROOT_VARIABLE, journal_root

    assert ROOT_VARIABLE == defaults.JOURNAL_VARIABLE
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    assert journal_root() == defaults.journal_root()
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert journal_root() == defaults.journal_root() == tmp_path


@pytest.fixture
def run_of_all_kinds(engine: Engine, tmp_path: Path):
    """Episodes that may go and that may not; yields the root. The live one's writer is held."""
    root = tmp_path / "root"
    add_run(engine, root)
    for name in ("done", "killed", "unknown", "young", "started"):
        play(writer(root, name), 30, end=None if name == "killed" else EndReason.TERMINATED)
    add_episode(engine, "done")
    add_episode(engine, "killed", status="truncated", finalized_by="reconciler", evidence_final=True)
    add_episode(engine, "young")
    add_episode(engine, "started", status="started", finalized_by=None)
    live = play(writer(root, "live"), 30)
    add_episode(engine, "live")
    (root / RUN / "broken.arrows").write_bytes(b"nonsense")
    add_episode(engine, "broken")
    for file in (root / RUN).iterdir():
        if file.is_file() and not file.name.startswith(("young", ".")):
            os.utime(file, (1, 1))
    yield root
    live.close(EndReason.CLOSED)


def test_prune__without_yes__only_says_what_would_go(run_of_all_kinds: Path):
    before = sorted(run_of_all_kinds.rglob("*"))
    result = run("prune", RUN, "--older-than", "1d", "--journal-root", run_of_all_kinds)
    assert (result.code, sorted(run_of_all_kinds.rglob("*"))) == (0, before)
    assert [Path(line.split()[-1]).stem for line in result.lines] == ["done", "killed"]
    assert "2 journals" in result.err
    assert "would be removed; --yes removes them" in result.err


def test_prune__yes__removes_the_final_ones_with_their_tails_and_nothing_else(run_of_all_kinds: Path):
    result = run("prune", RUN, "--older-than", "1d", "--yes", "--json", "--journal-root", run_of_all_kinds)
    verdicts = {Path(row["path"]).stem: row["why_not"] for row in result.ndjson()}
    assert verdicts["done"] is verdicts["killed"] is None
    assert verdicts["young"] == "too young"
    assert "run `reconcile` first" in verdicts["unknown"]
    assert "run `reconcile` first" in verdicts["started"]
    assert "its writer is alive" in verdicts["live"]
    assert "not a readable journal" in verdicts["broken"]
    left = {file.stem for file in (run_of_all_kinds / RUN).glob("[!.]*") if file.is_file()} - {"run", "root"}
    assert left == {"unknown", "young", "started", "live", "broken"}


def test_prune__hidden_files_that_killed_programs_left__go_when_they_are_old(run_of_all_kinds: Path):
    folder = run_of_all_kinds / RUN
    old, young = [folder / ".0a.spare", folder / ".ep.0b.new"], [folder / ".0c.spare", folder / ".ep.0d.new"]
    for file in (*old, *young):
        file.write_bytes(bytes(100))
    for file in old:
        os.utime(file, (time.time() - 7200,) * 2)
    kept = run("prune", RUN, "--older-than", "0s", "--journal-root", run_of_all_kinds)
    assert "2 hidden files left by killed programs, 200 would be removed; --yes removes them" in kept.err
    assert all(file.exists() for file in old)
    run("prune", RUN, "--older-than", "0s", "--yes", "--journal-root", run_of_all_kinds)
    assert [file.exists() for file in (*old, *young)] == [False, False, True, True]


def test_prune__unknown_run_or_no_database__removes_nothing(
    run_of_all_kinds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    play(writer(tmp_path / "root", "other", "run-2"), 30, end=EndReason.TERMINATED)
    result = run("prune", "run-2", "--older-than", "0s", "--yes", "--journal-root", run_of_all_kinds)
    assert "the database does not know its run" in result.err
    monkeypatch.setenv(defaults.DATABASE_VARIABLE, f"sqlite:///{tmp_path}/none.db")
    result = run("prune", RUN, "--older-than", "0s", "--yes", "--journal-root", run_of_all_kinds)
    assert result.code == 1
    assert (run_of_all_kinds / RUN / "done.arrows").exists()
