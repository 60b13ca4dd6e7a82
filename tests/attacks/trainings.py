"""Real trainings by `rsc train`, in the background and one after the other, whose output nobody can write or read."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from tests.attacks.places import place
from tests.attacks.processes import environment
from tests.attacks.servers import plain
from tests.postgres import PostgresServer

SECRET = "tr0ub4dor-and-3"
ITERATIONS = 3
_SMALL = (
    "--num-env-runners", "0", "--num-envs-per-env-runner", "2", "--train-batch-size", "200", "--iterations", str(ITERATIONS),
    "--env-config", "env.json", "--seed", "3",
)  # fmt: skip


@dataclass
class Training:
    """What one of them left behind."""

    folder: Path
    code: int = -1
    stdout: str = ""
    command_lines: set[str] = field(default_factory=set)


class Trainings:
    """``headed``: `rsc train ... 2>&1 | head -2` with a password and `--reconcile`.

    ``full``: its journals are on a disk of 280 KiB, and its output goes to a full disk.
    """

    def __init__(self, folder: Path, server: PostgresServer) -> None:
        self.headed, self.full = Training(folder / "headed"), Training(folder / "full")
        self.url = server.create_database(f"attack_{uuid.uuid4().hex}")
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Until both have ended."""
        self._thread.join(timeout=280)
        assert not self._thread.is_alive(), "a training takes longer than 280 s"

    def close(self) -> None:
        self._over.set()
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, 9)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        secret = plain(self.url).replace("rsc@", f"rsc:{SECRET}@")
        self._train(self.headed, "CMD --reconcile 2>&1 | head -2", {"RSC_DATABASE_URL": secret})
        with place() as inside:
            disk = self.full.folder / "disk"
            inside.tmpfs(disk, size_kib=280)
            prefix = inside.command("env", "-C", self.full.folder)
            more = f"--journal-root {disk}/journal"
            self._train(self.full, f"CMD {more} >/dev/full 2>&1", {}, prefix)

    def _train(
        self, training: Training, line: str, env: dict[str, str | None], prefix: list[str] | None = None
    ) -> None:
        if self._over.is_set():
            return
        training.folder.mkdir(exist_ok=True)
        (training.folder / "env.json").write_text(json.dumps({"episode_length": 20}))
        command = shlex.join([sys.executable, "-m", "rsc", "train", "--run-id", "r1", *_SMALL])
        script = f"{line.replace('CMD', command)}; exit ${{PIPESTATUS[0]}}"
        self._process = subprocess.Popen(
            [*(prefix or []), "bash", "-c", script],
            cwd=training.folder,
            env=environment({"RAY_DEDUP_LOGS": "0", **env}),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        while self._process.poll() is None and not self._over.is_set():
            training.command_lines |= _command_lines(self._process.pid)
            time.sleep(0.1)
        if self._over.is_set():
            return
        training.stdout = self._process.communicate(timeout=30)[0]
        training.code = self._process.returncode


def _command_lines(pid: int) -> set[str]:
    """Those of all processes of the machine that name the project, as anybody can read them."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) >= pid:
            try:
                text = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if SECRET in text or "rsc" in text or "reconcil" in text:
                found.add(text)
    return found
