"""The daemon as a process: it comes at once, goes when it is told to, and outlives its database."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from journal import events
from reconciler.daemon.metrics import Gauges
from reconciler.daemon.service import Schedule
from reconciler.report import PassReport
from tests.reconciler.daemons import Process, get, until
from tests.reconciler.world import World, abandon, observer_of


@pytest.fixture
def start(database_url: str) -> Iterator:
    """Start a daemon on the test's database."""
    running: list[Process] = []

    def start(*arguments: str) -> Process:
        daemon = Process("--all", "--database-url", database_url, "--grace", "0s", *arguments)
        running.append(daemon)
        return daemon

    yield start
    for daemon in running:
        daemon.kill()


def test_daemon__started__passes_at_once_and_ends_on_sigterm(world, start):
    journal_id = world.dead()
    daemon = start("--every", "1h")
    until(lambda: world.row(journal_id).status == "truncated", what="the first pass")
    began = time.monotonic()
    assert daemon.stop(signal.SIGTERM) == 0
    assert time.monotonic() - began < 30
    assert daemon.said("1 episode ended")


def test_daemon__database_without_tables__says_once_that_it_made_them(tmp_path):
    """The line shows a user that the daemon was started in a wrong folder, where it has nothing to do."""
    daemon = Process(
        "--all", "--database-url", f"sqlite:///{tmp_path}/rsc.db", "--every", "0.2s", "--metrics-port", "0"
    )
    try:
        base = daemon.base_url()
        until(lambda: 'passes_total{outcome="done"} 3.0' in get(f"{base}/metrics")[1], what="three passes")
        assert len(daemon.said("made or upgraded the tables of sqlite:///")) == 1
    finally:
        daemon.kill()


def test_daemon__each_interval__ends_what_died_meanwhile(world, start):
    start("--every", "0.3s")
    for _ in range(3):
        journal_id = world.dead()
        until(lambda journal_id=journal_id: world.row(journal_id).status == "truncated", what="the next pass")
        assert len(world.trades(journal_id)) == 2


def test_daemon__deadline__ends_a_pass_early_and_says_so(world, start):
    journal_id = world.dead()
    daemon = start("--every", "0.3s", "--deadline", "0s")
    until(lambda: daemon.said("reached its deadline"), what="the deadline")
    assert world.row(journal_id).status == "started"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_daemon__told_to_end_in_mid_pass__ends_after_its_batch_with_nothing_half_done(world, start, number):
    journal_ids = [world.dead(20) for _ in range(300)]
    daemon = start("--every", "1h")
    until(lambda: daemon.said("reconciling all runs"), what="the daemon")
    assert daemon.stop(number) == 0
    for journal_id in journal_ids:
        ended = world.row(journal_id).status == "truncated"
        assert len(world.trades(journal_id)) == (2 if ended else 0)


def test_daemon__the_same_complaint_again__is_told_once_and_leaves_one_trace(world, start):
    (world.root / world.run_id / "empty.arrows").touch()
    daemon = start("--every", "0.1s", "--metrics-port", "0")
    base = daemon.base_url()
    until(lambda: 'passes_total{outcome="done"} 5.0' in get(f"{base}/metrics")[1], what="five passes")
    assert len(daemon.said("the file is empty")) == world.count("reconciler_passes") == 1


def test_daemon__metrics_and_health__tell_what_it_did(world, start):
    world.dead()
    alive = world.episode()
    daemon = start("--every", "0.2s", "--metrics-port", "0")
    base = daemon.base_url()
    until(lambda: 'reconciler_verdicts_total{case="E"} 1.0' in get(f"{base}/metrics")[1], what="the verdict")
    code, text = get(f"{base}/metrics")
    assert code == 200
    for line in (
        'reconciler_episodes_ended_total{status="truncated"} 1.0',
        "reconciler_waiting 1.0",
        "reconciler_false_truncations 0.0",
        "reconciler_oldest_stale_episode_age_seconds 0.0",
    ):
        assert line in text
    assert get(f"{base}/healthz")[0] == 200
    assert get(f"{base}/nothing")[0] == 404
    abandon(alive)


