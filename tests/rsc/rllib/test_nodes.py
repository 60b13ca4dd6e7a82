"""An env runner on another Ray node: its node is on record, and it makes no SQLite file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from journal import journal_path, list_journals, read_header
from journal.host.paths import marker_path
from rsc.closing import start_row
from rsc.db.models import episodes
from rsc.db.session import open_engine, reading

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.rllib


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    # A handle of an earlier cluster of this process ends the actor with the same id when it is collected. The ids of a
    # cluster's second job are others.
    ray.init(address=made.address, logging_level="ERROR")
    ray.shutdown()
    ray.init(address=made.address, logging_level="ERROR")
    yield made
    ray.shutdown()
    made.shutdown()


def test_attach__env_runner_on_another_node__records_its_node_and_writes_no_sqlite_row(
    cluster: Any, tmp_path: Path
) -> None:
    from ray.rllib.algorithms.ppo import PPOConfig

    import rsc
    from rsc.rllib.nodes import this_node

    url = f"sqlite:///{tmp_path / 'rsc.db'}"
    config = PPOConfig().environment(rsc.TradingEnv, env_config={"episode_length": 40})
    config.env_runners(num_env_runners=1, custom_resources_per_env_runner={"slot": 1})
    config.training(train_batch_size_per_learner=200, minibatch_size=100, num_epochs=1)
    with rsc.attach(config, run_id="r1", journal_root=tmp_path / "journal", database_url=url):
        cluster.add_node(num_cpus=1, resources={"slot": 1})
        cluster.wait_for_nodes()
        with pytest.raises(ValueError, match="2 nodes"):
            rsc.attach(config.copy(copy_frozen=False), journal_root=tmp_path / "journal", database_url=url)
        algorithm = config.build_algo()
        try:
            algorithm.train()
        finally:
            algorithm.stop()
    other = {node["NodeID"] for node in ray.nodes()} - {this_node()}
    headers = [
        read_header(journal_path(tmp_path / "journal", "r1", name))
        for name in list_journals(tmp_path / "journal", "r1")
    ]
    assert headers
    assert {header.about.notes["node_id"] for header in headers} == other
    assert {start_row(header)["node_id"] for header in headers} == other
    assert this_node() in marker_path(tmp_path / "journal", "r1").read_text()
    with reading(open_engine(url)) as connection:
        assert connection.execute(select(episodes.c.episode_id)).all() == []
    assert [path.name for path in tmp_path.glob("*.db")] == ["rsc.db"]
