"""A training on three machines that are mirrored to S3. One loses its power and its disk; `reconcile --ray` ends all."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from journal import Journal, list_journals, read_journal
from journal.console import DATA_LOST, DONE
from journal.host.paths import journal_path
from rsc.db.models import completed_trades, episodes
from rsc.db.session import open_engine, reading
from rsc.db.upgrade import upgrade
from tests.postgres import PostgresServer
from tests.support.machines import Lab, Machine, require_namespaces
from tests.support.s3 import CREDENTIALS

pytest.importorskip("ray")
pytestmark = [pytest.mark.rllib, pytest.mark.postgres]

HOME = Path(__file__).parents[2]
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",
    "PYTHONPATH": str(HOME),
    "OMP_NUM_THREADS": "1",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_enable_metrics_collection": "0",
}
PYTHON = sys.executable
RAY = Path(PYTHON).with_name("ray")
HEAD = "10.77.0.1:6379"
STORE = "10.78.0.1"
BUCKET = "s3://bucket/journals"
WITH_STORE = {**ENVIRONMENT, **CREDENTIALS, "AWS_ENDPOINT_URL": f"http://{STORE}:5000"}
SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PRESUMED_S = 8.0
MAKES_BUCKET = "import boto3; boto3.client('s3', endpoint_url='http://{store}:5000').create_bucket(Bucket='bucket')"
SEALED = """
import sys
from journal import JournalError
from journal.mirror import open_mirror
try:
    journals = open_mirror(sys.argv[1]).run("r1").journals.values()
except JournalError:  # there is no mirror yet
    journals = ()
print(sum(one.sealed_step for one in journals if one.host == sys.argv[2]))
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    require_namespaces()
    made = Lab(tmp_path / "disks", tmp_path / "journal", 3)
    try:
        yield made
    finally:
        made.remove()


def start_store(head: Machine) -> subprocess.Popen[str]:
    """Start an S3 server with a bucket on the head, on the second network."""
    store = head.start((PYTHON, "-m", "moto.server", "-H", STORE, "-p", "5000"), {}, **SILENT)
    wait_for(lambda: head.run((PYTHON, "-c", MAKES_BUCKET.format(store=STORE)), WITH_STORE)[0] == 0, 60)
    return store


def start_ray(lab: Lab, count: int | None = None, first: int = 0, environment: Mapping[str, str] = WITH_STORE) -> None:
    """Start Ray on the machines, or on some: ``count`` of them, from the number ``first`` on. The head comes first.

    A node's mirror has the environment of its Ray.
    """
    head, *others = lab.machines
    options = ("--disable-usage-stats", "--num-gpus=0", "--object-store-memory=80000000")
    starts = [(head, ("--head", "--port=6379", "--include-dashboard=false", "--num-cpus=0"))]
    starts += [(one, (f"--address={HEAD}", "--num-cpus=1")) for one in others]
    for machine, words in starts[first:count]:
        command = (RAY, "start", f"--node-ip-address={machine.address}", *words, *options)
        code, said = machine.run(command, environment)
        assert code == 0, said


def wait_for(what: Callable[[], object], seconds: float, process: subprocess.Popen[str] | None = None) -> None:
    until = time.monotonic() + seconds
    while not what():
        assert process is None or process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until
        time.sleep(0.1)


def journals_on(machine: Machine, run_id: str) -> dict[str, Journal]:
    root = machine.disk / "journal"
    return {name: read_journal(journal_path(root, run_id, name)) for name in list_journals(root, run_id)}


