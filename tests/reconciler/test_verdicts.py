"""Every row of the table, on real journals and a real database."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from journal import EndReason, Liveness, read_journal
from journal.host.paths import tail_path
from reconciler.evidence import gather_evidence, run_state
from reconciler.rules import decide
from reconciler.settings import Settings
from rsc.cli.check import lost_of
from rsc.db import runs
from rsc.db.models import episodes as episodes_table
from rsc.db.models import training_runs
from rsc.metrics import METRIC_NAMES, max_drawdown, returns, sharpe_ratio
from tests.reconciler.world import CAPITAL, LATER, PERIODS, World, abandon, observer_of, open_journal, walk

EARLY = Settings(grace_period_s=3600.0)


def damage(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def assert_as_its_journal(world: World, journal_id: str, steps: int) -> None:
    """The row's figures against an independent reading of the journal, by the textbook formulas."""
    row, table = world.row(journal_id), read_journal(world.path(journal_id)).steps()
    values = np.array(table["portfolio_value"])
    assert row.total_steps == len(values) == steps
    assert row.final_portfolio_value == values[-1]
    assert row.pnl == values[-1] - CAPITAL
    assert math.isclose(row.sharpe_ratio, sharpe_ratio(returns(values, CAPITAL), PERIODS), rel_tol=1e-12)
    assert math.isclose(row.max_drawdown, max_drawdown(values, CAPITAL), rel_tol=1e-12)
    assert math.isclose(row.total_reward, float(np.sum(table["reward"])), rel_tol=1e-12)
    assert row.total_trades == len(world.trades(journal_id)) == steps // 10
    assert row.end_time == table["wall_time"][-1].as_py()


@pytest.mark.parametrize(
    ("reason", "status", "case"),
    [
        (EndReason.TERMINATED, "completed", "A"),
        (EndReason.TIME_LIMIT, "completed", "A"),
        (EndReason.SUPERSEDED, "truncated", "B"),
        (EndReason.CLOSED, "truncated", "B"),
    ],
)
def test_closed_journal__callback_lost__ends_as_the_journal_says(world, reason, status, case):
    journal_id = world.ended(reason)
    assert world.explain()[journal_id].case == case
    assert world.reconcile().ended == {status: 1}
    row = world.row(journal_id)
    assert (row.status, row.end_reason, row.finalized_by, row.evidence_closed) == (status, reason, "reconciler", True)
    assert_as_its_journal(world, journal_id, 25)


def test_closed_by_an_error__ends_as_error_with_metrics_and_the_message(world):
    journal_id = world.ended(EndReason.ERROR, "ZeroDivisionError: division by zero \0 \udc80")
    assert world.explain()[journal_id].case == "C"
    world.reconcile()
    row = world.row(journal_id)
    assert row.status == "error"
    assert "ZeroDivisionError" in row.status_reason
    assert_as_its_journal(world, journal_id, 25)


def test_terminal_last_step__writer_dead__is_completed(world):
    writer = world.episode(24)
    walk(writer, 1, terminal=True)
    abandon(writer)
    assert world.explain()[writer.journal_id].case == "A"
    world.reconcile()
    row = world.row(writer.journal_id)
    assert (row.status, row.end_reason, row.evidence_closed) == ("completed", "terminated", False)


def test_open_journal__writer_alive__waits(world):
    writer = world.episode()
    assert world.explain()[writer.journal_id].case == "D"
    report = world.reconcile()
    assert (report.waiting, report.exit_code, world.row(writer.journal_id).status) == (1, 0, "started")


def test_closed_just_now__process_alive__leaves_the_row_to_its_callback(world):
    journal_id = world.ended(EndReason.TERMINATED)
    assert world.explain(EARLY)[journal_id].case == "D"
    world.reconcile(EARLY)
    assert world.row(journal_id).status == "started"
    assert world.callback(journal_id)
    assert world.row(journal_id).finalized_by == "callback"


def test_open_journal__writer_dead__is_truncated_with_every_step(world):
    journal_id = world.dead(25)
    item = world.explain()[journal_id]
    assert (item.case, item.evidence["steps"], item.evidence["writer"]) == ("E", 25, "dead")
    world.reconcile()
    row = world.row(journal_id)
    assert (row.status, row.end_reason, row.evidence_steps, row.evidence_final) == ("truncated", "killed", 25, True)
    assert row.steps_lost == row.trades_lost == 0
    assert "lock is free" in row.status_reason
    assert_as_its_journal(world, journal_id, 25)


