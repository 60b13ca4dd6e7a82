"""A real training is killed in mid-iteration: its last policy is resumed, loaded by RLlib, and evaluated out of sample."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from journal import list_journals
from rsc.policies.errors import PolicyError
from rsc.policies.evaluating import EvaluationPlan, evaluate
from rsc.trading.market import load_market
from tests.rllib import Project, descendants, kill_all

pytestmark = [pytest.mark.rllib, pytest.mark.timeout(400)]

SMALL = ("--num-env-runners", "1", "--num-envs-per-env-runner", "2", "--train-batch-size", "200", "--seed", "1")
SPLIT = ("--train-until", "2010-01-01", "--validate-until", "2011-06-01")
FROM_CHECKPOINT = """
import sys, ray
from ray.rllib.algorithms.algorithm import Algorithm
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
algorithm = Algorithm.from_checkpoint(sys.argv[1])
print("iteration", algorithm.iteration)
algorithm.stop()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A training that saved its policy after two iterations with ended episodes, and was killed afterwards."""
    made = Project(tmp_path_factory.mktemp("killed"))
    (made.folder / "env.json").write_text('{"episode_length": 60}')
    command = [sys.executable, "-m", "rsc", "train", *SMALL, *SPLIT, "--iterations", "500", "--save-every", "2"]
    command += ["--env-config", "env.json"]
    training = subprocess.Popen(
        [*command, "--run-id", "r1"], cwd=made.folder, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert training.stderr is not None
        for line in training.stderr:
            if line.startswith("iteration 3 of"):
                break
        children = descendants(training.pid)
        training.send_signal(signal.SIGKILL)
        assert training.wait(timeout=30) == -signal.SIGKILL
    finally:
        kill_all(descendants(training.pid))
        training.kill()
    kill_all(children)
    return made


def policies(project: Project, run_id: str = "r1") -> Path:
    return project.folder / "rsc-data" / "policies" / run_id


def facts(project: Project, run_id: str = "r1", which: str = "last") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((policies(project, run_id) / which / "policy.json").read_text())
    return found


def test_train__killed_in_mid_iteration__keeps_its_last_whole_policy(project: Project) -> None:
    assert facts(project)["iteration"] == 2
    assert {one["iteration"] for one in facts(project)["validations"]} == {2}
    assert (policies(project) / "best").readlink() == (policies(project) / "last").readlink()
    project.run("reconciler", "--run-id", "r1", "--wait", "60s")
    assert project.run_row().status == "interrupted"


def test_from_checkpoint__of_a_killed_training__is_rllibs_own(project: Project) -> None:
    command = [sys.executable, "-c", FROM_CHECKPOINT, str(policies(project) / "last")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert "iteration 2" in done.stdout, done.stderr


def test_resume__killed_training__goes_on_as_a_run_of_its_own(project: Project) -> None:
    said = project.run("rsc", "train", "--resume", "r1", "--iterations", "2", "--run-id", "r2")
    assert "iteration 4 of 4" in said
    assert "without a journal" not in said, "the episodes of the earlier run are not this run's"
    assert facts(project, "r2")["iteration"] == 4
    assert facts(project, "r2")["env_steps"] == facts(project)["env_steps"] + 400
    assert facts(project)["iteration"] == 2, "the earlier run stays as it was"
    assert project.run_row("r2").parent_run_id == "r1"
    assert "has done all its 4 iterations" in project.run("rsc", "train", "--resume", "r2", expect=1)
    assert "--algo cannot be given" in project.run("rsc", "train", "--resume", "r2", "--algo", "dqn", expect=2)


@pytest.mark.parametrize("episodes", [1, 3])
def test_evaluate__bars_that_were_not_seen__each_once_and_no_other(project: Project, episodes: int) -> None:
    """An independent count: dates of the bundled prices against the times in the journals."""
    run_id = f"evaluated-{episodes}"
    said = project.run("rsc", "evaluate", "r1", "--episodes", str(episodes), "--run-id", run_id, "--json")
    document = json.loads(next(line for line in said.splitlines() if line.startswith("{")))
    assert (document["in_sample"], document["bars_seen"]) == (False, 0)
    played: list[np.datetime64] = []
    values, sharpes = 1.0, []
    for row in project.rows(run_id):
        project.assert_row_is_its_journals(row)
        assert row.in_evaluation
        journal = journal_of(project, run_id, row.journal_id)
        start = np.datetime64(journal.header.about.start_market_time_us, "us")
        played += [start, *journal.steps()["market_time"].to_numpy().astype("datetime64[us]")]
        values *= 1.0 + row.total_return
        sharpes.append(row.sharpe_ratio)
    days = load_market("MSFT").times_us.view("datetime64[us]")
    assert sorted(played) == sorted(days[days > np.datetime64("2011-06-01")])
    assert len(project.rows(run_id)) == episodes
    assert document["policy"]["total_return"] == pytest.approx(values - 1.0)
    assert [one["sharpe_ratio"] for one in document["episodes"]] == pytest.approx(sharpes)
    assert project.run_row(run_id).parent_run_id == "r1"
    assert document["buy_and_hold"]["trades"] == document["flat"]["trades"] == 0
    assert document["flat"]["total_return"] == 0.0
    assert len(document["random"]) == 100
    project.run("rsc", "check", run_id)


def journal_of(project: Project, run_id: str, journal_id: str) -> Any:
    from journal import journal_path, read_journal

    assert journal_id in list_journals(project.root, run_id)
    return read_journal(journal_path(project.root, run_id, journal_id))


def test_evaluate__seen_bars__prints_in_sample(project: Project) -> None:
    said = project.run("rsc", "evaluate", "r1", "--from", "2011-05-31", "--to", "2011-06-10")
    assert "IN SAMPLE: 2 of the 9 bars were seen" in said
    said = project.run("rsc", "evaluate", "r1", "--from", "2008-01-02", "--to", "2008-02-01", "--ticker", "IBM")
    assert "IN SAMPLE" not in said
    assert "other prices than in training; 22 of the bars are from the time that training saw" in said


@pytest.fixture
def spoiled(project: Project, tmp_path: Path) -> Path:
    """A copy of the policies, to be spoiled."""
    shutil.copytree(policies(project).parent, tmp_path / "policies", symlinks=True)
    return tmp_path / "policies"


def changed(root: Path, **values: Any) -> None:
    path = root / "r1" / "best" / "policy.json"
    path.write_bytes(msgspec.json.encode({**msgspec.json.decode(path.read_bytes()), **values}))


def refused(root: Path) -> str:
    """Why a policy is not evaluated, in one line. Nothing is made in the project."""
    with pytest.raises(PolicyError) as caught:
        evaluate(EvaluationPlan("r1", policy_root=root))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_evaluate__policy_that_cannot_be_used__says_why_in_one_line(project: Project, spoiled: Path) -> None:
    assert "no policy in" in refused(spoiled / "elsewhere")
    good = facts(project, which="best")
    changed(spoiled, market={**good["market"], "digest": "0"})
    assert "the prices of MSFT up to 2011-06-01 are not those" in refused(spoiled)
    changed(spoiled, market=good["market"], env_config={"window": 5})
    assert "use the env config of its training" in refused(spoiled)
    features = [{**good["features"][0], "mean": 1.0}, *good["features"][1:]]
    changed(spoiled, env_config={}, features=features, versions={**good["versions"], "TA-Lib": "0.0.1"})
    assert "TA-Lib 0.0.1 then" in refused(spoiled)
    changed(spoiled, format=2)
    assert "has format 2, but this version reads format 1" in refused(spoiled)
    changed(spoiled, format=1, features=good["features"], versions={**good["versions"], "ray": "9.0"})
    (spoiled / "r1" / "best" / "learner_group/learner/rl_module/default_policy/module_state.pkl").unlink()
    assert "ray 9.0 then" in refused(spoiled)
    (spoiled / "r1" / "best" / "policy.json").write_text("[]")
    assert "cannot be read" in refused(spoiled)
    doing, error = project.run("rsc", "evaluate", "r1", "--policy-root", str(spoiled), expect=1).splitlines()
    assert (doing, error.split(":")[0]) == ("loading the policy", "error")


def test_train__interrupted__saves_the_policy_of_its_last_iteration(project: Project) -> None:
    command = [sys.executable, "-m", "rsc", "train", *SMALL, "--iterations", "500", "--run-id", "stopped"]
    training = subprocess.Popen(
        command, cwd=project.folder, stderr=subprocess.PIPE, text=True, start_new_session=True, stdout=subprocess.PIPE
    )
    try:
        begun = time.monotonic()
        assert training.stderr is not None
        assert training.stderr.readline() == "reading prices\n"
        assert time.monotonic() - begun < 5, "before anything slow is imported"
        for line in training.stderr:
            if line.startswith("iteration 1 of"):
                break
        os.kill(training.pid, signal.SIGINT)
        said = "".join(training.communicate(timeout=60))
    finally:
        kill_all([*descendants(training.pid)])
        training.kill()
    assert training.returncode == 130
    assert "policy saved to" in said
    assert facts(project, "stopped")["iteration"] >= 1
    refusal = project.run("rsc", "evaluate", "stopped", expect=1)
    assert "no bars are left that run stopped did not see" in refusal
