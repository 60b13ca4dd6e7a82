"""Episodes whose journals are only in a bucket: the benchmark compares their rows and trades with those of a local pass."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.postgres
HOME = Path(__file__).parents[2]


@pytest.mark.usefixtures("postgres_server")  # skips, or fails in CI, where PostgreSQL is not installed
def test_bucket__root_is_gone__rows_and_trades_are_those_of_a_local_pass(tmp_path: Path) -> None:
    command = [sys.executable, HOME / "benchmarks" / "bucket.py", "--quick", "--json", "--home", tmp_path]
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["tables"][0]["rows"]
    episodes, objects, *_, peak_mib = row
    assert episodes == "300"
    assert objects >= 2
    assert peak_mib < 250
    assert list(tmp_path.iterdir()) == []
