"""Private namespaces with real mounts in them. Closing a place ends its processes and removes its mounts."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

START_S = 10.0
_OPTIONS = {"mnt": "--mount", "pid": "--pid", "uts": "--uts", "time": "--time", "net": "--net"}
_HOLD = "echo ready; while :; do sleep 1000 & wait; done"  # bash reaps what dies in the pid namespace


class Place:
    """A private mount namespace, and others if asked for.

    Args:
        pid: processes get a pid namespace of their own, with its own ``/proc``.
        hostname: a host name of their own (UTS namespace).
        boottime_s: a time namespace whose boot clock is shifted by this many seconds.
        net: a network namespace of their own, with the loopback device up.
        own_proc: with ``pid``, mount the namespace's own ``/proc``; without it the outer one stays visible.
    """

    def __init__(
        self, *, pid: bool = False, hostname: str = "", boottime_s: int = 0, net: bool = False, own_proc: bool = True
    ) -> None:
        options, self.kinds = ["--mount", "--propagation", "private"], ["mnt"]
        if pid:
            options += ["--pid", "--fork", "--kill-child", *(["--mount-proc"] if own_proc else [])]
            self.kinds.append("pid")
        if hostname:
            options.append("--uts")
            self.kinds.append("uts")
        if boottime_s:
            options += ["--time", "--boottime", str(boottime_s), *([] if pid else ["--fork", "--kill-child"])]
            self.kinds.append("time")
        if net:
            options.append("--net")
            self.kinds.append("net")
        self._processes: list[subprocess.Popen[Any]] = []
        self._mounts: list[str] = []
        self._holder = subprocess.Popen(
            ["unshare", *options, "bash", "-c", _HOLD], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"
        children = psutil.Process(self._holder.pid).children()
        self.pid = children[0].pid if "--fork" in options else self._holder.pid
        if hostname:
            self.run("hostname", hostname)
        if net:
            self.run("ip", "link", "set", "lo", "up")

    def command(self, *words: str | Path) -> list[str]:
        """The command line that runs these words inside."""
        return ["nsenter", "--target", str(self.pid), *(_OPTIONS[kind] for kind in self.kinds), "--", *map(str, words)]

    def run(self, *words: str | Path, timeout: float = 30, **more: Any) -> str:
        """Run a program inside, and return what it printed; it must succeed."""
        done = subprocess.run(
            self.command(*words), capture_output=True, text=True, timeout=timeout, check=False, **more
        )
        assert done.returncode == 0, f"{words}: exit {done.returncode}: {done.stdout} {done.stderr}"
        return done.stdout

    def start(self, *words: str | Path, **more: Any) -> subprocess.Popen[Any]:
        """Start a program inside; it is killed when the place closes."""
        process = subprocess.Popen(self.command(*words), **more)
        self._processes.append(process)
        return process

    def mount(self, *words: str | Path) -> None:
        """Mount; the target is the last word."""
        self.run("mount", *words)
        self._mounts.append(str(words[-1]))

    def bind(self, source: Path | str, target: Path | str, *, read_only: bool = False) -> None:
        """Show a folder or file at another path."""
        self.mount("--bind", source, target)
        if read_only:
            self.run("mount", "-o", "remount,bind,ro", target)

    def show_file(self, text: str, target: str, scratch: Path) -> None:
        """Put a file with this text over an existing file, ``/proc`` included."""
        source = scratch / f"shown-{len(self._mounts)}"
        source.write_text(text)
        self.bind(source, target)

    def tmpfs(self, target: Path, size_kib: int = 65_536) -> None:
        target.mkdir(parents=True, exist_ok=True)
        self.mount("-t", "tmpfs", "-o", f"size={size_kib}k,mode=755", "tmpfs", target)

    def bindfs(self, source: Path, target: Path) -> subprocess.Popen[Any]:
        """Show a folder through FUSE: other inodes of the kernel, the same bytes."""
        target.mkdir(parents=True, exist_ok=True)
        return self._fuse(target, "bindfs", "-f", source, target)

    def fuse_overlay(self, lower: Path, upper: Path, work: Path, target: Path) -> subprocess.Popen[Any]:
        for folder in (lower, upper, work, target):
            folder.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        return self._fuse(target, "fuse-overlayfs", "-f", "-o", options, target)

    def overlay(self, lower: Path, upper: Path, work: Path, target: Path) -> None:
        for folder in (lower, upper, work, target):
            folder.mkdir(parents=True, exist_ok=True)
        options = f"lowerdir={lower},upperdir={upper},workdir={work}"
        self.mount("-t", "overlay", "-o", options, "overlay", target)

    def image(self, kind: str, file: Path, target: Path, *, size_kib: int, options: str = "loop") -> None:
        """Make a file system in a sparse file, if the file is not there yet, and mount it."""
        target.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            with file.open("wb") as image:
                image.truncate(size_kib * 1024)
            quiet = {"ext4": ["-q", "-F", "-m", "0"], "xfs": ["-q"], "btrfs": ["-q"]}[kind]
            self.run(f"mkfs.{kind}", *quiet, file)
        self.mount("-t", kind, "-o", options, file, target)

    def unmount(self, target: Path | str) -> None:
        self.run("umount", target)
        self._mounts.remove(str(target))

    def _fuse(self, target: Path, *words: str | Path) -> subprocess.Popen[Any]:
        before = self._mounted(target)
        process = self.start(*words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        until = time.monotonic() + START_S
        while self._mounted(target) == before:
            assert process.poll() is None, f"{words}: {process.stderr.read() if process.stderr else ''}"
            assert time.monotonic() < until, f"{words} did not mount"
            time.sleep(0.01)
        self._mounts.append(str(target))
        return process

    def _mounted(self, target: Path) -> int:
        """How many mounts are at this path."""
        lines = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines].count(str(target))

    def close(self) -> None:
        """End everything inside."""
        for target in reversed(self._mounts):
            lazily = self.command("umount", "-l", target)
            subprocess.run(lazily, capture_output=True, timeout=30, check=False)
        for process in self._processes:
            process.kill()
        for child in _children(self._holder.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        self._holder.kill()
        for process in (*self._processes, self._holder):
            process.wait(timeout=30)
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    stream.close()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


@contextlib.contextmanager
def place(**settings: Any) -> Iterator[Place]:
    """A place for the time of a block."""
    inside = Place(**settings)
    try:
        yield inside
    finally:
        inside.close()


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
