"""RLlib trains on three machines under two daemons, while env runners are killed and the cluster's head restarts."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from journal import journal_path, read_journal
from rsc.db.models import episodes
from rsc.db.session import open_engine, reading
from rsc.db.upgrade import upgrade
from tests.postgres import PostgresServer
from tests.reconciler.daemons import until
from tests.reconciler.test_machines import ENVIRONMENT, HEAD, PYTHON, RAY, start_ray
from tests.support.machines import Lab, require_namespaces

pytest.importorskip("ray")
pytestmark = [pytest.mark.rllib, pytest.mark.postgres]

# The machines share few cores. Nodes that answer late are not dead, and the tasks of a pass use the workers of the last one.
PATIENT = {**ENVIRONMENT, "RAY_health_check_timeout_ms": "10000", "RAY_kill_idle_workers_interval_ms": "0"}

KILL_S, RESTART_S = 15.0, 60.0  # seconds of training between two kills, and between two restarts of the head
START_S = 300.0  # Ray and RLlib start, on a machine with other work
MOURNING_S = 20.0  # the head's table is empty for so long after its restart, while the other machines work on
WATCH_S = 0.2


class Watch(threading.Thread):
    """Finds live episodes that have ended in the database, without the locks that the reconciler looks at.

    An episode is live if a process holds its journal open for writing before and after the look at the database.

    Attributes:
        wrong: Live episodes that had ended.
        seen: All live episodes.
        looks: The number of looks that found live episodes.
        alone: While True, the head's table is empty.
        seen_alone: The live episodes of that time.
    """

    def __init__(self, lab: Lab, engine: Engine) -> None:
        super().__init__(daemon=True)
        self.wrong, self.seen, self.seen_alone = set[str](), set[str](), set[str]()
        self.looks, self.alone, self.over = 0, False, threading.Event()
        self._engine, self._writers = engine, Writers(lab)

    def run(self) -> None:
        while not self.over.wait(WATCH_S):
            before, found = self._writers.find(), rows_of(self._engine)
            live = before.keys() & self._writers.find().keys() & found.keys()
            self.wrong |= {name for name in live if found[name] != "started"}
            self.seen |= live
            self.looks += bool(live)
            if self.alone:
                self.seen_alone |= live


class Writers:
    """Finds the processes that write journals, by their open files."""

    def __init__(self, lab: Lab) -> None:
        self._roots = [machine.disk / "journal" for machine in lab.machines]
        self._names: dict[
            tuple[int, int], str
        ] = {}  # by device and inode: a link in /proc does not always name the file
        self._known = set[str]()

    def find(self) -> dict[str, int]:
        """Return the id of each journal that a worker of Ray holds open for writing, with the worker's process id."""
        self._list()
        found = {}
        for place in Path("/proc").iterdir():
            with contextlib.suppress(OSError):  # it has just ended
                if not place.name.isdigit() or not (place / "comm").read_text().startswith("ray::"):
                    continue
                for fd in (place / "fd").iterdir():
                    with contextlib.suppress(OSError):  # it has just been closed
                        state = fd.stat()
                        name = self._names.get((state.st_dev, state.st_ino))
                        if name is not None and _is_writable(place / "fdinfo" / fd.name):
                            found[name] = int(place.name)
        return found

    def _list(self) -> None:
        for root in self._roots:
            for path in root.glob("*/*.arrows"):
                if path.stem not in self._known:
                    self._known.add(path.stem)
                    state = path.stat()
                    self._names[state.st_dev, state.st_ino] = path.stem


def _is_writable(info: Path) -> bool:
    flags = next(line.split()[1] for line in info.read_text().splitlines() if line.startswith("flags:"))
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY


def rows_of(engine: Engine, run_id: str | None = None) -> dict[str, str]:
    """Return the status of each episode by its journal's id, of one run or of all."""
    query = select(episodes.c.journal_id, episodes.c.status)
    if run_id is not None:
        query = query.where(episodes.c.run_id == run_id)
    with reading(engine) as connection:
        return {row.journal_id: row.status for row in connection.execute(query)}


class Training:
    """`rsc train` on the cluster. RLlib's driver does not outlive the cluster's head, so each start is a new run."""

    def __init__(self, lab: Lab, url: str, folder: Path) -> None:
        self._lab, self._url, self._folder = lab, url, folder
        self._log = (folder / "training.log").open("w")
        (folder / "env.json").write_text('{"episode_length": 90}')
        self.runs = 0
        self.start()

    def start(self) -> None:
        self.runs += 1
        words = (
            "--ray", HEAD, "--run-id", f"r{self.runs}", "--iterations", "100000", "--num-env-runners", "2", "--no-save",
            "--num-envs-per-env-runner", "4", "--train-batch-size", "500", "--env-config", self._folder / "env.json",
            "--mirror", self._folder / "bucket", "--mirror-every", "2s", "--journal-root", self._folder / "journal",
            "--database-url", self._url,
        )  # fmt: skip
        command = (PYTHON, "-m", "rsc", "train", *words)
        self.process = self._lab.machines[0].start(command, PATIENT, stdout=self._log, stderr=self._log)

    def start_if_ended(self) -> None:
        if self.process.poll() is not None:
            self.start()

    def end(self) -> None:
        """Kill the driver if it lives."""
        until(self._is_killed, 60, "the driver's end")

    def _is_killed(self) -> bool:
        """Kill the driver, the child of nsenter, which may not have started it yet. Return True if both have ended."""
        if self.process.poll() is not None:
            return True
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        return False


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    require_namespaces()
    made = Lab(tmp_path / "disks", tmp_path / "journal", 3)
    try:
        yield made
    finally:
        made.remove()


