"""Real signals to real trainings: the driver and its env runners, in mid-training."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from tests.rllib import Project, descendants, kill_all

pytestmark = [pytest.mark.rllib, pytest.mark.timeout(400)]
LONG = ("--iterations", "1000", "--num-env-runners", "2", "--num-envs-per-env-runner", "4")


def wait_until_trained(process: subprocess.Popen[str], iterations: int) -> None:
    """Read the driver's output until so many iterations are done."""
    assert process.stdout is not None
    for line in process.stdout:
        if f"iteration {iterations} of" in line:
            return
    pytest.fail(f"training ended before iteration {iterations}, exit {process.wait(10)}")


@pytest.mark.parametrize(
    ("number", "code", "status"),
    [
        (signal.SIGINT, 130, "interrupted"),
        (signal.SIGTERM, 143, "interrupted"),
        (signal.SIGKILL, -9, "interrupted"),
    ],
)
def test_driver__killed_in_mid_training__reconcile_makes_the_record_whole(
    tmp_path: Path, number: signal.Signals, code: int, status: str
) -> None:
    """Whatever ends the driver, every episode is on record afterwards, with the steps that its journal has."""
    project = Project(tmp_path)
    process = project.start(*LONG)
    try:
        wait_until_trained(process, 2)
        children = descendants(process.pid)
        os.kill(process.pid, number)
        process.communicate(timeout=60)
        assert process.returncode == code
        project.reconcile_and_check()
        assert project.run_row().status == status
        assert "truncated" in {row.status for row in project.rows()}
    finally:
        process.kill()
        kill_all(children)


def test_env_runner__killed_while_training_goes_on__its_episodes_are_truncated_the_others_live(tmp_path: Path) -> None:
    """Reconciling during training ends the dead runner's episodes and no other."""
    project = Project(tmp_path, '{"episode_length": 100000, "random_start": false}')
    process = project.start(*LONG)
    children = []
    try:
        wait_until_trained(process, 1)
        children = descendants(process.pid)
        runners = [child for child in children if "RecordedEnvRunner" in " ".join(child.cmdline())]
        assert len(runners) == 2
        victim = runners[0].pid
        mine = {row.journal_id for row in project.rows() if row.worker_index and _writer_of(project, row) == victim}
        assert len(mine) == 4
        os.kill(victim, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while psutil.pid_exists(victim) and time.monotonic() < deadline:
            os.sched_yield()
        project.run("reconciler", "--run-id", "r1", "--wait", "0s")
        ended = {row.journal_id for row in project.rows() if row.status != "started"}
        assert ended >= mine
        assert all(row.status == "truncated" for row in project.rows() if row.journal_id in mine)
        others = {row.journal_id for row in project.rows() if row.journal_id not in mine}
        assert others - ended, "live episodes of the other runner were ended"
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=60)
        project.reconcile_and_check()
    finally:
        process.kill()
        kill_all(children)


def _writer_of(project: Project, row: object) -> int:
    from journal import journal_path, read_header

    return read_header(journal_path(project.root, "r1", row.journal_id)).writer.pid  # type: ignore[attr-defined]
