"""A sweep that is killed and restored, and a training in a notebook: each in processes of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pytest

from tests.rllib import Project

pytestmark = [pytest.mark.rllib, pytest.mark.timeout(300)]

COMMON = """
import os, signal, sys, ray, rsc
from ray import tune
from ray.rllib.algorithms.ppo import PPOConfig
from rsc import TradingEnv

def config():
    return (
        PPOConfig().environment(TradingEnv, env_config={"episode_length": 20})
        .env_runners(num_env_runners=0, num_envs_per_env_runner=2)
        .training(train_batch_size_per_learner=100, minibatch_size=50, num_epochs=1)
        .debugging(log_level="ERROR")
    )
"""
SWEEP = (
    COMMON
    + """
class Kill(tune.Callback):
    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info):
        if not os.path.exists("killed"):  # the restored sweep has this callback, too
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)

ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
attached = config()
rsc.attach(attached, run_id="sweep")
tune.Tuner(
    "PPO", param_space=attached,
    run_config=tune.RunConfig(
        name="swept", stop={"training_iteration": 3}, storage_path=os.path.abspath("tune"), callbacks=[Kill()],
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=1),
    ),
).fit()
"""
)
RESTORED = (
    COMMON
    + """
ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
(result,) = tune.Tuner.restore(os.path.abspath("tune/swept"), "PPO").fit()
print("iterations", result.metrics["training_iteration"], "error", result.error)
ray.shutdown()
"""
)
CELLS = (
    COMMON + 'ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")',
    """
shared = config()
with rsc.attach(shared) as run:
    algorithm = shared.build_algo()
    algorithm.train()
    algorithm.stop()
print(run.run_id)
""",
    "print(rsc.load_run(run.run_id).episodes().num_rows)",
)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_tuner__killed_and_restored__trains_on_unrecorded_and_the_killed_run_is_whole(project: Project) -> None:
    """Tune restores each trial with the config that it had, whose run is over."""
    killed = subprocess.run(
        [sys.executable, "-c", SWEEP], cwd=project.folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert killed.returncode == -9, killed.stderr
    restored = subprocess.run(
        [sys.executable, "-c", RESTORED], cwd=project.folder, capture_output=True, text=True, timeout=200, check=False
    )
    assert restored.returncode == 0, restored.stderr
    assert "iterations 3 error None" in restored.stdout
    assert (restored.stdout + restored.stderr).count("no episode is recorded, because run sweep has ended") == 1
    project.run("reconciler", "--run-id", "sweep", "--wait", "30s")
    project.run("rsc", "check", "sweep")
    rows = project.rows("sweep")
    assert {row.status for row in rows} <= {"completed", "truncated"}
    assert len({row.trial_id for row in rows}) == 1


def test_notebook__cell_is_run_twice__each_run_is_on_record(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [nbformat.v4.new_code_cell(code) for code in (*CELLS, CELLS[1], CELLS[2], "ray.shutdown()")]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata=kernel)
    monkeypatch.chdir(project.folder)
    nbclient.NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(project.folder)}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.outputs]
    printed = [output.text for output in outputs if output.get("name") == "stdout"]
    runs = [text.strip() for text in printed[0::2]]
    counts = [int(text) for text in printed[1::2]]
    assert len(set(runs)) == 2
    for run_id, count in zip(runs, counts, strict=True):
        assert len(project.rows(run_id)) == count > 0
        project.run("reconciler", "--run-id", run_id)
        project.run("rsc", "check", run_id)