@pytest.fixture
def engine(postgres_server: PostgresServer) -> Iterator[Engine]:
    postgres_server.create_database("soak")
    made = open_engine(f"postgresql+psycopg://rsc@/soak?host={postgres_server.folder}&port={postgres_server.port}")
    upgrade(made)
    yield made
    made.dispose()


def restart_head(lab: Lab, watch: Watch, training: Training) -> None:
    """Let the head's table be empty for a while, then let the other machines join it, and train again."""
    head, *others = lab.machines
    head.run((RAY, "stop", "--force"), PATIENT)
    start_ray(lab, 1, environment=PATIENT)
    watch.alone = True
    time.sleep(MOURNING_S)
    watch.alone = False
    training.end()
    for machine in others:
        machine.run((RAY, "stop", "--force"), PATIENT)
    start_ray(lab, first=1, environment=PATIENT)
    training.start()


def start_daemon(lab: Lab, number: int, url: str, folder: Path) -> subprocess.Popen[str]:
    """Start a daemon on a machine. It passes over the cluster every ten seconds."""
    words = ("--all", "--ray", HEAD, "--database-url", url, "--every", "10s", "--grace", "2s")
    with (folder / f"daemon{number}.log").open("w") as log:
        return lab.machines[number].start((PYTHON, "-m", "reconciler", *words), PATIENT, stdout=log, stderr=log)


def samples(engine: Engine, training: Training, writers: Writers) -> bool:
    """Return True if the newest run has eight live episodes. Start another one if it has ended."""
    training.start_if_ended()
    return len(writers.find().keys() & rows_of(engine, f"r{training.runs}").keys()) >= 8


@pytest.mark.torture
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seconds", [600])
def test_soak_on_a_cluster__env_runners_and_head_restart__no_live_episode_is_ended(
    lab: Lab, engine: Engine, tmp_path: Path, seconds: int
) -> None:
    start_ray(lab, environment=PATIENT)
    rng, url = random.Random(5), engine.url.render_as_string(hide_password=False)
    watch, training, writers = Watch(lab, engine), Training(lab, url, tmp_path), Writers(lab)
    daemons = [start_daemon(lab, number, url, tmp_path) for number in (0, 1)]
    kills = heads = 0
    watch.start()
    try:
        began = time.monotonic()
        while time.monotonic() < began + seconds:
            until(lambda: samples(engine, training, writers), START_S, "8 live episodes")
            until_restart = time.monotonic() + RESTART_S
            while time.monotonic() < until_restart:
                time.sleep(KILL_S)
                found, known = writers.find(), rows_of(engine)
                if victims := sorted({pid for name, pid in found.items() if name in known}):
                    os.kill(rng.choice(victims), signal.SIGKILL)
                    kills += 1
                training.start_if_ended()
                assert [one.poll() for one in daemons] == [None, None]
            restart_head(lab, watch, training)
            heads += 1
        training.end()
        until(lambda: "started" not in rows_of(engine).values(), 180, "the last passes")
        watch.over.set()
        watch.join()
        words = "%d runs, %d env runners killed, %d restarts of the head, %d looks at %d live episodes, %d without the table"
        counts = training.runs, kills, heads, watch.looks, len(watch.seen), len(watch.seen_alone)
        logging.getLogger("soak").warning(words, *counts)
        check(lab, engine, watch)
        assert kills > heads > 1
    finally:
        watch.over.set()
        training.end()
        for number, one in enumerate(daemons):
            if one.poll() is None:
                lab.machines[number].interrupt(one)
            one.wait(timeout=60)


def check(lab: Lab, engine: Engine, watch: Watch) -> None:
    """Every episode ended once, by its training or after its death, and the rows have all steps of the journals."""
    with reading(engine) as connection:
        rows = connection.execute(select(episodes)).all()
    by = Counter(row.finalized_by for row in rows)
    logging.getLogger("soak").warning(
        "%d episodes: ended by %s; status %s; reason %s; live ones that had ended: %d",
        len(rows), dict(by), dict(Counter(row.status for row in rows)), dict(Counter(row.end_reason for row in rows)),
        len(watch.wrong),
    )  # fmt: skip
    assert watch.wrong == set()
    assert len(watch.seen) > 50
    assert watch.seen_alone
    assert {row.overruled_status for row in rows} == {None}
    assert {row.status for row in rows} == {"completed", "truncated"}
    assert set(by) == {"callback", "reconciler"}
    disks = {machine.name: machine.disk / "journal" for machine in lab.machines}
    for row in rows:
        journal = read_journal(journal_path(disks[row.writer_host], row.run_id, row.journal_id))
        assert (row.total_steps, row.evidence_final) == (journal.last_step, True)
