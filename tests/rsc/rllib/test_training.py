"""Whole trainings with a real RLlib, by the commands that a user types; each then reconciled and checked."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from journal import EndReason, journal_path, read_journal
from tests.rllib import Project

pytestmark = [pytest.mark.rllib, pytest.mark.timeout(400)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def statuses(project: Project) -> Counter[tuple[str, str | None]]:
    return Counter((row.status, row.end_reason) for row in project.rows())


def assert_rows_tell_the_truth(project: Project, *, by_episodes: bool) -> None:
    """Ended by its env: completed; reset over: truncated, superseded; else still started.

    Sampling by episodes RLlib drops episodes that ended on one step with another's, so the last round leaves some.
    """
    for row in project.rows():
        reason = read_journal(journal_path(project.root, "r1", row.journal_id)).end_reason
        if reason in (EndReason.TERMINATED, EndReason.TIME_LIMIT):
            assert row.status == "completed" or (by_episodes and row.status == "started")
        elif reason is EndReason.SUPERSEDED:
            assert (row.status, row.end_reason) == ("truncated", "superseded")
        else:
            assert row.status == "started"


@pytest.mark.parametrize(
    ("arguments", "least"),
    [
        (("--num-env-runners", "2", "--num-envs-per-env-runner", "4"), 16),
        (("--algo", "dqn", "--num-env-runners", "2", "--num-envs-per-env-runner", "4"), 16),
        (("--num-env-runners", "0", "--num-envs-per-env-runner", "2"), 4),
        (("--num-env-runners", "1", "--num-envs-per-env-runner", "1"), 4),
        (("--num-env-runners", "1", "--evaluation-interval", "1", "--iterations", "2"), 10),
        (("--num-env-runners", "1", "--batch-mode", "complete_episodes"), 4),
        (("--num-env-runners", "1", "--vectorised", "--evaluation-interval", "1", "--iterations", "2"), 10),
    ],
    ids=["ppo 2x4", "dqn 2x4", "0 runners", "1 env", "evaluation", "complete_episodes", "vectorised"],
)
def test_train__until_its_iterations_are_done__reconcile_makes_the_record_whole(
    project: Project, arguments: tuple[str, ...], least: int
) -> None:
    """The whole road, in each way in which RLlib samples."""
    output = project.train(*arguments)
    assert len(project.rows()) >= least
    by_episodes = bool({"--evaluation-interval", "complete_episodes"} & {*arguments})
    assert_rows_tell_the_truth(project, by_episodes=by_episodes)
    left = statuses(project)[("started", None)]
    assert f"{left} left running by RLlib" in output
    if "--evaluation-interval" in arguments:
        assert {row.in_evaluation for row in project.rows()} == {True, False}
    assert project.run_row().status == "completed"
    project.reconcile_and_check()


def test_train__same_seed_twice__same_run_and_no_shared_streams(tmp_path: Path) -> None:
    """Equal seeds give equal episodes; no two sub-envs start alike."""
    results = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        project = Project(tmp_path / name)
        project.train("--num-env-runners", "2", "--num-envs-per-env-runner", "4", "--reconcile")
        results.append(sorted((row.total_steps, row.pnl, row.total_reward) for row in project.rows()))
        starts = [
            read_journal(journal_path(project.root, "r1", row.journal_id)).steps()["market_time"][0].as_py()
            for row in project.rows()
        ]
        assert len(set(starts)) >= len(starts) - 1  # of some 3 000 start bars two may meet by chance
    assert results[0] == results[1]


def test_train__run_id_that_is_taken__one_line(project: Project) -> None:
    """And nothing of the first run is touched."""
    project.train("--num-env-runners", "0", "--num-envs-per-env-runner", "1", "--reconcile")
    before = project.rows()
    assert {row.status for row in before} == {"completed", "truncated"}
    for options, words in (((), "holds the policy of an earlier run r1"), (("--no-save",), "exists already")):
        output = project.run("rsc", "train", "--run-id", "r1", "--num-env-runners", "0", *options, expect=1)
        assert words in output
        assert "Traceback" not in output
        assert project.rows() == before
