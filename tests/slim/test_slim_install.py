"""The wheel without extras, on a box that has no Ray: `reconcile` and `journal` work there."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ABSENT = ("ray", "torch", "gymnasium", "talib", "pandas")


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("module", ABSENT)
def test_slim__training_packages__are_absent(module: str) -> None:
    """Otherwise the tests below would prove nothing."""
    assert importlib.util.find_spec(module) is None


@pytest.mark.parametrize("program", ["journal", "reconcile", "rsc"])
def test_slim__help__works_and_shows_an_example(program: str, tmp_path: Path) -> None:
    """Every program starts without Ray, and its help shows how to use it."""
    found = shutil.which(program, path=str(Path(sys.executable).parent))
    assert found is not None
    result = run(found, "--help", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "xample" in result.stdout


def test_slim__reconcile_and_check__end_an_episode(tmp_path: Path) -> None:
    """A journal written here, by a process that is gone, is reconciled without Ray."""
    script = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from journal import About, JournalWriter, RunMarker
from rsc.db import runs
from rsc.db.session import open_engine
from rsc.db.upgrade import upgrade
root = Path("journals").absolute()
engine = open_engine(sys.argv[1])
upgrade(engine)
with engine.begin() as connection:
    runs.start_run(connection, "r1", {}, str(root), datetime.now(UTC))
marker = RunMarker(root, "r1", {})
writer = JournalWriter(root, "r1", "j1", about=About("Env", 100.0, 252.0))
for step in range(10):
    writer.append(1.0, 0.1, 101.0 + step, 1.0, 1.0, 1.0, 0.0, 0.0, step, False, False)
import os; os._exit(9)
"""
    url = f"sqlite:///{tmp_path / 'rsc.db'}"
    written = run(sys.executable, "-c", script, url, cwd=tmp_path)
    assert written.returncode == 9, written.stderr
    result = run(sys.executable, "-m", "reconciler", "--run-id", "r1", "--database-url", url, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["report"]["ended"] == {"truncated": 1}


def test_slim__training_without_ray__says_what_to_install(tmp_path: Path) -> None:
    """`rsc train` names the extra instead of a traceback."""
    found = shutil.which("rsc", path=str(Path(sys.executable).parent))
    assert found is not None
    result = run(found, "train", "--iterations", "1", cwd=tmp_path)
    assert result.returncode == 1
    assert "[train]" in result.stderr
    assert "Traceback" not in result.stderr
