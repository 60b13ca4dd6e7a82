"""PostgreSQL is stopped and started while a real training and the daemon run: at the end every row is right."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from journal import list_journals
from rsc.db.episodes import episodes_of
from rsc.db.session import open_engine
from tests.reconciler.daemons import Process, until
from tests.rllib import Project, descendants, kill_all

pytestmark = [pytest.mark.rllib, pytest.mark.postgres, pytest.mark.timeout(400)]

# The callbacks' timeout, for connecting and for a statement, and a slack for a loaded machine.
LONGEST_STALL_S = 2 * 2.0 + 6.0


def journals(project: Project) -> int:
    return sum(1 for _ in list_journals(project.root, "r1"))


def longest_stall(project: Project, target: int) -> float:
    """Watch training until there are so many journals; the longest time between two of them."""
    longest, last, count = 0.0, time.monotonic(), journals(project)
    while count < target:
        assert time.monotonic() - last < 120, "the training stands still"
        time.sleep(0.02)
        now = journals(project)
        if now > count:
            longest, last, count = max(longest, time.monotonic() - last), time.monotonic(), now
    return longest


def test_database_restarts__training_goes_on_and_every_row_is_right(postgres_server, made_postgres, tmp_path: Path):
    project = Project(tmp_path)
    project.url = postgres_server.create_database("outage", made_postgres)
    daemon = Process("--all", "--database-url", project.url, "--every", "1s", "--grace", "2s")
    training = project.start(
        "--database-url", project.url, "--num-env-runners", "1", "--num-envs-per-env-runner", "4", "--iterations", "400"
    )
    engine = open_engine(project.url)
    started: list = []
    try:
        until(lambda: project.root.exists() and journals(project) >= 8, 120, "the first episodes")
        started = descendants(training.pid)
        postgres_server.stop()
        assert longest_stall(project, journals(project) + 24) < LONGEST_STALL_S
        until(lambda: daemon.said("the database is gone"), 30, "the daemon to notice")
        postgres_server.start()
        until(lambda: daemon.said("the database is back"), 60, "the daemon to notice")
        started = descendants(training.pid)
        training.send_signal(signal.SIGKILL)
        kill_all(started)
        training.wait()

        def all_ended() -> bool:
            rows = list(episodes_of(engine, "r1"))
            return len(rows) == journals(project) and all(row.status != "started" for row in rows)

        until(all_ended, 60, "every episode to be ended")
        for row in episodes_of(engine, "r1"):
            project.assert_row_is_its_journals(row)
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()
        kill_all([*started, *descendants(training.pid)])
        training.kill()
        training.wait()
        engine.dispose()
