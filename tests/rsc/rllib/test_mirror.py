"""Trainings that are mirrored: to S3 and to a folder, and what is refused before anything is made."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from journal import list_journals, read_journal
from journal.mirror import MirrorError, open_mirror
from rsc.db.models import training_runs
from rsc.db.session import open_engine, reading
from tests.rllib import Project
from tests.support.s3 import CREDENTIALS, free_port

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.rllib


def _assert_all_stored(url: str, root: Path, folder: Path) -> None:
    run = open_mirror(url).run("r1")
    assert not run.problems
    assert run.fetch(run.journals, folder) == {}
    ids = set(list_journals(root, "r1"))
    assert ids == set(run.journals) != set()
    for path in (root / "r1").glob("*.arrows"):
        copy = folder / "r1" / path.name
        assert copy.read_bytes() == path.read_bytes()
        assert read_journal(copy).last_step == read_journal(path).last_step
    assert (folder / "r1" / "run").read_bytes() == (root / "r1" / "run").read_bytes()


def test_train__mirror_in_s3__every_journal_is_stored_when_the_command_ends(s3: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    training = project.start("--num-env-runners", "2", "--iterations", "1", "--mirror", s3, "--mirror-every", "1s")
    output, _ = training.communicate(timeout=240)
    assert training.returncode == 0, output
    assert f"mirroring its journals to {s3}" in output
    assert "warning" not in output.lower()
    _assert_all_stored(s3, project.root, tmp_path / "copy")
    (chain,) = open_mirror(s3).run("r1").chains
    assert len(chain.node_id) == 56
    with reading(open_engine(project.url)) as connection:
        assert connection.execute(select(training_runs.c.mirror)).scalars().all() == [s3]


def _config() -> Any:
    from ray.rllib.algorithms.ppo import PPOConfig

    import rsc

    config = PPOConfig().environment(rsc.TradingEnv, env_config={"episode_length": 40})
    config.env_runners(num_env_runners=0, num_envs_per_env_runner=2)
    return config.training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)


def test_attach__mirror_in_a_folder_by_the_environment__every_journal_is_stored_when_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import rsc

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RSC_MIRROR", "store")
    config = _config()
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
    try:
        with rsc.attach(config, run_id="r1", database_url=f"sqlite:///{tmp_path / 'rsc.db'}") as run:
            algorithm = config.build_algo()
            algorithm.train()
            algorithm.stop()
    finally:
        ray.shutdown()
    assert run.mirror == str(tmp_path / "store")
    assert not [record for record in caplog.records if record.name == "rsc"]
    _assert_all_stored(run.mirror, run.journal_root, tmp_path / "copy")


def test_start_run__mirror__every_journal_is_stored_when_the_run_ends(tmp_path: Path) -> None:
    import rsc

    url = f"sqlite:///{tmp_path / 'rsc.db'}"
    with rsc.start_run("r1", journal_root=tmp_path / "journal", database_url=url, mirror=tmp_path / "store") as run:
        env = run.record(rsc.TradingEnv({"episode_length": 40}))
        env.reset(seed=1)
        for _ in range(20):
            env.step(env.action_space.sample())
        env.close()
    _assert_all_stored(run.mirror, run.journal_root, tmp_path / "copy")


@pytest.mark.parametrize(
    ("url", "says"),
    [("s3://key:secret@bucket/x", "secrets"), ("az://box/x?sig=abc", "secrets"), ("s4://bucket/x", "s4")],
)
def test_attach__url_that_cannot_be_used__one_line_and_nothing_is_made(url: str, says: str, tmp_path: Path) -> None:
    import rsc

    with pytest.raises(MirrorError, match=says) as caught:
        rsc.attach(_config(), journal_root=tmp_path / "journal", database_url=f"sqlite:///{tmp_path}/a.db", mirror=url)
    assert "\n" not in str(caught.value)
    assert "secret@" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--mirror", "s3://key:hush@bucket/x"], "holds secrets"),
        (["--mirror", "m", "--mirror-every", "0s"], "every 0 s"),
    ],
)
def test_train__mirror_that_cannot_be__one_line_and_no_run(options: list[str], says: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rsc", "train", *options],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr
    made = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")}
    assert made <= {"rsc-data", "rsc-data/policies"}  # no database, no journal, no mirror


def test_train__missing_bucket__one_line_before_training(s3: str, tmp_path: Path) -> None:
    project = Project(tmp_path)
    training = project.start("--mirror", "s3://no-such-bucket/prefix")
    output, _ = training.communicate(timeout=120)
    assert training.returncode == 1
    (line,) = [line for line in output.splitlines() if "no-such-bucket" in line]
    assert "create the bucket" in line
    assert "Traceback" not in output
    assert "starting Ray" not in output


def test_train__store_that_refuses__one_line_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{free_port()}"}.items():
        monkeypatch.setenv(name, value)
    training: subprocess.Popen[str] = Project(tmp_path).start("--mirror", "s3://bucket/prefix")
    output, _ = training.communicate(timeout=120)
    assert training.returncode == 1
    assert len([line for line in output.splitlines() if "cannot be reached" in line]) == 1
    assert "starting Ray" not in output
