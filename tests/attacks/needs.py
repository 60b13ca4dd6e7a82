"""What an attack needs of the machine. Without it the attack is skipped with the reason; in CI it fails instead."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import warnings
from pathlib import Path

import pytest

_PROBE = ["unshare", "--mount", "--propagation", "private", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]


def give_up(reason: str) -> None:
    """Skip the test with this reason, or fail it where CI must run it."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}, and CI must run this attack")
    warnings.warn(f"attack not run: {reason}", stacklevel=2)
    pytest.skip(reason)


def need_program(name: str, package: str = "") -> str:
    """Return the program's path."""
    for folder in (*os.get_exec_path(), "/usr/sbin", "/sbin"):
        if found := shutil.which(name, path=folder):
            return found
    give_up(f"the program {name} is missing (apt-get install {package or name})")
    raise AssertionError


def need_file_system(kind: str) -> None:
    """Require a kind of file system that this kernel mounts."""
    known = [line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()]
    if kind not in known:
        give_up(f"this kernel cannot mount {kind}")


def need_mounts() -> None:
    """Require the right to mount in a private mount namespace."""
    if reason := _why_no_mounts():
        give_up(f"nothing can be mounted here: {reason}")


def need_loop_devices() -> None:
    """Require loop devices, for file systems in a file."""
    need_mounts()
    if not os.path.exists("/dev/loop-control"):
        give_up("there are no loop devices")


def need_fuse() -> None:
    """Require FUSE and bindfs."""
    need_mounts()
    if not os.path.exists("/dev/fuse"):
        give_up("there is no /dev/fuse")
    need_program("bindfs")


def need_namespaces() -> None:
    """Require private pid, time, UTS and network namespaces."""
    need_mounts()
    command = ["unshare", "--mount", "--pid", "--time", "--uts", "--net", "--fork", "--mount-proc", "true"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    if done.returncode:
        give_up(f"namespaces cannot be made here: {done.stderr.strip()}")


@functools.cache
def _why_no_mounts() -> str:
    if os.geteuid() != 0:
        return "only root may"
    try:
        done = subprocess.run(_PROBE, capture_output=True, text=True, timeout=20, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or "unshare failed"


def not_yet(reason: str, raises: type[BaseException] = AssertionError) -> pytest.MarkDecorator:
    """Mark an attack that still succeeds. Whoever repairs it removes the mark, since a pass is then a failure."""
    return pytest.mark.xfail(strict=True, raises=raises, reason=reason)
