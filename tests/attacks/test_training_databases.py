"""Databases that refuse, freeze or vanish below a training, and the secrets of those that work: training goes on."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.attacks.processes import run, said
from tests.attacks.records import Records
from tests.attacks.servers import admin, plain
from tests.attacks.stage import QUICK_S, Stage, sampled_in, settled
from tests.postgres import PostgresServer

pytestmark = pytest.mark.rllib


def test_integrity_error__of_one_row__the_others_are_written_at_once(stage: Stage) -> None:
    """One refused row says nothing of the next one."""
    records = stage.begin("configured(TradingEnv)", "refused")
    records.sql("CREATE TRIGGER bad BEFORE INSERT ON episodes BEGIN SELECT RAISE(ABORT, 'refused'); END")
    stage.do("sample(runner, 2); None")
    records.sql("DROP TRIGGER bad")
    stage.do("sample(runner, 2); None")
    stage.end()
    done = [row for row in records.episodes("refused") if row["status"] == "completed"]
    assert len(done) >= 2, records.episodes("refused")


def test_locked_sqlite__by_another_process__sampling_does_not_wait(stage: Stage) -> None:
    import sqlite3

    records = stage.begin("configured(TradingEnv)", "locked")
    stage.do("sample(runner, 1); None")
    holder = sqlite3.connect(records.url.removeprefix("sqlite:///"), isolation_level=None)
    try:
        holder.execute("BEGIN EXCLUSIVE")
        assert sampled_in(stage) < QUICK_S
    finally:
        holder.close()
    stage.end()
    assert len([row for row in records.episodes("locked") if row["status"] == "completed"]) >= 4


@contextlib.contextmanager
def suspended(postgres_server: PostgresServer) -> Iterator[None]:
    """Suspend every process of the server: the kernel accepts connections, and nothing answers."""
    server = psutil.Process(postgres_server.pid)
    processes = [server, *server.children(recursive=True)]
    try:
        for process in processes:
            process.suspend()
        yield
    finally:
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.resume()


def test_stopped_postgres__sampling_does_not_wait_and_nothing_is_lost(
    stage: Stage, postgres_server: PostgresServer
) -> None:
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    records = stage.begin("configured(TradingEnv)", "stopped", plain(url))
    stage.do("sample(runner, 1); None")
    with suspended(postgres_server):
        assert sampled_in(stage) < QUICK_S
        assert sampled_in(stage) < QUICK_S
    settled(stage, records, "stopped", 7)


def test_stopped_postgres__the_end_of_a_run_is_bounded(stage: Stage, postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    records = stage.begin("configured(TradingEnv)", "bounded", plain(url))
    stage.do("sample(runner, 1); None")
    with suspended(postgres_server):
        stage.do("sample(runner, 2); None")
        took = stage.do("begun = time.perf_counter()\nrunner.stop(); run.end('completed')\ntime.perf_counter() - begun")
    assert took < 14, f"{took:.1f} s: a drain of 5 s, and the run's own row"
    done = run("reconciler", "--run-id", "bounded", "--grace", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)


def test_name_server_that_never_answers__sampling_does_not_wait_and_nothing_is_lost(
    stage: Stage, postgres_server: PostgresServer
) -> None:
    """The database's name is known at first; then the name server goes silent, and the connections are cut."""
    hosts, resolver = stage.scene.folder / "hosts", stage.scene.folder / "resolv.conf"
    hosts.write_text("127.0.0.1 localhost db.attack.internal\n")
    resolver.write_text("nameserver 127.0.0.9\noptions timeout:5 attempts:2\n")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.9", 53))
        stage.place.bind(hosts, "/etc/hosts")
        stage.place.bind(resolver, "/etc/resolv.conf")
        try:
            url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
            named = plain(url).replace("127.0.0.1", "db.attack.internal")
            stage.begin("configured(TradingEnv)", "nameless", named)
            stage.do("sample(runner, 1); None")
            hosts.write_text("127.0.0.1 localhost\n")
            admin(
                postgres_server.url(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()",
            )
            assert sampled_in(stage) < QUICK_S
            assert sampled_in(stage) < QUICK_S
        finally:
            hosts.write_text("127.0.0.1 localhost db.attack.internal\n")
            stage.do("runner.stop(); run.end('completed')")
            stage.place.unmount("/etc/hosts")
            stage.place.unmount("/etc/resolv.conf")
    stage.do(
        "runner = type('Stopped', (), {'stop': lambda self: None})(); run = type('Ended', (), {'end': lambda s, w: None})()"
    )
    settled(stage, Records(url), "nameless", 7)


def test_journals__are_read_before_the_transaction_begins(stage: Stage) -> None:
    """A large journal must not lock a SQLite file for everybody else. Each opening of a journal probes the lock."""
    records = stage.begin("configured(TradingEnv)", "probed")
    stage.do(
        f"""
import os, sqlite3, sys, threading
locked = []
watching = True
def probe(event, args):
    if not watching or event != "open" or not isinstance(args[0], (str, bytes, os.PathLike)):
        return
    path, flags = os.fspath(args[0]), args[2] or 0
    if str(path).endswith((".arrows", ".tail")) and not flags & (os.O_WRONLY | os.O_RDWR):
        connection = sqlite3.connect({records.url.removeprefix("sqlite:///")!r}, timeout=0, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            locked.append(f"{{path}}: {{error}}")
        finally:
            connection.close()
sys.addaudithook(probe)
sample(runner, 5)
runner.stop(); run.end("completed")
"""
    )
    locked = stage.do("watching = False\nlocked")
    assert locked == []
    assert len([row for row in records.episodes("probed") if row["status"] == "completed"]) >= 5


def test_stale_handle__while_a_callback_reads_a_journal__the_database_is_not_blamed(stage: Stage) -> None:
    records = stage.begin("configured(TradingEnv)", "stale")
    before = len(stage.trainer.stderr())
    stage.do(
        """
import errno, fcntl, os
real = os.fstat
def stale(fd):
    name = os.readlink(f"/proc/self/fd/{fd}") if isinstance(fd, int) else ""
    if name.endswith((".arrows", ".tail")) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
    return real(fd)
os.fstat = stale
try:
    sample(runner, 2)
    runner.stop(); run.end("completed")
finally:
    os.fstat = real
"""
    )
    told = stage.trainer.stderr()[before:]
    assert "database" not in told, told
    done = run("reconciler", "--run-id", "stale", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)
    assert len([row for row in records.episodes("stale") if row["status"] == "completed"]) >= 2


def test_adopted_episode__its_row_was_lost__tells_what_the_lost_row_told(stage: Stage) -> None:
    """Evaluation or training, worker, env, market: all of it is in the journal, but RLlib's own id."""
    records = stage.begin("configured(TradingEnv, envs=2, evaluation=True)", "adopted")
    stage.do("sample(runner, 3); None")
    stage.end()
    run("reconciler", "--run-id", "adopted", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    before = {row["journal_id"]: row for row in records.episodes("adopted")}
    assert all(row["in_evaluation"] for row in before.values())
    records.sql("DELETE FROM completed_trades")
    records.sql("DELETE FROM episodes")
    done = run("reconciler", "--run-id", "adopted", "--grace", "0s", "--wait", "0s", "--database-url", records.url)
    assert done.returncode == 0, said(done)
    after = {row["journal_id"]: row for row in records.episodes("adopted")}
    ours = ("episode_id", "rllib_episode_id", "finalized_by", "finalized_at", "finalized_pass", "status_reason")
    of_rllib = ("iteration", "env_steps_at_start", "start_iteration", "start_env_steps", "lifetime_steps_at_start")
    for journal_id, row in before.items():
        changed = {
            name: (value, after[journal_id][name])
            for name, value in row.items()
            if name not in (*ours, *of_rllib) and after[journal_id][name] != value
        }
        assert not changed, changed


def test_config_of_a_run_that_ended__trains_on_without_a_record_and_makes_no_database(stage: Stage) -> None:
    """A checkpoint that is restored tomorrow, perhaps on another machine: one warning, and no stray file."""
    records = stage.begin("configured(TradingEnv)", "ended")
    home = Path(records.url.removeprefix("sqlite:///")).parent
    stage.do("import ray.cloudpickle\nparcel = ray.cloudpickle.dumps(runner.config)")
    stage.end()
    home.rename(home.with_name("ended-moved"))
    before = len(stage.trainer.stderr())
    length = stage.do(
        """
old = runner_of(ray.cloudpickle.loads(parcel))
length = len(sample(old, 1)[0])
old.stop()
length
"""
    )
    assert length == 20
    assert not home.exists()
    told = [line for line in stage.trainer.stderr()[before:].splitlines() if "record" in line]
    assert len(told) == 1, told


SECRET = "tr0ub4dor-and-3"


def test_password__of_an_attached_run__travels_in_no_config(stage: Stage, postgres_server: PostgresServer) -> None:
    """Configs are pickled into checkpoints, logged, and sent to experiment trackers."""
    url = postgres_server.create_database(f"attack_{uuid.uuid4().hex}")
    secret = plain(url).replace("rsc@", f"rsc:{SECRET}@")
    stage.begin("configured(TradingEnv)", "secret", secret)
    found = stage.do(
        f"""
import json, pickle
import ray.cloudpickle as cloudpickle
secret = {SECRET!r}
places = {{
    "pickle of the config": cloudpickle.dumps(runner.config),
    "to_dict": cloudpickle.dumps(runner.config.to_dict()),
    "copy": cloudpickle.dumps(runner.config.copy()),
    "serialize": repr(runner.config.serialize()).encode(),
    "get_state of the config": cloudpickle.dumps(runner.config.get_state()),
    "get_state of the runner": cloudpickle.dumps(runner.get_state()),
    "repr of the run": repr(run).encode(),
    "vars of the config": repr(vars(runner.config)).encode(),
}}
[name for name, data in places.items() if secret.encode() in data]
"""
    )
    stage.do("sample(runner, 1); None")
    stage.end()
    assert found == []
    assert SECRET not in stage.trainer.stderr()
    assert SECRET not in Path(f"/proc/{stage.trainer.process.pid}/cmdline").read_text()
    files = [path for path in stage.root.parent.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not files
    assert len(Records(url).episodes("secret")) >= 1
