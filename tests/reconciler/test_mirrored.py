"""`reconcile --journal-root URL`: the folder of the journals is gone, and their mirror is left."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from journal.mirror import Mirror
from reconciler.mirrored import MovingMirrorError, copy_of_mirror

ROOT = Path(__file__).parents[2]
WRITER = """
import sys
import rsc
from tests.support.walks import ACCOUNT, Walk
run = rsc.start_run("lost")
for length in (12, 15, 40):
    env = run.record(Walk(length), ACCOUNT)
    env.action_space.seed(length)
    env.reset(seed=length)
    for _ in range(15):
        if env.step(env.action_space.sample())[3]:
            break
print("written", flush=True)
sys.stdin.read()
"""
TRADES = """
SELECT journal_id, completed_trades.* FROM completed_trades JOIN episodes USING (episode_id)
ORDER BY journal_id, trade_number
"""
OF_A_PASS = {"episode_id", "finalized_at", "finalized_pass", "status_reason", "evidence_final"}


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with two journals that are closed and one that is open, which waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        call("journal", "mirror", tmp_path / "rsc-data" / "journal", tmp_path / "bucket", "--once", cwd=tmp_path)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=30)


def call(*words: Any, cwd: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def rows(home: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    with sqlite3.connect(home / "rsc-data" / "rsc.db") as connection:
        connection.row_factory = sqlite3.Row
        episodes = [dict(row) for row in connection.execute("SELECT * FROM episodes ORDER BY journal_id")]
        trades = [dict(row) for row in connection.execute(TRADES)]
    return episodes, trades


def without(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in OF_A_PASS}


def test_root_is_gone__a_pass_over_the_mirror_writes_the_rows_of_a_local_pass(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    writer.kill()
    writer.wait(timeout=30)
    home = tmp_path / "local"
    shutil.copytree(tmp_path / "rsc-data", home / "rsc-data")
    root = tmp_path / "rsc-data" / "journal"
    call("reconciler", "--run-id", "lost", "--journal-root", root, "--wait", "0s", cwd=home)
    shutil.rmtree(root)
    url = f"file://{tmp_path / 'bucket'}"
    with sqlite3.connect(tmp_path / "rsc-data" / "rsc.db") as connection:
        connection.execute("UPDATE training_runs SET mirror = ?", (url,))
    waits = call("reconciler", "--run-id", "lost", "--wait", "0s", cwd=tmp_path, code=1)
    assert f"use its mirror: --journal-root {url}" in waits
    said = call("reconciler", "--run-id", "lost", "--journal-root", url, "--wait", "0s", cwd=tmp_path)
    assert (
        "3 episodes ended (1 truncated, 2 completed)" in said or "3 episodes ended (2 completed, 1 truncated)" in said
    )
    for mirrored, local in zip(rows(tmp_path), rows(home), strict=True):
        assert mirrored
        assert [without(row) for row in mirrored] == [without(row) for row in local]
    reasons = {row["status"]: row["status_reason"] for row in rows(tmp_path)[0]}
    assert f"read from the mirror {url}, and steps after 15 are unknown" in reasons["truncated"]
    assert "mirror" not in reasons["completed"]


def test_writer_lives__its_episode_waits_and_assume_dead_is_refused(
    tmp_path: Path, writer: subprocess.Popen[str]
) -> None:
    url = f"file://{tmp_path / 'bucket'}"
    options = ("--run-id", "lost", "--journal-root", url, "--grace", "0s", "--wait", "0s")
    assert "1 episode cannot be judged yet" in call("reconciler", *options, cwd=tmp_path, code=1)
    assert "truncated" not in {row["status"] for row in rows(tmp_path)[0]}
    said = call("reconciler", *options, "--assume-dead", cwd=tmp_path, code=1)
    assert "so its training may go on" in said
    assert "truncated" not in {row["status"] for row in rows(tmp_path)[0]}


def test_assume_dead__the_mirror_stood_still_long_enough__copies_by_the_clock_of_the_store(
    tmp_path: Path, writer: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"file://{tmp_path / 'bucket'}"
    monkeypatch.setattr(Mirror, "now", lambda self: datetime.now(UTC) + timedelta(seconds=200))
    with copy_of_mirror(url, ["lo"], still_s=150.0, say=lambda words: None) as root:
        assert len(list((root / "lost").glob("*.arrows"))) == 3
    assert not root.exists()
    monkeypatch.setattr(Mirror, "now", lambda self: None)
    with (
        pytest.raises(MovingMirrorError, match="its clock is unknown"),
        copy_of_mirror(url, None, still_s=150.0, say=lambda words: None),
    ):
        raise AssertionError("unreachable")


def test_url__of_no_mirror_or_with_a_daemon__is_one_line(tmp_path: Path) -> None:
    said = call("reconciler", "--all", "--journal-root", "file:///nowhere-at-all", cwd=tmp_path, code=1)
    assert said.startswith("error: cannot open file:///nowhere-at-all")
    assert said.count("\n") == 1
    said = call("reconciler", "--all", "--every", "5s", "--journal-root", "s3://b/p", cwd=tmp_path, code=2)
    assert "a daemon works on folders" in said
    assert not (tmp_path / "rsc-data").exists()
