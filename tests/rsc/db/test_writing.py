"""Batches of changes: one transaction, one by one where the database refuses, and a database that does not answer."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import OperationalError

from rsc.closing import JOURNAL_MISSING, TRUNCATED, ended_without_evidence
from rsc.db import runs
from rsc.db.episodes import Ended
from rsc.db.models import episodes
from rsc.db.session import open_engine, reading
from rsc.db.writing import Change, Guard, write_changes

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture
def started(engine: Engine) -> Engine:
    """A database with one run."""
    with engine.begin() as connection:
        runs.start_run(connection, "r", {}, None, NOW)
    return engine


def start(journal_id: str, **more: Any) -> Change:
    row = {"run_id": "r", "journal_id": journal_id, "start_time": NOW, **more}
    return Change("r", journal_id, start=row)


def ended(journal_id: str, by: str = "reconciler", **more: Any) -> Ended:
    given = ended_without_evidence(journal_id, JOURNAL_MISSING, now=NOW, pass_id="p", end_time=NOW)
    row = {**given.row, "status": TRUNCATED, "finalized_by": by, **more}
    return Ended(journal_id, row, given.trades)


def status_of(engine: Engine, journal_id: str) -> Any:
    with reading(engine) as connection:
        return connection.execute(select(episodes).where(episodes.c.journal_id == journal_id)).one_or_none()


def refuse(engine: Engine, journal_id: str) -> None:
    """Make the database refuse this journal's row."""
    if engine.dialect.name == "sqlite":
        statement = (
            f"CREATE TRIGGER refusal BEFORE INSERT ON episodes WHEN NEW.journal_id = '{journal_id}' "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
    else:
        statement = f"ALTER TABLE episodes ADD CONSTRAINT refusal CHECK (journal_id <> '{journal_id}')"
    with engine.begin() as connection:
        connection.execute(text(statement))


def test_starts__one_is_refused__costs_itself_alone(started: Engine) -> None:
    """Invariant V3."""
    refuse(started, "j2")
    written = write_changes(started, [start(f"j{number}") for number in range(4)])
    assert (written.won, set(written.refused)) == ({"j0", "j1", "j3"}, {"j2"})
    assert "refus" in written.refused["j2"]
    assert status_of(started, "j2") is None


def test_starts__of_all_kinds_in_one_batch__each_counts_as_alone(started: Engine) -> None:
    """More of them than one statement inserts; some rows exist, one has ended, and one says that its journal failed."""
    write_changes(started, [start("known"), start("failed"), Change("r", "over", start("over").start, ended("over"))])
    new = [start(f"j{number}", rllib_episode_id=f"r{number}", worker_index=1) for number in range(70)]
    others = [
        start("known", rllib_episode_id="rk", worker_index=2),
        start("over", rllib_episode_id="ro"),
        start("failed", status_reason="disk full"),
    ]
    written = write_changes(started, [*others, *new])
    assert written.won == {"known", "failed", *(change.journal_id for change in new)}
    known, over, failed = (status_of(started, name) for name in ("known", "over", "failed"))
    assert (known.rllib_episode_id, known.worker_index, known.status) == ("rk", 2, "started")
    assert (over.rllib_episode_id, over.status) == ("ro", TRUNCATED)
    assert (failed.status_reason, failed.status) == ("disk full", "started")
    assert [status_of(started, f"j{number}").rllib_episode_id for number in (0, 31, 32, 69)] == [
        "r0",
        "r31",
        "r32",
        "r69",
    ]


def test_start_and_end__in_one_change__is_one_ended_row(started: Engine) -> None:
    for guard, by in ((Guard.STARTED, "reconciler"), (Guard.CALLBACK, "callback")):
        change = Change("r", by, start(by).start, ended(by, by), guard)
        assert write_changes(started, [change], pass_id="p").won == {by}
        assert (status_of(started, by).status, status_of(started, by).finalized_by) == (TRUNCATED, by)


def test_verdict__episode_ended_meanwhile__does_not_win(started: Engine) -> None:
    write_changes(started, [Change("r", "j", start("j").start, ended("j", "callback"), Guard.CALLBACK)])
    assert write_changes(started, [Change("r", "j", ended=ended("j"))], pass_id="q").won == set()
    assert status_of(started, "j").finalized_by == "callback"


@pytest.mark.parametrize(("column", "closed"), [("evidence_steps", False), ("evidence_closed", True)])
def test_correction__row_does_not_know_its_evidence__counts_as_none(started: Engine, column: str, closed: bool) -> None:
    """A NULL compares with nothing, and the same correction would be tried on each pass."""
    write_changes(started, [Change("r", "j", start("j").start, ended("j"))], pass_id="p")
    with started.begin() as connection:
        connection.execute(text(f"UPDATE episodes SET {column} = NULL"))
    better = ended("j", evidence_steps=0 if closed else 5, evidence_closed=closed)
    correction = Change("r", "j", ended=better, guard=Guard.LESS_EVIDENCE)
    assert write_changes(started, [correction]).won == {"j"}
    assert write_changes(started, [correction]).won == set()


def test_callback__without_a_row_and_without_a_start__does_not_win(started: Engine) -> None:
    change = Change("r", "j", ended=ended("j", "callback"), guard=Guard.CALLBACK)
    assert write_changes(started, [change]).won == set()


def test_database_that_does_not_answer__raises_after_its_attempts(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'rsc.db'}", timeout_s=0.05)
    with pytest.raises(OperationalError):
        write_changes(engine, [start("j")], attempts=2)
    assert write_changes(engine, []).won == set()
