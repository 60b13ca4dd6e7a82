"""Runs that a database has lost: each gets its row once, whoever else makes it, and whatever a marker's folder says."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from journal import RunMarker
from reconciler.rebuild import adopt_runs
from rsc.db import runs
from rsc.db.session import reading


def test_rebuild__by_several_programs_at_once__each_run_is_told_of_once(engine, tmp_path):
    """Invariants V1 and D1."""
    run_ids = [f"run-{number}" for number in range(30)]
    for run_id in run_ids:
        RunMarker(tmp_path, run_id, {"of": run_id}).close()
    with ThreadPoolExecutor(4) as pool:
        told = list(pool.map(lambda _: list(adopt_runs(engine, tmp_path, run_ids)), range(4)))
    assert all(done for lines in told for done, _ in lines)
    assert sum(map(len, told)) == len(run_ids)
    with reading(engine) as connection:
        assert {row.run_id: row.parameters["of"] for row in runs.all_runs(connection)} == {one: one for one in run_ids}


def test_rebuild__marker_of_no_possible_time__costs_its_run_alone(engine):
    """A file's time is what somebody says, and on tmpfs and xfs it may be a year that no datetime holds."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        root = Path(folder)
        for run_id in ("bad", "good"):
            RunMarker(root, run_id, {}).close()
        os.utime(root / "bad" / "run", (1e13, 1e13))
        assert [done for done, _ in adopt_runs(engine, root, ["bad", "good"])] == [False, True]