def test_open_journal__seals_behind_it__is_truncated_with_every_step(world):
    journal_id = world.dead(250, every=64)
    world.reconcile()
    assert_as_its_journal(world, journal_id, 250)


def test_open_journal__torn_end__is_no_loss(world):
    journal_id = world.dead(25)
    tail = tail_path(world.path(journal_id))
    used = len(tail.read_bytes().rstrip(b"\0"))
    with tail.open("r+b") as file:  # of full size, as a mapped tail is: a shorter one has been cut, which is a loss
        file.seek(used - 30)
        file.write(bytes(30))
    assert world.explain()[journal_id].case == "E"
    report = world.reconcile()
    assert (report.exit_code, world.row(journal_id).evidence_steps) == (0, 24)


@pytest.mark.parametrize(("steps", "case"), [(25, "E"), (0, "F")])
def test_open_journal__its_tail_is_gone__row_and_evidence_say_that_steps_are_lost(world, steps, case):
    """From every intact row, as the table says; what stood behind the last batch nobody knows."""
    writer = world.episode(steps)
    writer.checkpoint()
    walk(writer, 3)
    abandon(writer)
    tail_path(writer.path).unlink()
    item = world.explain()[writer.journal_id]
    assert (item.case, item.evidence["tail_lost"], item.evidence["steps"]) == (case, True, steps)
    report = world.reconcile()
    assert (report.ended, report.cases[case], report.tails_lost, report.exit_code) == ({"truncated": 1}, 1, 1, 3)
    row = world.row(writer.journal_id)
    assert (row.total_steps, row.steps_lost) == (steps, 0)
    assert "its tail is missing or was cut: later steps are lost, number unknown" in row.status_reason


def test_open_journal__died_when_it_had_just_its_name__lost_nothing(world):
    writer = world.episode(0)
    abandon(writer)
    assert world.explain()[writer.journal_id].evidence["tail_lost"] is False
    report = world.reconcile()
    assert (report.cases["F"], report.tails_lost, report.exit_code) == (1, 0, 0)
    assert "tail" not in world.row(writer.journal_id).status_reason


def test_open_journal__no_steps__is_truncated_at_zero(world):
    journal_id = world.dead(0)
    assert world.explain()[journal_id].case == "F"
    world.reconcile()
    row = world.row(journal_id)
    assert (row.status, row.total_steps, row.total_trades, row.pnl) == ("truncated", 0, 0, 0.0)
    assert row.final_portfolio_value == CAPITAL
    assert (row.sharpe_ratio, row.win_rate) == (0.0, 0.0)


def test_missing_journal__young_row__waits(world):
    world.insert("20260101T000000-aaaaaaaaaaaa")
    world.driver_dies()
    assert world.explain(EARLY)["20260101T000000-aaaaaaaaaaaa"].case == "G"
    assert world.reconcile(EARLY).ended == {}


def test_missing_journal__driver_alive__waits(world):
    world.insert("20260101T000000-aaaaaaaaaaaa")
    assert world.explain()["20260101T000000-aaaaaaaaaaaa"].case == "G"
    assert world.reconcile().ended == {}


def test_missing_journal__of_another_host__waits_and_says_so(world):
    world.insert("20260101T000000-aaaaaaaaaaaa", writer_host="elsewhere", root_id="another")
    world.driver_dies()
    assert world.explain()["20260101T000000-aaaaaaaaaaaa"].case == "G"
    report = world.reconcile()
    assert (report.ended, report.exit_code) == ({}, 1)
    assert "elsewhere" in report.failures[0]
    assert world.reconcile(replace(LATER, assume_dead=True)).ended == {"error": 1}


def test_missing_journal__driver_dead__is_an_error_without_metrics(world):
    world.insert("20260101T000000-aaaaaaaaaaaa")
    world.driver_dies()
    assert world.explain()["20260101T000000-aaaaaaaaaaaa"].case == "H"
    report = world.reconcile()
    row = world.row("20260101T000000-aaaaaaaaaaaa")
    assert (row.status, row.status_reason, report.exit_code) == ("error", "journal missing", 3)
    assert all(getattr(row, name) is None for name in METRIC_NAMES)
    assert world.reconcile().exit_code == 0


