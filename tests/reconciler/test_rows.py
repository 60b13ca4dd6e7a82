"""Rows that cannot be read, rows that are settled, and runs that the database does not know."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import text

import reconciler.passes
import rsc.cli
from journal import EndReason
from journal.host.paths import tail_path
from reconciler.cli import command
from reconciler.memory import Memory
from reconciler.passes import SETTLED_AFTER, Pass, record_pass
from rsc.db.errors import UnknownRunError
from tests.reconciler.world import LATER, World


def set_raw(world: World, column: str, value: str, where: str, table: str = "episodes") -> None:
    """Edit a value as a person does it in the database's own shell."""
    with world.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET {column} = {value} WHERE {where}"))


def bad_time(world: World) -> str:
    """A time that no datetime can hold, as this database takes it."""
    return "'yesterday'" if world.engine.dialect.name == "sqlite" else "'infinity'"


def invoke(world: World, group: Any, *arguments: str) -> Any:
    url = world.engine.url.render_as_string(hide_password=False)
    database = ["--database-url", url]
    before, after = (database, []) if group is command else ([], database)
    return CliRunner().invoke(group, [*before, *arguments, *after], standalone_mode=False)


def test_row__hand_edited_time__is_named_and_the_others_are_ended(world):
    """Invariant V3, for rows."""
    good, bad = [world.dead(seed=number) for number in range(5)], world.dead()
    ended = world.dead()
    world.driver_dies()
    world.callback(ended)
    set_raw(world, "start_time", bad_time(world), f"journal_id = '{bad}'")
    episode_id = world.count("episodes") - 1
    report = record_pass(Pass(world.engine, world.observer, LATER))
    assert (report.ended, report.exit_code) == ({"truncated": 5}, 3)
    (line,) = report.unlookable
    assert line.startswith(f"run-1: the row of episode {episode_id} cannot be read: ")
    assert {world.row(journal_id).status for journal_id in good} == {"truncated"}


@pytest.mark.parametrize("table", ["training_runs", "reconciler_passes"])
def test_row__of_a_run_or_a_pass__hand_edited_time__stops_no_command(world, table):
    world.dead()
    world.driver_dies()
    record_pass(Pass(world.engine, world.observer, LATER))
    set_raw(world, "start_time", bad_time(world), "1 = 1", table)
    assert record_pass(Pass(world.engine, world.observer, LATER)).exit_code == 0
    for group, arguments in (
        (command, ["status"]),
        (command, ["status", "--json"]),
        (command, ["--all", "--audit"]),
        (rsc.cli.command, ["runs"]),
        (rsc.cli.command, ["runs", "--json"]),
        (rsc.cli.command, ["check", "run-1"]),
    ):
        outcome = invoke(world, group, *arguments)
        assert outcome.exception is None, (arguments, outcome.exception)


def test_row__parameters_that_are_no_json__stop_no_pass(world):
    if world.engine.dialect.name != "sqlite":
        return  # PostgreSQL takes none
    journal_id = world.dead()
    set_raw(world, "parameters", "'{'", "1 = 1", "training_runs")
    assert world.reconcile().ended == {"truncated": 1}
    assert world.row(journal_id).status == "truncated"


def test_row__text_that_is_not_utf_8__is_named(world):
    if world.engine.dialect.name != "sqlite":
        return  # PostgreSQL takes none
    good, bad = world.dead(), world.dead()
    set_raw(world, "writer_host", "CAST(x'ff' AS TEXT)", f"journal_id = '{bad}'")
    report = world.reconcile()
    assert (report.ended, report.unlookable_count) == ({"truncated": 1}, 1)
    assert world.row(good).status == "truncated"


def test_check__row_that_cannot_be_read__is_incomplete(world):
    world.dead()
    world.driver_dies()
    record_pass(Pass(world.engine, world.observer, LATER))
    assert invoke(world, rsc.cli.command, "check", "run-1").return_value == 0
    set_raw(world, "end_time", bad_time(world), "1 = 1")
    outcome = invoke(world, rsc.cli.command, "check", "run-1", "--json")
    told = json.loads(outcome.stdout)
    assert (outcome.return_value, told["complete"], len(told["problems"])) == (1, False, 1)
    assert "its row cannot be read" in told["problems"][0]


