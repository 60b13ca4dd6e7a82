"""A training with a password in its database URL: the password is in no output, argument, checkpoint or log of Ray."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil
import pytest

from rsc.db.episodes import status_counts
from rsc.db.session import open_engine, reading

pytestmark = [pytest.mark.rllib, pytest.mark.postgres]

PASSWORD = "hush-hush-hush"
TRAIN = ["train", "--iterations", "1", "--num-env-runners", "1", "--num-envs-per-env-runner", "2", "--run-id", "r1"]


def files_with(word: str, *folders: Path) -> list[Path]:
    found = []
    for folder in folders:
        for file in folder.rglob("*"):
            if file.is_file() and not file.is_symlink() and word.encode() in file.read_bytes():
                found.append(file)
    return found


def test_train__password_in_the_url__is_written_nowhere(postgres_server, made_postgres, tmp_path: Path):
    name = f"test_{uuid.uuid4().hex}"
    url = postgres_server.create_database(name, made_postgres).replace("rsc@", f"rsc:{PASSWORD}@")
    ray_folder = Path("/tmp") / f"ray-{uuid.uuid4().hex[:8]}"
    # The user's own way in: not by an argument, which all users of the machine see.
    environment = {**os.environ, "RSC_DATABASE_URL": url, "RAY_TMPDIR": str(ray_folder)}
    command = [sys.executable, "-m", "rsc", *TRAIN, "--reconcile"]
    output = tmp_path / "output"
    arguments: set[str] = set()
    with output.open("wb") as opened:
        training = subprocess.Popen(command, stdout=opened, stderr=opened, cwd=tmp_path, env=environment)
        try:
            deadline = time.monotonic() + 240
            while training.poll() is None and time.monotonic() < deadline:
                for process in psutil.process_iter(["cmdline"]):
                    arguments.add(" ".join(process.info["cmdline"] or ()))
                time.sleep(0.2)
        finally:
            training.kill()
            training.wait()
    assert training.returncode == 0, output.read_text()
    assert not [line for line in arguments if PASSWORD in line]
    assert (tmp_path / "rsc-data" / "policies" / "r1" / "last" / "policy.json").exists()
    assert files_with(PASSWORD, tmp_path, ray_folder) == []
    engine = open_engine(url)
    with reading(engine) as connection:
        counts = status_counts(connection, "r1")
    engine.dispose()
    assert counts
    assert "started" not in counts
