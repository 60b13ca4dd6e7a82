"""A pass as a whole: slices, processes, stopping, memory of quiet runs, the database's clock."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, datetime

import psutil
import pytest

import reconciler.passes
from journal import EndReason
from journal.host.paths import tail_path
from reconciler.memory import Memory
from reconciler.passes import Pass
from reconciler.report import Hooks
from rsc.db import runs
from rsc.db.session import database_now
from tests.reconciler.daemons import until
from tests.reconciler.world import LATER, World, walk
from tests.support.journals import abandon, flip


def test_processes__share_a_run__and_give_the_rows_that_one_gives(world, monkeypatch):
    monkeypatch.setattr(reconciler.passes, "_WORTH_PROCESSES", 10)
    for number in range(40):
        world.dead(20, seed=number)
    world.insert("20260101T000000-gone")
    world.driver_dies()
    settings = replace(LATER, processes=3, batch_episodes=7)
    report = world.reconcile(settings)
    assert (report.ended, report.exit_code, report.judged) == ({"truncated": 40, "error": 1}, 3, 41)
    assert world.count("completed_trades") == 80
    assert world.run_row().status == "interrupted"
    assert not world.reconcile(settings).wrote


@pytest.mark.parametrize("slow", ["r.gather_evidence", "e.signal.signal"], ids=["at work", "at its start"])
def test_processes__killed_parent__takes_its_helpers_along(world, slow):
    for number in range(60):
        world.dead(20, seed=number)
    url = world.engine.url.render_as_string(False)
    script = (
        "import time, reconciler.passes as r, reconciler.executors as e\n"
        "from reconciler.settings import Settings; from journal import Observer\n"
        "from rsc.db.session import open_engine\n"
        "r._WORTH_PROCESSES = 1\n"
        f"real = {slow}\n"
        f"{slow} = lambda *a: (time.sleep(0.2), real(*a))[1]\n"
        f"r.Pass(open_engine({url!r}), Observer(), Settings(processes=2, batch_episodes=5)).run()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        helpers = until(lambda: psutil.Process(parent.pid).children(), what="helpers")
        assert parent.poll() is None, "the pass was over before it could be killed"
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        until(lambda: not any(one.is_running() and one.status() != "zombie" for one in helpers), 10, "their end")
    finally:
        parent.kill()


def test_processes__killed_helper__costs_nothing(world, monkeypatch):
    monkeypatch.setattr(reconciler.passes, "_WORTH_PROCESSES", 10)
    journal_ids = [world.dead(20, seed=number) for number in range(40)]
    world.driver_dies()
    here, real = os.getpid(), reconciler.passes.gather_evidence

    def die_at_one(run, journal_id, *rest):
        if journal_id == journal_ids[17] and os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(run, journal_id, *rest)

    monkeypatch.setattr(reconciler.passes, "gather_evidence", die_at_one)
    report = world.reconcile(replace(LATER, processes=2, batch_episodes=3))
    assert (report.ended, report.overtaken, report.exit_code) == ({"truncated": 40}, 0, 0)
    assert world.count("completed_trades") == 80


def test_wait__what_time_will_not_mend__is_said_once_and_at_once(world, tmp_path):
    for _ in range(3):
        world.dead()
    pauses: list[float] = []
    hooks = Hooks(pause=pauses.append)
    report = Pass(world.engine, world.observer, replace(LATER, journal_root=tmp_path / "wrong"), hooks).run(wait_s=60.0)
    assert (len(report.failures), report.failure_count, pauses) == (1, 1, [])


def test_stop__between_two_episodes__writes_what_it_has(world, monkeypatch):
    for number in range(10):
        world.dead(seed=number)
    looked: list[str] = []
    real = reconciler.passes.gather_evidence
    monkeypatch.setattr(reconciler.passes, "gather_evidence", lambda *a: looked.append(a[1]) or real(*a))
    report = Pass(world.engine, world.observer, LATER, Hooks(should_stop=lambda: len(looked) >= 6)).run()
    assert (report.stopped, report.ended) == (True, {"truncated": 6})
    monkeypatch.undo()
    assert world.reconcile().ended == {"truncated": 4}


def test_quiet_run__is_listed_again_only_when_its_folder_changed(world, monkeypatch):
    world.ended(EndReason.CLOSED)
    world.driver_dies()
    world.reconcile()
    listed: list[str] = []
    real = reconciler.passes.list_journals
    monkeypatch.setattr(
        reconciler.passes, "list_journals", lambda root, run_id: listed.append(run_id) or real(root, run_id)
    )
    os.utime(world.root / world.run_id, (1, 1))
    memory = Memory()

    def again() -> int:
        listed.clear()
        Pass(world.engine, world.observer, LATER, memory=memory).run()
        return len(listed)

    assert (again(), again(), again()) == (1, 0, 0)
    late = world.dead(row=False)
    assert again() == 1
    assert world.row(late).status == "truncated"


def test_completed_run__orphan_journal__is_still_adopted(world):
    """The database was down when the episode began; the driver ended well."""
    orphan = world.dead(row=False)
    world.driver_dies()
    with world.engine.begin() as connection:
        runs.end_run(connection, world.run_id, "completed", datetime.now(UTC))
    assert world.reconcile().adopted == 1
    assert world.row(orphan).status == "truncated"
    assert world.run_row().status == "completed"


def test_memory__does_not_grow_with_waiting_or_complaints(world):
    report = world.reconcile()
    for number in range(5000):
        report.complain(f"line {number}")
    assert (len(report.unlookable), report.unlookable_count) == (1000, 5000)


def test_database_now__is_the_servers_clock(engine):
    assert abs((database_now(engine) - datetime.now(UTC)).total_seconds()) < 60
    assert database_now(engine).tzinfo is UTC


@pytest.mark.parametrize("drift_s", [3600, -3600])
def test_writers_clock_is_wrong__a_closed_journal_is_still_settled_at_last(world, monkeypatch, drift_s):
    monkeypatch.setattr(time, "time_ns", lambda real=time.time_ns: real() + drift_s * 10**9)
    journal_id = world.ended(EndReason.TERMINATED)
    monkeypatch.undo()
    world.reconcile(replace(LATER, grace_period_s=60.0))
    assert world.row(journal_id).status == "completed"


def test_two_runs__one_root_is_gone__the_other_is_reconciled(world, tmp_path):
    other = World(world.engine, tmp_path / "elsewhere", "run-2")
    mine, theirs = world.dead(), other.dead()
    for one in (world, other):
        one.driver_dies()
    (tmp_path / "elsewhere").rename(tmp_path / "unmounted")
    report = world.reconcile()
    assert (report.ended, report.exit_code, len(report.failures)) == ({"truncated": 1}, 1, 1)
    assert (world.row(mine).status, other.row(theirs).status) == ("truncated", "started")


def test_journal__removed_between_listing_and_look__is_no_complaint(world, monkeypatch):
    """It had no row, so nobody misses it."""
    listed = reconciler.passes.list_journals

    def removed(root, run_id):
        for journal_id in listed(root, run_id):
            world.path(journal_id).unlink()
            yield journal_id

    world.dead(row=False)
    world.driver_dies()
    monkeypatch.setattr(reconciler.passes, "list_journals", removed)
    report = world.reconcile()
    assert (report.exit_code, report.unlookable, world.count("episodes")) == (0, [], 0)


def test_read_at_once__random_journals__rows_and_trades_are_those_of_each_alone(world, monkeypatch):
    rng = random.Random(5)

    def dead(seed):
        facts = rng.choice([{}, {"start_price": 99.0}, {"trades": "unknown"}, {"account": {"position at reset": 10.0}}])
        writer = world.episode(0, row=False, every=rng.choice([1024, 1024, 16]), facts=facts)
        walk(writer, rng.randrange(1, 90), seed=seed, trade_every=rng.choice([3, 10, 500]))
        abandon(writer)
        return writer.journal_id

    ids = [dead(number) for number in range(160)]
    ids += [world.ended(EndReason.CLOSED, steps=rng.randrange(1, 90), row=False) for _ in range(9)]
    for journal_id in ids[:9]:
        flip(tail_path(world.path(journal_id)), rng.randrange(96 * 8))
    world.driver_dies()
    read: list[int] = []
    real = reconciler.passes.read_at_once

    def rows_by(read_at_once):
        monkeypatch.setattr(reconciler.passes, "read_at_once", read_at_once)
        world.reconcile()
        rows = [{**row, "episode_id": 0} for row in world.rows()]
        trades = {journal_id: [tuple(trade)[1:] for trade in world.trades(journal_id)] for journal_id in ids}
        with world.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM completed_trades")
            connection.exec_driver_sql("DELETE FROM episodes")
        return rows, trades

    def counted(*arguments):
        found = real(*arguments)
        read.append(len(found))
        return found

    alone, at_once = rows_by(lambda run, ids: {}), rows_by(counted)

    assert 60 < sum(read) < 160
    assert len(alone[0]) == len(ids)
    assert repr(at_once) == repr(alone)
