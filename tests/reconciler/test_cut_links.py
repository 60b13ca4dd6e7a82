"""A machine is cut off from the head of its cluster, and then from its mirror's store too, while it writes on."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from journal import RunMarker, journal_path, read_header, read_journal
from rsc.closing import start_row
from rsc.db import episodes as episode_rows
from rsc.db import runs
from rsc.db.models import completed_trades, episodes
from rsc.db.session import open_engine, reading
from rsc.db.upgrade import upgrade
from tests.postgres import PostgresServer
from tests.reconciler.test_machines import (
    BUCKET,
    ENVIRONMENT,
    HEAD,
    PYTHON,
    RAY,
    SILENT,
    WITH_STORE,
    start_ray,
    start_store,
    wait_for,
)
from tests.support.machines import Lab, Machine, require_namespaces

pytest.importorskip("ray")
pytestmark = [pytest.mark.rllib, pytest.mark.postgres]

WRITES = """
import select, sys, time
from pathlib import Path
from tests.reconciler.world import open_journal, walk
root, node_id = sys.argv[1:]
facts = {"notes": {"node_id": node_id}}
writers = [open_journal(Path(root), "r1", every=16, facts=facts) for _ in range(3)]
print(*(one.journal_id for one in writers), flush=True)
while True:
    for writer in writers:
        walk(writer, 1)
    if select.select([sys.stdin], [], [], 0.05)[0]:
        sys.stdin.readline()
        done = writers.pop(0)
        done.append(1.0, 1.0, 10000.0, terminated=True)
        done.close("terminated")
        print("closed", flush=True)
"""
NODES = "import ray, json; ray.init(address={head!r}, logging_level='ERROR'); print('NODES', json.dumps(ray.nodes()))"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    require_namespaces()
    made = Lab(tmp_path / "disks", tmp_path / "journal", 2)
    try:
        yield made
    finally:
        made.remove()


class Scene:
    """A cluster of two machines, a store on the first, and a writer with its mirror on the second."""

    def __init__(self, lab: Lab, url: str, root: Path, engine: Engine) -> None:
        self.head, self.far = lab.machines
        self.url, self.root, self.engine = url, root, engine
        start_ray(lab)
        self._store = start_store(self.head)
        (node,) = [one["NodeID"] for one in self.nodes() if one["NodeManagerHostname"] == self.far.name]
        self.writer = self.far.start(
            (PYTHON, "-c", WRITES, root, node), ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.journals = self.line().split()
        self._mirror = self.far.start(
            (PYTHON, "-m", "journal", "mirror", root, BUCKET, "--every", "1s", "--node-id", node), WITH_STORE, **SILENT
        )
        with engine.begin() as connection:
            for name in self.journals:
                header = read_header(journal_path(self.far.disk / "journal", "r1", name))
                episode_rows.start_episode(connection, start_row(header))

    def line(self) -> str:
        assert self.writer.stdout is not None
        return self.writer.stdout.readline().strip()

    def nodes(self) -> list[dict[str, Any]]:
        """Ray's table."""
        code, said = self.head.run((PYTHON, "-c", NODES.format(head=HEAD)), ENVIRONMENT)
        assert code == 0, said
        found: list[dict[str, Any]] = json.loads(said.partition("NODES ")[2].splitlines()[0])
        return found

    def reconcile(self, *more: str) -> tuple[dict[str, Any], str]:
        """The report of a pass on the head, and all that it said."""
        words = ("--run-id", "r1", "--ray", HEAD, "--database-url", self.url, "--wait", "0s", "--grace", "0s", "--json")
        _, said = self.head.run((PYTHON, "-m", "reconciler", *words, *more), WITH_STORE)
        document, _ = json.JSONDecoder().raw_decode(said[said.index("{") :])
        return document["report"], said

    def row(self, journal_id: str) -> Any:
        with reading(self.engine) as connection:
            return connection.execute(select(episodes).where(episodes.c.journal_id == journal_id)).one()

    def rows(self) -> list[Any]:
        return [self.row(name) for name in self.journals]

    def steps_on_disk(self, journal_id: str) -> int:
        return read_journal(journal_path(self.far.disk / "journal", "r1", journal_id)).last_step

    def end(self) -> None:
        for process in (self.writer, self._mirror, self._store):
            process.kill()
            process.wait(timeout=30)


@pytest.fixture
def scene(lab: Lab, postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Scene]:
    name = f"links{time.time_ns()}"
    postgres_server.create_database(name)
    url = f"postgresql+psycopg://rsc@/{name}?host={postgres_server.folder}&port={postgres_server.port}"
    engine = open_engine(url)
    upgrade(engine)
    root = tmp_path / "journal"
    with engine.begin() as connection:
        runs.start_run(connection, "r1", {}, str(root), datetime.now(UTC), {"mirror": BUCKET})
    marker = RunMarker(lab.machines[0].disk / "journal", "r1", {})
    made = Scene(lab, url, root, engine)
    try:
        yield made
    finally:
        made.end()
        marker.close()
        engine.dispose()


