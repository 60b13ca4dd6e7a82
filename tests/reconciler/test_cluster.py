"""`reconcile --ray` with real Ray nodes: each judges what lies there, and a mirror has what a lost node wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from journal import journal_path, read_header
from reconciler.cluster import ClusterPass
from reconciler.ray_nodes import RayNodes
from reconciler.report import Hooks, PassReport
from reconciler.settings import Settings
from rsc.closing import start_row
from rsc.db import episodes as episode_rows
from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
from tests.reconciler.world import World

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.rllib

HOME = Path(__file__).parents[2]
_WRITE = """
import os, sys
from pathlib import Path
from tests.reconciler.world import open_journal, walk
root, run_id, node_id = sys.argv[1:]
writers = [open_journal(Path(root), run_id, facts={"notes": {"node_id": node_id}}) for _ in range(3)]
for writer in writers:
    walk(writer, 25)
writers[1].append(1.0, 1.0, 10000.0, terminated=True)
writers[1].close("terminated")
print(*(writer.journal_id for writer in writers), flush=True)
sys.stdin.readline()
walk(writers[0], 10)
print("more", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


def call(*words: Any, expect: int, seconds: float = 120) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == expect, f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    engine = open_engine(f"sqlite:///{tmp_path / 'rsc.db'}")
    upgrade(engine)
    world = World(engine, tmp_path / "journal")
    yield world
    world.driver_dies()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("PYTHONPATH", os.pathsep.join((str(HOME), os.environ.get("PYTHONPATH", ""))))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        made.add_node(num_cpus=1)
        made.wait_for_nodes()
        yield made
        made.shutdown()


@pytest.fixture(scope="module")
def nodes(cluster: Any) -> Iterator[RayNodes]:
    ray.shutdown()  # what an earlier test of this process may have left
    yield RayNodes(cluster.address)
    ray.shutdown()


class OtherDisk:
    """Three journals that a process writes on a node, in a folder that no live node has: two open, one closed."""

    def __init__(self, world: World, folder: Path, node_id: str) -> None:
        self.root = folder
        command = [sys.executable, "-c", _WRITE, str(folder), world.run_id, node_id]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HOME)
        self.journals = self._line().split()
        with world.engine.begin() as connection:
            for name in self.journals:
                episode_rows.start_episode(connection, start_row(read_header(journal_path(folder, world.run_id, name))))

    def writes_more(self) -> None:
        self._say()
        assert self._line() == "more"

    def dies(self) -> None:
        self._say()
        self._process.communicate(timeout=30)

    def _say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def age(folder: Path, seconds: float) -> None:
    """Let the store say that its objects were written so long ago."""
    for path in folder.rglob("*"):
        then = path.stat().st_mtime - seconds
        os.utime(path, (then, then))


def status_of(world: World, journal_id: str) -> str:
    return str(world.row(journal_id).status)


def test_reconcile_ray__a_live_and_a_lost_node__judges_there_and_by_the_mirror_and_repairs(
    world: World, cluster: Any, nodes: RayNodes, tmp_path: Path
) -> None:
    node = cluster.add_node(num_cpus=1)
    here = OtherDisk(world, world.root, "a" * 56)
    alive = world.episode(5)
    disk = OtherDisk(world, tmp_path / "disk", node.node_id)
    first, _, third = disk.journals
    bucket = tmp_path / "bucket"
    call("journal", "mirror", disk.root, bucket, "--once", "--node-id", node.node_id, expect=0)
    disk.writes_more()
    here.writes_more()
    here.dies()
    for name in disk.journals:
        world.age(name, 100)
    said = made(world, nodes)
    assert said.ended == {"completed": 1, "truncated": 2}
    assert (said.alive, said.waiting) == (1, 4)
    assert "3 episodes wait: the node is alive, but has not their journals" in said.failures[0]
    assert {line["state"] for line in said.nodes} == {"alive"}
    assert {status_of(world, name) for name in disk.journals} == {"started"}

    disk.root.rename(tmp_path / "gone")  # its writer goes on: such a node was cut off, and is taken for lost
    cluster.remove_node(node, allow_graceful=False)
    _wait_until_dead(nodes, node.node_id)
    assert "3 episodes wait: Ray lists the node as dead, and the run has no mirror" in made(world, nodes).failures[0]
    said = made(world, nodes, mirror=f"file://{bucket}")
    assert said.ended == {"completed": 1}
    assert "2 episodes wait: its mirror was written in the last 150 s" in said.failures[0]
    age(bucket, 200)
    options = ("--database-url", world.engine.url, "--mirror", bucket, "--explain", "--json")
    shown = json.loads(call("reconciler", "--run-id", world.run_id, "--ray", cluster.address, *options, expect=0))
    verdicts = {one["journal_id"]: one for one in shown["episodes"]}
    assert set(verdicts) == {alive.journal_id, first, third}
    lost = verdicts[first]["evidence"]
    assert (lost["source"], lost["may_lack"], lost["last_step"]) == ("mirror", "steps after 25", 25)
    assert verdicts[alive.journal_id]["action"] == "wait"
    assert verdicts[alive.journal_id]["evidence"]["source"] == "local"
    assert {line["state"] for line in shown["report"]["nodes"]} == {"alive", "dead"}
    said = made(world, nodes, mirror=f"file://{bucket}")
    assert (said.ended, said.exit_code) == ({"truncated": 2}, 0)
    row = world.row(first)
    assert (row.total_steps, row.evidence_final, row.finalized_by) == (25, False, "reconciler")
    assert "its node was lost: Ray lists it as dead, and its mirror stands still since 2" in row.status_reason
    assert "steps after 25 are unknown" in row.status_reason
    assert len(world.trades(first)) == 2
    assert not made(world, nodes, mirror=f"file://{bucket}").wrote

    (tmp_path / "gone").rename(disk.root)
    disk.dies()
    said = world.reconcile(Settings(journal_root=disk.root, grace_period_s=0.0))
    assert (said.replaced, said.false_truncations) == (2, 0)
    row = world.row(first)
    assert (row.total_steps, row.evidence_final) == (35, True)
    assert status_of(world, alive.journal_id) == "started"
    alive.close()


