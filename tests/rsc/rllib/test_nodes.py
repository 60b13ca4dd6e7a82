"""An env runner on another Ray node: its node is on record, it makes no SQLite file, and its run keeps its name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from journal import JournalExistsError, journal_path, list_journals, read_header
from journal.write.marker import node_of_marker, read_marker
from rsc.closing import start_row
from rsc.db.models import episodes
from rsc.db.session import open_engine, reading
from rsc.runs import start_run

pytestmark = pytest.mark.rllib

TRAINING = """
import json
import sys
from pathlib import Path

import ray
from ray.cluster_utils import Cluster
from ray.rllib.algorithms.ppo import PPOConfig

import rsc
from rsc.rllib.nodes import this_node

place = {"journal_root": "journals", "database_url": "sqlite:///rsc.db"}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
config = PPOConfig().environment(rsc.TradingEnv, env_config={"episode_length": 40})
config.env_runners(num_env_runners=1, custom_resources_per_env_runner={"slot": 1})
config.training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)
here = config.copy(copy_frozen=False).env_runners(custom_resources_per_env_runner={})
refused = ""
if sys.argv[1] == "attach first":
    run = rsc.attach(config, run_id="r1", **place)
    ray.init(address=cluster.address, logging_level="ERROR")
else:
    ray.init(address=cluster.address, logging_level="ERROR")
    run = rsc.attach(config, run_id="r1", **place)
with rsc.attach(here, run_id="here", **place):
    here.build_algo().stop()
with run:
    cluster.add_node(num_cpus=1, resources={"slot": 1})
    cluster.wait_for_nodes()
    try:
        rsc.attach(config.copy(copy_frozen=False), **place)
    except ValueError as error:
        refused = str(error)
    algorithm = config.build_algo()
    try:
        algorithm.train()
    finally:
        algorithm.stop()
    other_disk = Path("other disk", "r1")
    other_disk.mkdir(parents=True)
    for path in Path("journals", "r1").glob("*.arrows"):
        path.rename(other_disk / path.name)
nodes = {node["NodeID"] for node in ray.nodes()}
print(json.dumps({"here": this_node(), "there": list(nodes - {this_node()}), "refused": refused}))
ray.shutdown()
cluster.shutdown()
"""


@pytest.mark.parametrize("order", ["attach first", "ray.init first"])
def test_attach__env_runner_on_another_node__records_its_node_writes_no_sqlite_row_and_keeps_the_name(
    tmp_path: Path, order: str
) -> None:
    """In a process of its own: a handle of an earlier cluster would end the actor that has the same id in this one.

    The journals are moved away before the run ends, as if the other node had a disk of its own. A run whose env runner
    was on the driver's node, and reset no env, does not keep its name.
    """
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, order], cwd=tmp_path, env={**os.environ, "RAY_AUTH_MODE": "disabled"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert "2 nodes" in told["refused"]
    root = tmp_path / "journals"
    disk = tmp_path / "other disk"
    headers = [read_header(journal_path(disk, "r1", name)) for name in list_journals(disk, "r1")]
    assert headers
    assert [header.about.notes["node_id"] for header in headers] == told["there"] * len(headers)
    assert [start_row(header)["node_id"] for header in headers] == told["there"] * len(headers)
    assert node_of_marker(root, "r1") == told["here"]
    assert read_marker(root, "r1")[1] == {}
    with reading(open_engine(f"sqlite:///{tmp_path / 'rsc.db'}")) as connection:
        assert connection.execute(select(episodes.c.episode_id)).all() == []
    assert [path.name for path in tmp_path.glob("*.db")] == ["rsc.db"]
    place: Any = {"journal_root": root, "database_url": f"sqlite:///{tmp_path / 'rsc.db'}"}
    with pytest.raises(JournalExistsError):
        start_run("r1", **place)
    start_run("here", **place).end()