def lose(world: World, kind: str) -> str:
    """An episode whose journal is missing, or unreadable."""
    journal_id = world.dead()
    if kind == "missing":
        world.path(journal_id).unlink()
        tail_path(world.path(journal_id)).unlink()
    else:
        world.path(journal_id).write_bytes(b"noise" * 100)
    return journal_id


@pytest.mark.parametrize("kind", ["missing", "unreadable"])
def test_verdict_without_evidence__is_judged_again_only_while_it_may_change(world, kind, monkeypatch):
    journal_id = lose(world, kind)
    world.driver_dies()
    world.age(journal_id, 3600)
    assert world.reconcile().ended == {"error": 1}
    memory = Memory()

    def judged() -> int:
        return Pass(world.engine, world.observer, LATER, memory=memory).run().judged

    judged()  # a file that was written within the same tick of the clock is read once more
    assert judged() == 0
    monkeypatch.setattr(reconciler.passes, "SETTLED_AFTER", timedelta(0))
    memory.files.clear()
    assert judged() == 0


def test_verdict_without_evidence__its_journal_comes_back__is_corrected(world):
    journal_id = world.dead()
    hidden = world.path(journal_id).with_suffix(".hidden")
    world.path(journal_id).rename(hidden)
    world.driver_dies()
    world.age(journal_id, 3600)
    memory = Memory()
    first = Pass(world.engine, world.observer, LATER, memory=memory).run()
    assert Pass(world.engine, world.observer, LATER, memory=memory).run().judged == 0
    hidden.rename(world.path(journal_id))
    again = Pass(world.engine, world.observer, LATER, memory=memory).run()
    assert (first.ended, again.replaced, world.row(journal_id).total_steps) == ({"error": 1}, 1, 25)
    assert timedelta(days=7) == SETTLED_AFTER


def test_verdict_without_evidence__its_old_volume_is_mounted_again__is_corrected(world):
    """The files are older than the verdict then."""
    journal_id = world.dead()
    hidden = world.path(journal_id).with_suffix(".hidden")
    world.path(journal_id).rename(hidden)
    world.driver_dies()
    world.age(journal_id, 3600)
    assert world.reconcile().ended == {"error": 1}
    set_raw(world, "finalized_at", "'2100-01-01 00:00:00'", "1 = 1")
    hidden.rename(world.path(journal_id))
    assert world.reconcile().replaced == 1


def test_row__that_does_not_know_its_evidence__is_corrected_once(world):
    """A NULL is less than any evidence."""
    journal_id = lose(world, "missing")
    world.driver_dies()
    world.age(journal_id, 3600)
    world.reconcile()
    set_raw(world, "evidence_steps", "NULL", "1 = 1")
    writer = world.episode(7, row=False, journal_id=journal_id)
    writer.close(EndReason.TERMINATED)
    first, second = world.reconcile(), world.reconcile()
    assert (first.replaced, first.overtaken) == (1, 0)
    assert (second.replaced, second.overtaken, second.judged) == (0, 0, 0)


def test_unknown_run__leaves_no_pass_behind(world):
    with pytest.raises(UnknownRunError, match="nobody"):
        record_pass(Pass(world.engine, world.observer, LATER), ["nobody"])
    assert world.count("reconciler_passes") == 0


def test_many_trades__are_written_in_parts(world, monkeypatch):
    """Else 500 episodes of 100 000 trades would be one transaction, and fill memory."""
    parts: list[int] = []
    real = reconciler.passes.write_changes
    monkeypatch.setattr(
        reconciler.passes,
        "write_changes",
        lambda engine, changes, **more: parts.append(len(changes)) or real(engine, changes, **more),
    )
    for number in range(7):
        world.dead(20, seed=number)  # two trades each
    settings = reconciler.passes.Settings(grace_period_s=0.0, batch_trades=6)
    assert world.reconcile(settings).ended == {"truncated": 7}
    assert parts == [3, 3, 1]
