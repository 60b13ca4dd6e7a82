"""The thread that writes rows closes the journals of episodes that ended by themselves; nothing is lost before it does."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from journal import State, list_journals, read_journal
from rsc.recording.recorder import Recorder
from rsc.rllib import rows
from tests.rsc.rllib.world import RUN, World, config_of, sample

KILLED = """
import os, signal, sys
from pathlib import Path
from rsc.rllib import rows
from tests.rsc.rllib.world import World, config_of, runner_of, sample

rows.GATHER_S = rows._FIRST_GATHER_S = 1000.0  # the thread never begins
world = World(Path(sys.argv[1]))
config = config_of(envs=2)
world.attach(config)
runner = runner_of(config)
sample(runner, 50)  # both envs end an episode of 20 steps, and begin the next
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def recorders(runner: Any) -> list[Recorder]:
    found = []
    for env in runner.env.unwrapped.envs:
        layer = env
        while not isinstance(layer, Recorder):
            layer = layer.env
        found.append(layer)
    return found


def states(world: World) -> list[State]:
    return [read_journal(world.root / RUN / f"{name}.arrows").state for name in sorted(list_journals(world.root, RUN))]


def never_gathers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "GATHER_S", 1000.0)
    monkeypatch.setattr(rows, "_FIRST_GATHER_S", 1000.0)


def test_closing__killed_before_it__reconcile_completes_the_episodes(world: World, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ran = subprocess.run([sys.executable, "-c", KILLED, tmp_path], env=environment, timeout=120, check=False)
    assert ran.returncode == -9
    assert State.CLOSED not in states(world)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "reconciler",
            "--run-id",
            RUN,
            "--journal-root",
            world.root,
            "--database-url",
            world.url,
        ],
        env=environment,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    ended = sorted((row.status, row.end_reason, row.total_steps) for row in world.rows())
    assert ended[:2] == [("completed", "time_limit", 20)] * 2
    assert [status for status, *_ in ended[2:]] == ["truncated"] * 2


def test_closing__until_the_thread_begins__the_journal_is_open_and_drain_closes_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    never_gathers(monkeypatch)
    with world.runner(config_of(envs=2)) as runner:
        sample(runner, 50)
        assert State.CLOSED not in states(world)
        writer = runner._rows
        assert writer.drain(10.0) == 0
        assert states(world).count(State.CLOSED) == 2
        assert [row.status for row in world.rows()].count("completed") == 2


def test_closing__disk_is_full__the_row_has_the_recorders_figures(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    never_gathers(monkeypatch)
    with caplog.at_level(logging.WARNING, "journal"), world.runner(config_of(envs=1)) as runner:
        sample(runner, 5)
        writer = recorders(runner)[0]._writer
        assert writer is not None
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, writer._fd)
        os.close(full)
        fold = writer.fold
        sample(runner, 20)
    row = world.rows()[0]
    assert (row.status, row.end_reason, row.total_steps) == ("completed", "time_limit", 20)
    assert "incomplete" in row.status_reason
    assert row.pnl == fold.result().pnl  # type: ignore[union-attr]
    assert "is incomplete from step" in caplog.text


def test_closing__database_does_not_answer__journals_are_closed_anyway(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "GATHER_S", 0.1)
    monkeypatch.setattr(rows.RowWriter, "_write", lambda self, batch: False)
    monkeypatch.setattr(rows, "DATABASE_PAUSE_S", 1000.0)
    with world.runner(config_of(envs=2)) as runner:
        for _ in range(4):
            sample(runner, 50)
        writer = runner._rows
        for _ in range(200):
            with writer._condition:
                if not (writer._closings or writer._in_hand_closings):
                    break
                writer._condition.wait(0.1)
        assert states(world).count(State.CLOSED) >= 8
        assert writer._entries


def test_closing__many_wait__others_are_closed_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    never_gathers(monkeypatch)
    monkeypatch.setattr(rows, "MOST_CLOSINGS", 1)
    with world.runner(config_of(envs=3)) as runner:
        sample(runner, 75)
        assert states(world).count(State.CLOSED) == 2
    assert [row.status for row in world.rows()].count("completed") == 3


def test_closing__error_must_raise__is_closed_in_the_step(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    never_gathers(monkeypatch)
    with world.runner(config_of(envs=1), on_error="raise") as runner:
        sample(runner, 25)
        assert states(world).count(State.CLOSED) == 1


def test_closing__no_thread_can_be_started__is_closed_in_the_step(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with world.runner(config_of(envs=1)) as runner, monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        sample(runner, 25)
        assert states(world).count(State.CLOSED) == 1
