"""Files that are put in another file's place: the database below a daemon, and what is no regular file in a run's folder."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.attacks.processes import no_traceback, run, said
from tests.attacks.records import Records
from tests.attacks.scene import Scene, until
from tests.attacks.servers import admin, dead_episodes, fresh, plain, reconcile
from tests.postgres import PostgresServer

KILLED = "SELECT total_steps FROM episodes WHERE journal_id = :id AND status = 'truncated'"


def killed(scene: Scene, journal_id: str) -> None:
    """An episode of five steps whose writer dies."""
    writer = scene.writer()
    writer.do(f"x = begin({str(scene.root)!r}, 'r1', {journal_id!r}); steps(x, 5)")
    writer.kill()


def test_sqlite_file__replaced_below_a_daemon__later_verdicts_are_in_the_new_file(scene: Scene) -> None:
    """A person restores a backup. What is written to the deleted file, nobody ever sees."""
    scene.live()
    scene.daemon("--grace", "0s", every="0.5s")
    killed(scene, "before")
    until(lambda: scene.records.sql(KILLED, id="before"), what="the first verdict")
    database, backup = scene.folder / "rsc.db", scene.folder / "backup.db"
    with sqlite3.connect(database) as source, sqlite3.connect(backup) as target:
        source.backup(target)
    target.close()
    source.close()
    os.replace(backup, database)
    for left in scene.folder.glob("rsc.db-*"):
        left.unlink()
    killed(scene, "after")
    until(lambda: scene.records.sql(KILLED, id="after"), what="a verdict in the new file")
    scene.assert_lives()


def test_rows__reset_to_started_by_hand__no_loss_is_claimed(scene: Scene) -> None:
    """A person has the reconciler judge again. The text that an earlier verdict left is not that of a failed write."""
    scene.live()
    killed(scene, "dead")
    scene.records.add_episode("r1", "dead")
    scene.reconcile("--grace", "0s")
    scene.records.sql(
        "UPDATE episodes SET status = 'started', finalized_by = NULL, total_steps = NULL WHERE journal_id = 'dead'"
    )
    again = scene.reconcile("--grace", "0s")
    row = scene.records.episode("dead")
    assert (again.returncode, row["total_steps"]) == (0, 5), said(again)
    assert "lost" not in row["status_reason"], row["status_reason"]


@pytest.mark.postgres
def test_row__locked_by_another_session__the_other_episodes_are_ended(
    scene: Scene, postgres_server: PostgresServer
) -> None:
    """An open transaction of a person in psql; the pass names that row, and does the rest."""
    records = Records(fresh(postgres_server))
    assert run("rsc", "db", "upgrade", "--database-url", records.url).returncode == 0
    dead_episodes(scene, records, 4)
    with psycopg.connect(plain(records.url)) as other:
        other.execute("SELECT * FROM episodes WHERE journal_id = 'j2' FOR UPDATE")
        done = reconcile(records.url)
        assert done.returncode == 1, said(done)
    statuses = {row["journal_id"]: row["status"] for row in records.episodes()}
    assert statuses == {"j0": "truncated", "j1": "truncated", "j2": "started", "j3": "truncated"}, said(done)
    assert "j2" in said(done)


@pytest.mark.postgres
def test_database__its_dates_are_written_in_another_style__every_episode_ends(
    scene: Scene, postgres_server: PostgresServer
) -> None:
    url = fresh(postgres_server)
    assert run("rsc", "db", "upgrade", "--database-url", url).returncode == 0
    dead_episodes(scene, Records(url), 2)
    admin(url, f"ALTER DATABASE {url.rsplit('/', 1)[1]} SET datestyle = 'German, DMY'")
    admin(url, f"ALTER DATABASE {url.rsplit('/', 1)[1]} SET timezone = 'Asia/Kathmandu'")
    done = reconcile(url)
    assert done.returncode == 0, said(done)
    assert Records(url).sql("SELECT count(*) AS ended FROM episodes WHERE status = 'truncated'") == [{"ended": 2}]


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)
    finally:
        os.chdir(here)


IMPOSTORS: dict[str, Callable[[Path], None]] = {
    "fifo": os.mkfifo,
    "folder": os.mkdir,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "loop": lambda path: path.symlink_to(path.name),
    "socket": _socket,
}


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *(("fifo", name) for name in ("run", "root", "writers", "dead.arrows", "dead.tail")),
        ("endless", "dead.tail"),
        ("folder", "dead.arrows"),
        ("socket", "root"),
        ("loop", "run"),
    ],
)
def test_no_regular_file__in_the_place_of_one_of_a_runs__stops_nothing(scene: Scene, kind: str, name: str) -> None:
    """No command waits for ever, and no live episode is ended. The dead episode ends where its own files are whole."""
    scene.live()
    killed(scene, "dead")
    scene.records.add_episode("r1", "dead")
    path = scene.root / "r1" / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    IMPOSTORS[kind](path)
    scene.reconcile("--grace", "0s", timeout=30)
    for words in (["journal", "ls", path.parent], ["journal", "verify", path.parent], ["rsc", "check", "r1"]):
        settings = ["--database-url", scene.records.url] if words[0] == "rsc" else []
        no_traceback(run(*words, *settings, timeout=30))  # type: ignore[arg-type]
    assert scene.records.episode("j1")["status"] == "started"
    row = scene.records.episode("dead")
    expected = ("started", None) if name.startswith("dead") else ("truncated", 5)
    assert (row["status"], row["total_steps"]) == expected
