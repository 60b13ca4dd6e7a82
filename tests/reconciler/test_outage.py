"""PostgreSQL is stopped and started while a real training and the daemon run: at the end every row is right."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest

from journal import list_journals
from rsc.db.episodes import episodes_of
from rsc.defaults import CALLBACK_TIMEOUT_S
from tests.reconciler.daemons import Process, until
from tests.rllib import Project, descendants, kill_all

pytestmark = [pytest.mark.rllib, pytest.mark.postgres, pytest.mark.timeout(400)]

# The callbacks' timeout, for connecting and for a statement, and a slack.
LONGEST_STALL_S = 2 * CALLBACK_TIMEOUT_S + 6.0


def journals(project: Project) -> int:
    return sum(1 for _ in list_journals(project.root, "r1"))


def busy_s(processes: list[psutil.Process]) -> float:
    """How long their threads have worked so far, or stood in line for a core: what waits for a database does neither."""
    total_ns = 0
    for process in processes:
        for stat in Path(f"/proc/{process.pid}/task").glob("*/schedstat"):
            with contextlib.suppress(OSError):  # a thread that has just ended
                worked_ns, in_line_ns, _ = stat.read_text().split()
                total_ns += int(worked_ns) + int(in_line_ns)
    return total_ns / 1e9


def longest_stall(project: Project, training: int, target: int) -> float:
    """Watch training until there are so many journals; the longest time between two of them in which neither the
    driver nor its env runner was busy: that a loaded machine learns slowly is no stall."""
    runners = [one for one in descendants(training) if "EnvRunner" in " ".join(one.cmdline())]
    assert runners, "no env runner was found"
    watched = [psutil.Process(training), *runners]
    longest, idle, count, last = 0.0, 0.0, journals(project), time.monotonic()
    looked, busy = last, busy_s(watched)
    while count < target:
        assert time.monotonic() - last < 120, "the training stands still"
        time.sleep(0.05)
        before = looked, busy
        looked, busy = time.monotonic(), busy_s(watched)
        idle += max(0.0, looked - before[0] - max(0.0, busy - before[1]))
        longest = max(longest, idle)
        if (now := journals(project)) > count:
            count, last, idle = now, looked, 0.0
    return longest


def test_database_restarts__training_goes_on_and_every_row_is_right(postgres_server, made_postgres, tmp_path: Path):
    project = Project(tmp_path)
    project.url = postgres_server.create_database("outage", made_postgres)
    daemon = Process("--all", "--database-url", project.url, "--every", "1s", "--grace", "2s")
    training = project.start(
        "--database-url", project.url, "--num-env-runners", "1", "--num-envs-per-env-runner", "4", "--iterations", "400"
    )
    started: list = []
    try:
        until(lambda: project.root.exists() and journals(project) >= 8, 120, "the first episodes")
        started = descendants(training.pid)
        postgres_server.stop()
        assert longest_stall(project, training.pid, journals(project) + 24) < LONGEST_STALL_S
        until(lambda: daemon.said("the database is gone"), 30, "the daemon to notice")
        postgres_server.start()
        until(lambda: daemon.said("the database is back"), 60, "the daemon to notice")
        started = descendants(training.pid)
        training.send_signal(signal.SIGKILL)
        kill_all(started)
        training.wait()

        def all_ended() -> bool:
            rows = list(episodes_of(project.engine, "r1"))
            return len(rows) == journals(project) and all(row.status != "started" for row in rows)

        until(all_ended, 60, "every episode to be ended")
        for row in episodes_of(project.engine, "r1"):
            project.assert_row_is_its_journals(row)
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()
        kill_all([*started, *descendants(training.pid)])
        training.kill()
        training.wait()
        project.engine.dispose()