def test_missing_journal__marker_missing__nothing_ends_and_one_line_says_so(world):
    for number in range(5):
        world.insert(f"20260101T000000-{number}")
    world.driver_dies()
    shutil.rmtree(world.root)
    report = world.reconcile()
    assert (report.ended, report.exit_code, len(report.failures)) == ({}, 1, 1)
    assert "marker" in report.failures[0]
    assert report.waiting == 5
    assert world.run_row().status == "running"


@pytest.mark.parametrize("root", ["empty", "absent"])
def test_wrong_root__nothing_ends_and_one_line_says_so(world, tmp_path, root):
    journal_ids = [world.dead() for _ in range(3)]
    world.driver_dies()
    (tmp_path / "empty").mkdir()
    report = world.reconcile(replace(LATER, journal_root=tmp_path / root))
    assert (report.ended, report.exit_code, len(report.failures)) == ({}, 1, 1)
    assert {world.row(journal_id).status for journal_id in journal_ids} == {"started"}
    assert world.reconcile().ended == {"truncated": 3}


@pytest.mark.parametrize("dry_run", [False, True])
def test_wrong_root__without_rows__a_run_that_was_asked_for_fails_in_one_line(world, tmp_path, dry_run):
    """A trainer may be killed before it writes a row. Then only the journals show the episodes."""
    world.dead(row=False)
    world.driver_dies()
    wrong = replace(LATER, journal_root=tmp_path / "wrong", dry_run=dry_run)
    report = world.reconcile(wrong, run_ids=["run-1"])
    assert (report.exit_code, len(report.failures)) == (1, 1)
    assert str(tmp_path / "wrong" / "run-1") in report.failures[0]
    assert world.reconcile(wrong).failures == []  # all runs: this one's journals may be on another machine
    assert world.reconcile(run_ids=["run-1"]).ended == {"truncated": 1}


def test_another_machines_disk__nothing_ends_and_one_line_says_so(world):
    """The same folder, seen by a machine that did not write it: a free lock proves nothing."""
    world.dead()
    world.driver_dies()
    world.observer = observer_of(boot_id="other-boot", machine_id="other-machine", host="other-host")
    report = world.reconcile()
    assert (report.ended, report.exit_code, len(report.failures)) == ({}, 1, 1)
    assert "other-host" in report.failures[0]
    assert world.reconcile(replace(LATER, assume_dead=True)).ended == {"truncated": 1}


def test_locks_that_prove_nothing__no_lease__wait_for_a_person_who_knows_better(world):
    """On a network file system whose lease is gone; what was assumed may still be found wrong later."""
    journal_id = world.dead()
    world.driver_dies()
    shutil.rmtree(world.root / world.run_id / "writers")
    world.observer = observer_of(kind="nfs4")
    assert world.reconcile().ended == {}
    assert world.reconcile(replace(LATER, assume_dead=True)).ended == {"truncated": 1}
    assert_as_its_journal(world, journal_id, 25)
    assert not world.row(journal_id).evidence_final


def test_reboot__every_open_journal_of_this_host_is_dead_at_once(world):
    journal_ids = [world.dead() for _ in range(3)]
    world.insert("20260101T000000-lost")
    world.driver_dies()
    world.observer = observer_of(boot_id="next-boot")
    report = world.reconcile(Settings())
    assert (report.ended, report.waiting) == ({"truncated": 3}, 1)  # the lost one is still young
    assert "boot" in world.row(journal_ids[0]).status_reason
    assert world.reconcile().ended == {"error": 1}


