"""Simulate several machines on one: namespaces for network, mounts, processes and host name, and two bridges."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.attacks.needs import give_up

_NETWORKS = "10.77.0", "10.78.0"
_REAPER = "while :; do sleep 2; done"  # bash reaps the orphans of its namespace, sleep does not
_START = """
hostname {name}; mount --bind {disk}/ray /tmp/ray; mount --bind {disk}/journal {journals}; mount -t tmpfs tmpfs /dev/shm
echo ready; exec bash -c "{reaper}"
"""


def require_namespaces() -> None:
    """Skip the test with a warning if namespaces cannot be created. In CI, let it fail."""
    probe = f"probe{uuid.uuid4().hex[:6]}"
    tries = ("unshare -munp --fork --mount-proc true", f"ip netns add {probe}", f"ip netns del {probe}")
    for command in tries:
        if shutil.which(command.split()[0]) is None or subprocess.run(
            command.split(), capture_output=True, timeout=30, check=False
        ).returncode:  # fmt: skip
            give_up(f"{command!r} is not possible here")


class Machine:
    """A simulated machine. Its disk is a folder that the test can read and remove. All other files are shared.

    Attributes:
        address: The address on the first network.
        second_address: The address on the second network.
        disk: The folder that is the disk. The machine sees the folder ``journal`` in it as its journal root.
    """

    def __init__(self, lab: Lab, number: int, journals: Path) -> None:
        self.name, self._number, self._lab = f"node{number}", number, lab
        self.address, self.second_address = (f"{network}.{number}" for network in _NETWORKS)
        self.disk = lab.folder / self.name
        self._space = f"{lab.tag}m{number}"
        for name in ("ray", "journal"):
            (self.disk / name).mkdir(parents=True)
        _ip("netns", "add", self._space)
        lab.spaces.append(self._space)
        _ip("-n", self._space, "link", "set", "lo", "up")
        for at, address in enumerate((self.address, self.second_address)):
            self._connect(at, address)
        script = _START.format(name=self.name, disk=self.disk, journals=journals, reaper=_REAPER)
        self._process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self._space}", "unshare", "-mup", "--fork", "--kill-child", "--mount-proc",
             "--propagation", "private", "sh", "-c", script],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        self.pid = int(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()[0])

    def _connect(self, network: int, address: str) -> None:
        switch, link, card = self._lab.switch, f"v{network}x{self._number}", f"eth{network}"
        _ip("-n", switch, "link", "add", link, "type", "veth", "peer", "name", card, "netns", self._space)
        _ip("-n", switch, "link", "set", link, "master", f"br{network}", "up")
        _ip("-n", self._space, "addr", "add", f"{address}/24", "dev", card)
        _ip("-n", self._space, "link", "set", card, "up")

    def start(self, words: Sequence[Any], environment: Mapping[str, str], **more: Any) -> subprocess.Popen[str]:
        """Start a program on the machine."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", "--", *map(str, words)]
        return subprocess.Popen(inside, env={**os.environ, **environment}, text=True, **more)

    @staticmethod
    def interrupt(process: subprocess.Popen[str]) -> None:
        """Send SIGINT to a program that `start` started. Its parent process, nsenter, does not forward signals."""
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGINT)

    def run(self, words: Sequence[Any], environment: Mapping[str, str], seconds: float = 120) -> tuple[int, str]:
        """Run a program on the machine, and return its exit code and output."""
        process = self.start(words, environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            said, _ = process.communicate(timeout=seconds)
        finally:
            process.kill()
        return process.returncode, said

    def lose_power(self) -> None:
        """Kill every process of the machine at once."""
        os.kill(self.pid, signal.SIGKILL)
        self._process.wait(timeout=30)

    def lose_disk(self) -> None:
        """Remove the disk."""
        shutil.rmtree(self.disk)

    def link(self, state: str, network: int = 0) -> None:
        """Cut the link to a network (``down``), so that packets are lost without an error, or restore it (``up``)."""
        _ip("-n", self._lab.switch, "link", "set", f"v{network}x{self._number}", state)

    def remove(self) -> None:
        """End the machine if it runs."""
        if self._process.poll() is None:
            self.lose_power()


class Lab:
    """Two networks and the machines on them."""

    def __init__(self, folder: Path, journals: Path, count: int) -> None:
        self.folder, self.tag = folder, f"rsc{uuid.uuid4().hex[:5]}"
        self.switch = f"{self.tag}sw"
        self.spaces: list[str] = []
        self.machines: list[Machine] = []
        journals.mkdir(parents=True, exist_ok=True)
        Path("/tmp/ray").mkdir(exist_ok=True)
        _ip("netns", "add", self.switch)
        self.spaces.append(self.switch)
        for network in range(len(_NETWORKS)):
            _ip("-n", self.switch, "link", "add", f"br{network}", "type", "bridge")
            _ip("-n", self.switch, "link", "set", f"br{network}", "up")
        self.machines += [Machine(self, number, journals) for number in range(1, count + 1)]

    def remove(self) -> None:
        """End all machines, and remove their networks."""
        for machine in self.machines:
            machine.remove()
        for space in self.spaces:
            subprocess.run(["ip", "netns", "del", space], check=False, timeout=30)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, timeout=30)