def made(world: World, nodes: RayNodes, **settings: Any) -> PassReport:
    """The report of one pass over the cluster."""
    known = Settings(grace_period_s=0.0, **settings)
    return ClusterPass(world.engine, known, Hooks(), nodes).run([world.run_id])


def _wait_until_dead(nodes: RayNodes, node_id: str) -> None:
    until = time.monotonic() + 60
    while node_id not in nodes.table().dead:
        assert time.monotonic() < until
        time.sleep(0.2)


def test_reconcile_ray__a_node_that_ray_does_not_list__waits_for_presume_lost(
    world: World, nodes: RayNodes, tmp_path: Path
) -> None:
    disk = OtherDisk(world, tmp_path / "disk", "b" * 56)
    disk.writes_more()
    bucket = tmp_path / "bucket"
    call("journal", "mirror", disk.root, bucket, "--once", expect=0)
    disk.root.rename(tmp_path / "gone")
    for name in disk.journals:
        world.age(name, 100)
    assert "2 episodes wait: Ray does not list the node" in made(world, nodes, mirror=str(bucket)).failures[0]
    said = made(world, nodes, mirror=str(bucket), presume_lost_s=3600.0)
    assert "in the last 3600 s" in said.failures[0]
    world.driver_dies()
    said = made(world, nodes, mirror=str(bucket), presume_lost_s=0.0)
    assert (said.ended, said.runs_interrupted) == ({"truncated": 2}, [world.run_id])
    assert "the user presumed it" in world.row(disk.journals[0]).status_reason
    assert world.row(disk.journals[0]).evidence_final is False
    disk.dies()


def test_reconcile_ray__a_node_that_does_not_answer_or_fails__its_episodes_wait(
    world: World, nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = OtherDisk(world, world.root, next(iter(nodes.table().live)))
    disk.writes_more()
    disk.dies()
    for name in disk.journals:
        world.age(name, 100)
    monkeypatch.setattr("reconciler.cluster.judge_here", _never_answers)
    monkeypatch.setattr("reconciler.ray_nodes._ANSWER_S", 3.0)
    said = made(world, nodes, presume_lost_s=0.0)
    assert "did not judge them: no answer within 3 s" in said.failures[0]
    monkeypatch.setattr("reconciler.cluster.judge_here", _fails)
    said = made(world, nodes, presume_lost_s=0.0)
    assert "did not judge them: PermissionError: not allowed" in said.failures[0]
    monkeypatch.setattr("reconciler.cluster.list_here", _fails)
    said = made(world, nodes, presume_lost_s=0.0)
    assert "cannot be looked at: PermissionError: not allowed" in said.failures[0]
    assert {status_of(world, name) for name in disk.journals} == {"started"}


def _never_answers(*_: Any) -> None:
    time.sleep(100)


def _fails(*_: Any) -> None:
    raise PermissionError("not allowed")


def test_reconcile_ray__no_cluster__one_line_soon(world: World) -> None:
    before = time.monotonic()
    said = call("reconciler", "--run-id", world.run_id, "--ray", "127.0.0.1:1", expect=1)
    assert said.startswith("error: the Ray cluster at 127.0.0.1:1 cannot be reached: Connection refused")
    assert "--presume-lost" in said
    assert time.monotonic() - before < 30
    assert "is no address" in call("reconciler", "--run-id", world.run_id, "--ray", "nonsense", expect=1)


def test_reconcile__options_of_clusters_where_they_do_nothing__are_refused() -> None:
    for words, why in (
        (("--mirror", "s3://b/p"), "--mirror needs --ray"),
        (("--presume-lost", "1h"), "--presume-lost needs --ray"),
        (("--ray", "auto", "--processes", "2"), "--processes does nothing with --ray"),
        (("--ray", "auto", "--rebuild"), "--rebuild does nothing with --ray"),
        (("--ray", "auto", "--journal-root", "s3://b/p"), "give the URL as --mirror"),
        (("--ray", "auto", "--every", "5s"), "--ray is for single passes"),
    ):
        assert why in call("reconciler", "--all", *words, expect=2)