def test_reconcile_ray__a_machine_loses_power_and_disk__every_episode_ends_and_the_record_is_whole(
    lab: Lab, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    head, second, third = lab.machines
    postgres_server.create_database("machines")
    url = f"postgresql+psycopg://rsc@/machines?host={postgres_server.folder}&port={postgres_server.port}"
    engine = open_engine(url)
    upgrade(engine)
    root = tmp_path / "journal"
    store = start_store(head)
    start_ray(lab)
    of_pass = ("--database-url", url, "--wait", "0s", "--json")
    places = ("--database-url", url, "--journal-root", root)
    training = head.start(
        (PYTHON, "-m", "rsc", "train", "--ray", HEAD, "--run-id", "r1", "--iterations", "1000", "--train-batch-size", "500",
         "--no-save", "--mirror", BUCKET, "--mirror-every", "1s", "--reconcile", *places),
        WITH_STORE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=tmp_path,
    )  # fmt: skip
    try:
        wait_for(lambda: all(_started(engine, machine) for machine in (second, third)), 90, training)
        wait_for(lambda: _mirrored_steps(head, third) > 100, 60, training)
        time_of_loss = time.monotonic()
        third.lose_power()
        lost = journals_on(third, "r1")
        third.lose_disk()
        before = _count(engine)
        wait_for(lambda: _count(engine) > before, 60, training)
        assert time.monotonic() - time_of_loss < 90
        code, said = head.run((PYTHON, "-m", "reconciler", "--run-id", "r1", "--ray", HEAD, *of_pass), WITH_STORE)
        assert "so the node may still write" in said
        assert "truncated" not in json.loads(said.split("\nerror:")[0])["report"]["ended"], said
        assert _finalized_by_reconciler(engine, second) == 0
        head.interrupt(training)
        said, _ = training.communicate(timeout=120)
    finally:
        training.kill()
    assert "node node2 (" in said, said
    assert "so the node may still write" in said
    assert not _started(engine, second)
    assert _started(engine, third)
    time.sleep(max(0.0, time_of_loss + PRESUMED_S + 2 - time.monotonic()))
    of_last_pass = ("--database-url", url, "--grace", "0s", "--presume-lost", f"{PRESUMED_S:g}s", "--json")
    code, said = head.run((PYTHON, "-m", "reconciler", "--run-id", "r1", "--ray", HEAD, *of_last_pass), WITH_STORE)
    store.kill()
    store.wait(timeout=30)
    report = json.loads(said)["report"]
    assert {line["state"] for line in report["nodes"]} == {"alive", "dead"}
    with reading(engine) as connection:
        rows = connection.execute(select(episodes)).all()
        trades = connection.execute(select(completed_trades)).all()
    unmirrored = [row for row in rows if row.status == "error"]  # they began in the last interval
    assert all(row.status_reason.startswith("journal missing: its node was lost") for row in unmirrored)
    assert code == (DATA_LOST if unmirrored else DONE), said
    assert {row.status for row in rows} <= {"completed", "truncated", "error"}
    presumed = [
        row
        for row in rows
        if "its node was lost: Ray lists it as dead" in (row.status_reason or "") and row not in unmirrored
    ]
    assert presumed
    assert sum(row.total_steps for row in presumed) > 0
    assert all(lost[row.journal_id].last_step_time - row.end_time < timedelta(seconds=5) for row in presumed)
    assert {row.writer_host for row in presumed} == {third.name}
    assert all(not row.evidence_final and row.total_steps <= lost[row.journal_id].last_step for row in presumed)
    assert sum(row.total_trades or 0 for row in rows) == len(trades)
    code, said = head.run((PYTHON, "-m", "rsc", "check", "r1", "--database-url", url), ENVIRONMENT)
    assert code == (1 if unmirrored else 0), said


def _started(engine: Engine, machine: Machine) -> bool:
    with reading(engine) as connection:
        query = select(episodes.c.episode_id).where(
            episodes.c.writer_host == machine.name, episodes.c.status == "started"
        )
        return connection.execute(query.limit(1)).first() is not None


def _mirrored_steps(head: Machine, machine: Machine) -> int:
    """The steps in the streams of a machine's journals that the mirror has."""
    code, said = head.run((PYTHON, "-c", SEALED, BUCKET, machine.name), WITH_STORE)
    assert code == 0, said
    return int(said)


def _finalized_by_reconciler(engine: Engine, machine: Machine) -> int:
    with reading(engine) as connection:
        of_machine = episodes.c.writer_host == machine.name, episodes.c.finalized_by == "reconciler"
        return len(connection.execute(select(episodes.c.episode_id).where(*of_machine)).all())


def _count(engine: Engine) -> int:
    with reading(engine) as connection:
        return len(connection.execute(select(episodes.c.episode_id).where(episodes.c.writer_host == "node2")).all())
