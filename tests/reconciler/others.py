"""Other processes in the tests of clusters: a node's writer, and reconcilers that compete."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

from journal import journal_path, read_header
from rsc.closing import start_row
from rsc.db import episodes as episode_rows
from tests.reconciler.world import World

HOME = Path(__file__).parents[2]
_WRITE = """
import os, sys
from pathlib import Path
from tests.reconciler.world import open_journal, walk
root, run_id, node_id = sys.argv[1:]
writers = [open_journal(Path(root), run_id, facts={"notes": {"node_id": node_id}}) for _ in range(3)]
for writer in writers:
    walk(writer, 25)
writers[1].append(1.0, 1.0, 10000.0, terminated=True)
writers[1].close("terminated")
print(*(writer.journal_id for writer in writers), flush=True)
sys.stdin.readline()
walk(writers[0], 10)
print("more", flush=True)
sys.stdin.readline()
os.kill(os.getpid(), 9)
"""


_RECONCILES = """
import sys
from journal import Observer
from reconciler.cluster import ClusterPass
from reconciler.passes import Pass
from reconciler.ray_nodes import RayNodes
from reconciler.report import Hooks
from reconciler.settings import Settings
from rsc.db.session import open_engine
where, url, address = sys.argv[1:]
engine, settings = open_engine(url), Settings(grace_period_s=0.0, batch_episodes=3)
nodes = RayNodes(address) if where == "ray" else None
print("ready", flush=True)
sys.stdin.readline()
while True:
    work = ClusterPass(engine, settings, Hooks(), nodes) if nodes else Pass(engine, Observer(), settings)
    if not work.run(["run-1"]).wrote:
        break
"""


class OtherDisk:
    """Three journals that a process writes on a node, in a folder that no live node has: two open, one closed."""

    def __init__(self, world: World, folder: Path, node_id: str) -> None:
        self.root = folder
        command = [sys.executable, "-c", _WRITE, str(folder), world.run_id, node_id]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HOME)
        self.journals = self._line().split()
        with world.engine.begin() as connection:
            for name in self.journals:
                episode_rows.start_episode(connection, start_row(read_header(journal_path(folder, world.run_id, name))))

    def writes_more(self) -> None:
        self._say()
        assert self._line() == "more"

    def dies(self) -> None:
        self._say()
        self._process.communicate(timeout=30)

    def _say(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


class Reconciling:
    """A process that makes passes, in small batches, until there is nothing to do. It waits for ``go``."""

    def __init__(self, where: str, url: str, address: str) -> None:
        command = [sys.executable, "-c", _RECONCILES, where, url, address]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=HOME)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def kill(self) -> bool:
        """Kill it; return whether it was running."""
        self.process.kill()
        return self.process.wait(timeout=30) == -signal.SIGKILL
