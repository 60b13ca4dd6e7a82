"""`reconcile --ray` with real Ray nodes: each judges what lies there, and a mirror has what a lost node wrote."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from reconciler.cluster import ClusterPass
from reconciler.ray_nodes import RayNodes
from reconciler.report import Hooks, PassReport
from reconciler.settings import Settings
from rsc.db import runs
from rsc.db.session import open_engine, reading
from rsc.db.tolerant import UnreadableRow
from rsc.db.upgrade import upgrade
from tests.postgres import PostgresServer
from tests.reconciler.daemons import Process, get, until
from tests.reconciler.others import OtherDisk, Reconciling
from tests.reconciler.test_swarm import figures, populate, quiet_copy
from tests.reconciler.world import LATER, World
from tests.rllib import kill_all

ray = pytest.importorskip("ray")
pytestmark = pytest.mark.rllib

HOME = Path(__file__).parents[2]


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
    made(world, nodes)  # the workers have started
    disk = OtherDisk(world, world.root, next(iter(nodes.table().live)))
    disk.writes_more()
    disk.dies()
    for name in disk.journals:
        world.age(name, 100)
    monkeypatch.setattr("reconciler.cluster.judge_here", _never_answers)
    with monkeypatch.context() as patch:
        patch.setattr("reconciler.ray_nodes._ANSWER_S", 3.0)
        said = made(world, nodes, presume_lost_s=0.0)
    assert "did not judge them: no answer within 3 s" in said.failures[0]
    monkeypatch.setattr("reconciler.cluster.judge_here", _fails)
    said = made(world, nodes, presume_lost_s=0.0)
    assert "did not judge them: PermissionError: not allowed" in said.failures[0]
    monkeypatch.setattr("reconciler.cluster.list_here", _fails)
    said = made(world, nodes, presume_lost_s=0.0)
    assert "cannot be looked at: PermissionError: not allowed" in said.failures[0]
    assert {status_of(world, name) for name in disk.journals} == {"started"}


@pytest.mark.parametrize("task", ["list_here", "judge_here"])
def test_reconcile_ray__stopped_while_a_node_works__says_nothing_of_the_node(
    world: World, nodes: RayNodes, monkeypatch: pytest.MonkeyPatch, task: str
) -> None:
    first, stop = world.dead(), threading.Event()
    monkeypatch.setattr(f"reconciler.cluster.{task}", _never_answers)
    monkeypatch.setattr(nodes, "should_stop", stop.is_set)
    timer = threading.Timer(1.0, stop.set)
    timer.start()
    said = ClusterPass(world.engine, LATER, Hooks(should_stop=stop.is_set), nodes).run([world.run_id])
    timer.join()
    assert (said.stopped, said.failures, said.unlookable, said.waiting) == (True, [], [], 0)
    assert [one for one in said.nodes if one["judged"]] == []
    assert status_of(world, first) == "started"
    with monkeypatch.context() as patch:
        patch.setattr(nodes, "should_stop", lambda: False)
        patch.setattr(nodes, "deadline", time.monotonic() + 1.0)
        (said_of_deadline,) = made(world, nodes).failures[:1]
    assert "no answer before the pass's deadline" in said_of_deadline


def _never_answers(*_: Any) -> None:
    time.sleep(100)


def _fails(*_: Any) -> None:
    raise PermissionError("not allowed")


def test_daemon_ray__judges_on_the_nodes_and_joins_again_after_its_ray_process_is_killed(
    world: World, cluster: Any, tmp_path: Path
) -> None:
    alive, first = world.episode(5), world.dead()
    words = ("--all", "--database-url", str(world.engine.url), "--grace", "0s", "--every", "1s", "--ray")
    daemon = Process(*words, cluster.address)
    try:
        until(lambda: status_of(world, first) == "truncated", what="the first pass")
        os.kill(_ray_process_of(daemon), signal.SIGKILL)
        second = world.dead()
        until(lambda: status_of(world, second) == "truncated", what="a pass after the kill")
        assert len(world.trades(second)) == 2
        assert len(daemon.said("error: the process that joined the Ray cluster has ended")) <= 1
        joined = _ray_process_of(daemon)
        assert daemon.stop(signal.SIGTERM) == 0
        until(lambda: not Path(f"/proc/{joined}").exists(), 30, "the end of its Ray process")
        assert status_of(world, alive.journal_id) == "started"
        assert [line for line in daemon.lines if "Traceback" in line] == []
    finally:
        daemon.kill()
        alive.close()


def test_daemon_ray__stopped_while_a_node_does_not_answer__exits_without_a_word_of_the_node(
    world: World, cluster: Any
) -> None:
    words = ("--all", "--database-url", str(world.engine.url), "--grace", "0s", "--every", "0.5s", "--ray")
    daemon = Process(*words, cluster.address)
    workers: list[psutil.Process] = []
    try:
        first = world.dead()
        until(lambda: status_of(world, first) == "truncated", what="the first pass")
        alive = world.episode(5)  # so that each pass asks the nodes
        workers = [one for one in psutil.Process().children(recursive=True) if _is_worker(one)]
        assert workers
        for one in workers:
            one.suspend()
        until(lambda: _seconds_of_open_pass(world) > 2, what="a pass that waits for a node")
        assert daemon.stop(signal.SIGTERM) == 0
        assert [line for line in daemon.lines if "error" in line or "cannot be looked at" in line] == []
        assert daemon.said("stopped")
        alive.close()
    finally:
        daemon.kill()
        kill_all(workers)


def _is_worker(process: psutil.Process) -> bool:
    """True if a process is a worker of Ray, which runs tasks."""
    return process.name().startswith("ray::") and "Agent" not in process.name()


def _seconds_of_open_pass(world: World) -> float:
    """For how long the newest pass has been running; 0 if it has ended."""
    with reading(world.engine) as connection:
        newest = runs.last_passes(connection, 1)[0]
    assert not isinstance(newest, UnreadableRow)
    return 0.0 if newest.end_time else (datetime.now(UTC) - newest.start_time).total_seconds()


def _ray_process_of(daemon: Process) -> int:
    """The process id of the daemon's child that has joined the cluster."""
    threads = Path(f"/proc/{daemon.process.pid}/task").iterdir()
    pids = [pid for thread in threads for pid in (thread / "children").read_text().split()]
    (found,) = [pid for pid in pids if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
    return int(found)


def test_daemon_ray__no_cluster__says_so_once_and_goes_on(world: World) -> None:
    words = ("--all", "--database-url", str(world.engine.url), "--every", "0.2s", "--metrics-port", "0", "--ray")
    daemon = Process(*words, "127.0.0.1:1")
    try:
        base = daemon.base_url()
        until(lambda: 'passes_total{outcome="failed"} 3.0' in get(f"{base}/metrics")[1], what="three failed passes")
        assert len(daemon.said("the Ray cluster at 127.0.0.1:1 cannot be reached")) == 1
        assert daemon.stop(signal.SIGTERM) == 0
    finally:
        daemon.kill()


@pytest.mark.postgres
def test_two_reconcilers__one_local_one_over_the_cluster_killed_at_random__each_row_and_trade_once(
    postgres_server: PostgresServer, cluster: Any, tmp_path: Path
) -> None:
    url = postgres_server.create_database("two")
    engine = open_engine(url)
    upgrade(engine)
    world, rng, kills = World(engine, tmp_path / "journal"), random.Random(3), Counter[str]()
    populate(world, 400)
    quiet = quiet_copy(world, str(tmp_path / "quiet.db"))
    for _ in range(4):
        pair = {where: Reconciling(where, url, cluster.address) for where in ("local", "ray")}
        for one in pair.values():
            one.go()
        for where, one in sorted(pair.items(), key=lambda _: rng.random()):
            time.sleep(rng.uniform(0.02, 0.12))
            kills[where] += one.kill()
        assert world.started() > 0
    assert kills == {"local": 4, "ray": 4}
    last = [Reconciling(where, url, cluster.address) for where in ("local", "ray")]
    for one in last:
        one.go()
    assert [one.process.wait(timeout=120) for one in last] == [0, 0]
    assert world.started() == 0
    rows, trades = figures(engine)
    quiet_rows, quiet_trades = figures(quiet)
    assert Counter(rows) == Counter(quiet_rows)
    assert trades == quiet_trades
    assert world.run_row().status == "interrupted"
    engine.dispose()
    quiet.dispose()


def test_reconcile_ray__no_cluster__one_line_soon(world: World) -> None:
    before = time.monotonic()
    said = call("reconciler", "--run-id", world.run_id, "--ray", "127.0.0.1:1", expect=1)
    assert said.startswith("error: the Ray cluster at 127.0.0.1:1 cannot be reached: Connection refused")
    assert "--presume-lost" in said
    assert time.monotonic() - before < 30
    assert "is not an address" in call("reconciler", "--run-id", world.run_id, "--ray", "nonsense", expect=1)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (None, "it accepts connections, but does not answer within 5 s"),
        (b"", "it closes the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "another program listens there"),
    ],
)
def test_reconcile_ray__what_listens_there_is_no_head__one_line_soon(
    world: World, answer: bytes | None, says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_answer_all, args=(listener, answer), daemon=True).start()
        address, before = f"127.0.0.1:{listener.getsockname()[1]}", time.monotonic()
        said = call("reconciler", "--run-id", world.run_id, "--ray", address, expect=1)
        assert said.startswith(f"error: no Ray cluster answers at {address}: {says}")
        assert said.count("\n") == 1
        assert time.monotonic() - before < 30
        listener.shutdown(socket.SHUT_RDWR)


def _answer_all(listener: socket.socket, answer: bytes | None) -> None:
    """Accept connections until the listener is shut down. None: never answer."""
    accepted = []
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        accepted.append(connection)
        if answer is not None:
            connection.recv(1000)
            connection.sendall(answer)
            connection.close()


def test_reconcile__options_of_clusters_where_they_do_nothing__are_refused() -> None:
    for words, why in (
        (("--mirror", "s3://b/p"), "--mirror needs --ray"),
        (("--presume-lost", "1h"), "--presume-lost needs --ray"),
        (("--ray", "auto", "--processes", "2"), "--processes does nothing with --ray"),
        (("--ray", "auto", "--rebuild"), "--rebuild does nothing with --ray"),
        (("--ray", "auto", "--journal-root", "s3://b/p"), "give the URL as --mirror"),
        (("--ray", "auto", "--every", "5s", "--presume-lost", "10s"), "--presume-lost takes 150s at least in a daemon"),
    ):
        assert why in call("reconciler", "--all", *words, expect=2)