def test_damage_before_a_checkpoint__ends_as_its_ending_says_with_exact_metrics(world):
    whole = world.ended(EndReason.TERMINATED, steps=250, every=64)
    hurt = world.ended(EndReason.TERMINATED, steps=250, every=64)
    damage(world.path(hurt), world.path(hurt).stat().st_size // 3)
    assert world.explain()[hurt].case == "I"
    report = world.reconcile()
    row, twin = world.row(hurt), world.row(whole)
    assert (row.status, report.exit_code) == ("completed", 3)
    assert [getattr(row, name) for name in METRIC_NAMES] == [getattr(twin, name) for name in METRIC_NAMES]
    assert row.steps_lost > 0
    assert f"{row.steps_lost} steps and {row.trades_lost} trades lost" in row.status_reason
    assert lost_of(row._asdict()) == f"{row.steps_lost} steps and {row.trades_lost} trades are lost"
    assert lost_of(twin._asdict()) == ""
    assert row.total_trades == len(world.trades(hurt)) + row.trades_lost


def test_damage_without_a_later_checkpoint__is_truncated_at_the_longest_prefix(world):
    journal_id = world.dead(25)
    tail = tail_path(world.path(journal_id))
    damage(tail, len(tail.read_bytes().rstrip(b"\0")) // 2)
    assert world.explain()[journal_id].case == "I"
    report = world.reconcile()
    row = world.row(journal_id)
    assert (row.status, report.exit_code) == ("truncated", 3)
    assert 0 < row.total_steps < 25
    assert row.total_trades == len(world.trades(journal_id))
    assert f"up to step {row.total_steps}" in row.status_reason


def test_journal_without_a_row__gets_it_and_its_verdict(world):
    dead, alive = world.dead(row=False), world.episode(row=False)
    item = world.explain()[dead]
    assert (item.case, item.adopted) == ("E", True)
    report = world.reconcile()
    row = world.row(dead)
    assert (report.adopted, report.ended, row.status, row.rllib_episode_id) == (1, {"truncated": 1}, "truncated", None)
    assert (row.env_class, row.initial_portfolio_value) == ("TradingEnv", CAPITAL)
    assert_as_its_journal(world, dead, 25)
    assert world.row(alive.journal_id) is None


def test_more_evidence__replaces_the_reconcilers_own_verdict_and_is_counted(world):
    """A writer that was taken for dead by somebody who said so, and came back."""
    writer = world.episode(20)
    observer = world.observer
    abandoned = world.path(writer.journal_id).with_suffix(".copy")
    world.observer = observer_of(boot_id="x", machine_id="y", host="z")
    os.rename(world.path(writer.journal_id), abandoned)
    shutil.copy(abandoned, world.path(writer.journal_id))  # a copy nobody holds: what an observer on NFS would see
    assert world.reconcile(replace(LATER, assume_dead=True)).ended == {"truncated": 1}
    early = world.row(writer.journal_id)
    assert (early.evidence_steps, early.evidence_final) == (20, False)
    os.rename(abandoned, world.path(writer.journal_id))
    world.observer = observer
    walk(writer, 10)
    assert world.explain()[writer.journal_id].case == "K"
    assert (world.reconcile().replaced, world.row(writer.journal_id).evidence_steps) == (0, 20)  # it lives
    writer.close(EndReason.TERMINATED)
    report = world.reconcile()
    row = world.row(writer.journal_id)
    assert (report.replaced, report.false_truncations) == (1, 1)
    assert (row.status, row.evidence_steps, row.overruled_status) == ("completed", 30, "truncated")
    assert len(world.trades(writer.journal_id)) == 3
    assert world.reconcile().replaced == 0


def test_callback_after_the_verdict__wins_and_is_counted(world):
    journal_id = world.ended(EndReason.TERMINATED)
    with world.engine.begin() as connection:  # a verdict that was false
        connection.execute(
            update(episodes_table)
            .where(episodes_table.c.journal_id == journal_id)
            .values(status="truncated", finalized_by="reconciler", evidence_steps=10, evidence_closed=False)
        )
    assert world.callback(journal_id)
    row = world.row(journal_id)
    assert (row.status, row.finalized_by, row.overruled_status) == ("completed", "callback", "truncated")
    assert_as_its_journal(world, journal_id, 25)
    assert not world.callback(journal_id)


def test_ended_by_its_callback__is_never_touched(world):
    journal_id = world.ended(EndReason.CLOSED)
    world.callback(journal_id)
    before = world.row(journal_id)
    world.driver_dies()
    report = world.reconcile()
    assert report.ended == report.cases == {}
    assert world.row(journal_id) == before


def test_failed_journal__writer_dead__is_truncated_and_says_that_steps_are_lost(world):
    journal_id = world.dead(25)
    world.fails(journal_id)
    assert world.explain()[journal_id].case == "M"
    report = world.reconcile()
    row = world.row(journal_id)
    assert (row.status, row.evidence_steps, report.exit_code) == ("truncated", 25, 3)
    assert "later steps lost, number unknown" in row.status_reason


def test_failed_journal__its_last_step_ended_the_episode__nothing_is_lost(world):
    """Only the journal's own end could not be written."""
    writer = world.episode(24)
    walk(writer, 1, terminal=True)
    abandon(writer)
    world.fails(writer.journal_id)
    assert world.explain()[writer.journal_id].case == "A"
    report = world.reconcile()
    row = world.row(writer.journal_id)
    assert (row.status, row.evidence_steps, row.steps_lost, report.exit_code) == ("completed", 25, 0, 0)
    assert "lost" not in row.status_reason


def test_row_says_that_its_journal_failed__writer_dead__is_truncated_and_says_that_steps_are_lost(world):
    """A disk that turned read-only shows the journal as it was before."""
    writer = world.episode(25)
    world.insert(writer.journal_id, status_reason="its journal failed after step 31: Read-only file system")
    assert world.reconcile().ended == {}
    abandon(writer)
    assert world.explain()[writer.journal_id].case == "M"
    report = world.reconcile()
    row = world.row(writer.journal_id)
    assert (row.status, row.evidence_steps, report.exit_code) == ("truncated", 25, 3)
    assert "later steps lost, number unknown; its journal failed after step 31: Read-only file" in row.status_reason


def test_row_that_was_reset_by_hand__is_not_taken_for_a_failed_journal(world):
    """Its old reason still stands there."""
    writer = world.episode(25)
    world.insert(writer.journal_id, status_reason="its writer died (its lock is free, on this host and boot)")
    abandon(writer)
    report = world.reconcile()
    assert (report.cases["M"], report.cases["E"], report.exit_code) == (0, 1, 0)


def test_started_row__its_run_has_no_row__is_named(world):
    """SQLite enforces no foreign key for other programs; PostgreSQL refuses to delete such a run."""
    world.insert("20260101T000000-lost")
    if world.engine.dialect.name != "sqlite":
        with pytest.raises(IntegrityError), world.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM training_runs")
        return
    with world.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("DELETE FROM training_runs")
        connection.exec_driver_sql("PRAGMA foreign_keys = ON")
    report = world.reconcile()
    assert (report.exit_code, len(report.unlookable)) == (3, 1)
    assert "its run has no row" in report.unlookable[0]


def test_unreadable_header__lock_free__is_an_error_after_the_grace_period(world):
    journal_id = world.dead(25)
    damage(world.path(journal_id), 700)
    early = world.reconcile(EARLY)
    assert (early.ended, early.exit_code) == ({}, 3)
    assert world.explain()[journal_id].case == "N"
    report = world.reconcile()
    row = world.row(journal_id)
    assert (row.status, row.pnl, report.exit_code) == ("error", None, 3)
    assert "unreadable" in row.status_reason


def test_another_journals_bytes__wait_and_are_named(world):
    journal_id, other = world.dead(), world.dead()
    shutil.copy(world.path(other), world.path(journal_id))
    assert world.explain()[journal_id].case == "O"
    report = world.reconcile()
    assert (report.ended, report.exit_code) == ({"truncated": 1}, 3)
    assert other in report.unlookable[0]
    assert world.row(journal_id).status == "started"


def test_another_runs_journal__is_not_adopted(world):
    other = World(world.engine, world.root, "run-2")
    journal_id = other.dead(row=False)
    shutil.copy(other.path(journal_id), world.path(journal_id))
    report = world.reconcile(run_ids=["run-1"])
    assert (report.ended, report.exit_code) == ({}, 3)
    assert "run run-2" in report.unlookable[0]
    other.driver_dies()


def test_no_permission__cannot_be_looked_at(world):
    journal_id = world.dead()
    row = world.row(journal_id)
    world.path(journal_id).chmod(0)
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        run = run_state(world.run_id, world.root, world.observer)
        evidence = gather_evidence(run, journal_id, row, LATER, datetime.now(UTC))
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
    assert decide(evidence.facts).case == "O"
    assert "ermission" in evidence.writer.reason


def test_lease__unchanged_for_three_intervals_on_the_observers_clock__is_dead(world):
    """Where locks prove nothing, an observer that has watched long enough may judge, and one that has not waits."""
    journal_id, now = world.dead(), [1000.0]
    world.driver_dies()
    world.observer = observer_of(boot_id="b", host="h", clock=lambda: now[0], kind="nfs4")
    assert world.reconcile().waiting == 1
    for _ in range(2):
        now[0] += 29  # who sees nothing in between has watched for one interval at most
        assert world.reconcile().waiting == 1
    now[0] += 10
    assert world.reconcile().ended == {"truncated": 1}
    row = world.row(journal_id)
    assert (row.evidence_final, row.evidence_steps) == (False, 25)
    assert "lease" in row.status_reason


def test_lease__of_a_living_writer__is_never_dead(world):
    writer, now = world.episode(), [0.0]
    world.observer = observer_of(boot_id="b", host="h", clock=lambda: now[0], kind="nfs4")
    for _ in range(5):
        now[0] += 100
        assert world.reconcile().ended == {}
    assert world.observer.look(world.path(writer.journal_id), writer.header.origin).liveness is Liveness.ALIVE


def test_run__driver_dead_and_all_ended__becomes_interrupted_with_its_last_steps_time(world):
    journal_id = world.dead()
    assert world.reconcile().runs_interrupted == []
    world.driver_dies()
    assert world.reconcile().runs_interrupted == ["run-1"]
    run = world.run_row()
    assert (run.status, run.end_time) == ("interrupted", world.row(journal_id).end_time)


def test_run__an_episode_still_lives__stays_running(world):
    writer = world.episode()
    world.dead()
    world.driver_dies()
    world.reconcile()
    assert world.run_row().status == "running"
    writer.close(EndReason.CLOSED)
    assert world.reconcile().runs_interrupted == ["run-1"]


def test_rows_of_other_people__are_never_judged(world):
    """Invariant D4: no journal root means that somebody else made the run."""
    with world.engine.begin() as connection:
        runs.start_run(connection, "theirs", {}, None, datetime.now(UTC))
    world.insert("theirs-1", run_id="theirs")
    world.driver_dies()
    world.reconcile()
    world.reconcile(replace(LATER, journal_root=world.root, assume_dead=True), run_ids=["theirs"])
    assert world.row("theirs-1").status == "started"


def test_rows_of_other_people__asked_for_by_name__are_refused_in_one_line(world):
    with world.engine.begin() as connection:
        connection.execute(update(training_runs).values(journal_root=None))
    report = world.reconcile(run_ids=["run-1"])
    assert (report.exit_code, len(report.failures), "another program" in report.failures[0]) == (1, 1, True)


def test_row_that_names_no_journal__is_named_and_holds_up_nothing_else(world):
    journal_id = world.dead()
    world.insert("nameless")
    with world.engine.begin() as connection:
        nameless = episodes_table.c.journal_id == "nameless"
        connection.execute(update(episodes_table).where(nameless).values(journal_id=None))
    world.driver_dies()
    report = world.reconcile()
    assert (report.exit_code, len(report.unlookable), world.row(journal_id).status) == (3, 1, "truncated")


def test_second_pass__changes_nothing(world):
    """Invariant V1."""
    world.dead()
    world.dead(row=False)
    world.ended(EndReason.SUPERSEDED)
    world.fails(world.dead())
    world.insert("20260101T000000-gone")
    world.driver_dies()
    world.reconcile()
    before = world.rows()
    report = world.reconcile()
    assert (report.wrote, report.exit_code, world.rows()) == (False, 0, before)


def test_dry_run__writes_nothing(world):
    world.dead()
    world.driver_dies()
    before = world.rows(), world.run_row()
    world.explain()
    assert (world.rows(), world.run_row()) == before


def test_file_names_that_no_writer_makes__are_passed_over(world):
    folder = world.root / world.run_id
    (folder / ".hidden.arrows").write_bytes(b"x")
    (folder / "a b.arrows").write_bytes(b"x")
    os.symlink("/etc/passwd", folder / "outside.arrows")
    open_journal(world.root, world.run_id, journal_id="fine").close(EndReason.CLOSED)
    report = world.reconcile()
    assert report.ended == {"truncated": 1}
    assert [line.split(":")[0] for line in report.unlookable] == ["run-1/outside"]


def test_journal_that_was_missing__comes_back__replaces_the_error(world):
    """A volume that was mounted only in part; the verdict without evidence was the reconciler's own."""
    journal_id = world.dead()
    files = list(world.path(journal_id).parent.glob(f"{journal_id}.*"))
    away = world.root / "away"
    away.mkdir()
    world.driver_dies()
    for file in files:
        file.rename(away / file.name)
    assert world.reconcile().ended == {"error": 1}
    for file in files:
        (away / file.name).rename(file)
    assert world.reconcile().replaced == 1
    row = world.row(journal_id)
    assert (row.status, row.overruled_status, row.total_steps) == ("truncated", "error", 25)
    assert_as_its_journal(world, journal_id, 25)