def test_daemon__json_log__is_one_documented_event_a_line(world, start):
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    world.dead()
    daemon = start("--every", "0.2s", "--metrics-port", "0", "--log-format", "json")
    until(lambda: daemon.said('"event": "pass"'), what="the pass")
    assert daemon.stop(signal.SIGTERM) == 0
    events = [json.loads(line) for line in daemon.lines]
    assert [event["event"] for event in events] == ["metrics", "start", "pass", "signal", "stop"]
    assert events[2]["ended"] == {"truncated": 1}
    for event in events:
        assert f"`{event['event']}`" in page
        assert all(f"`{field}`" in page for field in event)


def test_daemon__text_log__has_the_time_of_each_line(world, start):
    daemon = start("--every", "1h")
    until(lambda: daemon.said("reconciling all runs"), what="the daemon")
    assert daemon.stop(signal.SIGTERM) == 0
    for line in daemon.lines:
        assert abs(datetime.now(UTC) - datetime.fromisoformat(line.split(" ")[0])).total_seconds() < 120


def test_time_lines__below_systemd__leaves_the_time_to_its_journal(monkeypatch):
    state = os.fstat(2)
    monkeypatch.setattr(events, "_timed", False)
    for stream, start in ((f"{state.st_dev}:{state.st_ino}", ""), (f"{state.st_dev}:1{state.st_ino}", "20")):
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        events.time_lines()
        assert events.line_start()[:2] == start


def test_daemon__log_format_of_a_single_pass__is_wrong_usage(world, start):
    daemon = start("--log-format", "json")
    assert daemon.process.wait(timeout=30) == 2
    until(lambda: daemon.said("is for daemons"), what="the reason")


def test_daemon__cron__is_understood_and_nonsense_is_wrong_usage(start):
    daemon = start("--cron", "*/5 * * * *")
    until(lambda: daemon.said("at */5"), what="the daemon")
    assert daemon.stop(signal.SIGTERM) == 0
    assert start("--cron", "nonsense").process.wait(timeout=30) == 2


def test_daemon__metrics_port_taken__says_so_in_one_line(start):
    first = start("--every", "1h", "--metrics-port", "0")
    port = first.base_url().rpartition(":")[2]
    second = start("--every", "1h", "--metrics-port", port)
    assert second.process.wait(timeout=30) == 1
    until(lambda: second.said("choose another port"), what="the reason")


@pytest.mark.postgres
def test_daemon__database_restarts__one_line_when_it_goes_and_one_when_it_is_back(postgres_server, tmp_path, engine):
    if engine.dialect.name == "sqlite":
        return  # a file does not go away
    world = World(engine, tmp_path / "journal")
    daemon = Process("--all", "--database-url", engine.url.render_as_string(False), "--every", "0.2s")
    try:
        first = world.dead()
        until(lambda: world.row(first).status == "truncated", what="a pass")
        postgres_server.stop()
        until(lambda: daemon.said("the database is gone"), what="the outage to be told")
        second = world.episode(row=False)
        abandon(second)
        time.sleep(2)
        postgres_server.start()
        until(lambda: daemon.said("the database is back"), 60, what="the return to be told")
        until(lambda: world.row(second.journal_id), what="the adoption of what happened meanwhile")
        assert len(daemon.said("the database is gone")) == len(daemon.said("the database is back")) == 1
        assert not daemon.said("skipped")
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()
        world.driver_dies()


@pytest.mark.postgres
def test_daemon__no_database__still_ends_within_seconds(postgres_server):
    daemon = Process("--all", "--database-url", "postgresql://rsc@127.0.0.1:1/none", "--every", "1s")
    try:
        until(lambda: daemon.said("the database is gone"), what="the outage to be told")
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()


def test_lease__mount_that_hung_for_writer_and_observer_alike__proves_nothing(world):
    """Invariant L4: who saw nothing in between has not watched it stand still."""
    now = [0.0]
    world.observer = observer_of(kind="nfs4", boot_id="b", host="h", clock=lambda: now[0])
    journal_id = world.dead()
    world.driver_dies()
    assert world.reconcile().waiting == 1
    now[0] = 3600.0
    assert (world.reconcile().waiting, world.row(journal_id).status) == (1, "started")


def test_health__passes_that_stop_succeeding__make_it_ill():
    now = [0.0]
    gauges = Gauges(Schedule(30.0, None, 60.0).longest_silence_s(), lambda: now[0])
    now[0] = 149.0
    gauges.failed()
    assert gauges.is_well()
    now[0] = 151.0
    gauges.passed(PassReport(stopped=True), 0, 0)
    assert not gauges.is_well()
    gauges.passed(PassReport(), 0, 0)
    assert gauges.is_well()
