"""`rsc doctor` on machines that lack something: real mounts, limits, servers."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rsc.doctor import database, machine, places, ray_start
from rsc.doctor.check import Check
from rsc.versions import SUPPORTED
from tests.attacks.needs import need_fuse, need_mounts
from tests.attacks.places import Place, place
from tests.postgres import PostgresServer

FUSE = Path(__file__).with_name("fuse.py")
LOOK = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from rsc.doctor.places import check_root
print(json.dumps([asdict(check) for check in check_root(Path(sys.argv[1]))]))
"""


def by_name(checks: Any) -> dict[str, Check]:
    found = list(checks)
    named = {check.name: check for check in found}
    assert len(named) == len(found)
    assert all(bool(check.cure) == (check.level != "OK") for check in found), "each finding has its cure"
    return named


def look(inside: Place, folder: Path) -> dict[str, Check]:
    """The checks of a journal root in a mount namespace."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    printed = inside.run(sys.executable, "-c", LOOK, folder, env=environment)
    return by_name(Check(**fields) for fields in json.loads(printed))


def test_root__local_folder__is_well_and_stays_empty(tmp_path: Path) -> None:
    root = tmp_path / "rsc-data" / "journal"
    found = by_name(places.check_root(root))
    assert {check.level for name, check in found.items() if name not in ("disk", "inodes", "file system")} == {"OK"}
    assert "does not exist yet" in found["journal root"].found
    assert list(tmp_path.iterdir()) == []


def test_root__is_a_file__fails(tmp_path: Path) -> None:
    (tmp_path / "root").touch()
    assert by_name(places.check_root(tmp_path / "root"))["journal root"].level == "FAIL"


def test_root__full_tmpfs__fails_with_the_disk(tmp_path: Path) -> None:
    need_mounts()
    with place() as inside:
        inside.tmpfs(tmp_path / "small", size_kib=256)
        inside.run("sh", "-c", f"cat /dev/zero > {tmp_path}/small/fill || true")
        found = look(inside, tmp_path / "small")
        assert inside.run("ls", "-A", tmp_path / "small").split() == ["fill"]
    assert (found["journal root"].level, found["disk"].level) == ("FAIL", "FAIL")
    assert "No space left" in found["journal root"].found
    assert "free space" in found["journal root"].cure


def test_root__read_only_mount__fails(tmp_path: Path) -> None:
    need_mounts()
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    with place() as inside:
        inside.bind(tmp_path / "source", tmp_path / "target", read_only=True)
        found = look(inside, tmp_path / "target")
    assert found["journal root"].level == "FAIL"
    assert "Read-only file system" in found["journal root"].found


@pytest.mark.parametrize(("locks", "words"), [("grant", "gets a lock that is held"), ("refuse", "refuses locks")])
def test_locks__fuse_without_real_ones__fail(locks: str, words: str, tmp_path: Path) -> None:
    need_fuse()
    with place() as inside:
        target = tmp_path / "fuse"
        target.mkdir()
        server = inside.start(sys.executable, FUSE, target, locks, stdout=subprocess.PIPE)
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        found = look(inside, target)
        inside.run("umount", target)
    assert found["locks"].level == "FAIL"
    assert words in found["locks"].found
    assert found["file system"].level == "WARN"


def test_locks__fuse_with_real_ones__are_seen(tmp_path: Path) -> None:
    need_fuse()
    (tmp_path / "source").mkdir()
    with place() as inside:
        inside.bindfs(tmp_path / "source", tmp_path / "target")
        found = look(inside, tmp_path / "target")
    assert (found["locks"].level, found["file system"].level) == ("OK", "WARN")
    assert "written" in found["tails"].found


@pytest.mark.parametrize(("limit", "level"), [(60, "FAIL"), (200, "WARN")])
def test_descriptors__low_limit__is_told_with_the_command_that_raises_it(limit: int, level: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    try:
        found = by_name(machine.check_machine())["descriptors"]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert found.level == level
    assert "ulimit -n" in found.cure


def test_database__missing_file__warns_and_makes_none(tmp_path: Path) -> None:
    found = by_name(database.check_database(f"sqlite:///{tmp_path}/deep/rsc.db"))
    assert found["database"].level == "WARN"
    assert list(tmp_path.iterdir()) == []


def test_database__unmigrated__fails_with_the_command(tmp_path: Path, empty_database_url: str) -> None:
    if empty_database_url.startswith("sqlite"):
        sqlite3.connect(empty_database_url.removeprefix("sqlite:///")).execute("CREATE TABLE other (x)")
    found = by_name(database.check_database(empty_database_url))
    assert (found["database"].level, found["clock"].level) == ("FAIL", "WARN")
    assert "rsc db upgrade" in found["database"].cure


def test_database__ready__is_well(database_url: str) -> None:
    assert {check.level for check in database.check_database(database_url)} == {"OK"}


@pytest.mark.parametrize("url", ["postgresql://rsc@127.0.0.1:1/none", "nonsense", "mysql://host/name"])
def test_database__unreachable_or_no_url__fails_with_a_cure(url: str) -> None:
    pytest.importorskip("psycopg")
    assert by_name(database.check_database(url))["database"].level == "FAIL"


@pytest.mark.postgres
def test_database__role_that_may_only_read__warns(postgres_server: PostgresServer, made_postgres: str) -> None:
    url = postgres_server.create_database("doctor_reader", made_postgres)
    postgres_server.execute("CREATE ROLE doctor_reader LOGIN")
    postgres_server.execute("ALTER ROLE doctor_reader IN DATABASE doctor_reader SET default_transaction_read_only = on")
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO doctor_reader")
    found = by_name(database.check_database(url.replace("rsc@", "doctor_reader@")))
    assert found["database"].level == "WARN"
    assert "read-only" in found["database"].found


def test_clock__differs_from_the_database__says_by_how_much(
    monkeypatch: pytest.MonkeyPatch, postgres_server: PostgresServer, made_postgres: str
) -> None:
    url = postgres_server.create_database("doctor_clock", made_postgres)
    real: Callable[[Any], Any] = database.database_now
    for offset_s, level in ((10, "WARN"), (60, "FAIL")):
        monkeypatch.setattr(database, "database_now", lambda engine, by=offset_s: real(engine) - timedelta(seconds=by))
        assert by_name(database.check_database(url))["clock"].level == level


def test_versions__unsupported__warns_and_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rsc.versions.installed_version", lambda name: "0.1")
    monkeypatch.setattr(machine, "installed_version", lambda name: "0.1" if name != "ray" else None)
    found = by_name(machine.check_versions())
    assert found.keys() == {"Python", *SUPPORTED}
    assert (found["pyarrow"].level, found["ray"].level) == ("WARN", "OK")
    assert "not installed" in found["ray"].found


def test_steps__compiled_from_another_source__warns_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RSC_COMPILED", raising=False)
    monkeypatch.setattr(machine, "COMPILED", False)
    monkeypatch.setattr(machine, "WHY_PYTHON", machine.OUTDATED)
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    found = machine._check_appending()
    assert (found.level, found.cure) == ("WARN", "install this package again: pip install -e .")
    assert "another version" in found.found


def test_ray__cannot_start__fails_with_its_last_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_start, "_START", "raise SystemExit('no room')")
    (found,) = ray_start.check_ray()
    assert (found.level, found.found) == ("FAIL", "Ray does not start: no room")


@pytest.mark.rllib
def test_ray__starts__and_leaves_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("ray")
    monkeypatch.setattr(ray_start.tempfile, "tempdir", str(short := Path("/tmp") / f"doctor-{os.getpid()}"))
    short.mkdir()
    try:
        (found,) = ray_start.check_ray()
        assert found.level == "OK", found
        assert list(short.iterdir()) == []
    finally:
        shutil.rmtree(short)


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from rsc.cli import main; import rsc.doctor.ray_start as r; r.check_ray = list; main()"
    command = [sys.executable, "-c", code, "doctor", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_command__json__is_one_document_and_the_exit_code_follows(tmp_path: Path) -> None:
    done = run(tmp_path, "--json", "--database-url", "nonsense")
    document = json.loads(done.stdout)
    assert done.returncode == 1
    assert document["failed"] >= 1
    assert set(document["checks"][0]) == {"name", "level", "found", "cure"}
    assert list(tmp_path.iterdir()) == []


def test_command__new_folder__warns_and_exits_0(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("WARN  database")
    assert done.stdout.splitlines()[-1].endswith("0 failed")
    assert list(tmp_path.iterdir()) == []
