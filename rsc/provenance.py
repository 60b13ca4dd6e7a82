"""Collect the versions of the code and the name of the machine, for a run's row."""

from __future__ import annotations

import os
import socket
import subprocess
from importlib.metadata import PackageNotFoundError, version

_GIT_TIMEOUT_S = 2.0


def provenance() -> dict[str, str | None]:
    """Return columns of a run's row: package_version, git_commit, driver_host. What is unknown is None."""
    return {"package_version": _package_version(), "git_commit": _git_commit(), "driver_host": socket.gethostname()}


def _package_version() -> str | None:
    try:
        return version("reinforce-strategy-creator")
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    """Return the commit of the current folder, with "-dirty" if tracked files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # git would write its index
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_GIT_TIMEOUT_S, env=environment
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
