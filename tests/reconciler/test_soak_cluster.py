"""Live episodes on two machines of a cluster under a daemon, while their processes and the cluster's head are restarted."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from journal.host.roots import read_root_id
from rsc.db.models import episodes
from rsc.db.session import open_engine, reading
from rsc.db.upgrade import upgrade
from tests.postgres import PostgresServer
from tests.reconciler.daemons import until
from tests.reconciler.test_machines import ENVIRONMENT, HEAD, PYTHON, RAY, SILENT, start_ray
from tests.reconciler.test_soak import Writers, statuses
from tests.reconciler.world import World
from tests.support.machines import Lab, Machine, require_namespaces

pytest.importorskip("ray")
pytestmark = [pytest.mark.rllib, pytest.mark.postgres]

KINDS = ("steady", "idle", "resetting", "forking", "forgetful")
RESTART_S, HEAD_RESTART_S = 10.0, 90.0
MOURNING_S = 20.0  # the head's table is empty for so long after its restart, while the other machines work on


class FarWriters(Writers):
    """Live episodes on a machine."""

    def __init__(self, world: World, machine: Machine, kind: str) -> None:
        self.machine = machine
        super().__init__(world, kind, 86_400.0)

    def start(self, command: list[str]) -> subprocess.Popen[str]:
        return self.machine.start(command, ENVIRONMENT, stdout=subprocess.PIPE)

    def insert(self, journal_id: str) -> None:
        root_id = read_root_id(self.machine.disk / "journal" / self.world.run_id)
        self.world.insert(journal_id, root_id=root_id, writer_host=self.machine.name)

    def kill(self) -> None:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)  # nsenter is its parent
        self.wait()
        self.dead |= dict.fromkeys(self.live, time.monotonic())
        self.live.clear()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    require_namespaces()
    made = Lab(tmp_path / "disks", tmp_path / "journal", 3)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def world(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[World]:
    postgres_server.create_database("soak")
    engine = open_engine(f"postgresql+psycopg://rsc@/soak?host={postgres_server.folder}&port={postgres_server.port}")
    upgrade(engine)
    made = World(engine, tmp_path / "journal")
    yield made
    made.driver_dies()
    engine.dispose()


def restart_head(lab: Lab) -> None:
    """Let the head's table be empty for a while, then let the other machines join it."""
    for machine in lab.machines[:1]:
        machine.run((RAY, "stop", "--force"), ENVIRONMENT)
    start_ray(lab, 1)
    time.sleep(MOURNING_S)
    for machine in lab.machines[1:]:
        machine.run((RAY, "stop", "--force"), ENVIRONMENT)
    start_ray(lab, first=1)


def ended_while_alive(world: World, everybody: list[FarWriters]) -> list[str]:
    """An episode counts as live only if it still was after the look at the database."""
    before = [set(one.live) for one in everybody]
    found = statuses(world)
    return [
        name
        for live, one in zip(before, everybody, strict=True)
        for name in live & one.live
        if found.get(name) != "started"
    ]


@pytest.mark.torture
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seconds", [600])
def test_soak_on_a_cluster__processes_and_head_restart__no_live_episode_is_ended(
    lab: Lab, world: World, tmp_path: Path, seconds: int
) -> None:
    start_ray(lab)
    rng, bucket = random.Random(5), tmp_path / "bucket"
    mirrors = [
        one.start((PYTHON, "-m", "journal", "mirror", world.root, bucket, "--every", "2s"), ENVIRONMENT, **SILENT)
        for one in lab.machines[1:]
    ]
    everybody = [FarWriters(world, machine, kind) for machine in lab.machines[1:] for kind in KINDS]
    url = world.engine.url.render_as_string(hide_password=False)
    words = ("--all", "--ray", HEAD, "--database-url", url, "--every", "2s", "--grace", "2s", "--mirror", bucket)
    with (tmp_path / "daemon.log").open("w") as log:
        daemon = lab.machines[0].start((PYTHON, "-m", "reconciler", *words), ENVIRONMENT, stdout=log, stderr=log)
    try:
        until(lambda: sum(len(one.live) for one in everybody) >= 40, 120, "40 live episodes")
        began = time.monotonic()
        next_restart, next_head, heads, wrong = began + RESTART_S, began + HEAD_RESTART_S / 2, 0, list[str]()
        while time.monotonic() < began + seconds:
            wrong += ended_while_alive(world, everybody)
            if time.monotonic() > next_restart:
                next_restart = time.monotonic() + RESTART_S
                victim = rng.choice([one for one in everybody if one.process.poll() is None])
                victim.kill()
                everybody.append(FarWriters(world, victim.machine, victim.kind))
            if time.monotonic() > next_head:
                next_head, heads = time.monotonic() + HEAD_RESTART_S, heads + 1
                restart_head(lab)
            assert daemon.poll() is None, (tmp_path / "daemon.log").read_text()
            time.sleep(0.1)
        wrong += ended_while_alive(world, everybody)
        assert wrong == []
        assert heads >= seconds // HEAD_RESTART_S
        for one in everybody:
            if one.process.poll() is None:
                one.kill()
        dead = {name for one in everybody for name in one.dead}
        closed = {name for one in everybody for name in one.closed}
        until(lambda: "started" not in statuses(world).values(), 120, "the last passes")
        with reading(world.engine) as connection:
            rows = {row.journal_id: row for row in connection.execute(select(episodes))}
        assert len(rows) == len(dead | closed)
        assert {rows[name].end_reason for name in dead} == {"killed"}
        assert {row.overruled_status for row in rows.values()} == {None}
        counts = len(dead), len(closed), heads
        logging.getLogger("soak").warning("%d dead and %d closed episodes, %d restarts of the head", *counts)
    finally:
        lab.machines[0].interrupt(daemon)
        daemon.wait(timeout=60)
        for process in (*mirrors, *(one.process for one in everybody)):
            process.kill()