@pytest.mark.parametrize(
    ("age_s", "options"),
    [(8.0, ("--presume-lost", "8s")), pytest.param(150.0, (), marks=[pytest.mark.torture, pytest.mark.timeout(900)])],
    ids=["8s", "default"],
)
def test_links_cut__writer_goes_on__ends_only_after_the_mirror_stands_still_and_own_evidence_replaces(
    scene: Scene, age_s: float, options: tuple[str, ...]
) -> None:
    first, *others = scene.journals
    wait_for(lambda: scene.reconcile()[0]["alive"] == 3, 60)

    scene.far.link("down")
    wait_for(lambda: any(not one["Alive"] for one in scene.nodes()), 60)
    began, looks = time.monotonic(), 0
    while looks < 2 or time.monotonic() - began < 1.5 * age_s:
        report, said = scene.reconcile(*options)
        assert (report["ended"], report["waiting"]) == ({}, 3), said
        assert f"its mirror was written in the last {age_s:g} s, so the node may still write" in said
        looks += 1

    scene.far.link("down", 1)
    cut, before = time.monotonic(), scene.steps_on_disk(others[0])
    report = {}
    while not report.get("ended"):
        report, said = scene.reconcile(*options)
        assert time.monotonic() - cut < age_s + 90, said
    presumed_s = time.monotonic() - cut
    assert presumed_s > age_s - 2  # the mirror's last tick was up to a second before, and the look takes one
    assert report["ended"] == {"truncated": 3}
    presumed = scene.rows()
    assert scene.steps_on_disk(others[0]) > before
    for row in presumed:
        assert (row.status, row.evidence_final, row.finalized_by) == ("truncated", False, "reconciler")
        assert "its node was lost: Ray lists it as dead, and its mirror stands still since" in row.status_reason
        assert 0 < row.total_steps < scene.steps_on_disk(row.journal_id)
    assert scene.reconcile(*options)[0]["ended"] == {}
    words = "%d looks let the episodes wait for %.0f s; presumed lost %.0f s after the second cut, from steps %s of %s"
    steps = [row.total_steps for row in presumed], [scene.steps_on_disk(row.journal_id) for row in presumed]
    logging.getLogger("cut").warning(words, looks, cut - began, presumed_s, *steps)

    assert scene.writer.stdin is not None
    scene.writer.stdin.write("\n")
    scene.writer.stdin.flush()
    assert scene.line() == "closed"
    scene.far.link("up")
    scene.far.link("up", 1)
    _join_again(scene.far)
    daemon = scene.head.start(
        (PYTHON, "-m", "reconciler", "--run-id", "r1", "--ray", HEAD, "--database-url", scene.url, "--grace", "0s",
         "--every", "1s", "--metrics-port", "9100"),
        WITH_STORE, **SILENT,
    )  # fmt: skip
    try:
        wait_for(lambda: "reconciler_false_truncations 1.0" in _metrics(scene.head), 90)
        assert (scene.row(first).status, scene.row(first).overruled_status) == ("completed", "truncated")
        for name in others:  # their writer is alive, so what it has written since cannot be judged yet
            assert scene.row(name).total_steps == next(row.total_steps for row in presumed if row.journal_id == name)
        _kill(scene.writer)
        wait_for(lambda: "reconciler_overruled_verdicts 3.0" in _metrics(scene.head), 90)
    finally:
        scene.head.interrupt(daemon)
        assert daemon.wait(timeout=60) == 0
    for row in scene.rows():
        assert row.evidence_final
        assert row.total_steps == scene.steps_on_disk(row.journal_id)
    with reading(scene.engine) as connection:
        assert len(connection.execute(select(completed_trades)).all()) == sum(row.total_trades for row in scene.rows())


def _join_again(machine: Machine) -> None:
    """Start Ray there again: a node that was listed as dead never comes back by itself."""
    machine.run((RAY, "stop", "--force"), ENVIRONMENT)
    command = (RAY, "start", f"--node-ip-address={machine.address}", f"--address={HEAD}", "--num-cpus=1", "--num-gpus=0",
               "--disable-usage-stats", "--object-store-memory=80000000")  # fmt: skip
    code, said = machine.run(command, ENVIRONMENT)
    assert code == 0, said


def _metrics(machine: Machine) -> str:
    page = "http://127.0.0.1:9100/metrics"
    fetch = f"import urllib.request; print(urllib.request.urlopen('{page}', timeout=5).read().decode())"
    return machine.run((PYTHON, "-c", fetch), {})[1]


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a program on a machine: nsenter is its parent."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    process.wait(timeout=30)
