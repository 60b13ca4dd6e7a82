"""`reconcile` as a user calls it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from journal import EndReason, RunMarker, list_journals
from reconciler.cli import command
from rsc.db import runs
from rsc.db.session import open_engine
from tests.reconciler.daemons import Process, until
from tests.reconciler.world import LATER, World, abandon

EVIDENCE = {"source", "journal", "writer", "lease_age_s"}
READ = {
    "may_lack",
    "writer_host", "writer_pid", "steps", "trades", "last_step", "last_step_time", "torn", "tail_lost", "steps_lost",
    "trades_lost", "findings",
}  # fmt: skip


@pytest.fixture
def url(world: World) -> str:
    return world.engine.url.render_as_string(hide_password=False)


@pytest.fixture
def run(url: str):
    def run(*arguments: str, database: str = url) -> Result:
        outcome = CliRunner().invoke(
            command, ["--database-url", database, *arguments], standalone_mode=False, catch_exceptions=True
        )
        outcome.code = outcome.return_value if outcome.exit_code == 0 else outcome.exit_code
        return outcome

    return run


def reconcile(*arguments: str, **more) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "reconciler", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **more,
    )


def test_help__starts_in_half_a_second_and_imports_nothing_heavy():
    script = (
        "import sys, reconciler.cli; from click.testing import CliRunner;"
        "assert CliRunner().invoke(reconciler.cli.command, ['--help']).exit_code == 0;"
        "heavy = {'sqlalchemy', 'pyarrow', 'alembic', 'apscheduler', 'prometheus_client', 'numpy', 'rich'};"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    outcome = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_help__shows_examples_and_exit_codes():
    text = reconcile("--help").stdout
    assert "reconcile --all --every 30s" in text
    assert "3 data was lost" in text


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--all", "--run-id", "x"),
        ("x", "--all"),
        ("statsu",),
        ("status", "x"),
        ("--all", "--every", "30s", "--cron", "* * * * *"),
        ("--all", "--every", "30s", "--dry-run"),
        ("--all", "--audit", "--rebuild"),
        ("--all", "--wait", "soon"),
        ("--all", "--every", "0s"),
        ("--all", "--metrics-port", "9464"),
        ("--all", "--metrics-address", "0.0.0.0"),
        ("--all", "--every", "30s", "--metrics-address", "0.0.0.0"),
        ("--all", "--deadline", "1m"),
        ("--all", "--every", "30s", "--wait", "1s"),
        ("--all", "--every", "30s", "--rebuild"),
        ("--all", "--every", "30s", "--processes", "2"),
        ("--all", "--audit", "--assume-dead"),
        ("--all", "--audit", "--dry-run"),
    ],
)
def test_wrong_usage__exits_2(arguments):
    """An option that would be ignored is refused, too."""
    outcome = reconcile(*arguments)
    assert outcome.returncode == 2
    assert "Traceback" not in outcome.stderr


def test_version__is_that_of_the_package():
    outcome = reconcile("--version")
    assert (outcome.returncode, version("reinforce-strategy-creator") in outcome.stdout) == (0, True)


def test_unknown_run__is_one_line_and_exits_1(url):
    outcome = reconcile("--run-id", "nobody", "--database-url", url)
    assert (outcome.returncode, outcome.stdout) == (1, "")
    assert outcome.stderr.strip().count("\n") == 0
    assert "nobody" in outcome.stderr


def test_no_database__is_one_line_exits_1_and_makes_none(tmp_path):
    outcome = reconcile("--all", cwd=tmp_path, env={**os.environ, "RSC_DATABASE_URL": ""})
    assert outcome.returncode == 1
    assert "there is no database" in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_one_run__ends_its_episodes_alone_and_a_second_time_does_nothing(world, url):
    other = World(world.engine, world.root, "run-2")
    mine, theirs = world.dead(), other.dead()
    for one in (world, other):
        one.driver_dies()
    first = reconcile("--run-id", "run-1", "--database-url", url)
    assert (first.returncode, world.row(mine).status, other.row(theirs).status) == (0, "truncated", "started")
    assert "1 episode ended (1 truncated)" in first.stdout
    assert "run run-1 is marked interrupted" in first.stdout
    second = reconcile("--run-id", "run-1", "--database-url", url)
    assert (second.returncode, second.stdout.split(" (")[0]) == (0, "nothing to do: no episode is left to end")


@pytest.mark.parametrize(
    "words",
    [("run-2",), ("--explain", "run-2"), ("run-2", "--explain"), ("run-1", "run-2"), ("--run-id", "run-1", "run-2")],
)
def test_runs__are_named_without_an_option(world, url, words):
    """Between and behind options, too. The names are ids, beginnings of ids, or `latest`."""
    other = World(world.engine, world.root, "run-2")
    mine, theirs = world.dead(), other.dead()
    for one in (world, other):
        one.driver_dies()
    outcome = reconcile(*words, "--database-url", url)
    assert outcome.returncode == 0, outcome.stderr
    explained = "--explain" in words
    assert other.row(theirs).status == ("started" if explained else "truncated")
    assert world.row(mine).status == ("truncated" if "run-1" in words else "started")
    assert (theirs in outcome.stdout) == explained
    assert reconcile("run", "--database-url", url).returncode == 1  # two runs begin so
    assert reconcile("latest", "--database-url", url).returncode == 0


def test_json__dry_run__is_the_documented_contract(world, run):
    world.dead()
    world.dead(row=False)
    world.insert("20260101T000000-gone")
    alive = world.episode()
    outcome = run("--all", "--dry-run", "--json")
    told = json.loads(outcome.stdout)
    assert set(told) == {"episodes", "report"}
    items = {item["journal_id"]: item for item in told["episodes"]}
    assert len(items) == 4
    for item in items.values():
        assert set(item) == {
            "run_id", "journal_id", "episode_id", "rllib_episode_id", "case", "adopted", "action", "status",
            "end_reason", "why", "evidence",
        }  # fmt: skip
        assert set(item["evidence"]) in (EVIDENCE, EVIDENCE | READ)
    assert items["20260101T000000-gone"]["case"] == "G"
    assert items[alive.journal_id]["evidence"]["steps"] == 25
    assert {world.row(journal_id).status for journal_id in items if world.row(journal_id)} == {"started"}


def test_explain__fits_80_columns_and_writes_nothing(world, run):
    journal_id = world.dead()
    outcome = run("--all", "--explain")
    assert max(len(line) for line in outcome.stdout.splitlines()) <= 80
    assert journal_id in outcome.stdout
    assert "its writer died" in outcome.stdout
    assert "nothing written" in outcome.stdout
    assert world.row(journal_id).status == "started"


def test_exit_code__data_lost__is_3_once(world, run):
    world.fails(world.dead())
    world.driver_dies()
    assert run("--all", "--grace", "0s", "--wait", "0s").code == 3
    assert run("--all", "--grace", "0s", "--wait", "0s").code == 0


def test_wait__lingering_runner__is_bridged(world, url):
    """After SIGKILL of a driver its runners live on for a moment."""
    writer = world.episode()
    world.driver_dies()
    process = Process("--all", "--database-url", url, "--wait", "20s")
    try:
        time.sleep(2)
        assert process.process.poll() is None
        abandon(writer)
        assert process.process.wait(timeout=60) == 0
        assert world.row(writer.journal_id).status == "truncated"
    finally:
        process.kill()


def test_interrupt__first_ctrl_c__stops_after_the_batch_with_130(world, url):
    writer = world.episode()
    world.driver_dies()
    process = Process("--all", "--database-url", url, "--wait", "60s")
    try:
        until(lambda: world.count("reconciler_passes"), what="the pass")
        assert process.stop(signal.SIGINT) == 130
        assert process.said("stopping after this batch")
    finally:
        process.kill()
        writer.close(EndReason.CLOSED)


def test_rebuild__empty_database__restores_every_row_of_the_run(world, run, tmp_path):
    for number in range(4):
        world.dead(seed=number)
    world.ended(EndReason.TERMINATED)
    world.driver_dies()
    world.reconcile()
    new = f"sqlite:///{tmp_path / 'new.db'}"
    outcome = run("--all", "--rebuild", "--journal-root", str(world.root), "--grace", "0s", database=new)
    assert outcome.code == 0, outcome.output
    copy = object.__new__(World)
    copy.engine, copy.run_id = open_engine(new), world.run_id
    strange = {"episode_id", "rllib_episode_id", "in_evaluation", "worker_index"}

    def plain(rows):
        return [{name: value for name, value in row.items() if name not in strange} for row in rows]

    def timeless(rows):
        return [{**row, "start_time": None} for row in plain(rows)]  # a journal's clock is its header's

    assert timeless(copy.rows()) == timeless(world.rows())
    for journal_id in list_journals(world.root, world.run_id):
        assert [row[1:] for row in copy.trades(journal_id)] == [row[1:] for row in world.trades(journal_id)]
    assert copy.run_row().parameters == {"algo": "ppo"}
    copy.engine.dispose()


def test_rebuild__no_runs_there__makes_no_database(run, tmp_path):
    file = tmp_path / "new.db"
    outcome = run("--all", "--rebuild", "--journal-root", str(tmp_path / "wrong"), database=f"sqlite:///{file}")
    assert (outcome.code, file.exists()) == (1, False)


def test_root__that_is_not_utf_8__is_refused_where_the_database_would_store_it(run, tmp_path):
    root = Path(os.fsdecode(bytes(tmp_path) + b"/r\xff"))
    RunMarker(root, "run-1", {}).close()
    outcome = run("--all", "--rebuild", "--journal-root", str(root), database=f"sqlite:///{tmp_path / 'new.db'}")
    assert "is not UTF-8" in str(outcome.exception)
    assert "\n" not in str(outcome.exception)


def test_rebuild__damaged_marker__costs_its_run_alone_and_exits_3(world, run, tmp_path):
    other = World(world.engine, world.root, "run-2")
    journal_id = world.dead()
    for one in (world, other):
        one.driver_dies()
    (world.root / "run-2" / "run").write_text("{")
    new = f"sqlite:///{tmp_path / 'new.db'}"
    outcome = run("--all", "--rebuild", "--journal-root", str(world.root), database=new)
    assert (outcome.code, "run run-2 cannot be rebuilt" in outcome.output) == (3, True)
    assert "1 episode ended" in outcome.output
    assert journal_id


@pytest.mark.parametrize("arguments", [("--run-id", "nobody", "--json"), ("--run-id", "nobody", "--audit", "--json")])
def test_json__failure__leaves_no_half_a_document(url, arguments):
    outcome = reconcile(*arguments, "--database-url", url)
    assert (outcome.returncode, outcome.stdout) == (1, "")


def test_audit__changed_figure__is_reported_and_left(world, run):
    good, bad = world.dead(), world.dead()
    world.reconcile(LATER)
    assert run("--all", "--audit").code == 0
    episode_id = world.row(bad).episode_id
    with world.engine.begin() as connection:
        connection.execute(text(f"UPDATE episodes SET pnl = 1.5 WHERE episode_id = {episode_id}"))
        connection.execute(text(f"DELETE FROM completed_trades WHERE trade_number = 2 AND episode_id = {episode_id}"))
    outcome = run("--all", "--audit", "--json")
    told = json.loads(outcome.stdout)
    assert outcome.code == 3
    assert {(found["journal_id"], found["column"]) for found in told["differences"]} == {
        (bad, "pnl"),
        (bad, "stored_trades"),
    }
    assert world.row(bad).pnl == 1.5
    assert good not in outcome.stdout


def test_audit__damaged_journal_with_checkpoints_of_another_version__is_named_and_the_others_compared(
    world, run, monkeypatch
):
    """Its metrics cannot be made anew; that is no difference, and no traceback."""
    hurt, _ = world.ended(EndReason.TERMINATED, steps=250, every=64), world.dead()
    world.reconcile(LATER)
    data = bytearray(world.path(hurt).read_bytes())
    data[len(data) // 3] ^= 0x10
    world.path(hurt).write_bytes(data)
    monkeypatch.setattr("rsc.metrics.running._VERSION", 99)
    outcome = run("--all", "--audit")
    assert outcome.code == 3
    assert f"could not be read: run-1/{hurt}: running metrics of version" in outcome.output
    assert "1 episodes compared" in outcome.output


def test_status__tells_passes_and_what_waits(world, run):
    assert "no pass was made yet" in run("status").stdout
    alive = world.episode()
    world.dead()
    run("--all")
    told = json.loads(run("status", "--json").stdout)
    assert (told["started"], told["runs_with_started"], told["false_truncations"]) == (1, 1, 0)
    assert told["passes"][0]["report"]["ended"] == {"truncated": 1}
    assert told["last_success"]
    lines = run("status").stdout.splitlines()
    assert lines[-2].endswith(f"UTC on {socket.gethostname()}: done in {told['passes'][0]['report']['seconds']:.1f} s")
    assert lines[-1] == "      1 truncated, 1 waiting"
    assert max(len(line.replace(socket.gethostname(), "")) for line in lines) <= 80
    alive.close(EndReason.CLOSED)


def test_status__passes_that_failed_or_were_killed__are_told_as_that(world, run):
    noon = datetime(2026, 11, 22, 12, tzinfo=UTC)
    later = noon + timedelta(minutes=1)
    with world.engine.begin() as connection:
        runs.start_pass(connection, "killed", "box", noon)
        runs.start_pass(connection, "failed", "box", later)
        runs.end_pass(connection, "failed", "failed", later, {"seconds": 2.0, "failures": ["the disk is full"]})
    assert run("status").stdout.splitlines()[-4:] == [
        "pass 2026-11-22 12:01:00 UTC on box: failed in 2.0 s",
        "      none ended, the disk is full",
        "pass 2026-11-22 12:00:00 UTC on box: unfinished",
        "      none ended",
    ]


def test_dry_run__old_database__asks_for_the_upgrade(empty_database_url):
    if empty_database_url.startswith("sqlite"):
        Path(empty_database_url.removeprefix("sqlite:///")).touch()
    outcome = reconcile("--all", "--dry-run", "--database-url", empty_database_url)
    assert outcome.returncode == 1
    assert "rsc db upgrade" in outcome.stderr
